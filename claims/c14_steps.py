"""Momentum, Adam and mini-batches reach a goal sooner than plain descent with all samples at each step.

The articles recommend all three, and say of Adam that it is the rule to begin with. Sooner has two meanings, and they
differ: a step with all samples costs more than one with a few, so that mini-batches save time and not steps. And each
rule has a rate that suits it; here each has the best of five on a seed of its own, so that none wins by its default.

The net has 64-32-10 units (tanh) and learns the training part of digits, 1,257 samples, until the cross entropy of all
of them is at most 0.1. A mini-batch has 32 samples. Rules that look at curvature, and a line search, which are not part
of the claim, are shown beside, with all samples at each step.

Criterion: by the median over 5 seeds, with all samples at each step momentum and Adam each take at most half the steps
of plain descent; plain descent with mini-batches takes at most half the time (of the processor) of plain descent with
all samples; and momentum and Adam with mini-batches take at most half the time of plain descent with all samples.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from commonweight import data
from commonweight.claims import Result
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.optimise import RULES

SEEDS, TUNING = range(5), 1000
GOAL, BATCH, MOST = 0.1, 32, 4000
RULE: dict[str, tuple[Callable[..., torch.optim.Optimizer], tuple[float, ...]]] = {
    "plain": (torch.optim.SGD, (0.1, 0.3, 1.0, 3.0, 10.0)),
    "momentum": (partial(torch.optim.SGD, momentum=0.9), (0.01, 0.03, 0.1, 0.3, 1.0)),
    "RMSprop": (torch.optim.RMSprop, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    "Adam": (torch.optim.Adam, (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
}
CURVED = {"line search": "descent", "L-BFGS": "lbfgs", "Newton-CG": "newton"}

DIGITS = data.load("digits")
X, Y = DIGITS.normalisation.apply(DIGITS.x[DIGITS.train]).flatten(1), DIGITS.y[DIGITS.train]


def build(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


@torch.no_grad()
def loss_of_all(model: nn.Module) -> float:
    return cross_entropy(model(X), Y).item()


def by_rule(name: str, rate: float, batch: int, seed: int, most: int = MOST) -> tuple[float, float, list[float]]:
    """Steps and seconds to the goal (infinite if not within `most` steps), and the loss at each look."""
    model = build(seed)
    optimizer = RULE[name][0](model.parameters(), lr=rate)
    order = np.random.default_rng(seed)
    looks, seconds, every = [], 0.0, max(1, 64 // (len(X) // batch) if batch < len(X) else 1)
    chosen: list[Tensor] = []
    for step in range(most):
        if not step % every:
            looks.append(loss_of_all(model))
            if looks[-1] <= GOAL:
                return step, seconds, looks
            if not np.isfinite(looks[-1]):
                break
        started = time.process_time()
        if batch < len(X) and not chosen:
            chosen = list(torch.split(torch.from_numpy(order.permutation(len(X))), batch))
        x, y = (X, Y) if batch == len(X) else (X[chosen[-1]], Y[chosen.pop()])
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
        seconds += time.process_time() - started
    return float("inf"), float("inf"), looks


def by_curvature(name: str, seed: int) -> tuple[float, float, list[float]]:
    """The same for a rule that takes all samples at each step."""
    model = build(seed)
    objective = Objective(FlatNet(model), X, Y, cross_entropy, "softmax")
    rule = RULES[CURVED[name]](model.parameters(), lr=1.0)
    seconds, looks = 0.0, [loss_of_all(model)]
    while looks[-1] > GOAL and len(looks) <= MOST:
        started = time.process_time()
        rule.step(objective)
        seconds += time.process_time() - started
        looks.append(loss_of_all(model))
    return len(looks) - 1, seconds, looks


def run() -> Result:
    rows = [["rule", "samples at a step", "best rate", "steps to the goal", "seconds to the goal"]]
    steps, seconds, curves = {}, {}, {}
    for batch in (len(X), BATCH):
        for name, (_, rates) in RULE.items():
            best, fewest = rates[0], float("inf")
            for rate in rates:
                taken, _, _ = by_rule(name, rate, batch, TUNING, int(min(MOST, fewest)))
                best, fewest = (rate, taken) if taken < fewest else (best, fewest)
            found = [by_rule(name, best, batch, seed) for seed in SEEDS]
            key = f"{name}, {'all' if batch == len(X) else batch}"
            steps[key], seconds[key] = median(one[0] for one in found), median(one[1] for one in found)
            curves[key] = found[0]
            rows.append([name, str(batch), f"{best:g}", f"{steps[key]:,.0f}", f"{seconds[key]:.2f}"])
    for name in CURVED:
        found = [by_curvature(name, seed) for seed in SEEDS]
        taken, spent = median(one[0] for one in found), median(one[1] for one in found)
        rows.append([name, str(len(X)), "", f"{taken:,.0f}", f"{spent:.2f}"])
    plain_steps, plain_seconds = steps["plain, all"], seconds["plain, all"]
    fewer = all(steps[f"{name}, all"] <= plain_steps / 2 for name in ("momentum", "Adam"))
    sooner = all(seconds[f"{name}, {BATCH}"] <= plain_seconds / 2 for name in ("plain", "momentum", "Adam"))
    verdict = (
        f"With all samples at each step, plain descent takes {plain_steps:,.0f} steps, momentum "
        f"{steps['momentum, all']:,.0f} and Adam {steps['Adam, all']:,.0f}. Mini-batches take plain descent "
        f"{steps[f'plain, {BATCH}']:,.0f} steps, but {seconds[f'plain, {BATCH}']:.2f} s instead of "
        f"{plain_seconds:.2f} s; with them, momentum takes {seconds[f'momentum, {BATCH}']:.2f} s and Adam "
        f"{seconds[f'Adam, {BATCH}']:.2f} s: beside mini-batches, the choice of the rule matters "
        f"{'little' if seconds[f'Adam, {BATCH}'] > seconds[f'plain, {BATCH}'] / 2 else 'too'}."
    )
    numbers = {f"steps, {key}": value for key, value in steps.items()}
    numbers |= {f"seconds, {key}": value for key, value in seconds.items()}
    return Result(bool(fewer and sooner), verdict, numbers, rows, draw(curves))


def draw(curves: dict[str, tuple[float, float, list[float]]]) -> Figure:
    """The loss of all samples over steps and over time, for one seed."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (key, (steps, seconds, looks)) in enumerate(curves.items()):
        style = {"color": f"C{number % len(RULE)}", "linestyle": "-" if number < len(RULE) else "--", "label": key}
        share = np.linspace(0, 1, len(looks))
        left.plot(share * steps, looks, **style)
        right.plot(share * seconds, looks, **style)
    for axes, what in ((left, "steps"), (right, "seconds of the processor")):
        axes.axhline(GOAL, color="gray", linewidth=0.8)
        axes.set(xlabel=what, xscale="log", yscale="log", ylim=(GOAL * 0.8, 5))
    left.set(ylabel="cross entropy of all samples")
    right.legend(fontsize=7, ncols=2, title="rule, samples at a step", title_fontsize=7)
    return figure
