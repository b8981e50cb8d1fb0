"""The transforms that a tie may have: transpose, flip, slice and minus, each a map of tensors with a notation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from commonweight.errors import TieError

if TYPE_CHECKING:
    from torch import Tensor

SliceItem: TypeAlias = int | tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class Transpose:
    """`.T`: a matrix of shape (m, n) becomes (n, m)."""

    def apply(self, tensor: Tensor) -> Tensor:
        if tensor.ndim != 2:
            raise TieError(f"`.T` transposes a matrix, that is 2 axes; got a tensor of shape {tuple(tensor.shape)}.")
        return tensor.T

    def __str__(self) -> str:
        return ".T"


@dataclass(frozen=True)
class Flip:
    """`.flip(d, ...)`: the order along each of these axes reversed; negative axes count from the end."""

    dims: tuple[int, ...]

    def apply(self, tensor: Tensor) -> Tensor:
        axes = [dim % tensor.ndim for dim in self.dims if -tensor.ndim <= dim < tensor.ndim]
        if len(set(axes)) != len(self.dims):
            raise TieError(f"`{self}` needs different axes of the tensor; got one of shape {tuple(tensor.shape)}.")
        return tensor.flip(axes)

    def __str__(self) -> str:
        return f".flip({', '.join(map(str, self.dims))})"


@dataclass(frozen=True)
class Slice:
    """`[1:4, :, 0]`: a part of the tensor; each item is an index or a triple (start, stop, step), as in Python."""

    items: tuple[SliceItem, ...]

    def apply(self, tensor: Tensor) -> Tensor:
        within = len(self.items) <= tensor.ndim and all(
            not isinstance(item, int) or -size <= item < size
            for item, size in zip(self.items, tensor.shape, strict=False)
        )
        if not within:
            raise TieError(f"`{self}` reaches outside of a tensor of shape {tuple(tensor.shape)}.")
        return tensor[tuple(item if isinstance(item, int) else slice(*item) for item in self.items)]

    def __str__(self) -> str:
        return f"[{', '.join(map(self._item, self.items))}]"

    @staticmethod
    def _item(item: SliceItem) -> str:
        if isinstance(item, int):
            return str(item)
        start, stop, step = ("" if bound is None else str(bound) for bound in item)
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


@dataclass(frozen=True)
class Minus:
    """`-`: every value negated."""

    def apply(self, tensor: Tensor) -> Tensor:
        return -tensor

    def __str__(self) -> str:
        return "-"


Transform: TypeAlias = Transpose | Flip | Slice | Minus


def canonical(transforms: Iterable[Transform]) -> tuple[Transform, ...]:
    """The same map without pairs that undo each other, and with at most one minus, at the end.

    >>> canonical([Minus(), Transpose(), Transpose(), Flip((0,))])
    (Flip(dims=(0,)), Minus())
    """
    kept: list[Transform] = []
    negative = False
    for transform in transforms:
        if isinstance(transform, Minus):
            negative = not negative
        elif kept and kept[-1] == transform and not isinstance(transform, Slice):
            kept.pop()
        else:
            kept.append(transform)
    return (*kept, Minus()) if negative else tuple(kept)


def print_transforms(transforms: Sequence[Transform], name: str = "") -> str:
    """The right side of an equation, by default with its name left out: `-.T`. `parse_transforms` reads it back."""
    sign = "-" if Minus() in transforms else ""
    return sign + name + "".join(str(transform) for transform in transforms if transform != Minus())
