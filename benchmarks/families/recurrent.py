"""Recurrent nets on series, beside one nearest neighbour by dynamic time warping: needs `pip install pyts`.

Of several channels, each has a neighbour of its own, and they vote.
"""

from commonweight import data
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
    return Case(net, name, "accuracy", trained(name, net), PEER, lambda seed: neighbour(name, seed), SHARES)


CASES = tuple(case(net, name) for net in ("elman", "gru", "lstm") for name in ("gunpoint", "basic-motions"))
