"""A perceptron that can tell classes apart makes no more mistakes, whatever the order, than Novikoff's bound.

The bound is (R / γ)²: R the norm of the longest sample, γ the margin, half the width of the widest empty band between
the classes, both with a 1 appended to each sample for the bias. Real data, normalised: all pairs of digits, all pairs
of irises, of wines, the three wines together by Kesler's construction, and the two kinds of tumours. Whether a pair can
be told apart, and its margin, are solved for (as in `commonweight.nets.neuron`), not estimated by the perceptron.

Said of the perceptron in a popular way, "it converges", this is half true in two places. It converges only where a
plane parts the classes; of the data here not all can be parted, and there the rule goes on for ever. And the bound
says how long it may take at the most, not how long it takes.

Criterion: for each pair that can be told apart with a bound of at most 10⁵, each of 5 random orders ends in a pass
without a mistake, after at most as many mistakes as the bound; for each that cannot, no pass of 200 is without one.
"""

from itertools import combinations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from commonweight import data
from commonweight.claims import Result
from commonweight.nets.neuron import PerceptronClassifier, novikoff_bound

SEEDS = range(5)
MOST_BOUND = 1e5
ENDLESS_PASSES = 200
Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def tasks() -> dict[str, Samples]:
    """Samples and classes of each task by name, such as digits 3, 8; all samples of a data set, normalised."""
    found = {}
    for name in ("digits", "iris", "wine", "breast-cancer"):
        loaded = data.load(name, seed=0)
        x, y = loaded.normalisation.apply(loaded.x).flatten(1).numpy(), loaded.y.numpy()
        for pair in combinations(range(loaded.n_outputs), 2):
            chosen = np.isin(y, pair)
            found[f"{name} {loaded.classes[pair[0]]}, {loaded.classes[pair[1]]}"] = x[chosen], y[chosen]
        if name == "wine":
            found["wine, all three"] = x, y
    return found


def bound_of(x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Novikoff's bound; infinite where no plane parts the classes."""
    try:
        return novikoff_bound(x, y)
    except ValueError:
        return float("inf")


def learned(x: NDArray[np.float32], y: NDArray[np.int64], passes: int) -> list[list[int]]:
    """Mistakes in each pass, for each order."""
    return [
        PerceptronClassifier(average=False, max_iter=passes, random_state=seed).fit(x, y).mistakes_ for seed in SEEDS
    ]


def run() -> Result:
    bounds, most, keeps, endless, unjudged = {}, {}, [], [], []
    for name, (x, y) in tasks().items():
        bound = bound_of(x, y)
        if MOST_BOUND < bound < np.inf:
            unjudged.append(name)
            continue
        runs = learned(x, y, ENDLESS_PASSES if np.isinf(bound) else int(bound) + 1)
        if np.isinf(bound):
            endless.append((name, min(min(mistakes) for mistakes in runs)))
            continue
        bounds[name], most[name] = bound, max(map(sum, runs))
        keeps.append(all(mistakes[-1] == 0 and sum(mistakes) <= bound for mistakes in runs))
    share = np.array([most[name] / bounds[name] for name in bounds])
    rows = [["task", "bound (R/γ)²", "most mistakes of 5 orders"]]
    hard = sorted(bounds, key=bounds.__getitem__)
    rows += [[name, f"{bounds[name]:,.0f}", str(most[name])] for name in (*hard[:3], *hard[-5:])]
    rows += [[name, "none: not separable", f"at least {least} in each pass"] for name, least in endless]
    verdict = (
        f"{len(bounds)} tasks can be told apart, with bounds from {min(bounds.values()):.0f} to "
        f"{max(bounds.values()):,.0f}; {sum(keeps)} of them end within the bound in all orders. The most mistakes are "
        f"{share.min():.2%} to {share.max():.0%} of the bound, {np.median(share):.0%} in the median. {len(endless)} "
        f"of the others cannot be told apart, and no pass over it was without a mistake."
    )
    if unjudged:
        verdict += f" Not judged, for a bound above 10⁵: {', '.join(unjudged)}."
    numbers = {
        "tasks that can be told apart": len(bounds),
        "tasks that cannot": len(endless),
        "largest share of the bound, %": 100 * float(share.max()),
        "median share of the bound, %": 100 * float(np.median(share)),
    }
    holds = all(keeps) and all(least > 0 for _, least in endless)
    return Result(holds, verdict, numbers, rows, draw(bounds, most))


def draw(bounds: dict[str, float], most: dict[str, int]) -> Figure:
    """Mistakes against the bound, one mark a task."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for start in ("digits", "iris", "wine"):
        names = [name for name in bounds if name.startswith(start)]
        axes.loglog([bounds[n] for n in names], [most[n] for n in names], "o", label=start, markersize=4)
    ends = [min(bounds.values()), max(bounds.values())]
    axes.loglog(ends, ends, "k-", linewidth=0.8, label="as many as the bound")
    axes.set(xlabel="Novikoff's bound (R / γ)²", ylabel="most mistakes of five orders")
    axes.legend(fontsize=8)
    return figure
