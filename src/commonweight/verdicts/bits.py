"""Weights as their bits: views that no transform copies, read in blocks; and how near is close.

Two tensors are close if max |Δ| is at most `CLOSE` of the scale: the interquartile range of the non-zero elements over
1.349, which is the standard deviation where they are normal, and which neither a few large elements nor many zeros
change. It takes `EVIDENCE` elements that agree to say anything at all: of two independent normal tensors, one element
in 30 agrees so well by chance.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.transforms import Flip, Slice, Transform, Transpose

if TYPE_CHECKING:
    from commonweight.checkpoints import Content

Array: TypeAlias = NDArray[Any]
Values: TypeAlias = NDArray[np.float64]

CLOSE = 1 / 16
EVIDENCE = 16

_BLOCK = 1 << 20  # elements that are looked at together
_SAMPLE = 4096  # elements that tell the scale
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)


@dataclass(frozen=True, eq=False)
class Bits:
    """A tensor as an array of integers with the same bits."""

    array: Array
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Bits":
        tensor = tensor.detach()
        return cls(tensor.view(_INTEGERS[tensor.element_size()]).numpy(), tensor.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def size(self) -> int:
        return self.array.size

    def matrix(self) -> Array:
        """All axes but the first flattened; a vector is one row."""
        return self.array.reshape(self.shape[0] if len(self.shape) > 1 else 1, -1)

    def is_evidence(self) -> bool:
        """Whether enough elements are not zero: that zeros agree says little."""
        count = 0
        for block in blocks(self.shape):
            count += int(np.count_nonzero(without_sign_of_zero(self.array[block])))
            if count >= EVIDENCE:
                return True
        return False

    def turned(self, transforms: Sequence[Transform]) -> "Bits":
        """The view that transforms make, a minus left out."""
        array = self.array
        for transform in transforms:
            if isinstance(transform, Transpose):
                array = array.T
            elif isinstance(transform, Flip):
                array = np.flip(array, transform.dims)
            elif isinstance(transform, Slice):
                array = array[tuple(item if isinstance(item, int) else slice(*item) for item in transform.items)]
        return Bits(array, self.dtype)

    def values(self, part: Any = ()) -> Values:
        """What the bits of a part mean, in double precision."""
        return self.decode(self.array[part])

    def decode(self, bits: Array) -> Values:
        """What such bits mean, in double precision."""
        numbers = torch.from_numpy(np.array(bits, order="C", ndmin=1)).view(self.dtype).to(torch.float64).numpy()
        values: Values = numbers.reshape(bits.shape)
        return values

    def sample(self) -> Values:
        """All elements, or some thousand of them drawn with a fixed seed."""
        if self.size <= _SAMPLE:
            return self.values().reshape(-1)
        places = np.random.default_rng(self.size).integers(self.size, size=_SAMPLE)
        return self.values(np.unravel_index(places, self.shape))


class Weights:
    """The tensors in which something could be tied, each read anew whenever it is looked at.

    Attributes:
        dtypes: of all.
        names: those of a floating-point type, finite, not all zero, and with enough elements to be evidence.
        varied: those of them that are not constant, and not nearly all zero either.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], Tensor], contents: Mapping[str, "Content"]
    ) -> None:
        self.shapes, self._read, self.contents = shapes, read, contents
        self.dtypes = {name: read(name).dtype for name in shapes}
        told = [n for n in shapes if contents[n].finite and not contents[n].zero and self.dtypes[n] in _TYPES]
        self.names = [name for name in told if prod(shapes[name]) >= EVIDENCE]
        self.varied = [name for name in self.names if not contents[name].constant and self[name].is_evidence()]
        self._order = {name: place for place, name in enumerate(shapes)}
        self.scale = cache(self._scale)

    def __getitem__(self, name: str) -> Bits:
        return Bits.of(self._read(name))

    def rank(self, name: str) -> tuple[int, bool, int]:
        """What is rebuilt from what: a tensor only from one of a lower rank, that is larger, an embedding, or earlier.

        So nothing is rebuilt in a circle, whatever is suggested.
        """
        return -prod(self.shapes[name]), not _is_embedding(name), self._order[name]

    def nbytes(self, name: str) -> int:
        return prod(self.shapes[name]) * self.dtypes[name].itemsize

    def tolerance(self, name: str) -> float:
        """The largest |Δ| that counts as close."""
        return CLOSE * self.scale(name)

    def _scale(self, name: str) -> float:
        return scale_of(self[name].sample())


def _is_embedding(name: str) -> bool:
    return "emb" in name.lower() or "wte" in name.lower()


def without_sign_of_zero(bits: Array) -> Array:
    """The same bits, those of -0.0 replaced by those of 0.0."""
    return np.where(bits << 1, bits, 0)


def scale_of(values: Values) -> float:
    """The interquartile range of what is not zero, over 1.349: σ of a normal distribution."""
    nonzero = values[values != 0]
    if not len(nonzero):
        return 0.0
    quarter = len(nonzero) // 4
    ordered = np.partition(nonzero, [quarter, -1 - quarter])  # np.percentile is slow on few
    return float(ordered[-1 - quarter] - ordered[quarter]) / 1.349


def blocks(shape: Sequence[int], most: int | None = None) -> Iterator[tuple[slice, ...]]:
    """Parts of an array of this shape that are its whole together, each of at most that many elements."""
    most = most or _BLOCK
    if prod(shape) <= most:
        yield ()
        return
    row = prod(shape[1:])
    if row > most:
        yield from ((slice(n, n + 1), *rest) for n in range(shape[0]) for rest in blocks(shape[1:], most))
        return
    step = most // row
    yield from ((slice(start, start + step),) for start in range(0, shape[0], step))


def difference(alias: Bits, source: Bits, negative: bool = False, limit: float = np.inf) -> float | None:
    """max |alias - source|, or with a minus before the source; None as soon as it exceeds a limit."""
    worst = 0.0
    for block in blocks(alias.shape):
        ours, theirs = alias.array[block], source.array[block]
        if not negative and np.array_equal(ours, theirs):
            continue
        expected = source.decode(theirs)
        worst = max(worst, float(np.abs(alias.decode(ours) - (-expected if negative else expected)).max()))
        if worst > limit:
            return None
    return worst
