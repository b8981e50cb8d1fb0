"""Random tie maps and patterns of small size, for property tests: `tiemaps()`, `patterns()`, `recognisables()`."""

from functools import partial

import numpy as np
from hypothesis import strategies as st

from commonweight import patterns as P
from commonweight.errors import PatternError
from commonweight.reordering import reordered
from commonweight.tiemap import TieMap

small = st.integers(1, 5)
MOST_CONNECTIONS = 400


@st.composite
def tiemaps(draw: st.DrawFn, signed: bool | None = None) -> TieMap:
    """Any tie map of up to 6 × 6 units: any cells, any ties, signs or none."""
    n_out, n_in = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    cells = np.array(draw(st.lists(st.integers(0, n_out * n_in - 1), min_size=1, max_size=20, unique=True)))
    weight = draw(st.lists(st.integers(0, 4), min_size=len(cells), max_size=len(cells)))
    used, weight = np.unique(weight, return_inverse=True)
    signed = draw(st.booleans()) if signed is None else signed
    sign = draw(st.lists(st.sampled_from([-1, 1]), min_size=len(cells), max_size=len(cells))) if signed else None
    return TieMap(n_out, n_in, len(used), cells // n_in, cells % n_in, weight, sign)


@st.composite
def shuffled(draw: st.DrawFn, tiemap: TieMap) -> TieMap:
    """The same ties: connections in another order, weights under other numbers and signs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    order, number = rng.permutation(tiemap.n_connections), rng.permutation(tiemap.n_weights)
    weight = tiemap.weight[order]
    sign = None if tiemap.sign is None else tiemap.sign[order] * rng.choice([-1, 1], size=tiemap.n_weights)[weight]
    arrays = (tiemap.out[order], tiemap.inp[order], number[weight])
    return TieMap(tiemap.n_out, tiemap.n_in, tiemap.n_weights, *arrays, sign)


def possible(strategy: st.SearchStrategy) -> st.SearchStrategy:
    """Patterns from a strategy of calls that may be refused, none too large for a quick test."""

    def made(call):
        try:
            return call()
        except PatternError:
            return None

    return strategy.map(made).filter(lambda pattern: pattern and pattern.n_connections <= MOST_CONNECTIONS)


def sizes(n_axes: int, low: int, high: int) -> st.SearchStrategy:
    return st.tuples(*[st.integers(low, high)] * n_axes)


@st.composite
def window_calls(draw: st.DrawFn, transposed: bool = False):
    """A call of conv, its transpose, local or tiled on one to three axes; PatternError if the kernel does not fit."""
    n_axes = draw(st.sampled_from([1, 1, 2, 2, 3]))
    longest = {1: 10, 2: 6, 3: 3}[n_axes]
    groups = draw(st.integers(1, 2))
    in_shape = (groups * draw(st.integers(1, 2)), *draw(sizes(n_axes, 1, longest)))
    out_channels = groups * draw(st.integers(1, 2))
    options = {"kernel": draw(sizes(n_axes, 1, 4)), "groups": groups}
    high = {"stride": 3, "padding": 3, "dilation": 3}
    for name in draw(st.sets(st.sampled_from(sorted(high)))):
        options[name] = draw(sizes(n_axes, 1, high[name]))
    if transposed:
        options["output_padding"] = tuple(draw(st.integers(0, s - 1)) for s in options.get("stride", (1,) * n_axes))
        conv = (P.conv_transpose1d, P.conv_transpose2d, P.conv_transpose3d)[n_axes - 1]
        return partial(conv, in_shape, out_channels, **options)
    options["padding_mode"] = draw(st.sampled_from(["zeros", "circular"]))
    kind = draw(st.sampled_from(["conv", "conv", "local", "tiled"]))
    if kind == "tiled":
        options["period"] = draw(sizes(n_axes, 1, 3))
    conv = {"conv": (P.conv1d, P.conv2d, P.conv3d)[n_axes - 1], "local": P.local, "tiled": P.tiled}[kind]
    return partial(conv, in_shape, out_channels, **options)


@st.composite
def tables(draw: st.DrawFn) -> P.Pattern:
    n_in = draw(small)
    row = st.lists(st.integers(0, n_in - 1), unique=True)
    rows = draw(st.lists(row, min_size=1, max_size=5).filter(lambda rows: any(rows)))
    return P.table(rows, n_in)


@st.composite
def orbits(draw: st.DrawFn) -> P.Pattern:
    n_in, n_out, count = draw(small), draw(small), draw(st.integers(1, 3))
    in_perms, out_perms = ([draw(st.permutations(range(n))) for _ in range(count)] for n in (n_in, n_out))
    return P.orbits(in_perms, out_perms)


def windows() -> st.SearchStrategy[P.Pattern]:
    return possible(window_calls())


def transposed_windows() -> st.SearchStrategy[P.Pattern]:
    return possible(window_calls(transposed=True)) | windows().map(P.transpose)


def plain_leaves() -> st.SearchStrategy[P.Pattern]:
    two_sizes = [st.builds(leaf, small, small) for leaf in (P.dense, P.single, P.toeplitz)]
    one_size = [st.builds(leaf, st.integers(1, 6)) for leaf in (P.diagonal, P.circulant, P.symmetric)]
    return st.one_of(*two_sizes, *one_size, st.builds(P.antisymmetric, st.integers(2, 6)), tables())


def leaves() -> st.SearchStrategy[P.Pattern]:
    return plain_leaves() | windows() | transposed_windows() | orbits()


def _not_large(pattern: P.Pattern) -> bool:
    return pattern.n_connections <= MOST_CONNECTIONS


@st.composite
def composed(draw: st.DrawFn, parts: st.SearchStrategy[P.Pattern]) -> P.Pattern:
    """compose(a, weights_of=b) for a from `parts` and any b with as many cells as a has weights."""
    a = draw(parts)
    n_out = draw(st.sampled_from([n for n in range(1, a.n_weights + 1) if a.n_weights % n == 0]))
    n_in = a.n_weights // n_out
    kinds = [P.dense(n_in, n_out), P.single(n_in, n_out), P.toeplitz(n_in, n_out), P.table([[0]] * n_out, n_in)]
    kinds += [P.antisymmetric(n_in)] if n_in == n_out > 1 else []
    return P.compose(a, weights_of=draw(st.sampled_from(kinds)))


@st.composite
def in_another_order(draw: st.DrawFn, parts: st.SearchStrategy[P.Pattern]) -> P.Pattern:
    """A pattern whose units are in any order, up to two more units on each side among them."""
    a = draw(parts)
    n_out, n_in = (n + draw(st.integers(0, 2)) for n in (a.n_out, a.n_in))
    rows, columns = draw(st.permutations(range(n_out)))[: a.n_out], draw(st.permutations(range(n_in)))[: a.n_in]
    return reordered(a, rows, columns, n_out=n_out, n_in=n_in)


def _turns_once(window: P.Pattern) -> bool:
    """Whether no circular axis is shorter than the stride or the dilation."""
    conv = window.a if isinstance(window, P.Transpose) else window
    steps = np.maximum(conv.stride, conv.dilation)
    return conv.padding_mode == "zeros" or bool((steps <= np.array(conv.size)).all())


def _starts_with_used_units(pattern: P.Pattern) -> bool:
    """Whether its first output and first input have connections; if not, they could be the end of a part before it."""
    tiemap = pattern.tiemap()
    return tiemap.out.min() == tiemap.inp.min() == 0


def side_by_side(parts: st.SearchStrategy[P.Pattern]) -> st.SearchStrategy[P.Pattern]:
    blocks = st.lists(parts, min_size=1, max_size=3).map(lambda some: P.block(*some))
    return st.builds(P.copies, st.integers(1, 3), parts) | blocks


def patterns() -> st.SearchStrategy[P.Pattern]:
    """Every leaf and every combinator, nested."""

    def combined(parts):
        kron = st.builds(P.kron, parts, parts)
        orders = in_another_order(parts)
        return (side_by_side(parts) | kron | composed(parts) | parts.map(P.transpose) | orders).filter(_not_large)

    return st.recursive(leaves(), combined, max_leaves=4)


def recognisables() -> st.SearchStrategy[P.Pattern]:
    """The patterns that `recognise` promises to find."""
    slides = (windows() | transposed_windows()).filter(_turns_once)
    parts = (plain_leaves() | slides).filter(_starts_with_used_units)
    return plain_leaves() | slides | st.recursive(parts, lambda a: side_by_side(a).filter(_not_large), max_leaves=4)
