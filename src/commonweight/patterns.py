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
from numpy.typing import ArrayLike

from commonweight.errors import PatternError
from commonweight.tiemap import Index, TieMap

Shape = tuple[int, ...]
Sizes = int | Sequence[int]
WHOLE = (int, np.integer)


class Pattern:
    """A linear map that says which of its connections share a weight; two with the same notation are equal.

    Attributes:
        in_shape, out_shape: shapes of one input and one output sample (first axis: channels), of n_in = I and n_out = O
            units.
        weight_shape: the natural shape of the free weights, n_weights = P in number.
        n_connections: E, the multiplications for one sample; as many weights if nothing were shared.
        n_full: O · I, the connections of the fully connected map between the same units.
    """

    def __init__(
        self, notation: str, in_shape: Shape, out_shape: Shape, weight_shape: Shape, n_connections: int
    ) -> None:
        if any(not isinstance(n, WHOLE) or n < 1 for n in (*in_shape, *out_shape, *weight_shape)):
            raise PatternError(
                f"{notation} has inputs {in_shape}, outputs {out_shape} and weights {weight_shape}: each of these "
                f"numbers must be whole and at least 1."
            )
        self.notation, self.in_shape, self.out_shape = notation, in_shape, out_shape
        self.weight_shape, self.n_connections = weight_shape, n_connections
        self.n_in, self.n_out, self.n_weights = prod(in_shape), prod(out_shape), prod(weight_shape)
        self.n_full = self.n_out * self.n_in

    def index(self) -> Index:
        """The weight of each cell of the (O, I) matrix, -1 where nothing connects."""
        tiemap = self.tiemap()
        index = np.full(self.n_full, -1)
        index[tiemap.cells] = tiemap.weight
        return index.reshape(self.n_out, self.n_in)

    def tiemap(self) -> TieMap:
        """Every connection, written out: what this pattern means. (A subclass defines this or `index`.)"""
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
        super().__init__(f"dense({n_in}, {n_out})", (n_in,), (n_out,), (n_out, n_in), n_in * n_out)

    def index(self) -> Index:
        return np.arange(self.n_full).reshape(self.n_out, self.n_in)


class Single(Pattern):
    """`single(n_in, n_out)`: all connections use one weight, as in weight-agnostic networks (Gaier & Ha 2019)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(f"single({n_in}, {n_out})", (n_in,), (n_out,), (1,), n_in * n_out)

    def index(self) -> Index:
        return np.zeros((self.n_out, self.n_in), dtype=np.int64)


class Toeplitz(Pattern):
    """`toeplitz(n_in, n_out)`: one weight for each diagonal: W[o, i] = θ[o - i + n_in - 1]."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(f"toeplitz({n_in}, {n_out})", (n_in,), (n_out,), (n_in + n_out - 1,), n_in * n_out)

    def index(self) -> Index:
        return np.arange(self.n_out)[:, None] - np.arange(self.n_in) + self.n_in - 1


class Circulant(Pattern):
    """`circulant(n)`: each column is the one before, turned by one: W[o, i] = θ[(o - i) mod n], so that y = θ ⊛ x."""

    def __init__(self, n: int) -> None:
        super().__init__(f"circulant({n})", (n,), (n,), (n,), n * n)

    def index(self) -> Index:
        return (np.arange(self.n_out)[:, None] - np.arange(self.n_in)) % self.n_in


class Diagonal(Pattern):
    """`diagonal(n)`: each unit to its own output: W[i, i] = θ[i]."""

    def __init__(self, n: int) -> None:
        super().__init__(f"diagonal({n})", (n,), (n,), (n,), n)

    def index(self) -> Index:
        return np.where(np.eye(self.n_in, dtype=bool), np.arange(self.n_in), -1)


