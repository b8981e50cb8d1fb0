"""A fully connected net memorises random labels; L2, dropout and early stopping reduce the gap.

A net of two hidden layers of 128 units learns 500 digits of mnist-5k by Adam, 60 passes in batches of 50, with
nothing that holds it back. First every label is drawn at random, so that there is nothing to learn but by heart (Zhang
et al. 2017, arXiv:1611.03530). Then a fifth of the labels is: what is right can be learned, and what is wrong
memorised.

The gap is the accuracy on the labels that it was trained on less the accuracy on 750 test digits with true labels.
Against it stand a penalty λ/2 Σ θ² with λ = 0.03, dropout of half of the hidden units, and the weights that were best
on 750 validation digits, whose labels are as wrong. A smaller gap alone is worth nothing, since a net that learns
nothing has none: the test accuracy must not suffer.

Criterion: over 5 seeds, the net gives at least 99 % of the random labels back and at most 15 % of the true ones of the
test part; and with a fifth of random labels, each of the three has a smaller gap than none, by more than two standard
errors of the mean of the paired differences, at a mean test accuracy at most 1 point below.
"""

from copy import deepcopy

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import data
from commonweight.claims import Result
from commonweight.nets.mlp import MLP
from commonweight.train.regularise import weights_of

SEEDS = range(5)
N_TRAIN, BATCH, EPOCHS = 500, 50, 60
HIDDEN = (128, 128)
L2, DROPOUT = 0.03, 0.5
WAYS = ("nothing", "L2", "dropout", "early stopping")
Samples = tuple[Tensor, Tensor]


def spoiled(y: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Labels of which a share is drawn anew, among all classes."""
    drawn = torch.randint(10, y.shape, generator=generator)
    return torch.where(torch.rand(y.shape, generator=generator) < share, drawn, y)


def parts(share: float, seed: int) -> tuple[Samples, Samples, Samples]:
    """Training and validation part with spoiled labels, and the test part with true ones."""
    digits = data.load("mnist-5k", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    train = digits.train[torch.randperm(len(digits.train), generator=generator)[:N_TRAIN]]
    x = data.Normalisation.fit(digits.x, digits.y, train).apply(digits.x)
    y = spoiled(digits.y, share, generator)
    test = digits.test
    return (x[train], y[train]), (x[digits.validation], y[digits.validation]), (x[test], digits.y[test])


@torch.no_grad()
def accuracy(model: nn.Module, samples: Samples) -> float:
    """The share of right answers without dropout, in percent."""
    x, y = samples
    return 100 * float((model.eval()(x).argmax(1) == y).double().mean())


def learn(way: str, train: Samples, validation: Samples, seed: int) -> tuple[nn.Module, nn.Module]:
    """The net at the end, and as it was when it did best on the validation part."""
    x, y = train
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MLP((784,), 10, hidden=HIDDEN, dropout=DROPOUT if way == "dropout" else 0.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        best, best_accuracy = deepcopy(model), 0.0
        for _ in range(EPOCHS):
            model.train()
            for batch in torch.randperm(len(x)).split(BATCH):
                loss = F.cross_entropy(model(x[batch]), y[batch])
                if way == "L2":
                    loss = loss + L2 / 2 * torch.stack([w.square().sum() for w in weights_of(model)]).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            found = accuracy(model, validation)
            if found > best_accuracy:
                best, best_accuracy = deepcopy(model), found
    return model, best


def measured(seed: int) -> dict[str, tuple[float, float]]:
    """Accuracy in training and test, of random labels and of spoiled ones under each of the `WAYS`."""
    train, validation, test = parts(1.0, seed)
    random, _ = learn("nothing", train, validation, seed)
    found = {"random labels": (accuracy(random, train), accuracy(random, test))}
    train, validation, test = parts(0.2, seed)
    nets: dict[str, nn.Module] = {}
    nets["nothing"], nets["early stopping"] = learn("nothing", train, validation, seed)
    for way in ("L2", "dropout"):
        nets[way], _ = learn(way, train, validation, seed)
    return found | {way: (accuracy(nets[way], train), accuracy(nets[way], test)) for way in WAYS}


def run() -> Result:
    found = [measured(seed) for seed in SEEDS]
    names = ("random labels", *WAYS)
    values = {name: np.array([one[name] for one in found]) for name in names}  # (seeds, training and test)
    gaps = {name: values[name][:, 0] - values[name][:, 1] for name in names}
    rows = [["labels, held back by", "training", "test", "gap"]]
    for name in names:
        spoiled_by = name if name == "random labels" else f"a fifth random, {name}"
        rows.append([spoiled_by, *(f"{value:.1f} %" for value in values[name].mean(0)), f"{gaps[name].mean():.1f}"])
    memorised, guessed = values["random labels"].mean(0)
    reduced = {}
    for way in WAYS[1:]:
        less = gaps["nothing"] - gaps[way]
        lost = values["nothing"][:, 1].mean() - values[way][:, 1].mean()
        reduced[way] = bool(less.mean() > 2 * less.std(ddof=1) / len(less) ** 0.5 and lost <= 1)
    holds = bool(memorised >= 99 and guessed <= 15 and all(reduced.values()))
    verdict = (
        f"Of random labels the net learns {memorised:.1f} % by heart, and has {guessed:.1f} % of the true ones "
        f"(chance: 10 %). With a fifth of them random, the gap is {gaps['nothing'].mean():.1f} points with nothing, "
        + ", ".join(f"{gaps[way].mean():.1f} with {way}" for way in WAYS[1:])
        + f"; the test accuracy goes from {values['nothing'][:, 1].mean():.1f} % to "
        + ", ".join(f"{values[way][:, 1].mean():.1f}" for way in WAYS[1:])
        + "."
    )
    numbers = {f"gap in points, {name}": float(gaps[name].mean()) for name in names}
    return Result(holds, verdict, numbers, rows, draw(values))


def draw(values: dict[str, np.ndarray]) -> Figure:
    """Accuracy in training and test, a pair of bars for each net."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for column, (label, colour) in enumerate((("training labels", "tab:gray"), ("test", "tab:blue"))):
        heights = [value[:, column].mean() for value in values.values()]
        spread = [value[:, column].std(ddof=1) for value in values.values()]
        places = np.arange(len(values)) + 0.4 * column - 0.2
        axes.bar(places, heights, 0.4, yerr=spread, label=label, color=colour)
    axes.set(ylabel="accuracy, %", xticks=range(len(values)))
    axes.set_xticklabels(["all labels\nrandom", *(f"a fifth random,\n{way}" for way in WAYS)], fontsize=8)
    axes.legend(fontsize=8, loc="lower right")
    return figure
