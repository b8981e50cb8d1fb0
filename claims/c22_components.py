"""A few principal components hold most of the weights' variance; dropping the rest costs little.

Three nets are trained by the defaults of `fit`, five times each: the mlp on 8 × 8 digits, the mlp and the cnn on
5,000 images of MNIST (24, 8 and 4 epochs). A layer's weights are a matrix with a row for each unit or channel; its
principal components are the directions in which the rows differ, and dropping some leaves each row on the plane of
the others. The first weights, before training, are looked at in the same way.

The default rule is Muon, which moves a matrix in all directions alike. So the same nets are trained by Adam too, which
does not. (Adam was added after a first run, to see whether the outcome is Muon's; the criterion and its runs stayed.)

The statement holds two: that the variance is in a few components, and that the others may be dropped. The second does
not follow from the first, nor the first from the second: what matters for the answer of a net is not how large a
weight is, but what it meets.

Criterion: a few are a quarter of the components, most is 90 %, little is one point. Over all layers of all runs the
first quarter holds at least 90 % of the variance in the mean, and nets of which all layers keep only the first
quarter lose at most one point of test accuracy in the mean.
"""

import numpy as np
from matplotlib.figure import Figure

from commonweight import data, fit, nets
from commonweight.claims import Result
from commonweight.measure.components import matrices, score, spectra, truncated

SEEDS = range(5)
CASES = {
    "mlp, digits": ("mlp", "digits", 24),
    "mlp, MNIST": ("mlp", "mnist-5k", 8),
    "cnn, MNIST": ("cnn", "mnist-5k", 4),
}
KEPT = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
QUARTER = KEPT.index(0.25)


def held(model) -> np.ndarray:
    """For each layer the share of the variance that each share of the components holds, (layers, len(KEPT))."""
    return np.array(
        [[float(one.variance[: count(len(one.variance), k)].sum()) for k in KEPT] for one in spectra(model)]
    )


def count(rank: int, share: float) -> int:
    """How many components are this share: rounded up, so that a few are at least one."""
    return int(np.ceil(rank * share))


def scores(model, samples) -> np.ndarray:
    """Test accuracy when every layer keeps only these shares of its components."""
    whole = {name: weight.detach().clone() for name, weight in matrices(model).items()}
    found = []
    for share in KEPT:
        for name, weight in matrices(model).items():
            rank = min(weight.flatten(1).shape)
            weight.data.copy_(truncated(whole[name], count(rank, share)))
        found.append(score(model, samples))
    return np.array(found)


def trained(case: str, seed: int, rule: str = "auto") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance held before and after training, and the scores."""
    net, name, epochs = CASES[case]
    samples = data.load(name, seed=seed)
    model = nets.build(net, samples.in_shape, samples.n_outputs, seed=seed)
    before = held(model)
    fit(model, samples, epochs=epochs, optimizer=rule, seed=seed, out=None, progress=False)
    return before, held(model), scores(model, samples)


class Outcome:
    """What the runs of one rule came to, by case: variance held before and after, (seeds, layers, KEPT), and costs."""

    def __init__(self, rule: str) -> None:
        runs = {case: [trained(case, seed, rule) for seed in SEEDS] for case in CASES}
        self.before = {case: np.stack([before for before, _, _ in found]) for case, found in runs.items()}
        self.after = {case: np.stack([after for _, after, _ in found]) for case, found in runs.items()}
        self.costs = {case: np.stack([got[-1] - got for _, _, got in found]) for case, found in runs.items()}

    def held(self, values: dict[str, np.ndarray]) -> float:
        """Of the first quarter, mean over all layers of all runs."""
        return float(np.concatenate([one[:, :, QUARTER].ravel() for one in values.values()]).mean())

    def lost(self, place: int = QUARTER) -> float:
        """Points, mean over all runs."""
        return 100 * float(np.concatenate([one[:, place] for one in self.costs.values()]).mean())

    def rows(self, rule: str) -> list[list[str]]:
        """A row of the table for each case."""
        return [
            [
                f"{case}, {rule}",
                *(f"{value:.0%}" for value in self.after[case].mean((0, 1))[:-1]),
                *(f"{100 * value:.1f} points" for value in self.costs[case].mean(0)[1:4]),
            ]
            for case in CASES
        ]


def run() -> Result:
    usual, adam = Outcome("auto"), Outcome("adam")
    quarter, before, lost, half = usual.held(usual.after), usual.held(usual.before), usual.lost(), KEPT.index(0.5)
    heads = [f"first {share:.0%} hold" for share in KEPT[:-1]] + [f"cost of {share:.0%}" for share in KEPT[1:4]]
    rows = [["net", *heads], *usual.rows("default"), *adam.rows("adam")]
    verdict = (
        f"A quarter of the components holds {quarter:.0%} of the variance ({before:.0%} before training), and nets "
        f"that keep only these lose {lost:.1f} points; with half of them they lose {usual.lost(half):.1f}. Trained by "
        f"Adam, it holds {adam.held(adam.after):.0%} and they lose {adam.lost():.1f}, {adam.lost(half):.1f}. How few "
        f"may be kept depends on the layer and on how it was trained, and is known from the score, not the variance."
    )
    numbers = {
        "share of variance in the first quarter": quarter,
        "the same before training": before,
        "share of variance in the first quarter, Adam": adam.held(adam.after),
        "points lost by keeping a quarter": lost,
        "points lost by keeping a quarter, Adam": adam.lost(),
        "points lost by keeping half": usual.lost(half),
    }
    return Result(quarter >= 0.9 and lost <= 1, verdict, numbers, rows, draw(usual, adam))


def draw(usual: Outcome, adam: Outcome) -> Figure:
    """Variance held and accuracy lost by the share of components kept."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, case in enumerate(CASES):
        for one, style in ((usual, "o-"), (adam, "s--")):
            left.plot(KEPT, one.after[case].mean((0, 1)), style, color=f"C{place}", markersize=3)
            right.plot(KEPT, 100 * one.costs[case].mean(0), style, color=f"C{place}", markersize=3)
        left.plot([], [], "o-", color=f"C{place}", markersize=3, label=case)
    left.axhline(0.9, color="0.7", linewidth=0.8)
    left.set(xlabel="share of components kept", ylabel="variance held (dashed: Adam)")
    right.axhline(1, color="0.7", linewidth=0.8)
    right.set(xlabel="share of components kept", ylabel="points of accuracy lost", ylim=(-2, None))
    left.legend(fontsize=8)
    return figure
