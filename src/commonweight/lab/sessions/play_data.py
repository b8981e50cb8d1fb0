"""What the view Play learns: a set by name, points that were painted, or one's own: a table or a folder of pictures."""

from pathlib import Path

import numpy as np
import torch

from commonweight import data
from commonweight.data.dataset import Data, Samples, prepare
from commonweight.lab.refusals import RefusalError
from commonweight.lab.sessions.folder_files import data_in

SETS = ("spirals", "circles", "xor", "moons", "painted", "digits", "mnist-5k", "fashion-mnist", "own")
MOST_SAMPLES = 8000
"""Of larger sets, so many are learned: a page wants to see something soon."""

Points = tuple[tuple[float, float, int], ...]


def first_points() -> Points:
    """What a canvas begins with: a few points of each class, to be painted over."""
    generator = np.random.default_rng(0)
    centres = [(-0.8, -0.6, 0), (0.9, 0.7, 1)]
    found = [(x + dx, y + dy, label) for x, y, label in centres for dx, dy in generator.normal(scale=0.3, size=(12, 2))]
    return tuple((round(float(x), 2), round(float(y), 2), label) for x, y, label in found)


def read(name: str, points: Points, seed: int, folder: Path, file: str) -> Data:
    """The data of the settings.

    Args:
        file: of one's own, by its path in the folder.

    Raises:
        LabError: a file that is not there, no data or with a link that leads out; or values instead of classes.
        FileError: a file elsewhere.
        DataError: data that cannot be had, or learned from.
    """
    if name == "own":
        found = data.load(data_in(folder, file), seed=seed)
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
        raise RefusalError("no_classes", name=found.name)
    return found
