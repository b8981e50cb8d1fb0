"""Weights that a genetic algorithm has evolved are a better start for descent than random ones, at an equal budget.

An mlp of 32 tanh units learns digits, wine and breast-cancer by plain stochastic gradient descent (rate 0.1, batches of
32) from four starts: Xavier's random weights; the best of as many random draws as the genetic algorithm judges; what
`commonweight train --init genetic` evolves (32 sets of weights over 20 generations, judged on up to 256 training
samples); and the same again without paying for it. The budget counts samples: one that is only judged costs 1, one
that also gives a gradient costs 3, forward and twice as much back. What a start has cost is taken from its descent; the
budget of each is the cost of the evolution and 20 epochs of descent.

Half true: evolved weights do start lower than random ones. The comparisons that praise them leave out what evolving
them cost, as the last row does; a gradient says more about thousands of weights than the ranks of 32 sets of them.

Criterion: over 5 seeds, the mean training loss at the end of the budget is lower from the evolved start than from the
random one on at least two of the three data sets.
"""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from commonweight import data, nets
from commonweight.claims import Result
from commonweight.nets.estimators import batches
from commonweight.train.genetic import ELITE
from commonweight.train.initialise import GENERATIONS, POPULATION, SAMPLE, initialise

SEEDS = range(5)
SETS = ("digits", "wine", "breast-cancer")
STARTS = ("random", "best of random", "genetic", "genetic, not paid for")
EPOCHS, BATCH, RATE, GRADIENT = 20, 32, 0.1, 3
JUDGED = POPULATION + GENERATIONS * (POPULATION - ELITE)

Curve = list[tuple[float, float]]


def begin(start: str, x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """The net with its first weights."""
    shape = tuple(x.shape[1:])
    net = nets.build("mlp", shape, int(y.max()) + 1, seed=seed, structure={"hidden": (32,), "activation": "tanh"})
    if "genetic" in start:
        initialise(net, "genetic", x, y, loss=F.cross_entropy, seed=seed)
        return net
    initialise(net, "xavier-uniform", x, seed=seed)
    if start == "best of random":
        chosen = torch.randperm(len(x), generator=Generator().manual_seed(seed))[:SAMPLE]
        losses = {}
        for draw in range(JUDGED):
            initialise(net, "xavier-uniform", x, seed=1000 * (seed + 1) + draw)
            with torch.no_grad():
                losses[draw] = float(F.cross_entropy(net(x[chosen]), y[chosen]))
        initialise(net, "xavier-uniform", x, seed=1000 * (seed + 1) + min(losses, key=losses.__getitem__))
    return net


def learn(name: str, start: str, seed: int) -> tuple[Curve, float]:
    """Training loss by what has been spent, from the start to the end of the budget, and the test accuracy then."""
    loaded = data.load(name, seed=seed)
    x, y = loaded.normalisation.apply(loaded.x), loaded.y
    train_x, train_y = x[loaded.train], y[loaded.train]
    evolution = JUDGED * min(SAMPLE, len(train_x))
    budget = evolution + EPOCHS * GRADIENT * len(train_x)
    spent = evolution if start in ("best of random", "genetic") else 0
    net, generator = begin(start, train_x, train_y, seed), Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    curve = []

    def look() -> None:
        with torch.no_grad():
            curve.append((spent / budget, float(F.cross_entropy(net(train_x), train_y))))

    look()
    while spent < budget:
        for batch in batches(len(train_x), BATCH, 1, generator):
            if spent >= budget:
                break
            optimizer.zero_grad()
            F.cross_entropy(net(train_x[batch]), train_y[batch]).backward()
            optimizer.step()
            spent += GRADIENT * len(batch)
        look()
    with torch.no_grad():
        right = (net(x[loaded.test]).argmax(1) == y[loaded.test]).double().mean()
    return curve, float(right)


def run() -> Result:
    found = {name: {start: [learn(name, start, seed) for seed in SEEDS] for start in STARTS} for name in SETS}
    first = {name: {start: np.mean([one[0][0][1] for one in runs]) for start, runs in of.items()}
             for name, of in found.items()}  # fmt: skip
    last = {name: {start: np.mean([one[0][-1][1] for one in runs]) for start, runs in of.items()}
            for name, of in found.items()}  # fmt: skip
    test = {name: {start: np.mean([one[1] for one in runs]) for start, runs in of.items()}
            for name, of in found.items()}  # fmt: skip
    rows = [["data", "start", "training loss, start", "end of the budget", "test accuracy"]]
    rows += [
        [name, start, f"{first[name][start]:.3f}", f"{last[name][start]:.4f}", f"{test[name][start]:.1%}"]
        for name in SETS
        for start in STARTS
    ]
    better = [name for name in SETS if last[name]["genetic"] < last[name]["random"]]
    ends = "; ".join(
        f"{name} {last[name]['genetic']:.4f} against {last[name]['random']:.4f}, where it began at "
        f"{first[name]['genetic']:.2f} against {first[name]['random']:.2f}"
        for name in SETS
    )
    tests = "; ".join(f"{name} {test[name]['genetic']:.1%} and {test[name]['random']:.1%}" for name in SETS)
    verdict = (
        f"At an equal budget the evolved start ends lower on {len(better)} of {len(SETS)} data sets. Training loss "
        f"from evolved against random weights: {ends}. Their test accuracies: {tests}."
    )
    numbers = {f"training loss at the end, {name}, {start}": float(last[name][start]) for name in SETS
               for start in STARTS}  # fmt: skip
    return Result(len(better) >= 2, verdict, numbers, rows, draw({n: {s: r[0][0] for s, r in found[n].items()}
                                                                   for n in SETS}))  # fmt: skip


def draw(curves: dict[str, dict[str, Curve]]) -> Figure:
    """Training loss by the share of the budget that is spent, for the first seed."""
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    for axes, (name, of) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        for start, curve in of.items():
            axes.plot(*zip(*curve, strict=True), "--" if "not" in start else "-", label=start)
        axes.set(title=name, xlabel="budget spent", yscale="log")
    figure.axes[0].set_ylabel("training loss")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
