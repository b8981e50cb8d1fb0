"""Two networks that share their weights stay one through training, and tell people apart whom they never saw.

The 400 portraits of 40 people (ORL) are split by person: 30 people to learn from, 10 whom the networks never see, drawn
anew for each seed. Two tasks on the 10: verification (are these two portraits of one person? the area under the ROC
curve over all pairs) and one-shot recognition (one portrait each of 5 people; whose is a new one? chance is 20 %). The
twins learn by triplets; their settings were chosen on 10 of the 30 people of other splits.

Beside them: the same two networks without the tie, each with weights of its own, trained alike; the distance of the
pixels; and of their principal components (eigenfaces; 100 of them, found on the 30 people). Linear discriminants, which
are told who is who as the twins are (Fisherfaces, Belhumeur et al. 1997), are shown and not judged.

Half true is that it takes sharing to stay one: two networks that start equal, under a loss that treats both alike and
takes every pair both ways round, get equal gradients, and stay equal without any tie. It is the tie that makes it so
for any start and any loss. And pixels alone do well: these portraits have one background and one light.

Criterion: over 5 seeds, the largest difference of the weights of the two tied networks after training is exactly 0 and
`commonweight.check` finds their tie whole; in the mean, the tied twins are better than pixels and than principal
components in both tasks, each time by more than two standard errors of the difference; and better than the untied
networks in both.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from torch import Tensor

import commonweight as cw
from commonweight import data
from commonweight.claims import Result
from commonweight.measure.verification import one_shot_accuracy, verification_auc
from commonweight.nets.twin import Triplet, Twin, encoder
from commonweight.nets.twin_estimators import learn

SEEDS = range(5)
PEOPLE, SEEN = 40, 30
COMPONENTS, FEATURES = 100, 64
TWINS, UNTIED, PIXELS, EIGENFACES, FISHERFACES = "twins", "untied", "pixels", "eigenfaces", "Fisherfaces"
TASKS = ("verification, area under the curve", "one of five by one portrait, right")


def portraits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Faces (N, 1, 112, 92) and people (N,): of those to learn from, then of those never seen."""
    faces = data.load("orl-faces")
    chosen = np.random.default_rng(seed).permutation(PEOPLE)[:SEEN]
    seen = torch.isin(faces.y, torch.from_numpy(chosen))
    x = (faces.x - faces.x[seen].mean()) / faces.x[seen].std()
    return x[seen], faces.y[seen], x[~seen], faces.y[~seen]


