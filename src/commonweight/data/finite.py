"""Every value must be a finite float32 number; the first that is not is named by its place."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from commonweight.errors import DataError


def require_finite(values: Tensor, source: str, columns: Sequence[str] = (), lines: Sequence[int] = ()) -> None:
    """Refuse NaN, infinities, and numbers that became infinite as float32.

    Args:
        values: float32, shape (N, ...).
        source: what the sentence calls the values.
        columns: the name of each column of `values`, where columns have names; the only one for values of shape (N,).
        lines: the line of the file of each row, where there is a file with lines.

    Raises:
        DataError: with the row (or line) and the column of the first such value.
    """
    # A sum is finite only if every term is, and costs a fraction of looking at each; it may overflow all the same.
    if math.isfinite(values.sum().item()) or bool(torch.isfinite(values).all()):
        return
    row, *position = torch.nonzero(~torch.isfinite(values))[0].tolist()
    where = place(row, lines)
    if columns:
        where += f", column '{columns[position[0] if position else 0]}'"
    elif position:
        where += f", position {', '.join(map(str, position))}"
    raise DataError(
        f"{source} holds {values[row, *position].item()} in {where}, expected a finite float32 number;"
        " fill in or remove what is missing or too large"
    )


def place(row: int, lines: Sequence[int] = ()) -> str:
    """How a sentence names a row: by its line in the file, where there is one.

    >>> place(0, [2]), place(0)
    ('line 2', 'sample 0 (counted from 0)')
    """
    return f"line {lines[row]}" if lines else f"sample {row} (counted from 0)"
