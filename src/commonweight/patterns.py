"""The notation: a few numbers that say which connections of a linear map use the same weight.

Leaves (`dense`, `conv2d`, `circulant`, ...) and combinators (`kron`, `copies`, `block`, `compose`, `transpose`) make a
`Pattern`. It knows its shapes and counts in closed form; `tiemap()` writes the connections out, one by one, only when
asked. Units are numbered along the flattened shapes, weights along the flattened `weight_shape`.

    >>> pattern = conv2d((1, 28, 28), 6, kernel=5)
    >>> pattern.n_full, pattern.n_connections, pattern.n_weights
    (2709504, 86400, 150)
    >>> len(pattern.tiemap().users(0))
    576
"""

from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commonweight.errors import PatternError, require_kind
from commonweight.sizes import Shape, Sizes, meetings, per_axis, permutations, positions, refuse_too_many, subset, whole
from commonweight.tiemap import Index, TieMap


class Pattern:
    """A linear map that says which of its connections share a weight; two with the same notation are equal.

    Attributes:
        in_shape, out_shape: shapes of one input and one output sample (first axis: channels), of n_in = I and n_out = O
            units.
        weight_shape: the natural shape of the free weights, n_weights = P in number.
        n_connections: E, the multiplications for one sample; as many weights if nothing were shared.
        n_full: O · I, the connections of the fully connected map between the same units.

    Raises:
        PatternError: sizes that cannot be; from `tiemap` and `index`, more than 2^27 connections or cells.
    """

    def __init__(
        self, notation: str, in_shape: Shape, out_shape: Shape, weight_shape: Shape, n_connections: int
    ) -> None:
        if min(*in_shape, *out_shape, *weight_shape) < 1:
            raise PatternError(f"{notation} leads {in_shape} to {out_shape} by weights {weight_shape}: none may be 0.")
        self.notation, self.in_shape, self.out_shape = notation, in_shape, out_shape
        self.weight_shape, self.n_connections = weight_shape, n_connections
        self.n_in, self.n_out, self.n_weights = prod(in_shape), prod(out_shape), prod(weight_shape)
        self.n_full = self.n_out * self.n_in

    def index(self) -> Index:
        """The weight of each cell of the (O, I) matrix, -1 where nothing connects."""
        refuse_too_many(self.notation, self.n_full, "cells")
        return self._index()

    def tiemap(self) -> TieMap:
        """Every connection, written out: what this pattern means."""
        refuse_too_many(self.notation, self.n_connections, "connections")
        return self._tiemap()

    def _index(self) -> Index:  # a subclass defines this or the next
        tiemap = self.tiemap()
        index = np.full(self.n_full, -1)
        index[tiemap.cells] = tiemap.weight
        return index.reshape(self.n_out, self.n_in)

    def _tiemap(self) -> TieMap:
        return TieMap.from_matrix(self.index())

    def __repr__(self) -> str:
        return self.notation

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.notation == other.notation

    def __hash__(self) -> int:
        return hash(self.notation)


class Dense(Pattern):
    """`dense(n_in, n_out)`: every input to every output, nothing shared: W[o, i] = θ[o, i]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        n_in, n_out = whole("dense", n_in, n_out)
        super().__init__(f"dense({n_in}, {n_out})", (n_in,), (n_out,), (n_out, n_in), n_in * n_out)

    def _index(self) -> Index:
        return np.arange(self.n_full).reshape(self.n_out, self.n_in)


class Single(Pattern):
    """`single(n_in, n_out)`: all connections use one weight, as in weight-agnostic networks (Gaier & Ha 2019)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        n_in, n_out = whole("single", n_in, n_out)
        super().__init__(f"single({n_in}, {n_out})", (n_in,), (n_out,), (1,), n_in * n_out)

    def _index(self) -> Index:
        return np.zeros((self.n_out, self.n_in), dtype=np.int64)


