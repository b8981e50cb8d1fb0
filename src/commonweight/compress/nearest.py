"""The nearest codebooks of a weight, learned in parts so that memory stays small."""

from collections.abc import Sequence
from math import inf
from typing import Literal

import torch
from torch import Tensor

from commonweight.codebook import learn
from commonweight.errors import CompressError, require_kind
from commonweight.kernels.codes import FLOATS
from commonweight.kernels.kmeans import kmeans

Per = Literal["row", "tensor"] | int
LARGEST = 1 << 20
"""Elements of which one codebook is the nearest that there is."""
AT_ONCE = 1 << 18
"""Elements whose codebooks are learned at once where there are several, and bins where one serves too many."""


def nearest(weight: Tensor, k: int, per: Per, importance: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Codes (O, I), uint8, and codebooks (codebooks, k) that are nearest to a weight (O, …), in parts.

    A codebook for more than `LARGEST` elements is the nearest whose values part the bins of a fine histogram, unless no
    more than k values occur.
    """
    rows, columns = rows_of(len(weight), per), weight[0].numel()
    step = rows * max(1, AT_ONCE // (rows * columns))
    codes = torch.empty(len(weight), columns, dtype=torch.uint8)
    values = []
    for first in range(0, len(weight), step):
        part = weight[first : first + step].flatten(1)
        of_part = None if importance is None else importance[first : first + step].flatten(1)
        if part.numel() > LARGEST:
            found = _of_histogram(part, k, of_part, codes[first : first + step])
        else:
            pattern, found = learn(part, k, min(rows, len(part)), of_part)
            codes[first : first + step] = torch.from_numpy(pattern.codes.astype("uint8"))
        values.append(found)
    return codes.to(weight.device), torch.cat(values)


def refuse_importance(name: str, weight: Tensor, importance: Tensor | None) -> None:
    """Says what the importance of a weight's elements is.

    Raises:
        CompressError: another shape or type, or a number that is negative or not finite, or only zeros.
    """
    if importance is None:
        return
    require_kind(importance, Tensor, f"The importance of `{name}` is a tensor", CompressError)
    given = f"{importance.dtype} of shape {tuple(importance.shape)}"
    if importance.shape == weight.shape and importance.dtype in FLOATS:
        low, high = (float(end) for end in importance.aminmax())
        if low >= 0 and 0 < high < inf:
            return
        given += f" from {low:g} to {high:g}"
    raise CompressError(
        f"The importance of `{name}` is floating numbers of shape {tuple(weight.shape)}, finite, not negative and not "
        f"all 0; got {given}."
    )


def rows_of(n_out: int, per: Per) -> int:
    """How many neighbouring rows share a codebook, dealt out evenly."""
    rows = {"row": 1, "tensor": n_out}[per] if isinstance(per, str) else min(per, n_out)
    return -(-n_out // -(-n_out // rows))


def _of_histogram(part: Tensor, k: int, importance: Tensor | None, codes: Tensor) -> Tensor:
    """The one codebook of a matrix, and its codes, which are written to `codes`."""
    blocks = part.reshape(-1).cpu().split(AT_ONCE)  # type: ignore[no-untyped-call]
    centres = _distinct(blocks, k)
    if centres is None:
        alike = torch.ones((), dtype=torch.float64).expand(part.numel())
        weights = alike if importance is None else importance.reshape(-1).cpu()
        points, mass = _bins(blocks, weights.split(AT_ONCE))  # type: ignore[no-untyped-call]
        centres = kmeans(points, min(k, len(points)), mass).centres
    centres = torch.cat([centres, centres[-1:].expand(k - len(centres))])
    between = (centres[1:] + centres[:-1]) / 2
    for block, into in zip(blocks, codes.view(-1).split(AT_ONCE), strict=True):  # type: ignore[no-untyped-call]
        into.copy_(torch.searchsorted(between, block.double()))
    return centres.to(part)[None]


def _distinct(blocks: Sequence[Tensor], k: int) -> Tensor | None:
    """The values that occur, rising, if they are at most k."""
    known = blocks[0].new_empty(0)
    for block in blocks:
        known = torch.cat([known, block]).unique()  # type: ignore[no-untyped-call]
        if len(known) > k:
            return None
    return known.double()


def _bins(blocks: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The mean of the elements in each bin that is not empty, and their number or their importance in sum."""
    low, high = (float(getattr(torch.stack([getattr(b, end)() for b in blocks]), end)()) for end in ("min", "max"))
    sums, mass = torch.zeros(2, AT_ONCE, dtype=torch.float64)
    for block, of_block in zip(blocks, weights, strict=True):
        values = block.double()
        bins = ((values - low) / (high - low) * (AT_ONCE - 1)).long()
        uses = of_block.double()
        sums += torch.bincount(bins, uses * values, AT_ONCE)
        mass += torch.bincount(bins, uses, AT_ONCE)
    return sums[mass > 0] / mass[mass > 0], mass[mass > 0]
