"""Self-organising maps whose units answer with labels, beside MiniSom with the same labelling: digits and mnist-5k."""

from collections.abc import Callable

import numpy as np

from commonweight import data
from families.case import Case, Score, timed, trained

SIDE, PASSES = 20, 10


def minisom(name: str) -> Callable[[int], Score]:
    """20×20 units, 10 passes in random order, random samples as first weights, otherwise defaults.

    A unit answers with the majority of the labels it wins, or those of the nearest unit that won some: as ours do.
    """

    def run(seed: int) -> Score:
        from minisom import MiniSom

        drawn = data.load(name, seed=seed)
        x, y = drawn.normalisation.apply(drawn.x).flatten(1).double().numpy(), drawn.y.numpy()
        train, test = drawn.train.numpy(), drawn.test.numpy()
        som = MiniSom(SIDE, SIDE, x.shape[1], random_seed=seed)
        som.random_weights_init(x[train])
        seconds = timed(lambda: som.train(x[train], PASSES * len(train), random_order=True))
        units = som.get_weights().reshape(SIDE * SIDE, -1)
        votes = np.zeros((SIDE * SIDE, drawn.n_outputs))
        np.add.at(votes, (_nearest(x[train], units), y[train]), 1)
        voted = votes.any(1)
        answers = votes[voted].argmax(1)[_nearest(units, units[voted])]
        return Score(float((answers[_nearest(x[test], units)] == y[test]).mean()), seconds, units.size, units.size)

    return run


def _nearest(x: np.ndarray, units: np.ndarray) -> np.ndarray:
    return np.argmin((units**2).sum(1) - 2 * x @ units.T, axis=1)


SHARES = "nothing: a vector for each unit"
CASES = tuple(
    Case("som", name, "accuracy", trained(name, "som"), "MiniSom 2.3.6", minisom(name), SHARES)
    for name in ("digits", "mnist-5k")
)
