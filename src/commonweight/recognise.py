"""From connections back to notation: which pattern, if any, a tie map is.

Two facts make the search short. Nearly every pattern is a Kronecker product of small maps: channels ⊗ rows ⊗ columns
for a convolution, copies ⊗ part for `copies`. And a product shows in few connections: if two of them exist, or use one
weight, so do the two that swap their inner places. So a sample gives the possible sizes of factors, the first block
gives each factor, each factor is named on its own, and what is put together is compared with the given map, connection
by connection: a wrong answer is impossible.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice, pairwise, product
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import PatternError, require_kind
from commonweight.patterns import (
    Antisymmetric,
    Block,
    Circulant,
    Conv,
    Copies,
    Dense,
    Diagonal,
    Kron,
    Pattern,
    Single,
    Symmetric,
    Table,
    Toeplitz,
    Transpose,
)
from commonweight.tiemap import Index, TieMap

Size = tuple[int, int]  # outputs and inputs of a factor
Known = dict[tuple[Any, ...], Pattern | None]  # by all that a canonical map consists of
_LEAVES = (Dense, Single, Diagonal, Circulant, Toeplitz, Symmetric, Antisymmetric)
_WINDOW = ("kernel", "stride", "padding", "dilation", "period")
_SAMPLE = 256  # pairs of connections of each kind by which the sizes of factors are tested
_SPARSE = 16  # most places that a window meets for each of them that is a connection, not padding
_CHOICES = 4  # values of one setting tried where the windows alone leave a choice


def recognise(tiemap: TieMap) -> Pattern | None:
    """The simplest pattern that ties the same connections, or None; their order and the weights' numbers play no part.

    Of several patterns that mean the same map, the first of this list is returned:

    1. `dense`, `single`, `diagonal`, `circulant`, `toeplitz`, `symmetric`, `antisymmetric`;
    2. `copies` of a part, and `block` of equal parts, as many as there are; such a block of convolutions is written as
       their groups, and copies of convolutions as one of more axes if it has windows larger than 1 along each;
    3. a convolution: on one axis before two and three, zeros before circular, `local` or `tiled` if not all positions
       share a kernel; then the transpose of one; last those with a kernel longer than the axis;
    4. `block` of different parts, as many as there are;
    5. `table`, where nothing is shared;
    6. `kron` of two of all these.

    What connections alone cannot tell: a kernel that covers the input from `dense`; windows of 1 × k on one channel
    from `copies` of a convolution; kernel positions that only ever meet padding from none; a stride where there is one
    position; in what order somebody numbered the weights; where between two blocks a run of unused units is divided (it
    is taken as the end of the first, or else as the beginning of the second).

    What is not looked for: a hidden permutation of units (their order is trusted); the ties of `orbits`, `compose`,
    hashing and codebooks, unless one of the patterns above has the same; circular windows with a stride or dilation
    longer than the axis.

        >>> from commonweight import patterns
        >>> recognise(patterns.conv2d((3, 8, 8), 4, kernel=3, stride=2, padding=1).tiemap())
        conv2d((3, 8, 8), 4, kernel=3, stride=2, padding=1)
        >>> recognise(TieMap.from_matrix([[0, 1], [1, 1]])) is None
        True

    Raises:
        PatternError: no tie map.
    """
    require_kind(tiemap, TieMap, "recognise takes a tie map, such as pattern.tiemap()", PatternError)
    return _named(tiemap, {})


def _named(part: TieMap, known: Known) -> Pattern | None:
    """What `recognise` says of a part, which it may have said before."""
    ours = part.canonical()
    key = (ours.n_out, ours.n_in, ours.cells.tobytes(), ours.weight.tobytes(), ours.signs.tobytes())
    if key not in known:
        known[key] = next((pattern for pattern in _candidates(ours, known) if _means(pattern, ours)), None)
    return known[key]


def _means(pattern: Pattern, ours: TieMap) -> bool:
    """Whether the pattern ties exactly the same connections; written out only if the counts agree."""
    counts = ("n_out", "n_in", "n_weights", "n_connections")
    return all(getattr(pattern, n) == getattr(ours, n) for n in counts) and pattern.tiemap().same_ties(ours)


def _candidates(ours: TieMap, known: Known) -> Iterator[Pattern]:
    """What a canonical map could be, in order of preference; some are wrong."""
    yield from _leaves(ours)
    sizes = _inner_sizes(ours)
    part, stack = _stack(ours, sizes, known)
    if isinstance(part, _LEAVES):
        yield from stack
    if any(isinstance(pattern, Copies) for pattern in stack):  # they can be one window along one more axis
        wholes = ((whole, conv) for whole, conv in _windows(ours, sizes) if type(whole) is type(part))
        yield from (whole for whole, conv in wholes if min(conv.kernel) > 1)
    yield from stack
    yield from (window for window, _ in _windows(ours, sizes))
    yield from _blocks(ours, known)
    if ours.n_weights == ours.n_connections:
        yield _table(ours)
    yield from islice(_products(ours, sizes, known), _CHOICES)


def _leaves(ours: TieMap) -> Iterator[Pattern]:
    yield from (leaf(ours.n_in, ours.n_out) for leaf in (Dense, Single))
    if ours.n_in == ours.n_out:
        yield from (leaf(ours.n_in) for leaf in (Diagonal, Circulant))
    yield Toeplitz(ours.n_in, ours.n_out)
    if ours.n_in == ours.n_out > 1:
        yield from (leaf(ours.n_in) for leaf in (Symmetric, Antisymmetric))


def _table(ours: TieMap) -> Pattern:
    rows = np.split(ours.inp, np.searchsorted(ours.out, np.arange(1, ours.n_out)))
    return Table([row.tolist() for row in rows], ours.n_in)


# Products: W = outer ⊗ inner, where unit u of W is unit u // n of the outer and u % n of the inner factor.


def _inner_sizes(ours: TieMap) -> list[Size]:
    """Sizes that an inner factor may have, the smallest first: those that no sample and no count rules out."""
    divisors = ([d for d in range(1, n + 1) if n % d == 0] for n in (ours.n_out, ours.n_in))
    sizes = np.array(sorted(product(*divisors), key=lambda size: (size[0] * size[1], size))[1:-1]).reshape(-1, 2)
    first, second = _pairs(ours)
    for chunk in np.split(np.arange(len(first)), [6, 60]):  # few pairs rule out most sizes
        sizes = sizes[_swaps_fit(ours, sizes, first[chunk], second[chunk])]
    return [(int(n_out), int(n_in)) for n_out, n_in in sizes if _counts_multiply(ours, (int(n_out), int(n_in)))]


def _swaps_fit(ours: TieMap, sizes: Index, one: Index, other: Index) -> NDArray[np.bool_]:
    """For each size, whether all pairs of connections find the two that swap their inner places, tied as they are."""
    n_out, n_in = sizes[:, :1], sizes[:, 1:]
    fits, swapped = np.ones(len(sizes), dtype=bool), []
    tied = ours.weight[one] == ours.weight[other]
    for a, b in ((one, other), (other, one)):
        out = ours.out[a] // n_out * n_out + ours.out[b] % n_out
        cell = out * ours.n_in + ours.inp[a] // n_in * n_in + ours.inp[b] % n_in
        place = np.minimum(np.searchsorted(ours.cells, cell), ours.n_connections - 1)
        fits &= ((ours.cells[place] == cell) & (~tied | (ours.weight[place] == ours.weight[a]))).all(1)
        swapped.append(place)
    if ours.sign is None:
        return fits
    # Signs multiply. Where the four use the same weights in pairs, it does not matter what sign a weight itself has.
    weights = np.sort(ours.weight[np.stack(swapped)], axis=0), np.sort(ours.weight[[one, other]], axis=0)[:, None]
    even = ours.sign[swapped[0]] * ours.sign[swapped[1]] == ours.sign[one] * ours.sign[other]
    fits &= (even | (weights[0] != weights[1]).any(0)).all(1)
    return fits


def _counts_multiply(ours: TieMap, size: Size) -> bool:
    """Whether the factors have what a product of this map's counts and signs needs: samples miss one odd cell."""
    inner, outer = _inner(ours, size), _outer(ours, size)
    counts = ("n_connections", "n_weights")
    if any(getattr(inner, n) * getattr(outer, n) != getattr(ours, n) for n in counts):
        return False
    if not np.array_equal(np.sort(np.outer(outer.uses, inner.uses), axis=None), np.sort(ours.uses)):
        return False
    every = np.arange(ours.n_connections)
    return ours.sign is None or bool(_swaps_fit(ours, np.array([size]), np.zeros_like(every), every)[0])


