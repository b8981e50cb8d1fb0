"""NPZ files: the arrays x and y that numpy saved, checked against the bytes that are there before memory is taken."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.data.dataset import Samples
from commonweight.data.reading import read_exactly, require_file, require_memory
from commonweight.data.targets import encode
from commonweight.errors import DataError

Array = NDArray[Any]

_LAYOUTS = (
    ("x", "y"),
    ("X", "y"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
)
_FULL_SCALE = {"uint8": 255, "uint16": 65_535}


def read_file(path: Path, task: str | None) -> Samples:
    """Samples from the arrays x and y, or x_train, y_train, x_test and y_test, whose test part stays the test part.

    X may stand for x. Shapes of x: (N,) and (N, F) are tables; (N, H, W) and (N, C, H, W) are images, also (N, H, W, C)
    if the last axis is 1, 3 or 4 and the second is not. Images of uint8 or uint16 are scaled to [0, 1], images of
    floating point must be in it. y has shape (N,) or (N, 1), numbers or text, or (N, T), numbers; `targets.encode`
    states the rule for the task.

    Raises:
        DataError: a damaged file, missing arrays, Python objects, shapes or values that do not fit.
    """
    arrays = _read_arrays(path)
    if len(arrays) == 2:
        x, y = arrays
        official_test = 0
    else:
        x = _joined(arrays[0], arrays[2], path)
        y = _joined(arrays[1], arrays[3], path)
        official_test = len(arrays[2])
        _require_pairs(arrays[2], arrays[3], path)
    _require_pairs(x, y, path)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2) or 0 in y.shape[1:]:
        raise DataError(f"'{path}' holds targets of shape {y.shape}, expected (N,) or (N, T)")
    chosen, targets, classes = encode(y, task, f"the target of '{path}'")
    return Samples(
        name=path.name, task=chosen, x=_inputs(x, path), y=targets, classes=classes, official_test=official_test
    )


def _read_arrays(path: Path) -> list[Array]:
    """The arrays of the first layout whose names are all in the file."""
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            for layout in _LAYOUTS:
                if set(layout) <= set(names):
                    return [_read_array(archive, f"{name}.npy", path) for name in layout]
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(
            f"'{path}' is a truncated or damaged NPZ file ({error}); save it again with numpy.savez"
        ) from error
    raise DataError(
        f"'{path}' holds the arrays {', '.join(map(repr, names)) or 'none'}, expected x and y,"
        " or x_train, y_train, x_test and y_test; save them under these names"
    )


def _read_array(archive: zipfile.ZipFile, member: str, path: Path) -> Array:
    """One array, after its header has been checked. `numpy.load` would first allocate what the header claims."""
    info = archive.getinfo(member)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"'{path}' is compressed by method {info.compress_type}; save it again with numpy.savez_compressed"
        )
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(stream)
        if dtype.kind not in "biufU":
            raise DataError(
                f"'{path}' holds '{info.filename}' of type {dtype}, expected numbers or text; save it as such an array"
            )
        if min(shape, default=0) < 0:
            raise ValueError(f"negative size in the shape {shape}")
        size = math.prod(shape)
        # Inputs become float32: at least four bytes each.
        require_memory(size * max(4, dtype.itemsize), path, f"'{info.filename}' of shape {shape}, {dtype}")
        content = read_exactly(stream, size * dtype.itemsize, path)
    array = np.frombuffer(content, dtype=dtype) if size else np.empty(0, dtype=dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _joined(train: Array, test: Array, path: Path) -> Array:
    """Training and test part, one after the other."""
    if train.shape[1:] != test.shape[1:] or train.dtype.kind != test.dtype.kind or 0 in (train.ndim, test.ndim):
        raise DataError(
            f"'{path}' holds a training array of shape {train.shape}, {train.dtype}, and a test array of shape"
            f" {test.shape}, {test.dtype}; they may differ in the first axis only"
        )
    return np.concatenate([train, test])


def _require_pairs(x: Array, y: Array, path: Path) -> None:
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise DataError(
            f"'{path}' holds x of shape {x.shape} and y of shape {y.shape}; the first axes, the samples, must be equal"
        )


def _inputs(x: Array, path: Path) -> Tensor:
    """float32 inputs of shape (N, F), or (N, C, H, W) in [0, 1]."""
    if x.dtype.kind == "U":
        raise DataError(f"'{path}' holds text in x, such as '{x.flat[0]}'; write it as numbers")
    if x.ndim > 4 or 0 in x.shape[1:]:
        raise DataError(
            f"'{path}' holds x of shape {x.shape}, expected (N, F) for a table, (N, H, W) or (N, C, H, W) for images"
        )
    with np.errstate(over="ignore"):
        values = torch.from_numpy(x.astype(np.float32))
    if x.ndim <= 2:
        return values.reshape(len(x), -1)
    if x.dtype.name in _FULL_SCALE:
        values /= _FULL_SCALE[x.dtype.name]
    elif len(values):
        lowest, highest = values.min().item(), values.max().item()
        if lowest < 0 or highest > 1:
            raise DataError(
                f"'{path}' holds images of {x.dtype} from {lowest:g} to {highest:g}, expected values from 0 to 1,"
                " or uint8, or uint16; scale them or save them as uint8"
            )
    if x.ndim == 3:
        return values.unsqueeze(1)
    if x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        return values.permute(0, 3, 1, 2).contiguous()
    return values
