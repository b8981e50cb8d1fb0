"""Models of scikit-learn as peers: fitted to the normalised training part, scored on the test part."""

from collections.abc import Callable
from typing import Any

import numpy as np

from commonweight import data
from families.case import Score, timed


def scored(name: str, make: Callable[[int], Any]) -> Callable[[int], Score]:
    """What a classifier or regressor, made with the seed, comes to on the split of that seed.

    Accuracy for classes; for values the root mean squared error in units of the target, over all targets.
    """

    def run(seed: int) -> Score:
        loaded, model = data.load(name, seed=seed), make(seed)
        x = loaded.normalisation.apply(loaded.x).flatten(1).numpy()
        y = loaded.normalisation.apply_target(loaded.y).numpy()
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        seconds = timed(lambda: model.fit(x[loaded.train], y[loaded.train]))
        if loaded.task == "classification":
            return Score(model.score(x[loaded.test], y[loaded.test]), seconds)
        errors = (model.predict(x[loaded.test]) - y[loaded.test]).reshape(len(loaded.test), -1)
        return Score(float(np.sqrt(np.mean((errors * loaded.normalisation.target_scale.numpy()) ** 2))), seconds)

    return run
