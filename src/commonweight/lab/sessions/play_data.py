"""What the view Play learns: a set by name, points that were painted, or a file in the folder that the lab may read."""

from pathlib import Path

import numpy as np
import torch

from commonweight import data
from commonweight.data.dataset import Data, Samples, prepare
from commonweight.errors import LabError

SETS = ("spirals", "circles", "xor", "moons", "painted", "digits", "mnist-5k", "fashion-mnist")
MOST_SAMPLES = 8000
"""Of larger sets, so many are learned: a page wants to see something soon."""

Points = tuple[tuple[float, float, int], ...]


def first_points() -> Points:
    """What a canvas begins with: a few points of each class, to be painted over."""
    generator = np.random.default_rng(0)
    centres = [(-0.8, -0.6, 0), (0.9, 0.7, 1)]
    found = [(x + dx, y + dy, label) for x, y, label in centres for dx, dy in generator.normal(scale=0.3, size=(12, 2))]
    return tuple((round(float(x), 2), round(float(y), 2), label) for x, y, label in found)


def read(name: str, points: Points, seed: int, folder: Path, subject: str) -> Data:
    """The data of the settings.

    Raises:
        LabError: a file elsewhere, or values instead of classes.
        DataError: data that cannot be had, or learned from.
    """
    if subject:
        place = (folder / subject).resolve()
        if not place.is_relative_to(folder):
            raise LabError(f"{subject!r} is not in the folder that this lab may read.")
        found = data.load(place, seed=seed)
    elif name == "painted":
        table = np.array(points or first_points(), dtype=np.float32)
        labels = torch.from_numpy(table[:, 2].astype(np.int64))
        classes = ("0", "1")
        found = prepare(
            Samples(name=name, task="classification", x=torch.from_numpy(table[:, :2]), y=labels, classes=classes,
                    features=("x1", "x2")), seed,
        )  # fmt: skip
    else:
        found = data.load(name, seed=seed)
    if found.task != "classification":
        raise LabError(f"{found.name} has values to predict; this view shows classes.")
    return found