class Symmetric(Pattern):
    """`symmetric(n)`: W = Wᵀ; θ holds the upper triangle with the diagonal, row by row."""

    def __init__(self, n: int) -> None:
        super().__init__(f"symmetric({n})", (n,), (n,), (n * (n + 1) // 2,), n * n)

    def index(self) -> Index:
        index = np.zeros((self.n_out, self.n_in), dtype=np.int64)
        index[np.triu_indices(self.n_in)] = np.arange(self.n_weights)
        return np.maximum(index, index.T)


class Antisymmetric(Pattern):
    """`antisymmetric(n)`: W = -Wᵀ; θ holds the triangle above the diagonal, row by row; n is at least 2."""

    def __init__(self, n: int) -> None:
        super().__init__(f"antisymmetric({n})", (n,), (n,), (n * (n - 1) // 2,), n * (n - 1))

    def tiemap(self) -> TieMap:
        row, col = np.triu_indices(self.n_in, 1)
        both, weight = np.arange(len(row)).repeat(2), np.arange(len(row))
        out, inp = np.stack([row, col], 1).ravel(), np.stack([col, row], 1).ravel()
        return TieMap(self.n_out, self.n_in, len(weight), out, inp, both, np.tile([1, -1], len(row)))


class Table(Pattern):
    """`table(rows, n_in)`: output o connects to the inputs rows[o], a weight for each connection.

    `kron(table(...), conv2d(...))` is LeNet-5's third layer (LeCun et al. 1998, table I).
    """

    def __init__(self, rows: Iterable[Iterable[int]], n_in: int) -> None:
        self.rows = tuple(tuple(sorted(row)) for row in rows)
        for o, row in enumerate(self.rows):
            if len(set(row)) < len(row) or not set(row) <= set(range(n_in)):
                raise PatternError(f"table: row {o} lists inputs 0 to {n_in - 1}, each at most once; got {list(row)}.")
        connections = sum(map(len, self.rows))
        notation = f"table({[list(row) for row in self.rows]}, {n_in})"
        super().__init__(notation, (n_in,), (len(self.rows),), (connections,), connections)

    def tiemap(self) -> TieMap:
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

        self.in_perms, self.out_perms = _permutations("in_perms", in_perms), _permutations("out_perms", out_perms)
        (count, n_in), (out_count, n_out) = self.in_perms.shape, self.out_perms.shape
        if count != out_count:
            raise PatternError(
                f"orbits: each generator permutes inputs and outputs; got {count} for the inputs, {out_count} for the "
                f"outputs: give as many of each."
            )
        cell = np.arange(n_out * n_in).reshape(n_out, n_in)
        moved = [cell[np.ix_(o, i)].ravel() for i, o in zip(self.in_perms, self.out_perms, strict=True)]
        edges = (np.tile(cell.ravel(), count), np.concatenate(moved))
        graph = coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(cell.size, cell.size))
        self._index: Index = connected_components(graph, directed=False)[1].reshape(n_out, n_in)
        digest = sha256(self.in_perms.tobytes() + self.out_perms.tobytes()).hexdigest()[:12]
        notation = f"orbits(<{count} permutations of {n_in} inputs and {n_out} outputs, {digest}>)"
        super().__init__(notation, (n_in,), (n_out,), (int(self._index.max()) + 1,), n_out * n_in)

    def index(self) -> Index:
        return self._index


def _permutations(name: str, perms: ArrayLike) -> Index:
    array = np.array(perms, ndmin=2)
    if array.ndim != 2 or array.size == 0 or (np.sort(array, axis=1) != np.arange(array.shape[1])).any():
        raise PatternError(f"orbits: {name} is a list of permutations of 0..n-1; got an array of shape {array.shape}.")
    return array.astype(np.int64)


class Conv(Pattern):
    """A window that slides over the input: what `conv1d`, `conv2d`, `conv3d`, `tiled` and `local` make.

    Along an axis, output o meets with kernel position k the input i = o · stride - padding + k · dilation (as torch:
    cross-correlation). Positions that are equal modulo `period` share their kernel: period 1 is a convolution, a
    period of all positions a locally connected layer. Axes are independent, so that counts are products over axes.

    `weight_shape` is (out_channels, in_channels / groups, slots of each axis). A slot is a kernel position of a residue
    modulo the period, residue by residue; a kernel position that only ever meets padding is no weight and has none.
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
        n_axes = int(name[4]) if name.startswith("conv") else max(len(in_shape) - 1, 1)
        self.in_channels, *self.size = _per_axis(name, "in_shape", in_shape, n_axes + 1)
        self.out_channels, self.groups, self.padding_mode = out_channels, groups, padding_mode
        each = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        sizes = {key: _per_axis(name, key, value, n_axes) for key, value in each.items()}
        self.kernel, self.stride, self.padding, self.dilation = sizes.values()
        if padding_mode not in ("zeros", "circular"):
            raise PatternError(f"{name}: padding_mode is 'zeros' or 'circular'; got {padding_mode!r}.")
        if groups < 1 or self.in_channels % groups or out_channels % groups:
            given = f"{self.in_channels} input and {out_channels} output channels"
            raise PatternError(f"{name}: groups divides the channels; got {groups} groups for {given}.")
        span = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        rooms = [n + 2 * p - s for n, p, s in zip(self.size, self.padding, span, strict=True)]
        if min(rooms) < 0:
            raise PatternError(
                f"{name}: the kernel spans {tuple(span)}, more than the input of {tuple(self.size)} with padding "
                f"{self.padding}: use a smaller kernel or more padding."
            )
        positions = [room // stride + 1 for room, stride in zip(rooms, self.stride, strict=True)]
        self.period = tuple(positions) if period is None else _per_axis(name, "period", period, n_axes)
        self.axes = [self._axis(axis, n) for axis, n in enumerate(positions)]
        channels = (out_channels, self.in_channels // groups)
        options: dict[str, Any] = sizes | {"period": self.period, "groups": (groups,), "padding_mode": (padding_mode,)}
        short = {key: n[0] if len(set(n)) == 1 else n for key, n in options.items()}
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
        defaults["period"] = short["period"] if period is None else 1
        words = [f"{key}={value!r}" for key, value in short.items() if value != defaults.get(key)]
        in_shape = (self.in_channels, *self.size)
        notation = f"{name}({in_shape}, {out_channels}, {', '.join(words)})"
        weight_shape = (*channels, *(int(slot.max(initial=-1)) + 1 for _, _, slot in self.axes))
        connections = prod(channels) * prod(len(out) for out, _, _ in self.axes)
        super().__init__(notation, in_shape, (out_channels, *positions), weight_shape, connections)

    def _axis(self, axis: int, positions: int) -> tuple[Index, Index, Index]:
        """Every (output, input, slot) that meet along one axis."""
        size, kernel, period = self.size[axis], self.kernel[axis], self.period[axis]
        out, tap = np.divmod(np.arange(positions * kernel), kernel)
        inp = out * self.stride[axis] - self.padding[axis] + tap * self.dilation[axis]
        if self.padding_mode == "circular":
            inp %= size
            if len(np.unique(inp[:kernel])) < kernel:
                raise PatternError(f"A circular kernel of {kernel} laps an axis of {size}: use a smaller kernel.")
        inside = (inp >= 0) & (inp < size)
        slot = (out % period * kernel + tap)[inside]
        return out[inside], inp[inside], ((np.bincount(slot) > 0).cumsum() - 1)[slot]  # numbered without gaps

    @property
    def is_convolution(self) -> bool:
        """Whether every position uses one and the same kernel."""
        return all(period == 1 or n == 1 for period, n in zip(self.period, self.out_shape[1:], strict=True))

    def tiemap(self) -> TieMap:
        # Each output channel meets the input channels of its group; then each axis multiplies what meets so far.
        _, c_in = self.weight_shape[:2]
        out, weight = np.repeat(np.arange(self.out_channels), c_in), np.arange(self.out_channels * c_in)
        inp = out // (self.out_channels // self.groups) * c_in + weight % c_in
        for axis, (axis_out, axis_inp, slot) in enumerate(self.axes):
            out = (out[:, None] * self.out_shape[axis + 1] + axis_out).ravel()
            inp = (inp[:, None] * self.size[axis] + axis_inp).ravel()
            weight = (weight[:, None] * self.weight_shape[axis + 2] + slot).ravel()
        return TieMap(self.n_out, self.n_in, self.n_weights, out, inp, weight)


def _per_axis(name: str, key: str, sizes: Sizes, n_axes: int) -> Shape:
    """One number for each axis."""
    numbers = tuple(sizes) if isinstance(sizes, Iterable) else (sizes,) * n_axes
    least = 0 if "padding" in key else 1
    if len(numbers) != n_axes or any(not isinstance(n, WHOLE) or n < least for n in numbers):
        raise PatternError(f"{name}: {key} is {n_axes} whole numbers of at least {least}, one an axis; got {sizes}.")
    return tuple(int(n) for n in numbers)


# The notation: conv2d(in_shape, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros")
conv1d, conv2d, conv3d = (partial(Conv, f"conv{n}d") for n in (1, 2, 3))
tiled = partial(Conv, "tiled")  # period=t: the kernel repeats only every t positions (Le et al. 2010)
local = partial(Conv, "local", period=None)  # every position has a kernel of its own
dense, single, toeplitz, circulant, diagonal = Dense, Single, Toeplitz, Circulant, Diagonal
symmetric, antisymmetric, table, orbits = Symmetric, Antisymmetric, Table, Orbits


class Transpose(Pattern):
    """`transpose(a)`: Wᵀ, with the weights of a; a convolution becomes the transposed one of torch."""

    def __init__(self, a: Pattern) -> None:
        self.a = a
        super().__init__(f"transpose({a})", a.out_shape, a.in_shape, a.weight_shape, a.n_connections)

    def tiemap(self) -> TieMap:
        a = self.a.tiemap()
        return TieMap(a.n_in, a.n_out, a.n_weights, a.inp, a.out, a.weight, a.sign)


class Kron(Pattern):
    """`kron(a, b)`: the connections of b, once for each connection of a; weight (p, q) for p of a and q of b.

    A convolution of many channels is dense ⊗ translation, a depthwise one diagonal ⊗ translation. Signs multiply.
    """

    def __init__(self, a: Pattern, b: Pattern) -> None:
        self.a, self.b = a, b
        in_shape = (a.n_in * b.in_shape[0], *b.in_shape[1:])
        out_shape = (a.n_out * b.out_shape[0], *b.out_shape[1:])
        weight_shape = (*a.weight_shape, *b.weight_shape)
        super().__init__(f"kron({a}, {b})", in_shape, out_shape, weight_shape, a.n_connections * b.n_connections)

    def tiemap(self) -> TieMap:
        a, b = self.a.tiemap(), self.b.tiemap()
        out, inp, weight = (
            (x[:, None] * n + y).ravel()
            for x, n, y in ((a.out, b.n_out, b.out), (a.inp, b.n_in, b.inp), (a.weight, b.n_weights, b.weight))
        )
        return TieMap(self.n_out, self.n_in, self.n_weights, out, inp, weight, np.outer(a.signs, b.signs).ravel())


class Copies(Pattern):
    """`copies(n, a)`: n networks, or n time steps, that use the same weights, side by side."""

    def __init__(self, n: int, a: Pattern) -> None:
        self.n, self.a = n, a
        shapes = ((n, *a.in_shape), (n, *a.out_shape), a.weight_shape)
        super().__init__(f"copies({n}, {a})", *shapes, n * a.n_connections)

    def tiemap(self) -> TieMap:
        return _side_by_side([self.a] * self.n, shared=True)


class Block(Pattern):
    """`block(a, b, ...)`: side by side, nothing shared between them. Equal parts are stacked along a new first axis."""

    def __init__(self, *parts: Pattern) -> None:
        if not parts:
            raise PatternError("block puts one or more patterns side by side; got none.")
        self.parts, self.is_stack, n = parts, len(set(parts)) == 1, len(parts)
        shapes = ("in_shape", "out_shape", "weight_shape")
        if self.is_stack:
            in_shape, out_shape, weight_shape = ((n, *getattr(parts[0], shape)) for shape in shapes)
        else:
            in_shape, out_shape, weight_shape = ((sum(prod(getattr(p, shape)) for p in parts),) for shape in shapes)
        notation = f"block({', '.join(map(str, parts))})"
        super().__init__(notation, in_shape, out_shape, weight_shape, sum(p.n_connections for p in parts))

    def tiemap(self) -> TieMap:
        return _side_by_side(self.parts, shared=False)


def _side_by_side(parts: Sequence[Pattern], shared: bool) -> TieMap:
    """Block-diagonal map of the parts, with the same weights in all of them, or with weights of their own."""
    n_out = n_in = n_weights = 0
    lists: list[tuple[ArrayLike, ...]] = []
    for m in (part.tiemap() for part in parts):
        start = 0 if shared else n_weights
        lists.append((m.out + n_out, m.inp + n_in, m.weight + start, m.signs))
        n_out, n_in, n_weights = n_out + m.n_out, n_in + m.n_in, start + m.n_weights
    return TieMap(n_out, n_in, n_weights, *(np.concatenate(x) for x in zip(*lists, strict=True)))


class Compose(Pattern):
    """`compose(a, weights_of=b)`: ties among the weights of a: a's weights, in order, are the cells of b's matrix.

    The matrix of b, shape (b.n_out, b.n_in), has a cell for each weight of a: W = expand_a(expand_b(θ)). Where b has no
    connection, those of a are left out.
    """

    def __init__(self, a: Pattern, *, weights_of: Pattern) -> None:
        self.a, self.b = a, weights_of
        notation = f"compose({a}, weights_of={weights_of})"
        if a.n_weights != weights_of.n_full:
            raise PatternError(
                f"{notation}: the first has {a.n_weights} weights, but the second has {weights_of.n_out} × "
                f"{weights_of.n_in} cells to set them: make the two numbers equal."
            )
        kept = a.n_connections
        if weights_of.n_connections < weights_of.n_full:
            kept = int(np.count_nonzero(weights_of.index().ravel()[a.tiemap().weight] >= 0))
        super().__init__(notation, a.in_shape, a.out_shape, weights_of.weight_shape, kept)

    def tiemap(self) -> TieMap:
        a, b = self.a.tiemap(), self.b.tiemap()
        weight, sign = np.full(b.n_full, -1), np.ones(b.n_full, dtype=np.int8)
        weight[b.cells], sign[b.cells] = b.weight, b.signs
        kept = weight[a.weight] >= 0
        signs = (sign[a.weight] * a.signs)[kept]
        return TieMap(a.n_out, a.n_in, b.n_weights, a.out[kept], a.inp[kept], weight[a.weight][kept], signs)


def _conv_transpose(
    name: str, in_shape: Sequence[int], out_channels: int, kernel: Sizes, output_padding: Sizes = 0, **options: Any
) -> Pattern:
    """The transpose of the convolution that leads from the output back to the input; weights as torch shapes them."""
    n_axes = int(name[-2])
    channels, *size = _per_axis(name, "in_shape", in_shape, n_axes + 1)
    given = {"stride": 1, "padding": 0, "dilation": 1, **options, "kernel": kernel, "output_padding": output_padding}
    each = {key: np.array(_per_axis(name, key, value, n_axes)) for key, value in given.items() if key != "groups"}
    if (each["output_padding"] >= each["stride"]).any():
        raise PatternError(
            f"{name}: output_padding is less than the stride; got {output_padding} and {given['stride']}."
        )
    size = (np.array(size) - 1) * each["stride"] - 2 * each["padding"] + each["dilation"] * (each["kernel"] - 1) + 1
    size += each["output_padding"]
    return Transpose(Conv(f"conv{n_axes}d", (out_channels, *size.tolist()), channels, kernel, **options))


conv_transpose1d, conv_transpose2d, conv_transpose3d = (
    partial(_conv_transpose, f"conv_transpose{n}d") for n in (1, 2, 3)
)
transpose, kron, copies, block, compose = Transpose, Kron, Copies, Block, Compose


def bias(kind: str, out_shape: Shape) -> Pattern | None:
    """The connections of a bias to a constant 1: `none`, `unit` (one weight for each output) or `channel` (shared)."""
    if kind == "none":
        return None
    if kind == "unit":
        return Dense(1, prod(out_shape))
    if kind == "channel":
        return Kron(Dense(1, out_shape[0]), Single(1, prod(out_shape[1:])))
    raise PatternError(f"bias is 'none', 'unit' (one an output) or 'channel' (one a channel); got {kind!r}.")
