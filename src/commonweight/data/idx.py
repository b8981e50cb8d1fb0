"""IDX files, the format of MNIST: read against their header, with labels beside images and the four files of a set.

The header is two zero bytes, a type (8 for unsigned bytes, the only one that images and labels come in), the number of
axes, and the size of each axis as a big-endian 32-bit number; the values follow. Source: LeCun, Cortes and Burges, "The
MNIST database of handwritten digits" (1998), section "File formats".
"""

import math
import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.data.dataset import Samples
from commonweight.data.reading import open_plain_or_gzip, read_exactly, require_memory
from commonweight.data.targets import encode
from commonweight.errors import DataError

_UNSIGNED_BYTE = 8
_MAX_AXES = 32
"""An array of numpy has no more, or 64 since version 2."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzipped or not, in the shape that its header gives.

    Raises:
        DataError: a missing, empty, truncated or overlong file, another format or type, or a size beyond the limit.
    """
    with open_plain_or_gzip(path) as stream:
        start = stream.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or not 0 < start[3] <= _MAX_AXES:
            raise DataError(
                f"'{path}' does not begin like an IDX file (it begins with {start.hex(' ')}); check the file"
            )
        if start[2] != _UNSIGNED_BYTE:
            raise DataError(
                f"'{path}' holds values of IDX type {start[2]:#04x}, expected 0x08 (unsigned bytes); convert it to NPZ"
            )
        n_axes = start[3]
        sizes = stream.read(4 * n_axes)
        if len(sizes) < 4 * n_axes:
            raise DataError(
                f"'{path}' is truncated: it ends inside its header of {4 + 4 * n_axes} bytes; copy it again"
            )
        shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
        size = math.prod(shape)
        # Pixels become float32: four bytes each.
        require_memory(4 * size, path, "x".join(str(length) for length in shape) + " values")
        content = read_exactly(stream, size, path)
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def is_idx(path: Path) -> bool:
    """Whether a file's name says that it is an IDX file, as `train-images-idx3-ubyte.gz` does."""
    return re.search(r"[-.]idx\d", path.name) is not None


def holds_idx(folder: Path) -> bool:
    """Whether a folder holds IDX images."""
    return any(folder.glob("*images*idx3*"))


def read_file(path: Path) -> Samples:
    """Images from an IDX file, labels from the file beside it: images -> labels and idx3 -> idx1 in the name."""
    pixels, labels = _images_and_labels(path)
    _, y, classes = encode(labels, "classification", f"labels of '{path}'")
    return Samples(name=path.name, task="classification", x=_scaled(pixels), y=y, classes=classes)


def read_folder(folder: Path) -> Samples:
    """The four files of a set like MNIST: `*train-images*`, `*t10k-images*` (or `*test-images*`), and their labels.

    Training samples come first, and the test part stays the official test part.
    """
    train, labels_train = _images_and_labels(_only(folder, "train"))
    test, labels_test = _images_and_labels(_only(folder, "t10k", "test"))
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"'{folder}' holds training images of {train.shape[1:]} pixels (height, width) and test images of"
            f" {test.shape[1:]}; all must have one size"
        )
    _, y, classes = encode(np.concatenate([labels_train, labels_test]), "classification", f"labels in '{folder}'")
    return Samples(
        name=folder.name,
        task="classification",
        x=_scaled(np.concatenate([train, test])),
        y=y,
        classes=classes,
        official_test=len(test),
    )


def _only(folder: Path, *parts: str) -> Path:
    """The one IDX file of images in the folder whose name speaks of one of the parts."""
    found = sorted(path for part in parts for path in folder.glob(f"*{part}-images*idx3*"))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise DataError(
            f"'{folder}' must hold exactly one file {' or '.join(f'*{part}-images*idx3*' for part in parts)},"
            f" found {listed}; give the path of the images file itself to split it 70/15/15"
        )
    return found[0]


def _images_and_labels(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images of shape (N, H, W), and their labels of shape (N,)."""
    pixels = read_idx(path)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise DataError(
            f"'{path}' holds an array of shape {pixels.shape}, expected images as (count, height, width);"
            " give the images file (idx3), its labels (idx1) are found beside it"
        )
    labels_path = _labels_beside(path)
    labels = read_idx(labels_path)
    if labels.shape != pixels.shape[:1]:
        raise DataError(
            f"'{labels_path}' holds labels of shape {labels.shape}, but '{path}' holds {len(pixels)} images;"
            " one label is expected for each"
        )
    return pixels, labels


def _scaled(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W) from 0 to 255 -> float32 (N, 1, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).unsqueeze(1).to(torch.float32).div_(255)


def _labels_beside(path: Path) -> Path:
    """The file of the labels, compressed or not, whatever the images are."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    for candidate in (path.with_name(name), path.with_name(name + ".gz")):
        if name != path.name.removesuffix(".gz") and candidate.exists():
            return candidate
    raise DataError(
        f"the labels of '{path}' are missing: expected '{name}' or '{name}.gz' beside it"
        " (images -> labels, idx3 -> idx1); put them there"
    )
