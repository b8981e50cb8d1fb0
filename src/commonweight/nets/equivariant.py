"""Convolutions that turn with their input: patterns whose kernels are tied by the orbits of a group.

An ordinary convolution commutes with shifts: shift the image, and the maps shift. A group convolution (Cohen & Welling,
"Group Equivariant Convolutional Networks", 2016) commutes with quarter turns too (the group p4), or with quarter turns
and mirrors (p4m). Each output channel becomes a *field* of |G| maps, one for each element g of the group:

    y[o, g, p] = b[o] + Σ_i Σ_h Σ_q θ[i → o, g⁻¹h, g⁻¹q] · x[i, h, p + q]

and an element a acts on fields by (a·y)[o, a g, a p] = y[o, g, p]: it turns every map and permutes them.

That is no new kind of layer. The sum is a plain convolution with a bank of |G| times as many kernels, whose cells
W[(o, g), (i, h, q)] are equal along the orbits of a ↦ (a g, a h, a q). So the pattern is written with what there is:

    compose(conv2d(...), weights_of=kron(dense(I, O), orbits(moves of (h, q), moves of g)))

`cw.count` finds its weights by that, and `lower` runs it as one call of torch's convolution, on kernels gathered by one
index. As each orbit has one cell with g = identity, the free weights are the kernels of that map: |G| times fewer than
the bank has. A test shows that nothing is missing: on a small circular image the pattern ties exactly what
`patterns.orbits` does for the whole group, shifts included, and its dimension is Burnside's number.

    >>> import torch
    >>> from commonweight.tied import Tied
    >>> first, second = Tied(p4_conv2d((3, 9, 9), 4, kernel=3)), Tied(p4_conv2d((4, 4, 7, 7), 8, kernel=3))
    >>> second
    Tied(p4_conv2d((4, 4, 7, 7), 8, kernel=3), bias='channel')
    >>> x = torch.randn(2, 3, 9, 9)
    >>> y, turned = second(first(x)), second(first(P4.act(1, x)))
    >>> torch.allclose(turned, P4.act(1, y, field=True), atol=1e-5)
    True
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from commonweight.errors import PatternError, require_kind
from commonweight.patterns import Compose, Conv, Dense, Kron, Orbits
from commonweight.sizes import WHOLE, Shape, integers, whole
from commonweight.tied import Tied
from commonweight.tiemap import Index


@dataclass(frozen=True)
class PlaneGroup:
    """Quarter turns of the plane, or quarter turns and mirrors; element m · turns + r mirrors m times, then turns r.

    Attributes:
        name: p1, p4 or p4m, as crystallographers call the group together with the shifts.
        turns: 4, or 1 for none.
        mirrors: whether left and right can be exchanged.

    Raises:
        PatternError: a number that is no element; a tensor to act on that is no image, or no field of this group.

    >>> P4M.order, P4M.product(1, 4), P4M.product(4, 1)
    (8, 5, 7)
    """

    name: str
    turns: int
    mirrors: bool

    @property
    def order(self) -> int:
        """|G|, the number of elements; 0 is the identity."""
        return self.turns * (1 + self.mirrors)

    def product(self, a: int, b: int) -> int:
        """The element that does b first, then a: turnʳ mirrorᵐ · turnˢ mirrorⁿ = turn^(r ± s) mirror^(m + n)."""
        (m, r), (n, s) = self._parts(a), self._parts(b)
        return (m ^ n) * self.turns + (r - s if m else r + s) % self.turns

    def act(self, element: int, x: Tensor, *, field: bool = False) -> Tensor:
        """Turns x of shape (..., H, W), or a field (..., |G|, H, W), whose maps it also permutes."""
        mirrored, turns = self._parts(element)
        require_kind(x, Tensor, f"{self.name} turns a tensor", PatternError)
        if x.ndim < 2 or (field and x.shape[-3:-2] != (self.order,)):
            kind = f"fields of shape (..., {self.order}, H, W)" if field else "images of shape (..., H, W)"
            raise PatternError(f"{self.name} turns {kind}; got {tuple(x.shape)}.")
        moved = torch.rot90(x.flip(-1) if mirrored else x, turns, (-2, -1))
        if not field:
            return moved
        return moved.index_select(-3, torch.tensor(np.argsort(self.moves(element)), device=x.device))

    def moves(self, element: int) -> Index:
        """Where it takes the maps g of a field: to element · g."""
        return np.array([self.product(element, g) for g in range(self.order)])

    def _parts(self, element: int) -> tuple[int, int]:
        """How many mirrors and how many turns it is."""
        if not isinstance(element, WHOLE) or not 0 <= element < self.order:
            raise PatternError(f"{self.name} has the elements 0 to {self.order - 1}; got {element!r}.")
        return divmod(int(element), self.turns)

    @property
    def generators(self) -> tuple[int, ...]:
        """Elements of which all others are products."""
        turn = 1 % self.turns
        return (turn, self.turns) if self.mirrors else (turn,)


P1, P4, P4M = PlaneGroup("p1", 1, False), PlaneGroup("p4", 4, False), PlaneGroup("p4m", 4, True)


class GroupConv(Compose):
    """A convolution whose bank of kernels is tied by a group that moves kernel cells and the maps of a field.

    Args:
        notation: how it is written.
        conv: the plain convolution with the whole bank.
        in_shape: of one sample: channels, then the maps of a field if the input has them, then the positions.
        ties: which cells (h, q) of a field's kernel share a weight, in each of the maps g of an output field: a row for
            each g, its orbits numbered from the first row on.

    Attributes:
        out_shape: (out_channels, |G|, *positions).
        weight_shape: (out_channels, those axes of in_shape that are no positions, *kernel), the kernels of g = 0.

    Raises:
        PatternError: a stride that leaves a rest behind the last window, so that windows would not turn with the input;
            a kernel position that only ever meets padding.
    """

    def __init__(self, notation: str, conv: Conv, in_shape: Sequence[int], ties: Orbits) -> None:
        for size, kernel, stride, padding in zip(conv.size, conv.kernel, conv.stride, conv.padding, strict=True):
            if (size + 2 * padding - kernel) % stride:
                raise PatternError(
                    f"{notation}: windows of {kernel} with stride {stride} and padding {padding} leave a rest on an "
                    f"axis of {size} and would not turn or mirror with it: make {size} + 2·{padding} - {kernel} a "
                    f"multiple of {stride}."
                )
        if conv.weight_shape[2:] != conv.kernel:
            raise PatternError(
                f"{notation}: parts of the kernel only ever meet padding: use a smaller kernel or less padding."
            )
        bank = Kron(Dense(conv.in_channels * prod(conv.kernel) // ties.n_in, conv.out_channels // ties.n_out), ties)
        super().__init__(conv, weights_of=bank)
        self.notation, self.conv, self.in_shape, positions = notation, conv, tuple(in_shape), conv.out_shape[1:]
        self.out_shape = (conv.out_channels // ties.n_out, ties.n_out, *positions)
        self.weight_shape = (self.out_shape[0], *self.in_shape[: -len(positions)], *conv.kernel)


def plane_conv(
    group: PlaneGroup,
    in_shape: Sequence[int],
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    padding_mode: str = "zeros",
) -> GroupConv:
    """A group convolution of the plane: `p4_conv2d` and its like are this, with the group filled in.

    Args:
        group: `P1`, `P4` or `P4M`.
        in_shape: (channels, height, width) of images, which are lifted to fields, or (channels, |G|, height, width).
        out_channels: number of fields.
        kernel, stride, padding: one number each, for both axes.
        padding_mode: "zeros" (the default) or "circular".

    Raises:
        PatternError: no group, another shape, two numbers for two axes, another padding mode, and what `GroupConv`
            refuses.

    Example:
        >>> pattern = plane_conv(P4M, (3, 28, 28), 16, kernel=5)
        >>> pattern.out_shape, pattern.weight_shape, pattern.n_connections
        ((16, 8, 24, 24), (16, 3, 5, 5), 5529600)
    """
    require_kind(group, PlaneGroup, "plane_conv takes a group: P1, P4 or P4M", PatternError)
    name, order = f"{group.name}_conv2d", group.order
    require_kind(in_shape, Sequence, f"{name} takes an input shape, such as (3, 28, 28)", PatternError)
    require_kind(padding_mode, str, f"{name}: padding_mode is 'zeros' or 'circular'", PatternError)
    in_shape = tuple(in_shape)
    sizes = {"out_channels": out_channels, "kernel": kernel, "stride": stride, "padding": padding}
    if not all(isinstance(n, WHOLE) and n >= (key != "padding") for key, n in sizes.items()):
        raise PatternError(
            f"{name}: out_channels, kernel and stride are one whole number of at least 1 each, padding one of at least "
            f"0; a window is as high as it is wide; got {sizes}."
        )
    if (
        len(in_shape) not in (3, 4)
        or in_shape[1:-2] not in ((), (order,))
        or not all(isinstance(n, WHOLE) for n in in_shape)
    ):
        raise PatternError(
            f"{name} takes images of shape (channels, height, width) or fields of shape (channels, {order}, height, "
            f"width); got {in_shape}."
        )
    return _plane_conv(group, tuple(map(int, in_shape)), *map(int, sizes.values()), padding_mode)


@lru_cache(maxsize=64)
def _plane_conv(
    group: PlaneGroup, in_shape: Shape, out_channels: int, kernel: int, stride: int, padding: int, padding_mode: str
) -> GroupConv:
    """`plane_conv` of numbers that are known to be whole; kept, because a net has several layers of one pattern."""
    *maps, n_rows, n_columns = in_shape
    channels = out_channels * group.order
    conv = Conv("conv2d", (prod(maps), n_rows, n_columns), channels, kernel, stride, padding, padding_mode=padding_mode)
    notation = f"{group.name}_conv2d({in_shape}, {out_channels}, {conv.options})"
    return GroupConv(notation, conv, in_shape, _plane_ties(group, len(maps) == 2, kernel))


@lru_cache(maxsize=64)
def _plane_ties(group: PlaneGroup, is_field: bool, kernel: int) -> Orbits:
    """The orbits of the group on kernel cells and maps: the same for all layers of a net."""
    cells = torch.arange((group.order if is_field else 1) * kernel**2, device="cpu").reshape(-1, kernel, kernel)
    cell_moves = [_where_each_went(group.act(a, cells, field=is_field)) for a in group.generators]
    return Orbits(cell_moves, [group.moves(a) for a in group.generators])


# (in_shape, out_channels, kernel, stride=1, padding=0, padding_mode="zeros"); p1 only shifts: the plain convolution.
p1_conv2d, p4_conv2d, p4m_conv2d = (partial(plane_conv, group) for group in (P1, P4, P4M))


def reversal_conv1d(
    in_shape: Sequence[int],
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    complement: Sequence[int] | None = None,
) -> GroupConv:
    """A convolution of sequences for which forwards and backwards are the same, as for the two strands of DNA.

    The group has two elements. The second one reverses time, exchanges the two maps of a field, and takes channel c of
    a sequence to `complement[c]` (Shrikumar, Greenside & Kundaje, "Reverse-complement parameter sharing improves deep
    learning models for genomics", 2017).

    Args:
        in_shape: (channels, time) of a sequence, or (channels, 2, time) of fields.
        out_channels: number of fields.
        kernel, stride, padding: as in torch.
        complement: for a sequence only; (3, 2, 1, 0) for A, C, G, T. Every channel stays when omitted.

    Raises:
        PatternError: another shape, a complement that is not its own inverse, and what `GroupConv` refuses.

    Example:
        >>> pattern = reversal_conv1d((4, 100), 8, kernel=11, complement=(3, 2, 1, 0))
        >>> pattern.out_shape, pattern.weight_shape
        ((8, 2, 90), (8, 4, 11))
    """
    require_kind(in_shape, Sequence, "reversal_conv1d takes an input shape, such as (4, 100)", PatternError)
    in_shape = tuple(in_shape)
    if len(in_shape) < 2 or in_shape[1:-1] not in ((), (2,)) or not all(isinstance(n, WHOLE) for n in in_shape):
        raise PatternError(
            f"reversal_conv1d takes sequences of shape (channels, time) or fields of shape (channels, 2, time); got "
            f"{in_shape}."
        )
    *maps, length = in_shape = tuple(map(int, in_shape))
    (out_channels,) = whole("reversal_conv1d: out_channels", out_channels)
    partner = np.arange(maps[-1])[::-1] if len(maps) == 2 else np.arange(maps[-1])
    if complement is not None:
        paired = "reversal_conv1d: complement pairs the channels of a sequence, as (3, 2, 1, 0) does for A, C, G, T"
        partner = integers(paired, complement, 1)
        complement = tuple(partner.tolist())
        is_pairing = sorted(complement) == list(range(maps[0])) and (partner[partner] == range(maps[0])).all()
        if len(maps) == 2 or not is_pairing:
            raise PatternError(f"{paired}; got {complement} for an input of shape {in_shape}.")
    conv = Conv("conv1d", (prod(maps), length), 2 * out_channels, kernel, stride, padding)
    cells = torch.arange(len(partner) * conv.kernel[0], device="cpu").reshape(len(partner), -1)
    moves = [_where_each_went(numbers) for numbers in (cells, cells[partner.copy()].flip(1))]
    options = conv.options if complement is None else f"{conv.options}, complement={complement}"
    notation = f"reversal_conv1d({in_shape}, {out_channels}, {options})"
    return GroupConv(notation, conv, in_shape, Orbits(moves, [[0, 1], [1, 0]]))


def _where_each_went(numbers: Tensor) -> Index:
    """The new place of each number, from the numbers in their new places."""
    places: Index = numbers.flatten().argsort().numpy()
    return places


class GroupPool(nn.Module):
    """The largest or the mean of the maps of a field: (B, channels, |G|, *positions) -> (B, channels, *positions).

    What comes out turns with the input as an image does; a mean or maximum over positions after it does not change.

    Args:
        kind: "max" (the default) or "mean".

    Raises:
        PatternError: another kind, or what is no field.
    """

    def __init__(self, kind: str = "max") -> None:
        super().__init__()
        if kind not in ("max", "mean"):
            raise PatternError(f"A field is pooled by its 'max' or its 'mean'; got {kind!r}.")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        require_kind(x, Tensor, "GroupPool takes a field, a tensor", PatternError)
        if x.ndim < 3:
            raise PatternError(f"GroupPool takes fields of shape (B, channels, |G|, *positions); got {tuple(x.shape)}.")
        return x.amax(2) if self.kind == "max" else x.mean(2)

    def extra_repr(self) -> str:
        """The kind."""
        return repr(self.kind)


def plain(layer: Tied) -> nn.Conv1d | nn.Conv2d:
    """The layer of a group convolution as torch's own, with the whole bank as its weights, to export.

    Fields are flattened into channels: (B, channels · |H|, *positions) -> (B, out_channels · |G|, *positions).

    Raises:
        PatternError: a layer of another pattern, or with a bias for each unit.

    Example:
        >>> plain(Tied(p4m_conv2d((3, 8, 8), 2, kernel=3)))
        Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1))
    """
    require_kind(layer, Tied, "plain takes a layer, a Tied of a group convolution", PatternError)
    pattern, bias = layer.pattern, layer.bias
    if not isinstance(pattern, GroupConv) or (bias is not None and bias.ndim > 1):
        raise PatternError(
            f"{layer} is no group convolution with a bias for each channel or none: only that is a plain convolution."
        )
    conv, kind = pattern.conv, nn.Conv2d if len(pattern.conv.size) == 2 else nn.Conv1d
    names = ("in_channels", "out_channels", "stride", "padding", "padding_mode")
    settings: dict[str, Any] = {"kernel_size": conv.kernel} | {name: getattr(conv, name) for name in names}
    twin = kind(bias=bias is not None, device="meta", **settings)
    bank = pattern.b.tiemap().expand(layer.weight.detach().flatten())
    twin.weight = nn.Parameter(bank.reshape(twin.weight.shape))
    if bias is not None:
        twin.bias = nn.Parameter(bias.detach().repeat_interleave(pattern.out_shape[1]))
    return twin
