"""Any nesting of patterns that is one sliding window, seen as one: a geometry, and the weight of each kernel cell.

LeNet-5's subsampling is six windows that slide over a map each and use one weight for their four inputs; its third
layer is a window whose kernel exists only for some pairs of maps; `copies`, `block`, `compose` and `kron` of
convolutions are convolutions. `sliding` finds the geometry and numbers the kernel, so that all of them run as one call.
"""

from math import gcd, prod
from typing import NamedTuple

import numpy as np

from commonweight.operators import spread
from commonweight.patterns import Block, Compose, Conv, Copies, Kron, Pattern, Transpose
from commonweight.tiemap import Index

MIXER_CELLS = 2**24  # a channel mixer is written out as a matrix up to this size


class Axis(NamedTuple):
    """One axis of a window: output o meets with tap k the input o · stride - left + k · dilation.

    Outputs that are equal modulo `residues` share their kernel; `circular` inputs are taken modulo the size.
    """

    size: int
    positions: int
    taps: int
    stride: int
    left: int
    dilation: int
    residues: int
    circular: bool

    @property
    def span(self) -> int:
        """How far the kernel reaches."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def right(self) -> int:
        """The padding behind the input that the last position needs; negative when it ends before the input does."""
        return (self.positions - 1) * self.stride + self.span - self.size - self.left


class Sliding(NamedTuple):
    """A window that slides over a map of channels, or its transpose.

    Attributes:
        in_channels, out_channels, groups, axes: the geometry, before transposition.
        numbered: what stands in each kernel cell (see `spread`), shape (out_channels, in_channels / groups, then for
            each axis residues · taps, residue by residue); None when cell p holds weight p.
        transposed: whether the map is Wᵀ of that geometry.
    """

    in_channels: int
    out_channels: int
    groups: int
    axes: tuple[Axis, ...]
    numbered: Index | None
    transposed: bool = False

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """The shape of `numbered`, also where it is None."""
        slots = (axis.residues * axis.taps for axis in self.axes)
        return (self.out_channels, self.in_channels // self.groups, *slots)

    def cells(self) -> Index:
        """What stands in each kernel cell, written out."""
        if self.numbered is not None:
            return self.numbered
        return np.arange(1, prod(self.kernel_shape) + 1).reshape(self.kernel_shape)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Input and output shape of the map, channels first."""
        inside = (self.in_channels, *(axis.size for axis in self.axes))
        outside = (self.out_channels, *(axis.positions for axis in self.axes))
        return (outside, inside) if self.transposed else (inside, outside)

    @property
    def multiplications(self) -> int:
        """The multiplications of one sample, those of empty cells and of padding included."""
        per_channel = prod(axis.positions * axis.taps for axis in self.axes)
        return self.out_channels * (self.in_channels // self.groups) * per_channel


def sliding(pattern: Pattern) -> Sliding | None:
    """The pattern as one sliding window; None when it is not seen to be one.

    Units and weights keep their order, so that only shapes differ. Seen are convolutions (local, tiled, transposed),
    `kron(mixer, convolution)` with any mixer of channels, `kron` of convolutions along different axes, and `copies`,
    `block` and `compose` of what is seen.

    >>> from commonweight.patterns import compose, conv2d, diagonal, kron, single
    >>> subsampling = kron(diagonal(6), compose(conv2d((1, 28, 28), 1, kernel=2, stride=2), weights_of=single(4, 1)))
    >>> window = sliding(subsampling)
    >>> window.groups, window.kernel_shape, window.numbered[1].tolist()
    (6, (6, 1, 2, 2), [[[2, 2], [2, 2]]])
    """
    if isinstance(pattern, Conv):
        return _convolution(pattern)
    if isinstance(pattern, Kron):
        return _kron(pattern)
    if not isinstance(pattern, Transpose | Copies | Compose) and not (isinstance(pattern, Block) and pattern.is_stack):
        return None
    part = pattern.parts[0] if isinstance(pattern, Block) else pattern.a
    window = sliding(part)
    if window is None:
        return None
    if isinstance(pattern, Transpose):
        return window._replace(transposed=not window.transposed)
    if isinstance(pattern, Compose):
        numbers = spread.numbers(pattern.b)
        in_order = window.numbered is None
        cells = numbers.reshape(window.kernel_shape) if in_order else spread.substitute(window.cells(), numbers)
        return window._replace(numbered=cells)
    if isinstance(pattern, Copies):
        n, numbered = pattern.n, np.concatenate([window.cells()] * pattern.n)
    else:
        n = len(pattern.parts)
        numbered = np.concatenate(spread.repeat(window.cells(), n, part.n_weights))
    return window._replace(
        in_channels=n * window.in_channels,
        out_channels=n * window.out_channels,
        groups=n * window.groups,
        numbered=numbered,
    )


def _convolution(conv: Conv) -> Sliding:
    axes, slots = zip(*(_axis(conv, axis) for axis in range(len(conv.size))), strict=True)
    numbered = None
    if any(slot is not None and not slot.all() for slot in slots):
        numbered = np.arange(1, prod(conv.weight_shape[:2]) + 1).reshape(conv.weight_shape[:2])
        for n_slots, slot in zip(conv.weight_shape[2:], slots, strict=True):
            slot = np.arange(1, n_slots + 1) if slot is None else slot
            numbered = spread.pairs(numbered[..., None], slot, n_slots)
    return Sliding(conv.in_channels, conv.out_channels, conv.groups, axes, numbered)


def _axis(conv: Conv, axis: int) -> tuple[Axis, Index | None]:
    """One axis of a convolution, cut to the taps that ever meet the input; its slots, numbered from 1, 0 if dead.

    None for the slots when all are alive and in order.
    """
    size, kernel, stride = conv.size[axis], conv.kernel[axis], conv.stride[axis]
    left, dilation, positions = conv.padding[axis], conv.dilation[axis], conv.out_shape[axis + 1]
    residues, circular = min(conv.period[axis], positions), conv.padding_mode == "circular"
    if conv.weight_shape[axis + 2] == residues * kernel:  # no slot is dead
        return Axis(size, positions, kernel, stride, left, dilation, residues, circular), None
    out, tap = np.divmod(np.arange(positions * kernel), kernel)
    inp = out * stride - left + tap * dilation
    alive = circular | ((inp >= 0) & (inp < size))
    live = np.zeros((residues, kernel), dtype=bool)
    live[out[alive] % residues, tap[alive]] = True
    used = np.flatnonzero(live.any(axis=0))
    first, last = int(used[0]), int(used[-1])
    slots = (live.cumsum() * live.ravel()).reshape(live.shape)[:, first : last + 1]
    seen = Axis(size, positions, last + 1 - first, stride, left - first * dilation, dilation, residues, circular)
    return seen, slots.ravel()


def _kron(pattern: Kron) -> Sliding | None:
    a, b = sliding(pattern.a), sliding(pattern.b)
    if b is None:
        return None
    if a is not None and b.in_channels == b.out_channels == 1 and a.transposed == b.transposed:
        cells = spread.pairs(a.cells()[..., None], b.cells().ravel(), pattern.b.n_weights)
        window = a._replace(axes=a.axes + b.axes)
        return window._replace(numbered=cells.reshape(window.kernel_shape))
    if pattern.a.n_full > MIXER_CELLS:
        return None
    # Otherwise a mixes the channels of b. Where it mixes within blocks only, these become groups.
    mixer = spread.numbers(pattern.a)
    mixer = mixer.T if b.transposed else mixer
    n_out, n_in = mixer.shape
    groups = _diagonal_blocks(mixer)
    b = b if groups == n_out == n_in else _ungrouped(b)
    blocks = np.stack([mixer.reshape(groups, n_out // groups, groups, n_in // groups)[g, :, g] for g in range(groups)])
    kernel = b.cells().reshape(b.out_channels, 1, b.in_channels // b.groups, -1)
    cells = spread.pairs(blocks[:, :, None, :, None, None], kernel, pattern.b.n_weights)
    window = b._replace(in_channels=n_in * b.in_channels, out_channels=n_out * b.out_channels, groups=groups * b.groups)
    return window._replace(numbered=cells.reshape(window.kernel_shape))


def _ungrouped(window: Sliding) -> Sliding:
    """The same window in one group: between groups, its kernel is empty."""
    out_channels, channels, *slots = window.kernel_shape
    cells = np.zeros((window.groups, out_channels // window.groups, window.groups, channels, *slots), dtype=np.int64)
    for group, part in enumerate(np.split(window.cells(), window.groups)):
        cells[group, :, group] = part
    return window._replace(groups=1, numbered=cells.reshape(out_channels, window.in_channels, *slots))


def _diagonal_blocks(mixer: Index) -> int:
    """The largest number of equal blocks along the diagonal outside of which a numbered matrix is empty."""
    n_out, n_in = mixer.shape
    row, col = np.nonzero(mixer)
    most = gcd(n_out, n_in)
    counts = (g for g in range(most, 0, -1) if most % g == 0)
    return next(g for g in counts if (row * g // n_out == col * g // n_in).all())
