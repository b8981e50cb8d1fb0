"""Whether two tensors are equal after transposing, reversing or negating: by their bits, in blocks, without a copy."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.transforms import Flip, Minus, Transform, Transpose, canonical

BLOCK = 1 << 22
"""Elements that are looked at at once."""

Release: TypeAlias = Callable[[], object]
Bits: TypeAlias = NDArray[Any]

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def keep() -> None:
    """The `release` of tensors that are in memory anyway."""


def turnable(value: Tensor) -> bool:
    """Whether `turned` and `sum_of_bits` take tensors of this type: floats of two bytes and more."""
    return (value.is_floating_point() and value.element_size() > 1) or value.is_complex()


def sum_of_bits(value: Tensor, release: Release = keep) -> int:
    """A number that no transpose, flip or minus changes: the sum of all bits but the signs.

    Args:
        release: called after each block, to give back the memory of a tensor that is mapped from a file.
    """
    total = 0
    for bits in _bits(value):
        for span in spans(bits.shape):
            total += int((bits[span] & np.iinfo(bits.dtype).max).sum(dtype=np.int64))
            release()
    return total % 2**64  # a block's own sum wraps around, so the blocks must not matter


def turned(source: Tensor, alias: Tensor, release: Release = keep) -> tuple[Transform, ...] | None:
    """The transforms by which two tensors of one type are equal, the fewest first; 0.0 and -0.0 are equal."""
    ours, theirs = _bits(alias), _bits(source)
    turns: list[tuple[Transform, ...]] = [(), (Transpose(),)] if source.ndim == 2 else [()]
    flips = [(Flip(axes),) for n in range(1, source.ndim + 1) for axes in combinations(range(source.ndim), n)]
    signs: list[tuple[Transform, ...]] = [(), (Minus(),)]
    for chosen in sorted(product(turns, [(), *flips], signs), key=lambda chosen: sum(map(len, chosen))):
        transforms = canonical((*chosen[0], *chosen[1], *chosen[2]))
        if all(_same(one, two, transforms, release) for one, two in zip(ours, theirs, strict=True)):
            return transforms
    return None


def spans(shape: Sequence[int], whole_rows: bool = False) -> Iterator[tuple[slice, ...]]:
    """Parts of a tensor of this shape, each of `BLOCK` elements at most, that are its whole; none if it is empty.

    Args:
        whole_rows: cut along the first axis only; a part is one row then if need be.
    """
    if prod(shape):
        yield from _halves([(0, size) for size in shape], whole_rows)


def _halves(ends: list[tuple[int, int]], whole_rows: bool) -> Iterator[tuple[slice, ...]]:
    sizes = [stop - start for start, stop in ends]
    axis = 0 if whole_rows or not sizes else max(range(len(sizes)), key=sizes.__getitem__)
    if prod(sizes) <= BLOCK or sizes[axis] == 1:
        yield tuple(slice(*end) for end in ends)
        return
    start, stop = ends[axis]
    middle = (start + stop) // 2
    for half in ((start, middle), (middle, stop)):
        yield from _halves([*ends[:axis], half, *ends[axis + 1 :]], whole_rows)


def _bits(tensor: Tensor) -> list[Bits]:
    """The numbers of a tensor as integers with the same bits; real and imaginary parts apart."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    parts = torch.view_as_real(tensor).unbind(-1) if tensor.is_complex() else (tensor,)
    return [part.view(_INTEGERS[part.element_size()]).numpy() for part in parts]


def _same(ours: Bits, theirs: Bits, transforms: Sequence[Transform], release: Release) -> bool:
    for transform in transforms:
        if isinstance(transform, Transpose):
            theirs = theirs.T
        elif isinstance(transform, Flip):
            theirs = np.flip(theirs, transform.dims)  # a view, which torch cannot make
    if ours.shape != theirs.shape:
        return False
    sign = np.array(np.iinfo(ours.dtype).min if Minus() in transforms else 0, dtype=ours.dtype)
    for span in spans(ours.shape):
        one, two = ours[span], theirs[span] ^ sign
        equal = np.array_equal(one, two) or bool(((one == two) | ((one | two) << 1 == 0)).all())
        release()
        if not equal:
            return False
    return True
