"""Max pooling does not hurt recognition.

It throws away three of four values, and where the largest was. The same net, three convolutions and a linear layer,
halves its feature maps in four ways: by the maximum of each 2×2 window, by its average, by convolutions that look at
every second place only (stride 2), or not at all.

The first three have the same weights; without halving, the linear layer has 64 times as many, and the work is five
times as much. They learn 1,500 images of mnist-5k and of fashion-mnist by the same steps, on a canvas of 32×32. What
pooling loses is measured beside, and not judged: the digits stand at one of 5 × 5 places of the canvas, one pixel
apart, and the question is at which.

Criterion: on both data sets, with 5 seeds, the mean test accuracy with max pooling is at most 1 point below the best of
the other three.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

import commonweight as cw
from commonweight import data
from commonweight.claims import Result
from commonweight.data import Data

SEEDS = range(5)
N_TRAIN, N_TEST = 1500, 1000
EPOCHS = 6
WIDTH = 8
SIDE = 32
WAYS = ("maximum", "average", "stride", "none")
TASKS = ("mnist-5k", "fashion-mnist", "where")
PLACES = 5


def build(way: str, n_outputs: int, seed: int) -> nn.Module:
    """A net that halves its maps in one of the `WAYS`."""
    pools = {"maximum": nn.MaxPool2d(2), "average": nn.AvgPool2d(2)}
    layers: list[nn.Module] = []
    channels = 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for maps in (WIDTH, 2 * WIDTH, 4 * WIDTH):
            layers.append(nn.Conv2d(channels, maps, 3, stride=2 if way == "stride" else 1, padding=1, bias=False))
            layers += [pools[way]] if way in pools else []
            layers += [nn.BatchNorm2d(maps), nn.ReLU()]
            channels = maps
        end = SIDE if way == "none" else SIDE // 8
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * end * end, n_outputs))


def samples(task: str, seed: int) -> Data:
    """The images of a task, 32×32, with another part of them to train on for each seed."""
    loaded = data.load("fashion-mnist" if task == "fashion-mnist" else "mnist-5k", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    train = loaded.train[torch.randperm(len(loaded.train), generator=generator)[:N_TRAIN]].sort().values
    validation = loaded.validation[: N_TEST // 2]
    test = loaded.test[:N_TEST]
    used = torch.cat([train, validation, test])
    x, y = loaded.x[used], loaded.y[used]
    classes = loaded.classes
    canvas = torch.zeros(len(x), 1, SIDE, SIDE)
    y = torch.randint(PLACES**2, y.shape, generator=generator) if task == "where" else y
    for place in range(PLACES**2):
        down, right = divmod(place, PLACES) if task == "where" else (2, 2)
        chosen = y == place if task == "where" else slice(None)
        canvas[chosen, :, down : down + 28, right : right + 28] = x[chosen]
    if task == "where":
        classes = tuple(map(str, range(PLACES**2)))
    parts = torch.arange(len(used)).split([len(train), len(validation), len(test)])
    normalisation = data.Normalisation.fit(canvas, y, parts[0])
    return replace(
        loaded, x=canvas, y=y, classes=classes, train=parts[0], validation=parts[1], test=parts[2],
        normalisation=normalisation,
    )  # fmt: skip


def accuracy(way: str, task: str, seed: int) -> float:
    """Test accuracy of one net."""
    given = samples(task, seed)
    model = build(way, given.n_outputs, seed)
    run = cw.fit(model, given, epochs=EPOCHS, batch_size=64, precision="float32", seed=seed, out=None, progress=False)
    return float(run.results["test"]["accuracy"])


def run() -> Result:
    found = {(task, way): [accuracy(way, task, seed) for seed in SEEDS] for task, way in product(TASKS, WAYS)}
    means = {cell: 100 * float(np.mean(values)) for cell, values in found.items()}
    rows = [["halved by", *TASKS]]
    rows += [
        [way, *(f"{means[task, way]:.1f} ± {100 * np.std(found[task, way], ddof=1):.1f} %" for task in TASKS)]
        for way in WAYS
    ]
    behind = {task: max(means[task, way] for way in WAYS[1:]) - means[task, "maximum"] for task in TASKS}
    verdict = (
        f"With max pooling the nets are {-behind['mnist-5k']:+.1f} points from the best other way on digits and "
        f"{-behind['fashion-mnist']:+.1f} on clothes. Where a digit stands, to a pixel, is told rightly in "
        f"{means['where', 'maximum']:.0f} % with max pooling, {means['where', 'average']:.0f} % with averages, "
        f"{means['where', 'stride']:.0f} % with stride and {means['where', 'none']:.0f} % without halving."
    )
    numbers = {f"points behind the best other way, {task}": behind[task] for task in TASKS}
    return Result(max(behind["mnist-5k"], behind["fashion-mnist"]) <= 1.0, verdict, numbers, rows, draw(found))


def draw(found: dict[tuple[str, str], list[float]]) -> Figure:
    """Test accuracy of each seed, a panel for each task."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    titles = ("digits: which?", "clothes: what?", "digits: where?")
    for axes, task, title in zip(figure.subplots(1, len(TASKS)), TASKS, titles, strict=True):
        for column, way in enumerate(WAYS):
            axes.plot([column] * len(SEEDS), found[task, way], "o", color="black", alpha=0.5, markersize=4)
            axes.plot([column - 0.3, column + 0.3], [np.mean(found[task, way])] * 2, color="tab:red")
        axes.set_title(title)
        axes.set_xticks(range(len(WAYS)), WAYS, fontsize=8)
    figure.axes[0].set_ylabel("test accuracy")
    return figure
