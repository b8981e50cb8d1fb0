"""What patterns and tie maps are made of, checked: whole numbers, lists of them, shapes, and how many may be written.

Each function returns what it was given in one form, or says in one sentence what came and what was expected.
"""

from collections.abc import Iterable, Sequence
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from commonweight.errors import PatternError

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
WHOLE = (int, np.integer)
LARGEST = 1 << 27
"""The most connections, or cells of a matrix, that are written out: they take some ten gigabytes of memory."""


def whole(name: str, *numbers: object) -> Shape:
    """Whole numbers of at least 1.

    Raises:
        PatternError: others.
    """
    found = tuple(int(n) for n in numbers if isinstance(n, WHOLE) and n >= 1)
    if len(found) < len(numbers):
        raise PatternError(f"{name} takes whole numbers of at least 1; got {', '.join(map(repr, numbers))}.")
    return found


def per_axis(name: str, key: str, sizes: object, n_axes: int, *, one_for_all: bool = True) -> Shape:
    """A whole number for each axis, of at least 1 (a padding: 0), or one for all where that is allowed.

    Raises:
        PatternError: others, or as many as there are not axes.
    """
    given = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,) * (n_axes if one_for_all else 0)
    least = 0 if "padding" in key else 1
    numbers = tuple(int(n) for n in given if isinstance(n, WHOLE) and n >= least)
    if not len(numbers) == len(given) == n_axes:
        what = f"{n_axes} whole number{'s' * (n_axes > 1)} of at least {least}, one an axis"
        raise PatternError(f"{name}: {key} is {what}; got {sizes}.")
    return numbers


def positions(
    name: str, size: Sequence[int], kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> list[int]:
    """Where a window stands along each axis: ⌊(n + 2 padding - dilation (kernel - 1) - 1) / stride⌋ + 1 places.

    Raises:
        PatternError: the kernel is larger than the padded input.
    """
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    rooms = [n + 2 * p - s for n, p, s in zip(size, padding, span, strict=True)]
    if min(rooms) < 0:
        raise PatternError(
            f"{name}: the kernel spans {tuple(span)}, more than the input of {tuple(size)} with padding {padding}: use "
            f"a smaller kernel or more padding."
        )
    return [room // step + 1 for room, step in zip(rooms, stride, strict=True)]


def meetings(
    size: int, places: int, kernel: int, stride: int, padding: int, dilation: int, *, circular: bool
) -> list[int]:
    """In how many of its places along one axis a window meets an input, for each position of its kernel.

    Those of one kernel position are neighbours: the outputs o with 0 <= o · stride - padding + k · dilation < size.

    Raises:
        PatternError: more than 2^27 pairs of a place and a position; a circular kernel that meets an input twice.

    >>> meetings(5, 5, 3, 1, 1, 1, circular=False)
    [4, 5, 4]
    """
    refuse_too_many(f"An axis of {size:,}", places * kernel, "pairs of a place of the kernel and a position in it")
    if not circular:
        firsts = (k * dilation - padding for k in range(kernel))  # what each meets in the first place
        return [max(0, min(places, (size - 1 - i) // stride + 1) - max(0, -(i // stride))) for i in firsts]
    if kernel > size // gcd(size, dilation):
        raise PatternError(f"A circular kernel of {kernel} laps an axis of {size}: use a smaller kernel.")
    return [places] * kernel


def integers(what: str, values: ArrayLike, n_axes: int) -> NDArray[Any]:
    """A list (of lists...) of whole numbers, at least one, as an array: no copy of what is one already.

    Raises:
        PatternError: another number of axes, rows of different lengths, no numbers, or other ones.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise PatternError(f"{what}; got rows of different lengths.") from error
    if array.ndim != n_axes or not array.size or array.dtype.kind not in "iu":
        raise PatternError(f"{what}; got {array.dtype} {array.shape}.")
    return array


def subset(name: str, row: object, n: int) -> Shape:
    """Different numbers from 0 to n-1, sorted.

    Raises:
        PatternError: others.
    """
    given = tuple(row) if isinstance(row, Iterable) else (None,)
    found = {int(i) for i in given if isinstance(i, WHOLE) and 0 <= i < n}
    if len(found) < len(given):
        raise PatternError(f"{name} lists inputs 0 to {n - 1}, each at most once; got {row}.")
    return tuple(sorted(found))


def permutations(name: str, perms: ArrayLike) -> NDArray[np.int64]:
    """Permutations of 0..n-1, one a row.

    Raises:
        PatternError: anything else.
    """
    what = f"orbits: {name} is a list of permutations of 0..n-1"
    array = integers(what, perms, 2)
    if (np.sort(array, axis=1) != np.arange(array.shape[1])).any():
        raise PatternError(f"{what}; got rows that leave numbers out or repeat them.")
    return array.astype(np.int64)


def refuse_misfit(name: str, tensor: object, *shape: int, lead: int | None = None) -> None:
    """Do nothing if the last axes of a tensor have these sizes.

    Args:
        lead: how many axes come before them; any number when omitted.

    Raises:
        PatternError: no tensor, or one of another shape.

    >>> refuse_misfit("W", torch.zeros(7, 2, 3), 2, 3)
    """
    given = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else ()
    n_lead = len(given) - len(shape)
    if n_lead < 0 or given[n_lead:] != shape or lead not in (None, n_lead):
        expected = ", ".join(["..." if lead is None else "B"] * (lead != 0) + [str(size) for size in shape])
        came = f"one of shape {given}" if isinstance(tensor, torch.Tensor) else f"a {type(tensor).__name__}"
        raise PatternError(f"{name} is a tensor of shape ({expected}); got {came}.")


def refuse_too_many(notation: str, number: int, what: str) -> None:
    """Do nothing if so many can be written out.

    Raises:
        PatternError: more than 2^27.
    """
    if number > LARGEST:
        raise PatternError(
            f"{notation:.200} has {number:,} {what}; at most {LARGEST:,} are written out one by one: take a smaller "
            f"pattern, or its counts only."
        )