class Toeplitz(Pattern):
    """`toeplitz(n_in, n_out)`: one weight for each diagonal: W[o, i] = θ[o - i + n_in - 1]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        n_in, n_out = whole("toeplitz", n_in, n_out)
        super().__init__(f"toeplitz({n_in}, {n_out})", (n_in,), (n_out,), (n_in + n_out - 1,), n_in * n_out)

    def _index(self) -> Index:
        return np.arange(self.n_out)[:, None] - np.arange(self.n_in) + self.n_in - 1


class Circulant(Pattern):
    """`circulant(n)`: each column is the one before, turned by one: W[o, i] = θ[(o - i) mod n], so that y = θ ⊛ x."""

    def __init__(self, n: int) -> None:
        (n,) = whole("circulant", n)
        super().__init__(f"circulant({n})", (n,), (n,), (n,), n * n)

    def _index(self) -> Index:
        return (np.arange(self.n_out)[:, None] - np.arange(self.n_in)) % self.n_in


class Diagonal(Pattern):
    """`diagonal(n)`: each unit to its own output: W[i, i] = θ[i]."""

    def __init__(self, n: int) -> None:
        (n,) = whole("diagonal", n)
        super().__init__(f"diagonal({n})", (n,), (n,), (n,), n)

    def _tiemap(self) -> TieMap:
        return TieMap(self.n_out, self.n_in, self.n_weights, *[np.arange(self.n_in)] * 3)


class Symmetric(Pattern):
    """`symmetric(n)`: W = Wᵀ; θ holds the upper triangle with the diagonal, row by row."""

    def __init__(self, n: int) -> None:
        (n,) = whole("symmetric", n)
        super().__init__(f"symmetric({n})", (n,), (n,), (n * (n + 1) // 2,), n * n)

    def _index(self) -> Index:
        index = np.zeros((self.n_out, self.n_in), dtype=np.int64)
        index[np.triu_indices(self.n_in)] = np.arange(self.n_weights)
        return np.maximum(index, index.T)


class Antisymmetric(Pattern):
    """`antisymmetric(n)`: W = -Wᵀ; θ holds the triangle above the diagonal, row by row; n is at least 2."""

    def __init__(self, n: int) -> None:
        (n,) = whole("antisymmetric", n)
        super().__init__(f"antisymmetric({n})", (n,), (n,), (n * (n - 1) // 2,), n * (n - 1))

    def _tiemap(self) -> TieMap:
        row, col = np.triu_indices(self.n_in, 1)
        out, inp = np.stack([row, col], 1).ravel(), np.stack([col, row], 1).ravel()
        weight, sign = np.arange(len(row)).repeat(2), np.tile([1, -1], len(row))
        return TieMap(self.n_out, self.n_in, self.n_weights, out, inp, weight, sign)


class Table(Pattern):
    """`table(rows, n_in)`: output o connects to the inputs rows[o], a weight for each connection.

    `kron(table(...), conv2d(...))` is LeNet-5's third layer (LeCun et al. 1998, table I).
    """

    def __init__(self, rows: Iterable[Iterable[int]], n_in: int) -> None:
        (n_in,) = whole("table", n_in)
        require_kind(rows, Iterable, "table takes a list of inputs for each output", PatternError)
        self.rows = tuple(subset(f"table: row {o}", row, n_in) for o, row in enumerate(rows))
        connections = sum(map(len, self.rows))
        notation = f"table({[list(row) for row in self.rows]}, {n_in})"
        super().__init__(notation, (n_in,), (len(self.rows),), (connections,), connections)

    def _tiemap(self) -> TieMap:
        out = np.repeat(np.arange(self.n_out), [len(row) for row in self.rows])
        inp = np.concatenate(self.rows).astype(np.int64)  # an empty row alone would make them floats
        return TieMap(self.n_out, self.n_in, self.n_weights, out, inp, np.arange(self.n_weights))


class Orbits(Pattern):
    """`orbits(in_perms, out_perms)`: exactly the linear maps that commute with a group of permutations.

    Generator g moves input i to in_perms[g][i] and output o to out_perms[g][o]; connections that the group carries
    into each other share a weight: W[g o, g i] = W[o, i]. Translations give circular convolution, all permutations
    Deep Sets (Zaheer et al. 2017), quarter turns p4 (Cohen & Welling 2016). Linear in O · I · generators.

        >>> orbits([[1, 2, 0]], [[1, 2, 0]]).tiemap().same_ties(circulant(3).tiemap())
        True
    """

    def __init__(self, in_perms: ArrayLike, out_perms: ArrayLike) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        self.in_perms, self.out_perms = permutations("in_perms", in_perms), permutations("out_perms", out_perms)
        (count, n_in), (out_count, n_out) = self.in_perms.shape, self.out_perms.shape
        if count != out_count:
            raise PatternError(f"orbits: got {count} input and {out_count} output permutations; give as many of each.")
        refuse_too_many("orbits", count * n_out * n_in, "cells to move")
        cell = np.arange(n_out * n_in).reshape(n_out, n_in)
        moved = [cell[np.ix_(o, i)].ravel() for i, o in zip(self.in_perms, self.out_perms, strict=True)]
        edges = (np.tile(cell.ravel(), count), np.concatenate(moved))
        graph = coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(cell.size, cell.size))
        self._orbit: NDArray[np.int32] = connected_components(graph, directed=False)[1].reshape(n_out, n_in)
        digest = sha256(self.in_perms.tobytes() + self.out_perms.tobytes()).hexdigest()[:12]
        notation = f"orbits(<{count} permutations of {n_in} inputs and {n_out} outputs, {digest}>)"
        super().__init__(notation, (n_in,), (n_out,), (int(self._orbit.max()) + 1,), n_out * n_in)

    def _index(self) -> Index:
        return self._orbit.astype(np.int64)


class Conv(Pattern):
    """A window that slides over the input: what `conv1d`, `conv2d`, `conv3d`, `tiled` and `local` make.

    Along an axis, output o meets with kernel position k the input i = o · stride - padding + k · dilation (as torch:
    cross-correlation). Positions that are equal modulo `period` share their kernel: period 1 is a convolution, a
    period of all positions a locally connected layer. Axes are independent, so that counts are products over axes.

    `weight_shape` is (out_channels, in_channels / groups, slots of each axis). A slot is a kernel position of a residue
    modulo the period, residue by residue; a kernel position that only ever meets padding is no weight and has none.
    `options` is how kernel, stride and the others are written, those at their defaults left out.
    """

    def __init__(
        self,
        name: str,
        in_shape: Sequence[int],
        out_channels: int,
        kernel: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        period: Sizes | None = 1,
    ) -> None:
        n_axes = int(name[4]) if name.startswith("conv") else max(np.size(in_shape) - 1, 1)
        self.in_channels, *self.size = per_axis(name, "in_shape", in_shape, n_axes + 1, one_for_all=False)
        out_channels, groups = whole(f"{name}: out_channels and groups", out_channels, groups)
        self.out_channels, self.groups, self.padding_mode = out_channels, groups, padding_mode
        each = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        sizes = {key: per_axis(name, key, value, n_axes) for key, value in each.items()}
        self.kernel, self.stride, self.padding, self.dilation = sizes.values()
        if padding_mode not in ("zeros", "circular"):
            raise PatternError(f"{name}: padding_mode is 'zeros' or 'circular'; got {padding_mode!r}.")
        if self.in_channels % groups or out_channels % groups:
            given = f"{self.in_channels} input and {out_channels} output channels"
            raise PatternError(f"{name}: groups divides the channels; got {groups} groups for {given}.")
        places = positions(name, self.size, **sizes)
        self.period = tuple(places) if period is None else per_axis(name, "period", period, n_axes)
        along = zip(self.size, places, *sizes.values(), strict=True)
        met = [meetings(*axis, circular=padding_mode == "circular") for axis in along]
        channels = (out_channels, self.in_channels // groups)
        options: dict[str, Any] = sizes | {"period": (1,) if period is None else self.period}
        options |= {"groups": (groups,), "padding_mode": (padding_mode,)}
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "period": 1, "groups": 1, "padding_mode": "zeros"}
        words = ((key, n[0] if len(set(n)) == 1 else n) for key, n in options.items())
        self.options = ", ".join(f"{key}={value!r}" for key, value in words if value != defaults.get(key))
        in_shape = (self.in_channels, *self.size)
        notation = f"{name}({in_shape}, {out_channels}, {self.options})"
        slots = (sum(min(n, period) for n in taps) for taps, period in zip(met, self.period, strict=True))
        weight_shape, connections = (*channels, *slots), prod(channels) * prod(map(sum, met))
        super().__init__(notation, in_shape, (out_channels, *places), weight_shape, connections)

    def _axis(self, axis: int) -> tuple[Index, Index, Index]:
        """Every (output, input, slot) that meet along one axis."""
        size, kernel = self.size[axis], self.kernel[axis]
        out, tap = np.divmod(np.arange(self.out_shape[axis + 1] * kernel), kernel)
        inp = out * self.stride[axis] - self.padding[axis] + tap * self.dilation[axis]
        if self.padding_mode == "circular":
            inp %= size
        inside = (inp >= 0) & (inp < size)
        slot = (out % self.period[axis] * kernel + tap)[inside]
        return out[inside], inp[inside], ((np.bincount(slot) > 0).cumsum() - 1)[slot]  # numbered without gaps

    @property
    def is_convolution(self) -> bool:
        """Whether every position uses one and the same kernel."""
        return all(period == 1 or n == 1 for period, n in zip(self.period, self.out_shape[1:], strict=True))

    def _tiemap(self) -> TieMap:
        # Each output channel meets the input channels of its group; then each axis multiplies what meets so far.
        _, c_in = self.weight_shape[:2]
        out, weight = np.repeat(np.arange(self.out_channels), c_in), np.arange(self.out_channels * c_in)
        inp = out // (self.out_channels // self.groups) * c_in + weight % c_in
        for axis in range(len(self.size)):
            axis_out, axis_inp, slot = self._axis(axis)
            out = (out[:, None] * self.out_shape[axis + 1] + axis_out).ravel()
            inp = (inp[:, None] * self.size[axis] + axis_inp).ravel()
            weight = (weight[:, None] * self.weight_shape[axis + 2] + slot).ravel()
        return TieMap(self.n_out, self.n_in, self.n_weights, out, inp, weight)


# The notation: conv2d(in_shape, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros")
conv1d, conv2d, conv3d = (partial(Conv, f"conv{n}d") for n in (1, 2, 3))
tiled = partial(Conv, "tiled")  # period=t: the kernel repeats only every t positions (Le et al. 2010)
local = partial(Conv, "local", period=None)  # every position has a kernel of its own
dense, single, toeplitz, circulant, diagonal = Dense, Single, Toeplitz, Circulant, Diagonal
symmetric, antisymmetric, table, orbits = Symmetric, Antisymmetric, Table, Orbits


def _pattern(name: str, part: Pattern) -> Pattern:
    require_kind(part, Pattern, f"{name} takes patterns, such as dense(2, 3)", PatternError)
    return part


class Transpose(Pattern):
    """`transpose(a)`: Wᵀ, with the weights of a; a convolution becomes the transposed one of torch."""

    def __init__(self, a: Pattern) -> None:
        self.a = _pattern("transpose", a)
        super().__init__(f"transpose({a})", a.out_shape, a.in_shape, a.weight_shape, a.n_connections)

    def _tiemap(self) -> TieMap:
        a = self.a.tiemap()
        return TieMap(a.n_in, a.n_out, a.n_weights, a.inp, a.out, a.weight, a.sign)


class Kron(Pattern):
    """`kron(a, b)`: the connections of b, once for each connection of a; weight (p, q) for p of a and q of b.

    A convolution of many channels is dense ⊗ translation, a depthwise one diagonal ⊗ translation. Signs multiply.
    """

    def __init__(self, a: Pattern, b: Pattern) -> None:
        self.a, self.b = _pattern("kron", a), _pattern("kron", b)
        in_shape = (a.n_in * b.in_shape[0], *b.in_shape[1:])
        out_shape = (a.n_out * b.out_shape[0], *b.out_shape[1:])
        weight_shape = (*a.weight_shape, *b.weight_shape)
        super().__init__(f"kron({a}, {b})", in_shape, out_shape, weight_shape, a.n_connections * b.n_connections)

    def _tiemap(self) -> TieMap:
        a, b = self.a.tiemap(), self.b.tiemap()
        out, inp, weight = (
            (x[:, None] * n + y).ravel()
            for x, n, y in ((a.out, b.n_out, b.out), (a.inp, b.n_in, b.inp), (a.weight, b.n_weights, b.weight))
        )
        return TieMap(self.n_out, self.n_in, self.n_weights, out, inp, weight, np.outer(a.signs, b.signs).ravel())


class Copies(Pattern):
    """`copies(n, a)`: n networks, or n time steps, that use the same weights, side by side."""

    def __init__(self, n: int, a: Pattern) -> None:
        (self.n,), self.a = whole("copies", n), _pattern("copies", a)
        shapes = ((self.n, *a.in_shape), (self.n, *a.out_shape), a.weight_shape)
        super().__init__(f"copies({self.n}, {a})", *shapes, self.n * a.n_connections)

    def _tiemap(self) -> TieMap:
        a, copy = self.a.tiemap(), np.arange(self.n)[:, None]
        units = ((copy * a.n_out + a.out).ravel(), (copy * a.n_in + a.inp).ravel())
        return TieMap(self.n_out, self.n_in, a.n_weights, *units, np.tile(a.weight, self.n), np.tile(a.signs, self.n))


class Block(Pattern):
    """`block(a, b, ...)`: side by side, nothing shared between them. Equal parts are stacked along a new first axis."""

    def __init__(self, *parts: Pattern) -> None:
        if not parts:
            raise PatternError("block puts one or more patterns side by side; got none.")
        self.parts, n = tuple(_pattern("block", part) for part in parts), len(parts)
        self.is_stack = len(set(parts)) == 1
        shapes = ("in_shape", "out_shape", "weight_shape")
        if self.is_stack:
            in_shape, out_shape, weight_shape = ((n, *getattr(parts[0], shape)) for shape in shapes)
        else:
            in_shape, out_shape, weight_shape = ((sum(prod(getattr(p, shape)) for p in parts),) for shape in shapes)
        notation = f"block({', '.join(map(str, parts))})"
        super().__init__(notation, in_shape, out_shape, weight_shape, sum(p.n_connections for p in parts))

    def _tiemap(self) -> TieMap:
        written = {part: part.tiemap() for part in set(self.parts)}
        maps = [written[part] for part in self.parts]
        starts = np.cumsum([(0, 0, 0), *((m.n_out, m.n_in, m.n_weights) for m in maps)], axis=0)[:-1]
        lists = [(m.out + o, m.inp + i, m.weight + w, m.signs) for m, (o, i, w) in zip(maps, starts, strict=True)]
        return TieMap(self.n_out, self.n_in, self.n_weights, *(np.concatenate(x) for x in zip(*lists, strict=True)))


class Compose(Pattern):
    """`compose(a, weights_of=b)`: ties among the weights of a: a's weights, in order, are the cells of b's matrix.

    The matrix of b, shape (b.n_out, b.n_in), has a cell for each weight of a: W = expand_a(expand_b(θ)). Where b has no
    connection, those of a are left out.
    """

    def __init__(self, a: Pattern, *, weights_of: Pattern) -> None:
        self.a, self.b = _pattern("compose", a), _pattern("compose", weights_of)
        notation = f"compose({a}, weights_of={weights_of})"
        if a.n_weights != weights_of.n_full:
            given = f"the first has {a.n_weights} weights, the second {weights_of.n_full} cells to set them"
            raise PatternError(f"{notation}: {given}: make the two numbers equal.")
        kept = a.n_connections
        if weights_of.n_connections < weights_of.n_full:
            kept = int(np.count_nonzero(weights_of.index().ravel()[a.tiemap().weight] >= 0))
        super().__init__(notation, a.in_shape, a.out_shape, weights_of.weight_shape, kept)

    def _tiemap(self) -> TieMap:
        a, b = self.a.tiemap(), self.b.tiemap()
        weight, sign = np.full(b.n_full, -1), np.ones(b.n_full, dtype=np.int8)
        weight[b.cells], sign[b.cells] = b.weight, b.signs
        kept = weight[a.weight] >= 0
        signs = (sign[a.weight] * a.signs)[kept]
        return TieMap(a.n_out, a.n_in, b.n_weights, a.out[kept], a.inp[kept], weight[a.weight][kept], signs)


def _transposed(
    name: str, in_shape: Sequence[int], out_channels: int, kernel: Sizes, output_padding: Sizes = 0, **options: Any
) -> Pattern:
    """The transpose of the convolution that leads from the output back to the input; weights as torch shapes them."""
    n_axes = int(name[-2])
    channels, *size = per_axis(name, "in_shape", in_shape, n_axes + 1, one_for_all=False)
    given = {"stride": 1, "padding": 0, "dilation": 1, **options, "kernel": kernel, "output_padding": output_padding}
    along_axes = given.keys() - {"groups", "padding_mode"}
    each = {key: np.array(per_axis(name, key, given[key], n_axes)) for key in along_axes}
    if (each["output_padding"] >= each["stride"]).any():
        raise PatternError(f"{name}: output_padding {output_padding} is not less than the stride {given['stride']}.")
    size = (np.array(size) - 1) * each["stride"] - 2 * each["padding"] + each["dilation"] * (each["kernel"] - 1) + 1
    size += each["output_padding"]
    if size.min() < 1:
        raise PatternError(f"{name}: outputs of {tuple(size.tolist())} units cannot be: use less padding.")
    return Transpose(Conv(f"conv{n_axes}d", (out_channels, *size.tolist()), channels, kernel, **options))


conv_transpose1d, conv_transpose2d, conv_transpose3d = (partial(_transposed, f"conv_transpose{n}d") for n in (1, 2, 3))
transpose, kron, copies, block, compose = Transpose, Kron, Copies, Block, Compose


def bias(kind: str, out_shape: Shape) -> Pattern | None:
    """The connections of a bias to a constant 1: `none`, `unit` (one weight for each output) or `channel` (shared)."""
    if kind == "none":
        return None
    if kind == "unit":
        return Dense(1, prod(out_shape))
    if kind == "channel":
        return Kron(Dense(1, prod(out_shape[:1])), Single(1, prod(out_shape[1:])))
    raise PatternError(f"bias is 'none', 'unit' (one an output) or 'channel' (one a channel); got {kind!r}.")
