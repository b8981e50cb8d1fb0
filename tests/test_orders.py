"""Patterns of matrices whose rows and columns are in another order: found, in which order, and never where none is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_suggest import one, told

from commonweight import patterns as p
from commonweight import verdicts
from commonweight.reordering import reordered
from commonweight.tiemap import TieMap
from commonweight.verdicts import orders, seriation
from commonweight.verdicts.bits import CLOSE, scale_of

DENSE = [
    p.circulant(7),
    p.circulant(24),
    p.kron(p.circulant(7), p.dense(3, 4)),
    p.toeplitz(12, 30),
    p.toeplitz(40, 9),
    p.toeplitz(21, 21),  # the same, turned around, is symmetric
    p.symmetric(20),
    p.antisymmetric(13),
    p.copies(4, p.dense(7, 5)),
    p.copies(3, p.circulant(8)),
    p.block(p.dense(9, 6), p.symmetric(8), p.circulant(10)),
    p.diagonal(19),
]
WINDOWS = [
    p.conv1d((2, 20), 3, kernel=3),
    p.conv1d((1, 14), 4, kernel=3, stride=2, padding=1),  # padded at one end only
    p.conv1d((3, 12), 3, kernel=5, stride=2),  # positions at the edge with the same connections
    p.conv1d((2, 22), 1, kernel=2, stride=2, padding=1),  # parts apart, smaller at both edges
    p.conv1d((2, 17), 2, kernel=2, stride=3),  # units that nothing is connected to
    p.conv2d((2, 9, 9), 3, kernel=3),  # two axes that nothing tells apart
    p.conv2d((1, 9, 7), 2, kernel=3, stride=2, padding=1),
    p.conv2d((2, 8, 6), 2, kernel=(3, 2), stride=2, padding=1),  # apart along one axis, with smaller ones at its edges
    p.conv2d((1, 9, 9), 2, kernel=(2, 3), stride=2),
    p.conv2d((2, 10, 8), 2, kernel=2, stride=2, padding=1),  # apart along both, with four kinds of edges and corners
    p.transpose(p.conv1d((2, 14), 3, kernel=3)),
    p.copies(3, p.conv1d((2, 9), 2, kernel=3)),
    p.local((3, 11), 2, kernel=3, padding=1),
    p.local((1, 8, 7), 2, kernel=(3, 2)),
    p.local((2, 7, 6), 1, kernel=3, stride=2, padding=1),
]


def hidden(pattern, seed, noise=0.0):
    """A matrix of a pattern with its rows and columns in another order, and that order."""
    random = np.random.default_rng(seed)
    theta = random.normal(size=pattern.n_weights)
    matrix = pattern.tiemap().expand(torch.from_numpy(theta)).numpy()
    matrix = matrix + noise * theta.std() * random.normal(size=matrix.shape)
    rows, columns = (random.permutation(n) for n in matrix.shape)
    return torch.from_numpy(matrix[np.ix_(rows, columns)].astype(np.float32)), rows, columns


def in_place(said, order, rows, columns, shape):
    """The ties between the units as they were before they were hidden."""
    out, inp = rows[list(order[0])], columns[list(order[1])]
    return TieMap(*shape, said.n_weights, out[said.out], inp[said.inp], said.weight, said.sign)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pattern", DENSE + WINDOWS, ids=str)
def test_the_ties_of_a_pattern_are_found_in_any_order(pattern, seed):
    matrix, rows, columns = hidden(pattern, seed)
    found = orders.in_order(matrix.double().numpy())
    assert found.error == 0
    ties = in_place(found.pattern.tiemap(), (found.rows, found.columns), rows, columns, matrix.shape)
    assert ties.same_ties(pattern.tiemap())


BELOW_NOISE = [
    *(pattern for pattern in DENSE if pattern != p.diagonal(19)),  # a small weight may look like a zero
    p.conv1d((2, 20), 3, kernel=3),
    p.conv1d((1, 14), 4, kernel=3, stride=2, padding=1),
    p.conv2d((1, 8, 8), 4, kernel=3),
]


@pytest.mark.parametrize("pattern", BELOW_NOISE, ids=str)
def test_the_ties_of_a_pattern_are_found_below_one_percent_of_noise(pattern):
    matrix, rows, columns = hidden(pattern, 5, noise=0.01)
    found = orders.in_order(matrix.double().numpy())
    ties = in_place(found.pattern.tiemap(), (found.rows, found.columns), rows, columns, matrix.shape)
    assert ties.same_ties(pattern.tiemap())
    assert 0 < found.error <= CLOSE * scale_of(matrix.numpy()[np.abs(matrix.numpy()) > 0.1])


def test_a_suggestion_says_the_pattern_the_order_and_what_it_saves():
    matrix, _, _ = hidden(p.circulant(24), 0)
    found = one({"a": matrix})
    assert (found.kind, found.text) == ("order", "reordered(circulant(24), rows, columns)")
    rows, columns = found.orders
    assert found.pattern == reordered(p.circulant(24), rows, columns)
    tiemap = found.pattern.tiemap()
    assert torch.allclose(tiemap.expand(tiemap.project(matrix)), matrix)
    assert found.error == 0
    assert found.bytes_saved == 4 * (24 * 24 - 24) - 2 * 24 * 5 // 8  # 5 bits for the number of a row
    turned = matrix[np.ix_(*found.orders)]
    assert all(torch.equal(turned[k].roll(1), turned[k + 1]) for k in range(23))
    said = verdicts.audit({"a": matrix}, suggest=True).to_json()["suggestions"][0]
    assert said["orders"] == [list(side) for side in found.orders]


def test_units_that_nothing_is_connected_to_are_left_out():
    pattern = p.conv1d((1, 17), 2, kernel=2, stride=3)  # of 17 inputs, 12 are used
    found = one({"a": hidden(pattern, 1)[0]})
    assert [len(side) for side in found.orders] == [12, 12]
    assert found.text == "reordered(conv1d((2, 6), 2, kernel=1), rows, columns, n_in=17)"  # six equal parts
    assert (found.pattern.n_out, found.pattern.n_in) == (12, 17)


def test_what_has_a_pattern_as_it_stands_is_in_no_other_order():
    matrix = p.circulant(24).tiemap().expand(torch.randn(24, generator=torch.Generator().manual_seed(0)))
    assert one({"a": matrix}).kind == "pattern"


NOTHING = {
    "dense": lambda r: r.normal(size=(32, 32)),
    "pruned": lambda r: r.normal(size=(40, 50)) * (r.random((40, 50)) < 0.3),
    "hardly connected": lambda r: r.normal(size=(60, 60)) * (r.random((60, 60)) < 0.08),
    "long tails": lambda r: r.standard_cauchy(size=(48, 48)),
    "few values": lambda r: r.integers(1, 4, size=(30, 30)) * 1.0,
    "rows of the same values": lambda r: np.stack([r.permutation(np.arange(1.0, 33.0)) for _ in range(32)]),
    "ten percent of noise": lambda r: hidden(p.circulant(24), 3, noise=0.1)[0].double().numpy(),
}


@pytest.mark.parametrize("make", NOTHING.values(), ids=NOTHING)
def test_no_order_is_found_where_there_is_no_pattern(make):
    for seed in range(3):
        assert orders.in_order(make(np.random.default_rng(seed)).astype(np.float32).astype(np.float64)) is None


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(DENSE + WINDOWS),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.01, 0.05]),
    st.sampled_from([0, 0, 1, 3]),
)
def test_whatever_is_found_rebuilds_the_matrix(pattern, seed, noise, lost):
    """Also where some rows of a pattern are missing, so that what is found is another one."""
    matrix = hidden(pattern, seed, noise)[0][lost:].double().numpy()
    found = orders.in_order(matrix)
    if found is not None:
        tiemap = found.pattern.tiemap()
        inside = torch.from_numpy(matrix[np.ix_(found.rows, found.columns)])
        rebuilt = np.zeros_like(matrix)
        rebuilt[np.ix_(found.rows, found.columns)] = tiemap.expand(tiemap.project(inside)).numpy()
        assert np.abs(rebuilt - matrix).max() == pytest.approx(found.error, abs=1e-6)


def test_large_matrices_are_not_looked_at():
    matrix, _, _ = hidden(p.symmetric(513), 0)  # more than 2^18 cells
    assert told({"a": matrix}) == []
    assert told({"a": hidden(p.copies(2, p.dense(2, 520)), 0)[0]}) == []  # more than 1,024 rows


def test_units_at_the_corners_of_a_rectangle_are_turned_upright():
    cells = np.array([[x, y] for x in range(5) for y in range(4)], dtype=float)
    angle = 0.7
    turned = (cells - cells.mean(0)) @ [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    upright, _ = seriation._upright(turned, turned)
    assert sorted(len(np.unique(side.round(6))) for side in upright.T) == [4, 5]
