"""Learning a restricted Boltzmann machine, beside scikit-learn's BernoulliRBM: time until its pseudo-likelihood.

What      `commonweight.nets.boltzmann_estimators.RBM`, 256 hidden units, until the mean log pseudo-likelihood of the
          data is that which BernoulliRBM has in the end.
Against   scikit-learn's BernoulliRBM with 256 units and its own settings (persistent chains, batches of 10, rate 0.1,
          10 epochs), on the same float32 values from 0 to 1: all 1,797 digits, all 5,000 images of mnist-5k.
Target    5 times as fast.
How       In turns, after a warm-up, on one thread; the seed is the turn's number. Seconds are those of the processor,
          as the machine may have other work. Ours is scored after each epoch, outside of the clock, by the same
          function: 64 units of each row are flipped, which are all of a digit's. Also: seconds of one epoch, and of
          one epoch with BernoulliRBM's own batches of 10 and persistent chains: as many updates.
          Rates, batches and momentum of ours were chosen on other seeds (10 to 12).
Needs     pip install mlxtend
Result    benchmarks/results/boltzmann.md, with versions, hardware, date and n, written by this script:

    OMP_NUM_THREADS=1 python benchmarks/boltzmann.py [--turns 3]
"""

import argparse
import os
import time
from statistics import median

import numpy as np
import sklearn
import torch
from machine import setting, write_result
from numpy.typing import NDArray
from sklearn.neural_network import BernoulliRBM
from torch import Generator
from torch.nn import functional as F

from commonweight import data
from commonweight.nets.boltzmann import ContrastiveDivergence, RestrictedBoltzmannMachine
from commonweight.nets.estimators import batches

Rows = NDArray[np.float32]
UNITS, MOST, SCORED = 256, 60, 64
OURS = {
    "digits": {"rate": 0.15, "momentum": 0.9, "size": 30, "centred": False},
    "mnist-5k": {"rate": 0.3, "momentum": 0.5, "size": 100, "centred": True},
}


@torch.no_grad()
def score(machine: RestrictedBoltzmannMachine, rows: Rows) -> float:
    """The mean of Σ_i log P(v_i | all others), from 64 units i of each row, evenly spaced from a first that differs."""
    v = torch.from_numpy(rows)
    n_rows, n_units = v.shape
    columns, up = machine.weight.T.contiguous(), F.linear(v, machine.weight, machine.hidden_bias)
    rest, total = F.softplus(up).sum(1), 0.0
    for step in range(SCORED):
        units = (torch.arange(n_rows) + step * n_units // SCORED) % n_units
        change = 1 - 2 * v[torch.arange(n_rows), units]
        flipped = F.softplus(up + change[:, None] * columns[units]).sum(1)
        total += float(F.logsigmoid(rest - flipped - change * machine.visible_bias[units]).mean())
    return total * n_units / SCORED


def by_sklearn(rows: Rows, seed: int) -> tuple[float, float]:
    """Seconds of 10 epochs, and the pseudo-likelihood then."""
    model = BernoulliRBM(UNITS, random_state=seed)
    started = time.process_time()
    model.fit(rows)
    seconds = time.process_time() - started
    machine = RestrictedBoltzmannMachine(rows.shape[1], UNITS)
    with torch.no_grad():
        machine.weight.copy_(torch.from_numpy(model.components_))
        machine.visible_bias.copy_(torch.from_numpy(model.intercept_visible_))
        machine.hidden_bias.copy_(torch.from_numpy(model.intercept_hidden_))
    return seconds, score(machine, rows)


def by_ours(name: str, rows: Rows, seed: int, goal: float) -> tuple[float, int, float]:
    """Seconds until the goal, the epochs of it, and the pseudo-likelihood then."""
    settings, v = dict(OURS[name]), torch.from_numpy(rows)
    size, seconds = int(settings.pop("size")), 0.0
    started = time.process_time()
    generator = Generator().manual_seed(seed)
    machine = RestrictedBoltzmannMachine(v.shape[1], UNITS)
    rule = ContrastiveDivergence(machine, v.mean(0), generator=generator, **settings)  # type: ignore[arg-type]
    for epoch in range(1, MOST + 1):
        for batch in batches(len(v), size, 1, generator):
            rule.step(v[batch])
        seconds += time.process_time() - started
        reached = score(machine, rows)
        if reached >= goal:
            return seconds, epoch, reached
        started = time.process_time()
    raise SystemExit(f"{name}, seed {seed}: {reached:.2f} after {MOST} epochs, BernoulliRBM has {goal:.2f}")


def same_updates(rows: Rows, seed: int) -> float:
    """Seconds of an epoch of BernoulliRBM's own updates by our rule."""
    v = torch.from_numpy(rows)
    rule = ContrastiveDivergence(
        RestrictedBoltzmannMachine(v.shape[1], UNITS), v.mean(0), momentum=0.0, chains=10, centred=False,
        generator=Generator().manual_seed(seed),
    )  # fmt: skip
    started = time.process_time()
    for batch in v.split(10):
        rule.step(batch)
    return time.process_time() - started


def compare(name: str, turns: int) -> tuple[str, float]:
    rows = data.load(name, seed=0).x.flatten(1).numpy()
    rows = np.ascontiguousarray(rows / rows.max())
    BernoulliRBM(UNITS, n_iter=1).fit(rows[:200])
    same_updates(rows[:200], 0)
    theirs, ours, same = [], [], []
    for turn in range(turns):
        theirs.append(by_sklearn(rows, turn))
        ours.append(by_ours(name, rows, turn, theirs[-1][1]))
        same.append(same_updates(rows, turn))
    seconds = [[one[0] for one in found] for found in (theirs, ours)]
    ratio = median(seconds[0]) / median(seconds[1])
    shown = [f"{median(times):.3g} ({min(times):.3g} to {max(times):.3g})" for times in seconds]
    scores = [f"{np.mean([one[-1] for one in found]):.2f}" for found in (theirs, ours)]
    epochs = [10 / median(seconds[0]), median(one[1] for one in ours) / median(seconds[1])]
    cells = [
        name, shown[0], scores[0], shown[1], scores[1], f"{median(one[1] for one in ours):g}", f"**{ratio:.1f}**",
        f"{epochs[1] / epochs[0]:.1f}", f"{1 / epochs[0] / median(same):.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |", ratio


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the learning of Boltzmann machines; writes the result file.")
    parser.add_argument("--turns", type=int, default=3)
    turns, load = parser.parse_args().turns, os.getloadavg()[0]
    torch.manual_seed(0)
    compared = [compare(name, turns) for name in OURS]
    outcome = "PASS" if min(ratio for _, ratio in compared) >= 5 else "FAIL"
    lines = "\n".join(line for line, _ in compared)
    write_result(
        "boltzmann",
        f"""# Restricted Boltzmann machines of {UNITS} units

Written by `OMP_NUM_THREADS={torch.get_num_threads()} python benchmarks/boltzmann.py --turns {turns}`
on {setting()}; scikit-learn {sklearn.__version__}.
Seconds of the processor until the pseudo-likelihood that BernoulliRBM has after its 10 epochs: median and range over
{turns} turns.
Load of the machine in the minute before: {load:.1f}, on {os.cpu_count()} processors.

Target: 5 times as fast at equal pseudo-likelihood: **{outcome}**.

| data | BernoulliRBM, s | its score | ours, s | our score | our epochs | times as fast | an epoch | its own updates |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{lines}

Ours: contrastive divergence of one step, {OURS}.
""",
    )


if __name__ == "__main__":
    main()