def twins(x: Tensor, y: Tensor, seed: int, *, tied: bool) -> Twin:
    """Two trained networks, with the same weights or each with its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        twin = Twin(encoder(x.shape[1:], FEATURES), head=Triplet())
        if not tied:
            cw.untie(twin, "branches.1")
            twin.branches[1] = encoder(x.shape[1:], FEATURES)
    learn(twin, x, y, generator=torch.Generator().manual_seed(seed))
    return twin


def apart(twin: Twin) -> float:
    """The largest difference of a weight in one network and the same weight in the other."""
    weights = [list(branch.parameters()) for branch in twin.branches]
    return max(float((one - other).detach().abs().max()) for one, other in zip(*weights, strict=True))


@torch.no_grad()
def distances(seed: int) -> tuple[dict[str, Tensor], Tensor, dict[str, float]]:
    """Of the people never seen, by each method; who they are; and how far apart the weights of the two networks are."""
    x, y, new, who = portraits(seed)
    flat, flat_new = x.flatten(1).numpy(), new.flatten(1).numpy()
    eigenfaces = PCA(COMPONENTS, svd_solver="full").fit(flat)
    fisherfaces = make_pipeline(PCA(60, svd_solver="full"), LinearDiscriminantAnalysis()).fit(flat, y.numpy())
    embedded = {PIXELS: flat_new, EIGENFACES: eigenfaces.transform(flat_new)}
    embedded[FISHERFACES] = fisherfaces.transform(flat_new)
    points = {name: torch.from_numpy(np.asarray(one, np.float32)) for name, one in embedded.items()}
    found, differences = {name: torch.cdist(one, one) for name, one in points.items()}, {}
    for name in (TWINS, UNTIED):
        with torch.enable_grad():
            twin = twins(x, y, seed, tied=name == TWINS)
        cw.check(twin)
        found[name], differences[name] = twin.distance(new), apart(twin)
    return found, who, differences


def run() -> Result:
    scores: dict[str, list[tuple[float, float]]] = {}
    differences: dict[str, list[float]] = {TWINS: [], UNTIED: []}
    for seed in SEEDS:
        found, who, difference = distances(seed)
        for name, far in found.items():
            scores.setdefault(name, []).append((verification_auc(far, who), one_shot_accuracy(far, who, seed=seed)))
        for name, largest in difference.items():
            differences[name].append(largest)
    table = {name: np.array(values) for name, values in scores.items()}
    beaten = {name: better(table[TWINS], table[name]) for name in (PIXELS, EIGENFACES)}
    over_untied = bool((table[TWINS].mean(0) > table[UNTIED].mean(0)).all())
    one = max(differences[TWINS]) == 0
    means = {name: values.mean(0) for name, values in table.items()}
    area = {name: f"{mean[0]:.3f}" for name, mean in means.items()}
    right = {name: f"{mean[1]:.1%}" for name, mean in means.items()}
    verdict = (
        f"After training, the weights of the tied networks differ by {max(differences[TWINS]):g}, those of the untied "
        f"by up to {max(differences[UNTIED]):.2f}. On people never seen the twins reach an area of {area[TWINS]} and "
        f"{right[TWINS]} by one portrait; pixels {area[PIXELS]} and {right[PIXELS]}, eigenfaces {area[EIGENFACES]} and "
        f"{right[EIGENFACES]}, the untied networks {area[UNTIED]} and {right[UNTIED]}, Fisherfaces {area[FISHERFACES]} "
        f"and {right[FISHERFACES]}."
    )
    rows = [["distance by", *TASKS], *([name, *shown(table[name])] for name in table)]
    numbers = {f"{task}, {name}": float(m) for name in means for task, m in zip(TASKS, means[name], strict=True)}
    numbers["largest difference of the weights, tied"] = max(differences[TWINS])
    numbers["largest difference of the weights, untied"] = max(differences[UNTIED])
    return Result(one and all(beaten.values()) and over_untied, verdict, numbers, rows, draw(table))


def better(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> bool:
    """Whether the mean difference is above two of its standard errors, in every column."""
    difference = ours - theirs
    error = difference.std(0, ddof=1) / len(difference) ** 0.5
    return bool((difference.mean(0) > 2 * error).all())


def shown(values: NDArray[np.float64]) -> Sequence[str]:
    """Mean ± deviation over the seeds of both tasks."""
    (area, right), (area_spread, right_spread) = values.mean(0), values.std(0, ddof=1)
    return [f"{area:.3f} ± {area_spread:.3f}", f"{right:.1%} ± {right_spread:.1%}"]


def draw(table: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Each task: a dot for each seed, a bar at the mean, seeds joined."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    order = [name for name in (UNTIED, PIXELS, EIGENFACES, FISHERFACES, TWINS) if name in table]
    for task, axes in enumerate(figure.subplots(1, 2)):
        values = np.array([table[name][:, task] for name in order])
        axes.plot(values, color="0.8", linewidth=1)
        axes.plot(values, "o", color="tab:blue", markersize=4)
        axes.plot(values.mean(1), "_", color="tab:orange", markersize=24, markeredgewidth=3)
        axes.set_xticks(range(len(order)), order)
        axes.set_title(TASKS[task], fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    figure.supxlabel("ten people never seen; a dot for each of five splits, orange: the mean", fontsize=9)
    return figure
