"""Sets that other packages bring along in formats of their own: FANN's tables, time series, portraits.

FANN: a head `samples inputs targets`, then for each sample its inputs and its targets. UCR: for each series its class
and its values. UEA (ARFF): for each series its channels in quotes, separated by \\n, and its class. The readers are
handed files of installed packages; what does not fit their format is an error all the same.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from commonweight.data.dataset import Samples
from commonweight.data.images import read_image
from commonweight.data.reading import require_file, require_memory
from commonweight.errors import DataError

FloatArray = NDArray[np.float32]
_DAMAGED = "install its package again"


def read_fann(name: str, train: Path, test: Path) -> Samples:
    """A table of quantities: the training file, then the test file as the official test part."""
    parts = [_fann(train), _fann(test)]
    (x, y), (x_test, y_test) = parts
    if (x.shape[1], y.shape[1]) != (x_test.shape[1], y_test.shape[1]):
        raise DataError(f"'{test}' has other columns than '{train}'; {_DAMAGED}")
    features = tuple(f"input {number}" for number in range(1, x.shape[1] + 1))
    inputs, targets = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
    return Samples(name=name, task="regression", x=inputs, y=targets, features=features, official_test=len(x_test))


def _fann(path: Path) -> tuple[FloatArray, FloatArray]:
    """Inputs of shape (N, F) and targets of shape (N, T)."""
    words = _text(path).split()
    if len(words) < 3 or not all(word.isdecimal() for word in words[:3]):
        raise DataError(f"'{path}' does not begin with its numbers of samples, inputs and targets; {_DAMAGED}")
    samples, inputs, targets = map(int, words[:3])
    values = _numbers(words[3:], path)
    if inputs < 1 or targets < 1 or len(values) != samples * (inputs + targets):
        raise DataError(
            f"'{path}' holds {len(values):,} numbers, expected {samples:,} times {inputs} inputs and {targets} targets;"
            f" {_DAMAGED}"
        )
    rows = values.reshape(samples, inputs + targets)
    return rows[:, :inputs].copy(), rows[:, inputs:].copy()


def read_ucr(name: str, train: Path, test: Path, classes: tuple[str, ...]) -> Samples:
    """Series of one channel, their classes numbered from 1."""
    parts = [[_numbers(line.split(), path) for line in _lines(path)] for path in (train, test)]
    rows = np.stack(_equal([*parts[0], *parts[1]], test))
    labels = rows[:, 0].astype(np.int64) - 1
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"'{train}' holds other classes than 1 to {len(classes)}; {_DAMAGED}")
    return _series(name, rows[:, None, 1:], labels, classes, len(parts[1]))


def read_uea(name: str, train: Path, test: Path, classes: tuple[str, ...]) -> Samples:
    """Series of several channels, their classes by name."""
    parts = [_uea(path, classes) for path in (train, test)]
    series = _equal([one for found, _ in parts for one in found], test)
    labels = np.array([label for _, found in parts for label in found])
    return _series(name, np.stack(series), labels, classes, len(parts[1][0]))


def _uea(path: Path, classes: tuple[str, ...]) -> tuple[list[FloatArray], list[int]]:
    """Series of shape (C, L), and the index of the class of each."""
    lines = _lines(path)
    if "@data" not in lines:
        raise DataError(f"'{path}' has no line @data; {_DAMAGED}")
    series, labels = [], []
    for line in lines[lines.index("@data") + 1 :]:
        quoted, _, label = line.removeprefix("'").rpartition("',")
        if label not in classes:
            raise DataError(f"'{path}' holds the class {label[:40]!r}, expected {', '.join(classes)}; {_DAMAGED}")
        channels = [_numbers(channel.split(","), path) for channel in quoted.split(r"\n")]
        series.append(np.stack(_equal(channels, path)))
        labels.append(classes.index(label))
    return series, labels


def _series(name: str, x: FloatArray, labels: NDArray[np.int64], classes: tuple[str, ...], n_test: int) -> Samples:
    return Samples(
        name=name,
        task="classification",
        x=torch.from_numpy(np.ascontiguousarray(x)),
        y=torch.from_numpy(labels),
        classes=classes,
        official_test=n_test,
    )


def read_faces(name: str, folder: Path) -> Samples:
    """Portraits: a folder s1, s2, ... for each person, with files 1.pgm, 2.pgm, ..., all of one size."""
    people = sorted(folder.glob("s*"), key=lambda path: int(path.name[1:]))
    faces, labels = [], []
    for label, person in enumerate(people):
        for path in sorted(person.glob("*.pgm"), key=lambda path: int(path.stem)):
            faces.append(read_image(path, 1))
            labels.append(label)
    return Samples(
        name=name,
        task="classification",
        x=torch.from_numpy(np.stack(_equal(faces, folder))),
        y=torch.tensor(labels),
        classes=tuple(person.name for person in people),
    )


def _text(path: Path) -> str:
    require_memory(require_file(path), path, "text")
    return path.read_text(encoding="ascii", errors="replace")


def _lines(path: Path) -> list[str]:
    return [line for line in _text(path).splitlines() if line.strip()]


def _numbers(words: list[str], path: Path) -> FloatArray:
    try:
        return np.array(words, dtype=np.float64).astype(np.float32)
    except ValueError as error:
        raise DataError(f"'{path}' holds something that is no number ({error}); {_DAMAGED}") from error


def _equal(arrays: list[FloatArray], path: Path) -> list[FloatArray]:
    """The arrays, if they have one shape.

    Raises:
        DataError: there are none, or their shapes differ.
    """
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise DataError(f"'{path}' holds samples of {len(shapes)} different lengths or sizes, expected one; {_DAMAGED}")
    return arrays
