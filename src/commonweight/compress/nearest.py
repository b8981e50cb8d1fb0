"""The nearest codebooks of a weight, learned in parts so that memory stays small."""

from typing import Literal

import torch
from torch import Tensor

from commonweight.codebook import learn

Per = Literal["row", "tensor"] | int
AT_ONCE = 1 << 20
"""Elements whose codebooks are learned at once, where there are several codebooks."""


def nearest(weight: Tensor, k: int, per: Per, importance: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Codes (O, I), uint8, and codebooks (codebooks, k) that are nearest to a weight (O, …), in parts."""
    rows, columns = rows_of(len(weight), per), weight[0].numel()
    step = rows * max(1, AT_ONCE // (rows * columns))
    codes, values = [], []
    for first in range(0, len(weight), step):
        part = weight[first : first + step]
        of_part = None if importance is None else importance[first : first + step]
        pattern, found = learn(part, k, min(rows, len(part)), of_part)
        codes.append(torch.from_numpy(pattern.codes.astype("uint8")))
        values.append(found)
    return torch.cat(codes).to(weight.device), torch.cat(values)


def rows_of(n_out: int, per: Per) -> int:
    """How many neighbouring rows share a codebook, dealt out evenly."""
    rows = {"row": 1, "tensor": n_out}[per] if isinstance(per, str) else min(per, n_out)
    return -(-n_out // -(-n_out // rows))
