"""From connections alone back to the notation: what is found, what is preferred, and that nothing wrong is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import patterns, recognisables, shuffled, tiemaps

from commonweight import patterns as P
from commonweight import recognise as recognition
from commonweight.errors import PatternError
from commonweight.recognise import recognise
from commonweight.tiemap import TieMap


def renamed(tiemap: TieMap, seed: int = 0) -> TieMap:
    """The same ties: connections in another order, weights under other numbers."""
    rng = np.random.default_rng(seed)
    order, number = rng.permutation(tiemap.n_connections), rng.permutation(tiemap.n_weights)
    arrays = (tiemap.out[order], tiemap.inp[order], number[tiemap.weight[order]])
    sign = None if tiemap.sign is None else tiemap.sign[order]
    return TieMap(tiemap.n_out, tiemap.n_in, tiemap.n_weights, *arrays, sign)


@settings(max_examples=400)
@given(recognisables(), st.data())
def test_every_pattern_of_the_families_is_found_with_the_same_ties(pattern, data):
    tiemap = data.draw(shuffled(pattern.tiemap()))
    found = recognise(tiemap)
    assert found is not None
    assert found.tiemap().same_ties(tiemap)


@given(patterns() | tiemaps().map(lambda tiemap: tiemap.canonical()), st.data())
def test_whatever_is_found_has_the_same_ties_and_the_order_of_connections_plays_no_part(given_map, data):
    tiemap = given_map if isinstance(given_map, TieMap) else given_map.tiemap()
    found = recognise(tiemap)
    assert found is None or found.tiemap().same_ties(tiemap)
    assert recognise(data.draw(shuffled(tiemap))) == found


@st.composite
def plain_windows(draw):
    """Convolutions as people use them: windows larger than 1 that fit in, more than one position along each axis."""
    n_axes = draw(st.integers(1, 2))
    groups = draw(st.integers(1, 2))
    each = {
        name: tuple(draw(st.integers(low, high)) for _ in range(n_axes))
        for name, low, high in [("kernel", 2, 3), ("stride", 1, 2), ("dilation", 1, 2)]
    }
    spans = [d * (k - 1) + 1 for k, d in zip(each["kernel"], each["dilation"], strict=True)]
    each["padding"] = tuple(draw(st.integers(0, span - 1)) for span in spans)
    size = [draw(st.sampled_from([7, 11, 13])) for _ in spans]  # primes: no axis is a product of others
    channels = [groups * draw(st.integers(1, 3)) for _ in range(2)]
    make = draw(st.sampled_from([(P.conv1d, P.conv2d)[n_axes - 1], P.local]))
    padding_mode = draw(st.sampled_from(["zeros", "circular"] if all(each["padding"]) else ["zeros"]))
    return make((channels[0], *size), channels[1], groups=groups, padding_mode=padding_mode, **each)


@given(plain_windows())
def test_a_convolution_is_found_under_its_own_notation(pattern):
    assert recognise(renamed(pattern.tiemap())) == pattern


OWN_NOTATION = [
    P.dense(3, 4),
    P.single(3, 4),
    P.diagonal(4),
    P.circulant(5),
    P.toeplitz(4, 3),
    P.symmetric(4),
    P.antisymmetric(4),
    P.table([[0, 2], [], [1, 2, 3]], 4),
    P.copies(3, P.dense(4, 5)),
    P.copies(4, P.circulant(3)),
    P.copies(5, P.conv1d((2, 8), 3, kernel=3)),
    P.copies(2, P.block(P.dense(2, 3), P.circulant(4))),
    P.block(P.dense(2, 3), P.dense(2, 3)),
    P.block(P.dense(2, 3), P.toeplitz(3, 4), P.single(2, 2)),
    P.block(P.conv1d((1, 5), 1, kernel=2, stride=2), P.circulant(3)),  # the last input of the first is never used
    P.block(P.copies(2, P.dense(2, 2)), P.diagonal(3)),
    P.conv1d((3, 9), 2, kernel=3, stride=2, padding=1),
    P.conv1d((3, 11), 2, kernel=3, dilation=3),
    P.conv1d((2, 9), 2, kernel=3, padding=1, padding_mode="circular"),
    P.conv2d((3, 6, 9), 4, kernel=3, padding=1),
    P.conv2d((3, 8, 8), 4, kernel=3, stride=2, padding=1),
    P.conv2d((3, 8, 5), 4, kernel=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    P.conv2d((1, 8, 8), 1, kernel=2, stride=2),
    P.conv2d((2, 8, 8), 2, kernel=2, stride=2),
    P.conv2d((4, 7, 6), 6, kernel=3, groups=2),
    P.conv2d((6, 7, 7), 6, kernel=3, padding=1, groups=6),
    P.conv2d((6, 7, 7), 12, kernel=3, groups=6),
    P.conv2d((2, 6, 5), 3, kernel=3, padding=1, padding_mode="circular"),
    P.conv2d((2, 6, 5), 3, kernel=(1, 3)),
    P.conv2d((2, 6, 5), 3, kernel=(3, 1), stride=2),
    P.conv3d((2, 6, 5, 4), 3, kernel=3, padding=1),
    P.local((2, 8, 9), 3, kernel=3, stride=2, padding=1),
    P.local((4, 8, 9), 6, kernel=3, groups=2),
    P.tiled((2, 8, 9), 3, kernel=3, period=2),
    P.tiled((2, 8, 9), 3, kernel=3, period=(1, 7)),
    P.transpose(P.conv1d((3, 9), 2, kernel=3, stride=2, padding=1)),
    P.transpose(P.conv2d((1, 8, 8), 1, kernel=2, stride=2)),
    P.transpose(P.conv2d((4, 11, 9), 2, kernel=3, stride=2, padding=1, groups=2)),
    P.transpose(P.local((2, 9), 3, kernel=3, stride=2)),
    P.kron(P.table([[0, 1], [1, 2], [0, 2]], 3), P.conv2d((1, 8, 8), 1, kernel=3)),  # as LeNet-5's third layer
    P.kron(P.dense(3, 4), P.circulant(4)),
    P.kron(P.circulant(4), P.symmetric(3)),
]


@pytest.mark.parametrize("pattern", OWN_NOTATION, ids=str)
def test_found_under_its_own_notation(pattern):
    assert recognise(renamed(pattern.tiemap())) == pattern


SIMPLER = [
    (P.single(1, 1), P.dense(1, 1)),
    (P.symmetric(1), P.dense(1, 1)),
    (P.toeplitz(1, 4), P.dense(1, 4)),
    (P.copies(1, P.circulant(3)), P.circulant(3)),
    (P.copies(2, P.copies(3, P.dense(2, 2))), P.copies(6, P.dense(2, 2))),
    (P.block(P.diagonal(2), P.diagonal(3)), P.diagonal(5)),
    (
        P.block(P.block(P.dense(2, 2), P.dense(2, 3)), P.dense(3, 2)),
        P.block(P.dense(2, 2), P.dense(2, 3), P.dense(3, 2)),
    ),
    (P.conv2d((3, 4, 5), 2, kernel=(4, 5)), P.dense(60, 2)),  # the kernel covers everything
    (P.conv2d((3, 1, 1), 2, kernel=1), P.dense(3, 2)),
    (P.conv2d((3, 1, 1), 2, kernel=3, padding=1), P.dense(3, 2)),
    (P.conv2d((3, 4, 5), 2, kernel=1), P.conv1d((3, 20), 2, kernel=1)),
    (P.conv2d((3, 4, 5), 2, kernel=(4, 2)), P.conv1d((12, 5), 2, kernel=2)),
    (P.conv2d((1, 4, 5), 1, kernel=(1, 2)), P.copies(4, P.conv1d((1, 5), 1, kernel=2))),
    (P.conv1d((1, 5), 1, kernel=9, padding=4), P.toeplitz(5, 5)),
    (P.conv1d((1, 5), 1, kernel=5, padding=2, padding_mode="circular"), P.circulant(5)),
    (P.conv1d((1, 6), 1, kernel=3, stride=3), P.copies(2, P.dense(3, 1))),
    (P.conv1d((1, 6), 1, kernel=1), P.copies(6, P.dense(1, 1))),
    (P.conv1d((4, 1), 6, kernel=1, groups=2), P.block(P.dense(2, 3), P.dense(2, 3))),
    (P.local((1, 6), 1, kernel=3, stride=3), P.block(P.dense(3, 1), P.dense(3, 1))),
    (P.local((1, 6), 1, kernel=1), P.diagonal(6)),
    (P.tiled((1, 9), 1, kernel=2, period=8), P.local((1, 9), 1, kernel=2)),
    (P.tiled((1, 9), 1, kernel=2, period=1), P.conv1d((1, 9), 1, kernel=2)),
    (P.conv1d((2, 9), 2, kernel=3, padding_mode="circular"), P.conv1d((2, 9), 2, kernel=3)),
    (P.conv_transpose1d((2, 9), 3, kernel=3), P.conv1d((2, 9), 3, kernel=3, padding=2)),
    (P.transpose(P.symmetric(3)), P.symmetric(3)),
    (P.table([[0], [1]], 2), P.diagonal(2)),
    (P.orbits([[1, 2, 3, 0]], [[1, 2, 3, 0]]), P.circulant(4)),
    (P.compose(P.dense(3, 4), weights_of=P.single(12, 1)), P.single(3, 4)),
    (P.kron(P.diagonal(3), P.conv2d((1, 5, 7), 1, kernel=2)), P.conv2d((3, 5, 7), 3, kernel=2, groups=3)),
]


@pytest.mark.parametrize(("pattern", "simplest"), SIMPLER, ids=str)
def test_of_several_patterns_for_one_map_the_simplest_is_returned(pattern, simplest):
    assert pattern.tiemap().same_ties(simplest.tiemap())
    assert recognise(renamed(pattern.tiemap())) == simplest


def swapped(tiemap: TieMap, seed: int) -> TieMap:
    """Two connections of different weights with their weights exchanged."""
    rng, weight = np.random.default_rng(seed), tiemap.weight.copy()
    one = rng.integers(tiemap.n_connections)
    other = rng.choice(np.flatnonzero(weight != weight[one]))
    weight[[one, other]] = weight[[other, one]]
    return TieMap(tiemap.n_out, tiemap.n_in, tiemap.n_weights, tiemap.out, tiemap.inp, weight, tiemap.sign)


def repointed(tiemap: TieMap, seed: int) -> TieMap:
    """One connection that comes from another input, where there was none."""
    rng, free = np.random.default_rng(seed), np.setdiff1d(np.arange(tiemap.n_full), tiemap.cells)
    place, cell = rng.integers(tiemap.n_connections), rng.choice(free)
    out, inp = tiemap.out.copy(), tiemap.inp.copy()
    out[place], inp[place] = divmod(cell, tiemap.n_in)
    return TieMap(tiemap.n_out, tiemap.n_in, tiemap.n_weights, out, inp, tiemap.weight, tiemap.sign)


SHARED = [
    P.circulant(7),
    P.toeplitz(6, 5),
    P.symmetric(6),
    P.antisymmetric(6),
    P.copies(3, P.dense(4, 5)),
    P.conv1d((2, 9), 3, kernel=3),
    P.conv2d((2, 6, 5), 3, kernel=3, padding=1),
    P.conv2d((2, 6, 5), 3, kernel=3, padding=1, padding_mode="circular"),
    P.conv2d((4, 6, 5), 4, kernel=3, groups=4),
    P.tiled((2, 8), 3, kernel=3, period=2),
    P.transpose(P.conv1d((3, 9), 2, kernel=3, stride=2)),
    P.kron(P.dense(3, 4), P.circulant(4)),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pattern", SHARED, ids=str)
def test_one_swapped_weight_makes_it_none(pattern, seed):
    assert recognise(swapped(pattern.tiemap(), seed)) is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pattern", [p for p in SHARED if p.n_connections < p.n_full], ids=str)
def test_one_connection_that_points_elsewhere_makes_it_none(pattern, seed):
    assert recognise(repointed(pattern.tiemap(), seed)) is None


@pytest.mark.parametrize("seed", range(10))
def test_random_ties_are_none(seed):
    rng = np.random.default_rng(seed)
    full = rng.integers(0, 5, (6, 6))
    assert recognise(TieMap.from_matrix(np.unique(full, return_inverse=True)[1].reshape(full.shape))) is None
    sparse = np.where(rng.random((12, 12)) < 0.5, rng.integers(0, 5, (12, 12)), -1)
    assert recognise(TieMap.from_matrix(sparse)) is None


def test_what_is_no_tie_map_is_refused():
    with pytest.raises(
        PatternError, match=r"recognise takes a tie map, such as pattern.tiemap\(\); got Dense: dense\(2, 3\)"
    ):
        recognise(P.dense(2, 3))


def test_ties_beyond_the_families_are_none():
    assert recognise(P.orbits([[1, 2, 3, 0], [1, 0, 2, 3]], [[1, 2, 3, 0], [1, 0, 2, 3]]).tiemap()) is None  # Deep Sets
    codebook = P.compose(P.dense(4, 4), weights_of=P.table([[0]] * 16, 1))
    assert recognise(codebook.tiemap()) == P.dense(4, 4)  # a codebook that shares nothing
    hidden = P.circulant(6).index()[[3, 0, 5, 1, 4, 2]]
    assert recognise(TieMap.from_matrix(hidden)) is None  # rows in another order


def test_signs_tell_patterns_apart():
    symmetric, antisymmetric = P.symmetric(3).tiemap(), P.antisymmetric(3).tiemap()
    plus = TieMap(3, 3, 3, antisymmetric.out, antisymmetric.inp, antisymmetric.weight)
    assert recognise(plus) is None
    flipped = np.where(np.arange(9) == 5, -1, 1)
    assert recognise(TieMap(3, 3, 6, symmetric.out, symmetric.inp, symmetric.weight, flipped)) is None
    assert recognise(TieMap.from_matrix([[0, 1]], [[-1, 1]])) == P.dense(2, 1)  # a sign of a weight used once is a name


@pytest.mark.parametrize("seed", range(3))
def test_one_weight_of_random_signs_has_no_factors_to_try(seed):
    sign = np.random.default_rng(seed).choice([-1, 1], (24, 24))
    tiemap = TieMap.from_matrix(np.zeros((24, 24), dtype=int), sign).canonical()
    assert recognition._inner_sizes(tiemap) == []
    assert recognise(tiemap) is None


@pytest.mark.parametrize("odd", [-1, 1])
def test_one_odd_cell_leaves_no_factors_to_try(odd):
    index = np.zeros((60, 60), dtype=int)
    index[30, 20] = odd
    assert recognition._inner_sizes(TieMap.from_matrix(index).canonical()) == []


def test_signs_of_a_product_are_kept_apart_from_its_weights():
    product = P.kron(P.antisymmetric(3), P.antisymmetric(4))
    assert recognise(renamed(product.tiemap())) == product


def test_a_million_connections_are_named():
    assert recognise(renamed(P.circulant(1024).tiemap())) == P.circulant(1024)
    assert recognise(renamed(P.kron(P.dense(16, 16), P.circulant(64)).tiemap())) == P.kron(
        P.dense(16, 16), P.circulant(64)
    )
