"""Levenberg-Marquardt against pyrenn's, to the same error; and errors that Adam does not reach.

What      `train.levenberg_marquardt` on a 1-10-1 net and two periods of a sine (500 samples, float64), and on building
          (14-10-3) and abelone (10-10-1), their training parts, in float32 as `fit` trains them; tanh, one thread.
Against   pyrenn 0.1, train_LM at its defaults, float64. Both begin with the weights that pyrenn draws, one seed at a
          time, in turns. The mark is 1.01 times the mean squared error that pyrenn has after EPOCHS epochs; a time is
          that until the error is first at or below the mark.
Target    30 times as fast, median over the seeds.
Second    On the sine, the same net by Levenberg-Marquardt, Newton-CG, L-BFGS, descent with a line search, and Adam
          (all samples at each step, the best of four rates), each for SECONDS of the processor.
Needs     pip install --no-deps pyrenn
Result    benchmarks/results/levenberg_marquardt.md, with versions, hardware, date and n, written by this script:

    OMP_NUM_THREADS=1 python benchmarks/levenberg_marquardt.py
"""

import contextlib
import io
import time
from collections.abc import Callable
from copy import deepcopy
from statistics import median
from typing import Any

import numpy as np
import pyrenn
import torch
from machine import setting, write_result
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from commonweight import data
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.optimise import RULES

SEEDS, EPOCHS, STEPS, SECONDS = range(5), 60, 200, 4.0
RATES = (1e-3, 3e-3, 1e-2, 3e-2)


def sine() -> tuple[Tensor, Tensor]:
    x = torch.linspace(-1, 1, 500, dtype=torch.float64)[:, None]
    return x, torch.sin(2 * torch.pi * x)


