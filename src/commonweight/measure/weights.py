"""The values of a net's weights: each once, by name, and as a file for other programs."""

import json
import math
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, float64, nn

from commonweight.atomic import replacing
from commonweight.errors import FileError, require_kind
from commonweight.measure.subject import require_net

FORMATS = (".csv", ".npz", ".json")


def values(model: nn.Module) -> dict[str, Tensor]:
    """The weights by name, each once: a tied weight under the name that owns it, a pattern's by its free weights.

    What a net only remembers and does not learn (running means) is no weight.

    >>> from commonweight import Tied, patterns
    >>> {name: tuple(weight.shape) for name, weight in values(Tied(patterns.circulant(8), bias="none")).items()}
    {'weight': (8,)}
    """
    require_net(model)
    return {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}


def write_values(model: nn.Module, path: str | Path) -> None:
    """Write all weights to a file; its ending says in which format.

    .csv   a line for each weight: tensor, index (such as 3;0;2), value, with as many digits as tell it from all others
    .npz   an array for each tensor, for `numpy.load`
    .json  {tensor: {"shape": [...], "values": [...]}}, values row by row; "nan" and "inf" are strings

    Raises:
        FileError: another ending, or the file cannot be written.

    Example:
        >>> write_values(nn.Linear(3, 2), "linear.npz")
        >>> {name: array.shape for name, array in np.load("linear.npz").items()}
        {'weight': (2, 3), 'bias': (2,)}
    """
    require_kind(path, str | PathLike, "write_values writes to a path", FileError)
    path = Path(path)
    if path.suffix not in FORMATS:
        raise FileError(f"Weights are written as {', '.join(FORMATS)}; got {path}.")
    tensors = values(model)
    with replacing(path) as temporary:
        if path.suffix == ".npz":
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **{name: _array(tensor) for name, tensor in tensors.items()})
        elif path.suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as lines:
                lines.writelines(_csv_lines(tensors))
        else:
            told = {name: {"shape": list(t.shape), "values": _numbers(t)} for name, t in tensors.items()}
            temporary.write_text(json.dumps(told, allow_nan=False), encoding="utf-8")


def _csv_lines(tensors: dict[str, Tensor]) -> Iterator[str]:
    yield "tensor,index,value\n"
    for name, tensor in tensors.items():
        quoted = '"' + name.replace('"', '""') + '"' if set(name) & set('",\r\n') else name
        for index, value in zip(np.ndindex(tuple(tensor.shape)), _numbers(tensor), strict=True):
            yield f"{quoted},{';'.join(map(str, index))},{value}\n"


def _numbers(tensor: Tensor) -> list[float | str]:
    """Row by row, float32 as the shortest decimals of 9 digits at most, which read back are the same float32."""
    digits = 17 if tensor.dtype == float64 else 9
    flat = tensor.double().flatten().tolist()
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else str(value) for value in flat]


def _array(tensor: Tensor) -> NDArray[Any]:
    """As numpy has it: bfloat16, which it has not, as float32."""
    return (tensor if tensor.dtype == float64 else tensor.float()).numpy()
