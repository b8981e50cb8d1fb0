"""A self-organising map keeps neighbours together: samples that are alike are won by units near each other.

Maps of 20×20 units learn the training part; the test part is then placed on them, each sample at its winner. Three
numbers tell what becomes of neighbours. Trustworthiness: those near on the map are alike. Continuity: those alike are
near on the map (Venna & Kaski 2001; both 1 at best, with the 10 nearest). Topographic error: the share of samples whose
two nearest units do not touch. Beside the map stand 400 units of k-means, each at a random place of the grid, and the
map's own units at random places: they describe samples as well or better, but no order was learned.

Half true in two ways. No sheet can keep all neighbours of a space of many dimensions, so the first two principal
components, a plane that nobody calls self-organising, are the measure for how much order is in the map. And order has
a price: a map whose radius shrinks to almost nothing (0.1) comes nearer to its samples and loses order.

Criterion: on digits and on mnist-5k, in each of 5 seeds, trustworthiness and continuity of the map are at least 0.1
above those of both random placements, and its topographic error is at most 0.3 and at most half of theirs.
"""

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from torch import Tensor

from commonweight import data
from commonweight.claims import Result
from commonweight.nets.som import SelfOrganisingMap
from commonweight.nets.som_estimators import SOM

SETS, SEEDS, SIDE, NEAREST = ("digits", "mnist-5k"), range(5), 20, 10
PLACED = "k-means, units placed at random"
SHUFFLED = "the map's units, placed at random"


class Measured(NamedTuple):
    trustworthiness: float
    continuity: float
    topographic_error: float
    quantisation_error: float


def main_map(x: Tensor, seed: int, final_radius: float) -> SelfOrganisingMap:
    return SOM(SIDE, SIDE, final_radius=final_radius, random_state=seed).fit(x.numpy()).module_


def holding(weight: Tensor) -> SelfOrganisingMap:
    net = SelfOrganisingMap(weight.shape[1:], 1, rows=SIDE, columns=SIDE)
    net.weight.data = weight
    return net


def kept(x: Tensor, places: Tensor) -> tuple[float, float]:
    """Trustworthiness and continuity."""
    there, here = x.numpy(), places.numpy()
    return trustworthiness(there, here, n_neighbors=NEAREST), trustworthiness(here, there, n_neighbors=NEAREST)


def measured(net: SelfOrganisingMap, x: Tensor) -> Measured:
    places = net.grid.positions()[net.winners(x)]
    return Measured(*kept(x, places), net.topographic_error(x), net.quantisation_error(x))


def experiment(name: str, seed: int) -> dict[str, Measured]:
    drawn = data.load(name, seed=seed)
    x = drawn.normalisation.apply(drawn.x).flatten(1)
    train, test = x[drawn.train], x[drawn.test]
    order = torch.randperm(SIDE * SIDE, generator=torch.Generator().manual_seed(seed))
    net = main_map(train, seed, 0.5)
    centres = KMeans(SIDE * SIDE, n_init=1, random_state=seed).fit(train.numpy()).cluster_centers_
    plane = torch.from_numpy(PCA(2, random_state=seed).fit(train.numpy()).transform(test.numpy()))
    return {
        "map": measured(net, test),
        SHUFFLED: measured(holding(net.weight.detach()[order]), test),
        PLACED: measured(holding(torch.from_numpy(centres).float()[order]), test),
        "map, radius down to 0.1": measured(main_map(train, seed, 0.1), test),
        "first two principal components": Measured(*kept(test, plane), float("nan"), float("nan")),
    }


def kept_together(found: dict[str, Measured]) -> bool:
    net, others = found["map"], (found[SHUFFLED], found[PLACED])
    return net.topographic_error <= 0.3 and all(
        net.trustworthiness >= other.trustworthiness + 0.1
        and net.continuity >= other.continuity + 0.1
        and net.topographic_error <= other.topographic_error / 2
        for other in others
    )


def run() -> Result:
    found = {name: [experiment(name, seed) for seed in SEEDS] for name in SETS}
    rows = [["data", "units", "trustworthiness", "continuity", "topographic error", "quantisation error"]]
    numbers, means = {}, {}
    for name, runs in found.items():
        for units in runs[0]:
            values = np.array([one[units] for one in runs])
            means[name, units] = Measured(*values.mean(0))
            cells = zip(values.mean(0), values.std(0, ddof=1), strict=True)
            rows.append([name, units, *("" if np.isnan(m) else f"{m:.3f} ± {s:.3f}" for m, s in cells)])
            numbers[f"trustworthiness on {name}, {units}"] = float(values[:, 0].mean())
    holds = all(kept_together(one) for runs in found.values() for one in runs)
    parts = []
    for name in SETS:
        net, placed, fine, plane = (
            means[name, units] for units in ("map", PLACED, "map, radius down to 0.1", "first two principal components")
        )
        parts.append(
            f"on {name}, trustworthiness is {net.trustworthiness:.2f} and continuity {net.continuity:.2f}, against "
            f"{placed.trustworthiness:.2f} and {placed.continuity:.2f} of k-means at random places and "
            f"{plane.trustworthiness:.2f} and {plane.continuity:.2f} of two principal components; of "
            f"{net.topographic_error:.0%} of samples the two nearest units do not touch, of "
            f"{fine.topographic_error:.0%} when the radius shrinks to 0.1"
        )
    verdict = f"In short: {parts[0]}. And {parts[1]}."
    return Result(holds, verdict, numbers, rows, draw(found))


def draw(found: dict[str, list[dict[str, Measured]]]) -> Figure:
    """For each data set a U-matrix with the digits that units win, over the order that each placement keeps."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.subplots(2, 2, height_ratios=[2, 1])
    for column, (name, runs) in enumerate(found.items()):
        drawn = data.load(name, seed=0)
        x = drawn.normalisation.apply(drawn.x).flatten(1)[drawn.train]
        net, y = main_map(x, 0, 0.5), drawn.y[drawn.train]
        grid[0, column].imshow(net.u_matrix().numpy(), cmap="Greys")
        won = net.winners(x)
        for unit in range(SIDE * SIDE):
            if (won == unit).any():
                label = int(torch.bincount(y[won == unit]).argmax())
                place = (unit % SIDE, unit // SIDE)
                grid[0, column].text(*place, str(label), ha="center", va="center", fontsize=7, color=f"C{label}")
        grid[0, column].set(title=f"{name}: U-matrix and majority digits", xticks=[], yticks=[])
        values = np.array([[one[units][:2] for units in runs[0]] for one in runs])
        places = np.arange(len(runs[0]))
        for shift, (kind, label) in zip((-0.15, 0.15), enumerate(("trustworthiness", "continuity")), strict=True):
            spread = values[:, :, kind].std(0, ddof=1)
            grid[1, column].errorbar(places + shift, values[:, :, kind].mean(0), spread, fmt="o", label=label)
        names = ["map", "map's units\nat random", "k-means\nat random", "map to\nradius 0.1", "two\ncomponents"]
        grid[1, column].set_xticks(places, names, fontsize=8)
        grid[1, column].grid(axis="y", alpha=0.3)
    grid[1, 0].legend(fontsize=8)
    return figure
