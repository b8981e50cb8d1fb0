"""First layers learn edges, later layers parts.

A net of two convolutions (16 and 32 kernels of 5 × 5, each with maximum pooling) and two fully connected layers (64
and 10 units) learns 5,000 images, five times each: of MNIST and of Fashion-MNIST. Two numbers say what a unit answers
to. Orientation selectivity: how much its answer to sine gratings depends on their direction, 0 for not at all, 1 for
only one (Ringach et al. 2002); a unit that looks for edges has a high one. Class selectivity: how much more it
answers to its favourite class than to the others, 0 for not at all, 1 for only one (Morcos et al. 2018). Both are
compared with the same net before training, since random filters have a direction too.

Edges can be measured; parts cannot, without a list of parts. What can be measured is that later units see larger
windows, which follows from the architecture and is no merit of learning, and that they tell classes apart, more so
from layer to layer.

Criterion: over the 10 nets, in the mean by more than two standard errors, (1) training raises the orientation
selectivity of the first layer, (2) the first layer's is above the second's, and (3) class selectivity rises from each
layer to the next.
"""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from commonweight import data, fit
from commonweight.claims import Result
from commonweight.data.dataset import Data, Samples, prepare
from commonweight.measure.selectivity import class_selectivity, orientation

SEEDS = range(5)
SETS = ("mnist-5k", "fashion-mnist")
LAYERS = {"conv1": "first convolution", "conv2": "second convolution", "hidden": "hidden layer", "output": "output"}
EPOCHS = 4


def samples(name: str, seed: int) -> Data:
    """5,000 images, split by the seed."""
    loaded = data.load(name)
    drawn = torch.randperm(len(loaded), generator=torch.Generator().manual_seed(seed))[:5000]
    taken = Samples(name=name, task=loaded.task, x=loaded.x[drawn], y=loaded.y[drawn], classes=loaded.classes)
    return prepare(taken, seed)


def net(seed: int) -> nn.Sequential:
    """Two convolutions and two fully connected layers for images of 28 × 28."""
    model = nn.Sequential()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number, (before, after) in enumerate([(1, 16), (16, 32)], start=1):
            model.add_module(f"conv{number}", nn.Conv2d(before, after, 5, padding=2))
            model.add_module(f"conv{number}_state", nn.ReLU())
            model.add_module(f"conv{number}_pool", nn.MaxPool2d(2))
        model.add_module("flat", nn.Flatten())
        model.add_module("hidden", nn.Linear(32 * 7 * 7, 64))
        model.add_module("hidden_state", nn.ReLU())
        model.add_module("output", nn.Linear(64, 10))
    return model


def choices(model: nn.Module, loaded: Data) -> np.ndarray:
    """Mean orientation and class selectivity of each layer, (2, layers)."""
    edges = [float(orientation(model, layer, loaded.in_shape).mean()) for layer in LAYERS]
    return np.array([edges, [float(class_selectivity(model, loaded, layer).mean()) for layer in LAYERS]])


def measured(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The choices of a net before and after training."""
    loaded, model = samples(name, seed), net(seed)
    before = choices(model, loaded)
    fit(model, loaded, epochs=EPOCHS, seed=seed, out=None, progress=False)
    return before, choices(model, loaded)


def clear(differences: np.ndarray) -> bool:
    """Whether a mean is above 0 by more than two standard errors."""
    return bool(differences.mean() > 2 * differences.std(ddof=1) / len(differences) ** 0.5)


def run() -> Result:
    outcomes = {name: np.array([measured(name, seed) for seed in SEEDS]) for name in SETS}
    before, after = np.concatenate(list(outcomes.values())).swapaxes(0, 1)  # each (nets, 2, layers)
    edges, classes = after[:, 0], after[:, 1]
    raised, above = edges[:, 0] - before[:, 0, 0], edges[:, 0] - edges[:, 1]
    rises = [classes[:, k + 1] - classes[:, k] for k in range(len(LAYERS) - 1)]
    holds = [clear(raised), clear(above), all(map(clear, rises))]
    rows = [["layer", "direction, untrained", "direction, trained", "class, untrained", "class, trained"]]
    for place, layer in enumerate(LAYERS.values()):
        cells = (before[:, 0, place], after[:, 0, place], before[:, 1, place], after[:, 1, place])
        rows.append([layer, *(f"{cell.mean():.3f} ± {cell.std(ddof=1) / len(cell) ** 0.5:.3f}" for cell in cells)])
    words = ["does", "does not"]
    verdict = (
        f"Training {words[not holds[0]]} raise the orientation selectivity of the first layer "
        f"({before[:, 0, 0].mean():.2f} to {edges[:, 0].mean():.2f}), which {'is' if holds[1] else 'is not'} above "
        f"that of the second ({edges[:, 1].mean():.2f}); class selectivity {words[not holds[2]]} rise from each layer "
        f"to the next ({', '.join(f'{value:.2f}' for value in classes.mean(0))}). That later layers see larger windows "
        f"is so by construction; that what they answer to are parts is a word for it, not a measurement."
    )
    numbers = {f"{layer}, direction": float(edges[:, k].mean()) for k, layer in enumerate(LAYERS.values())}
    numbers |= {f"{layer}, class": float(classes[:, k].mean()) for k, layer in enumerate(LAYERS.values())}
    return Result(all(holds), verdict, numbers, rows, draw(outcomes))


def draw(outcomes: dict[str, np.ndarray]) -> Figure:
    """Both selectivities by layer, before and after training."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    row = figure.subplots(1, 2)
    for axes, kind, title in zip(row, (0, 1), ("direction of a grating", "class of an image"), strict=True):
        for place, (name, values) in enumerate(outcomes.items()):
            axes.plot(values[:, 1, kind].mean(0), "o-", color=f"C{place}", label=name)
            axes.plot(values[:, 0, kind].mean(0), "o:", color=f"C{place}", label=f"{name}, untrained")
        axes.set(title=title, xticks=range(len(LAYERS)), ylim=(0, None))
        axes.set_xticklabels([layer.replace(" ", "\n") for layer in LAYERS.values()], fontsize=8)
    row[0].set_ylabel("selectivity, mean over units")
    row[1].legend(fontsize=7)
    return figure