def table(name: str) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a training part, each column in [-1, 1], so that pyrenn leaves them as they are."""
    loaded = data.load(name)
    x, y = loaded.x[loaded.train].double(), loaded.y[loaded.train].double()
    x = x - x.mean(0)
    return x / x.abs().amax(0).clamp_min(1e-9), (y - y.mean(0)) / (y - y.mean(0)).abs().amax(0)


def as_torch(net: dict[str, Any]) -> nn.Sequential:
    """The net that pyrenn has drawn."""
    inputs, links, biases = pyrenn.w2Wb(net)
    first, second = inputs[1, 1, 0], links[2, 1, 0]
    model = nn.Sequential(nn.Linear(*first.shape[::-1]), nn.Tanh(), nn.Linear(*second.shape[::-1])).double()
    with torch.no_grad():
        for layer, weight, bias in ((model[0], first, biases[1]), (model[2], second, biases[2])):
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
    return model


def by_pyrenn(net: dict[str, Any], x: Tensor, y: Tensor) -> tuple[float, list[float]]:
    """Seconds for an epoch, and the mean squared error after each."""
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.process_time()
        trained = pyrenn.train_LM(x.numpy().T, y.numpy().T, net, k_max=EPOCHS, E_stop=0)
        seconds = time.process_time() - started
    return seconds / EPOCHS, list(trained["ErrorHistory"] / y.numel())


def by_ours(model: nn.Module, x: Tensor, y: Tensor, mark: float) -> tuple[float, int, float]:
    """Seconds until the mark is reached, the steps it took, and the seconds of a step."""
    exact = Objective(FlatNet(deepcopy(model).double()), x.double(), y.double(), mse_loss)
    started, looking, in_steps = time.process_time(), 0.0, []
    objective = Objective(FlatNet(model), x, y, mse_loss, "squares")
    rule = RULES["lm"](model.parameters(), lr=1.0)
    for step in range(STEPS):
        before = time.process_time()
        rule.step(objective)
        in_steps.append(time.process_time() - before)
        before = time.process_time()
        error = exact.value(objective.net.read().double())
        looking += time.process_time() - before
        if error <= mark:
            return time.process_time() - started - looking, step + 1, median(in_steps)
    return float("inf"), STEPS, median(in_steps)


def compare(name: str, x: Tensor, y: Tensor) -> tuple[str, float]:
    """A row of the table: medians over the seeds, and the ratio."""
    ours, theirs, marks, steps, step_seconds, epoch_seconds = [], [], [], [], [], []
    for seed in SEEDS:
        np.random.seed(seed)  # pyrenn draws from numpy's global state
        net = pyrenn.CreateNN([x.shape[1], 10, y.shape[1]])
        model = as_torch(net)
        seconds, errors = by_pyrenn(net, x, y)
        mark = 1.01 * errors[-1]
        reached = next(epoch for epoch, error in enumerate(errors) if error <= mark)
        kind = torch.float64 if name == "sine" else torch.float32
        taken, n, step = by_ours(model.to(kind), x.to(kind), y.to(kind), mark)
        theirs.append(reached * seconds)
        epoch_seconds.append(seconds)
        ours.append(taken)
        steps.append(n)
        step_seconds.append(step)
        marks.append(mark)
        print(name, seed, f"pyrenn {reached} epochs {theirs[-1]:.2f} s, ours {n} steps {taken:.3f} s", flush=True)
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    cells = [
        name,
        f"{median(marks):.2g}",
        f"{median(theirs):.2f} s ({1000 * median(epoch_seconds):.1f} ms an epoch)",
        f"{median(ours):.3f} s ({median(steps):.0f} steps of {1000 * median(step_seconds):.2f} ms)",
        f"**{median(ratios):.0f}** ({ratios[0]:.0f} to {ratios[-1]:.0f})",
    ]
    return "| " + " | ".join(cells) + " |", median(ratios)


def in_time(make: Callable[[nn.Module], Callable[[Objective], None]]) -> tuple[float, int]:
    """The error on the sine after SECONDS of the processor, and the steps."""
    x, y = sine()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 1)).double()
    objective = Objective(FlatNet(model), x, y, mse_loss, "squares")
    step, n, started = make(model), 0, time.process_time()
    while time.process_time() - started < SECONDS:
        step(objective)
        n += 1
    return objective.value(objective.net.read()), n


def by_adam(rate: float) -> Callable[[nn.Module], Callable[[Objective], None]]:
    def make(model: nn.Module) -> Callable[[Objective], None]:
        adam = torch.optim.Adam(model.parameters(), lr=rate, fused=True)

        def step(objective: Objective) -> None:
            adam.zero_grad()
            mse_loss(model(objective.inputs), objective.targets).backward()
            adam.step()

        return step

    return make


def depths() -> list[str]:
    """Rows of the second table."""
    rows = []
    for name in ("lm", "newton", "lbfgs", "descent"):
        error, n = in_time(lambda model, name=name: RULES[name](model.parameters(), lr=1.0).step)
        rows.append(f"| {name} | {error:.1e} | {n:,} |")
    tried = {rate: in_time(by_adam(rate)) for rate in RATES}
    rate = min(RATES, key=lambda one: tried[one][0])
    return [*rows, f"| Adam, rate {rate:g}, the best of {RATES} | {tried[rate][0]:.1e} | {tried[rate][1]:,} |"]


def main() -> None:
    torch.set_num_threads(1)
    in_time(lambda model: RULES["lm"](model.parameters(), lr=1.0).step)  # warm-up
    found = [compare("sine", *sine()), *(compare(name, *table(name)) for name in ("building", "abelone"))]
    least = min(ratio for _, ratio in found)
    text = f"""# Levenberg-Marquardt

{setting()}; pyrenn 0.1. Written by `benchmarks/levenberg_marquardt.py`, which says how.

## To 1.01 times the error that pyrenn has after {EPOCHS} epochs

Medians over {len(SEEDS)} seeds, the same first weights for both; seconds of the processor; the range of times faster.

| problem | mean squared error | pyrenn | commonweight | times faster |
| --- | --- | --- | --- | --- |
{chr(10).join(row for row, _ in found)}

Target: 30 times. {"Met." if least >= 30 else f"Not met: {least:.0f} times at the least."}

## Errors on the sine after {SECONDS:g} seconds of the processor, from the same weights

| rule | mean squared error | steps |
| --- | --- | --- |
{chr(10).join(depths())}
"""
    write_result("levenberg_marquardt", text)


if __name__ == "__main__":
    main()
