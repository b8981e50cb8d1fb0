"""Recurrent nets on series: classes beside a nearest neighbour by time warping, next values beside ridge regression.

Needs `pip install pyts`. Of several channels, each has a neighbour of its own, and they vote.
"""

from functools import partial

import numpy as np
from sklearn.linear_model import RidgeCV

from commonweight import data, fit, nets
from commonweight.data.dataset import Data, Samples, prepare
from families.case import Case, Score, timed, trained

PEER = "1 nearest neighbour by time warping (pyts)"
SHARES = "one cell at every time step"


def neighbour(name: str, seed: int) -> Score:
    """pyts on the same split and the same normalised values."""
    from pyts.classification import KNeighborsClassifier
    from pyts.multivariate.classification import MultivariateClassifier

    loaded = data.load(name, seed=seed)
    x, y = loaded.normalisation.apply(loaded.x).numpy(), loaded.y.numpy()
    nearest = KNeighborsClassifier(n_neighbors=1, metric="dtw")
    if x.shape[1] == 1:
        x = x[:, 0]
    else:
        nearest = MultivariateClassifier(nearest)
    seconds = timed(lambda: nearest.fit(x[loaded.train], y[loaded.train]))
    return Score(nearest.score(x[loaded.test], y[loaded.test]), seconds)


def case(net: str, name: str) -> Case:
    ours, theirs = trained(name, net), lambda seed: neighbour(name, seed)
    return Case(net, name, "accuracy", ours, PEER, theirs, SHARES, same_rule=False)


KNOWN, AHEAD = 90, 20
"""The first steps of a movement of GunPoint, from which the next ones are told."""


def movements(seed: int) -> Data:
    """The first values of each movement as samples, the values after them as targets."""
    x = data.load("gunpoint", seed=seed).x
    ahead = x[:, 0, KNOWN : KNOWN + AHEAD]
    return prepare(Samples(name="gunpoint", task="regression", x=x[:, :, :KNOWN], y=ahead), seed)


def forecast(net: str, seed: int) -> Score:
    """A recurrent net that tells all values at once, with defaults."""
    given = movements(seed)
    model = nets.build(net, given.in_shape, given.n_outputs, task="regression", seed=seed)
    results = fit(model, given, seed=seed, out=None, progress=False).results
    return Score(results["test"]["rmse"], results["train_seconds"], results["weights"], results["connections"])


def ridge(seed: int) -> Score:
    """Each value as a weighted sum of all known ones; the penalty is chosen by leaving one movement out."""
    given = movements(seed)
    x, y = given.normalisation.apply(given.x).flatten(1).numpy(), given.y.numpy()
    model = RidgeCV(np.logspace(-3, 3, 13))
    seconds = timed(lambda: model.fit(x[given.train], y[given.train]))
    error = model.predict(x[given.test]) - y[given.test]
    return Score(float(np.sqrt((error**2).mean())), seconds)


def ahead_case(net: str) -> Case:
    name = f"{net} (the next {AHEAD} values)"
    ours = partial(forecast, net)
    return Case(name, "gunpoint", "rmse", ours, "ridge regression", ridge, SHARES, same_rule=False)


NETS = ("elman", "gru", "lstm")
CASES = (*(case(net, name) for net in NETS for name in ("gunpoint", "basic-motions")), *map(ahead_case, NETS))
