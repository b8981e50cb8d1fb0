"""With little data simple models win, with much the deep ones.

Samples of Fashion-MNIST of 50 to 10,000 images, each class in proportion, are learned by four simple models of
scikit-learn with its defaults (naive Bayes with normal distributions, a decision tree, the three nearest neighbours,
logistic regression) and by a deep net, the cnn, with the defaults of `fit`. All see the same normalised pixels and are
tested on the same 1,000 images of the official test part.

It is a popular rule, and what it means depends on the words. The best simple model is chosen by the test itself here,
which is in its favour. The net keeps its weights by a validation part of 300 images that is not taken from the sample,
which is in its own: of 50 images, little could be held back.

Criterion: over 5 samples of each size, the best simple model is ahead of the cnn with 50 images by more than two
standard errors of the mean of the paired differences, and the cnn is ahead of it with 10,000 by as much.
"""

import warnings
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

import commonweight as cw
from commonweight import data, nets
from commonweight.claims import Result
from commonweight.data import Data

SEEDS = range(5)
SIZES = (50, 300, 2000, 10000)
N_VALIDATION, N_TEST = 300, 1000
SIMPLE = {
    "naive Bayes": lambda seed: GaussianNB(),
    "decision tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    "3 nearest neighbours": lambda seed: KNeighborsClassifier(3),
    "logistic regression": lambda seed: LogisticRegression(),
}
DEEP = "cnn"


def sample(loaded: Data, size: int, seed: int) -> Data:
    """So many images of the training part, each class in proportion; validation and test parts of a fixed size."""
    train, rest = train_test_split(loaded.train, train_size=size, stratify=loaded.y[loaded.train], random_state=seed)
    parts = train, rest[:N_VALIDATION], loaded.test[:N_TEST]
    used = torch.cat(parts)
    x, y = loaded.x[used], loaded.y[used]
    train, validation, test = torch.arange(len(used)).split([len(part) for part in parts])
    normalisation = data.Normalisation.fit(x, y, train)
    return replace(loaded, x=x, y=y, train=train, validation=validation, test=test, normalisation=normalisation)


def accuracies(loaded: Data, size: int, seed: int) -> dict[str, float]:
    """Test accuracy of every model."""
    given = sample(loaded, size, seed)
    x, y = given.normalisation.apply(given.x).flatten(1).numpy(), given.y.numpy()
    found = {}
    for name, make in SIMPLE.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of 100 iterations, the default
            model = make(seed).fit(x[given.train], y[given.train])
        found[name] = float(model.score(x[given.test], y[given.test]))
    net = nets.build(DEEP, given.in_shape, given.n_outputs, seed=seed)
    found[DEEP] = float(cw.fit(net, given, seed=seed, out=None, progress=False).results["test"]["accuracy"])
    return found


def ahead(found: list[dict[str, float]], first: str, second: str) -> tuple[float, float]:
    """Mean of the paired differences of two models, and its standard error, in points."""
    differences = 100 * np.array([one[first] - one[second] for one in found])
    return float(differences.mean()), float(differences.std(ddof=1) / len(differences) ** 0.5)


def run() -> Result:
    loaded = data.load("fashion-mnist")
    found = {size: [accuracies(loaded, size, seed) for seed in SEEDS] for size in SIZES}
    means = {
        size: {name: 100 * float(np.mean([one[name] for one in found[size]])) for name in (*SIMPLE, DEEP)}
        for size in SIZES
    }
    rows = [["model", *(f"{size:,}" for size in SIZES)]]
    rows += [[name, *(f"{means[size][name]:.1f} %" for size in SIZES)] for name in (*SIMPLE, DEEP)]
    best = {size: max(SIMPLE, key=means[size].__getitem__) for size in SIZES}
    lead = {size: ahead(found[size], DEEP, best[size]) for size in SIZES}
    few, many = lead[SIZES[0]], lead[SIZES[-1]]
    numbers = {f"cnn less the best simple model, points, {size:,} images": lead[size][0] for size in SIZES}
    verdict = (
        f"With {SIZES[0]} images the cnn is {few[0]:+.1f} ± {few[1]:.1f} points from the best simple model "
        f"({best[SIZES[0]]}), and with {SIZES[-1]:,} {many[0]:+.1f} ± {many[1]:.1f} ({best[SIZES[-1]]})."
    )
    holds = few[0] < -2 * few[1] and many[0] > 2 * many[1]
    return Result(holds, verdict, numbers, rows, draw(means))


def draw(means: dict[int, dict[str, float]]) -> Figure:
    """Test accuracy by the number of images."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name in (*SIMPLE, DEEP):
        style = {"marker": "s", "linewidth": 2} if name == DEEP else {"marker": "o", "linestyle": "--"}
        axes.plot(SIZES, [means[size][name] for size in SIZES], label=name, markersize=4, **style)
    axes.set(xscale="log", xlabel="images to learn from", ylabel="test accuracy, %")
    axes.legend(fontsize=8)
    return figure