def _pairs(ours: TieMap) -> tuple[Index, Index]:
    """Pairs of connections: any two, two in a row of the list, two that use one weight, and so on in turn."""
    draw, last = np.random.default_rng(0), ours.n_connections - 1
    first = draw.integers(last + 1, size=_SAMPLE)
    users = [np.flatnonzero(ours.weight == weight) for weight in ours.weight[first[:16]]]
    tied = np.concatenate([draw.choice(some, size=(_SAMPLE // 16, 2)) for some in users])
    pairs = ((first, draw.permutation(first)), (first, np.minimum(first + 1, last)), (tied[:, 0], tied[:, 1]))
    one, other = np.transpose(pairs, (1, 2, 0)).reshape(2, -1)
    return one, other


def _inner(ours: TieMap, size: Size) -> TieMap:
    """The inner factor of that size, if there is one: the block of the first connection."""
    n_out, n_in = size
    out, inp = ours.out[0] // n_out * n_out, ours.inp[0] // n_in * n_in
    rows = slice(0, np.searchsorted(ours.out, out + n_out))
    chosen = np.flatnonzero(ours.inp[rows] // n_in * n_in == inp)
    return _part(ours, chosen, size, ours.out[chosen] - out, ours.inp[chosen] - inp)


def _outer(ours: TieMap, size: Size) -> TieMap:
    """The outer factor to an inner one of that size: the connections at the place of the first in its block."""
    n_out, n_in = size
    rows = np.flatnonzero(ours.out % n_out == ours.out[0] % n_out)
    chosen = rows[ours.inp[rows] % n_in == ours.inp[0] % n_in]
    rest = (ours.n_out // n_out, ours.n_in // n_in)
    return _part(ours, chosen, rest, ours.out[chosen] // n_out, ours.inp[chosen] // n_in)


def _part(ours: TieMap, chosen: Index, size: Size, out: Index, inp: Index) -> TieMap:
    """Some connections as a map of their own, between units of new numbers."""
    weight = ours.weight[chosen] - ours.weight[chosen].min()
    used = np.bincount(weight) > 0
    sign = None if ours.sign is None else ours.sign[chosen]
    return TieMap(*size, int(used.sum()), out, inp, (np.cumsum(used) - 1)[weight], sign)


def _products(ours: TieMap, sizes: Sequence[Size], known: Known) -> Iterator[Pattern]:
    """Products of any two patterns, the inner one as large as it can be."""
    for size in sizes:
        inner = _named(_inner(ours, size), known)
        outer = _named(_outer(ours, size), known) if inner else None
        if inner and isinstance(outer, Kron):  # (a ⊗ b) ⊗ c, where b ⊗ c may have a name
            wider = _named(_inner(ours, (outer.b.n_out * size[0], outer.b.n_in * size[1])), known)
            if wider and not isinstance(wider, Kron):
                inner, outer = wider, outer.a
        if inner and outer:
            yield Kron(outer, inner)


# Equal and different parts side by side.


def _stack(ours: TieMap, sizes: Sequence[Size], known: Known) -> tuple[Pattern | None, list[Pattern]]:
    """The smallest part of which the map is n equal ones side by side, and the pattern of all."""
    for size in [(1, 1), *sizes]:
        n = ours.n_out // size[0]
        if n == 1 or n * size[1] != ours.n_in:
            continue
        outer = _outer(ours, size)
        shared = outer.n_weights == 1
        if outer.n_connections != n or (outer.out != outer.inp).any() or outer.n_weights not in (1, n):
            continue
        part = _named(_inner(ours, size), known)
        if part is not None and (shared or not isinstance(part, Table)):
            return part, [Copies(n, part) if shared else _side_by_side([part] * n)]
    return None, []


def _side_by_side(parts: Sequence[Pattern]) -> Pattern:
    """Parts with weights of their own; what is one pattern when repeated is written as that."""
    pieces: list[Pattern] = []
    for part, run in groupby(parts):
        pieces += _repeated(part, len(list(run)))
    return pieces[0] if len(pieces) == 1 else Block(*pieces)


def _repeated(part: Pattern, n: int) -> list[Pattern]:
    if n > 1 and part == Dense(1, 1):
        return [Diagonal(n)]
    if n > 1 and isinstance(part, Conv):
        window = {key: getattr(part, key) for key in _WINDOW}
        channels = (n * part.in_channels, n * part.out_channels, n * part.groups)
        return [_conv(tuple(part.size), channels, part.padding_mode, window)]
    if isinstance(part, Transpose):
        return [Transpose(a) for a in _repeated(part.a, n)]
    return list(part.parts) * n if isinstance(part, Block) else [part] * n


def _blocks(ours: TieMap, known: Known) -> Iterator[Pattern]:
    """Different parts side by side: cut wherever neither a connection nor a weight spans the cut."""
    starts = [0, *_cuts(ours), ours.n_connections]
    slices = [slice(*ends) for ends in pairwise(starts)]
    if len(slices) == 1:
        return
    low = [(int(ours.out[s].min()), int(ours.inp[s].min())) for s in slices]
    high = [(int(ours.out[s].max()) + 1, int(ours.inp[s].max()) + 1) for s in slices]
    tails: dict[Size, list[Pattern]] = {(ours.n_out, ours.n_in): []}  # the parts from a unit on
    for k in range(len(slices) - 1, -1, -1):
        chosen = np.arange(slices[k].start, slices[k].stop)
        # Unused units before this part are the end of the one before it, or else its own beginning.
        late, early = low[k], high[k - 1] if k else (0, 0)
        begins = product((late[0], early[0]), (late[1], early[1])) if k else [early]
        longer: dict[Size, list[Pattern]] = {}
        for begin, (end, tail) in product(begins, tails.items()):
            size = (end[0] - begin[0], end[1] - begin[1])
            if begin not in longer:
                units = ours.out[chosen] - begin[0], ours.inp[chosen] - begin[1]
                if part := _named(_part(ours, chosen, size, *units), known):
                    longer[begin] = [part, *tail]
        tails = longer
    nothing_shared = ours.n_weights == ours.n_connections
    for parts in tails.values():
        if not (nothing_shared and any(isinstance(part, Table) for part in parts)):
            yield _side_by_side(parts)


def _cuts(ours: TieMap) -> list[int]:
    """Connections with which a new part begins: from there on all outputs, inputs and weights have higher numbers."""
    cut = np.diff(ours.out) > 0
    for number in (ours.inp, ours.weight):
        cut &= np.maximum.accumulate(number)[:-1] < np.minimum.accumulate(number[::-1])[::-1][1:]
    places: list[int] = (np.flatnonzero(cut) + 1).tolist()
    return places


# Sliding windows: channels ⊗ axis ⊗ axis ...


def _windows(ours: TieMap, sizes: Sequence[Size]) -> Iterator[tuple[Pattern, Conv]]:
    """Convolutions, local and tiled layers, then their transposes, then those whose kernel is longer than the axis."""
    long: list[tuple[Pattern, Conv]] = []
    for turned in (False, True):
        if turned:
            ours = TieMap(ours.n_in, ours.n_out, ours.n_weights, ours.inp, ours.out, ours.weight, ours.sign).canonical()
            sizes = [(n_in, n_out) for n_out, n_in in sizes]
        conv = _convolution(ours, sizes)
        if conv:
            window = (Transpose(conv) if turned else conv), conv
            if all(d * (k - 1) < n for k, d, n in zip(conv.kernel, conv.dilation, conv.size, strict=True)):
                yield window
            else:
                long.append(window)
    yield from long


def _convolution(ours: TieMap, sizes: Sequence[Size]) -> Conv | None:
    """Dense channels ⊗ a window along one to three axes."""
    whole = (ours.n_out, ours.n_in)
    outers = ((size, _outer(ours, size)) for size in [*sizes, whole])
    # The largest outer factor that is dense; at worst it has one connection.
    size, channels = next((size, outer) for size, outer in outers if outer.n_weights == outer.n_full)
    smaller = [s for s in sizes if s != size and size[0] % s[0] == 0 and size[1] % s[1] == 0]
    for padding_mode in ("zeros", "circular"):
        axes = next(_axes(_inner(ours, size), smaller, padding_mode, 3), None)
        if axes:
            window = {key: tuple(getattr(axis, key)[0] for axis in axes) for key in _WINDOW}
            space = tuple(axis.size[0] for axis in axes)
            return _conv(space, (channels.n_in, channels.n_out, 1), padding_mode, window)
    return None


def _conv(size: tuple[int, ...], channels: tuple[int, int, int], padding_mode: str, window: dict[str, Any]) -> Conv:
    """The convolution of these windows, under the name that says how far it shares."""
    n_in, n_out, groups = channels
    window = {**window, "padding_mode": padding_mode, "groups": groups}
    tiled = Conv("tiled", (n_in, *size), n_out, **window)
    if tiled.is_convolution:
        return Conv(f"conv{len(size)}d", (n_in, *size), n_out, **(window | {"period": 1}))
    if tiled.n_weights == tiled.n_connections:
        return Conv("local", (n_in, *size), n_out, **(window | {"period": None}))
    return tiled


def _axes(space: TieMap, sizes: Sequence[Size], padding_mode: str, most: int) -> Iterator[tuple[Conv, ...]]:
    """Ways to write a map as a product of windows along at most `most` axes."""
    if whole := _axis(space, padding_mode):
        yield (whole,)
    if most > 1:
        for size in reversed(sizes):
            if last := _axis(_inner(space, size), padding_mode):
                larger = [s for s in sizes if s != size and s[0] % size[0] == 0 and s[1] % size[1] == 0]
                outer_sizes = [(n_out // size[0], n_in // size[1]) for n_out, n_in in larger]
                for first in _axes(_outer(space, size), outer_sizes, padding_mode, most - 1):
                    yield (*first, last)


def _axis(axis: TieMap, padding_mode: str) -> Conv | None:
    """A window sliding along one axis, on one channel."""
    for window in _zero_windows(axis) if padding_mode == "zeros" else _circular_windows(axis):
        conv = Conv("tiled", (1, axis.n_in), 1, padding_mode=padding_mode, **window)
        if _means(conv, axis):
            return conv
    return None


def _zero_windows(axis: TieMap) -> Iterator[dict[str, int]]:
    """Kernel position k joins output o to input o · stride - padding + k · dilation, where that is an input."""
    for stride, period in _paces(axis):
        offset = np.sort(axis.inp - stride * axis.out)
        offset = offset[np.diff(offset, prepend=offset[0] - 1) > 0]
        low = np.maximum(-(offset // stride), 0)
        high = np.minimum((axis.n_in - 1 - offset) // stride, axis.n_out - 1)
        if (high - low + 1).sum() != axis.n_connections:  # some offset is not used wherever it lies inside
            continue
        first, last = int(offset[0]), int(offset[-1])
        dilation = int(np.gcd.reduce(np.diff(offset))) or axis.n_in
        # As many positions before the used ones that only ever meet padding (or behind, if < 0) as make the size fit.
        room, least = axis.n_in - 1 - first - last, (axis.n_out - 1) * stride
        fewest, most = -((room - least) // dilation), (least + stride - 1 - room) // dilation
        more = min(max(0, fewest), most)
        if more < fewest:
            continue
        before = max(more, 0, -(-first // dilation))
        kernel = (last - first) // dilation + 1 + 2 * before - more
        if kernel * axis.n_out <= _SPARSE * axis.n_connections:
            padding, dilation = before * dilation - first, dilation if kernel > 1 else 1
            yield {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "period": period}


def _paces(axis: TieMap) -> Iterator[tuple[int, int]]:
    """Strides and periods that a window may have, from the users of one weight, or else from the ends of windows."""
    users = np.flatnonzero(axis.weight == axis.uses.argmax())
    out, inp = np.diff(axis.out[users]), np.diff(axis.inp[users])
    if len(users) > 1:
        if out.min() > 0 and inp[0] >= out[0]:
            yield int(inp[0] // out[0]), int(out.min())
        return
    rows = np.flatnonzero(np.diff(axis.out, prepend=-1))
    ends = axis.inp[rows], axis.inp[np.append(rows[1:], axis.n_connections) - 1]
    steps = np.diff(ends) // np.diff(axis.out[rows])
    strides, counts = np.unique(steps[steps > 0], return_counts=True)
    # One window alone tells no stride: take the least with which there is no second, or, among padding, the whole axis.
    rest = [1] if len(rows) > 1 else [max(1, axis.n_in - int(axis.inp[0] + axis.inp[-1])), axis.n_in]
    for stride in dict.fromkeys([*strides[np.argsort(-counts, kind="stable")][:_CHOICES].tolist(), *rest]):
        yield from ((stride, 1), (stride, axis.n_out))


def _circular_windows(axis: TieMap) -> Iterator[dict[str, int]]:
    """Kernel position k joins output o to input (o · stride - padding + k · dilation) mod n."""
    n, kernel = axis.n_in, axis.n_connections // axis.n_out
    if (np.bincount(axis.out, minlength=axis.n_out) != kernel).any():
        return
    rows = axis.inp.reshape(axis.n_out, kernel)[:2]
    inside = np.zeros((len(rows), n), dtype=bool)
    np.put_along_axis(inside, rows, True, axis=1)
    # A window that is turned by its dilation overlaps itself in all places but one, or in all if it closes into a ring.
    overlap = np.fft.irfft(np.abs(np.fft.rfft(inside[0])) ** 2, n).round()
    steps = (np.flatnonzero(overlap[1:] >= kernel - 1) + 1).tolist() or [1]
    for dilation in [step for step in steps if n // gcd(step, n) >= kernel][:_CHOICES]:
        starts, lap = np.nonzero(inside & ~np.roll(inside, dilation, axis=1))[1], n
        if overlap[dilation % n] == kernel:  # a ring begins anywhere
            starts, lap = rows[:, 0], n // kernel
        if len(starts) != len(rows):
            continue
        turn = int(starts[1] - starts[0]) % lap if len(rows) > 1 else 1
        for stride, period in _turns(axis, turn, lap):
            room, least = n - 1 - (kernel - 1) * dilation, (axis.n_out - 1) * stride
            padding = -int(starts[0]) % lap
            padding += max(0, -((room + 2 * padding - least) // (2 * lap))) * lap  # around once more, as the size needs
            if axis.n_out == 1:
                stride = room + 2 * padding + 1  # the least with which there is no second window
            if room + 2 * padding < least + stride and axis.n_weights == kernel * min(period, axis.n_out):
                yield {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "period": period}


def _turns(axis: TieMap, turn: int, lap: int) -> list[tuple[int, int]]:
    """Strides, known from windows up to a multiple of `lap`, and periods that agree with the users of one weight."""
    users, n = np.flatnonzero(axis.weight == axis.uses.argmax()), axis.n_in
    if len(users) == 1:
        return [(turn or lap, 1), (turn or lap, axis.n_out)]
    period = int(axis.out[users[1]] - axis.out[users[0]])
    turned = int(axis.inp[users[1]] - axis.inp[users[0]])
    most = n if lap == 1 else 2 * n  # once around, and once more where that makes the output's size fit
    strides = (stride for stride in range(turn or lap, most + 1, lap) if (stride * period - turned) % n == 0)
    return [(stride, period) for stride in islice(strides, _CHOICES) if period]
