"""The laws of tie maps, on random maps and on the maps of random patterns; and what a tie map refuses."""

from collections import defaultdict
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import patterns, shuffled, tiemaps

from commonweight.errors import PatternError
from commonweight.tiemap import TieMap

any_map = tiemaps() | patterns().map(lambda pattern: pattern.tiemap())
seeds = st.integers(0, 2**32 - 1)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum())


@given(any_map, seeds)
def test_expand_and_adjoint_are_transposes_of_each_other(tiemap, seed):
    theta, gradient = numbers(seed, tiemap.n_weights), numbers(seed + 1, tiemap.n_out, tiemap.n_in)
    assert inner(tiemap.expand(theta), gradient) == pytest.approx(inner(theta, tiemap.adjoint(gradient)), abs=1e-9)


@given(any_map, seeds)
def test_projecting_what_was_expanded_gives_the_weights_back(tiemap, seed):
    theta = numbers(seed, tiemap.n_weights)
    torch.testing.assert_close(tiemap.project(tiemap.expand(theta)), theta)


@given(any_map, seeds)
def test_expand_after_project_is_an_orthogonal_projection(tiemap, seed):
    a, b = numbers(seed, tiemap.n_out, tiemap.n_in), numbers(seed + 1, tiemap.n_out, tiemap.n_in)
    near_a, near_b = tiemap.expand(tiemap.project(a)), tiemap.expand(tiemap.project(b))
    torch.testing.assert_close(tiemap.expand(tiemap.project(near_a)), near_a)
    assert inner(near_a, b) == pytest.approx(inner(a, near_b), abs=1e-9)


@given(any_map, seeds)
def test_no_tied_matrix_is_nearer_than_the_projected_one(tiemap, seed):
    matrix, other = numbers(seed, tiemap.n_out, tiemap.n_in), numbers(seed + 1, tiemap.n_weights)
    nearest = torch.linalg.norm(tiemap.expand(tiemap.project(matrix)) - matrix)
    assert nearest <= torch.linalg.norm(tiemap.expand(other) - matrix) + 1e-12


@given(any_map, seeds)
def test_expand_writes_the_signed_weight_into_each_connected_cell_and_zero_elsewhere(tiemap, seed):
    theta = numbers(seed, tiemap.n_weights)
    expected = torch.zeros(tiemap.n_out, tiemap.n_in, dtype=torch.float64)
    for out, inp, weight, sign in zip(tiemap.out, tiemap.inp, tiemap.weight, tiemap.signs, strict=True):
        expected[out, inp] = int(sign) * theta[weight]
    assert torch.equal(tiemap.expand(theta), expected)


@given(any_map, seeds)
def test_the_gradient_of_expand_is_the_adjoint(tiemap, seed):
    theta, gradient = numbers(seed, tiemap.n_weights), numbers(seed + 1, tiemap.n_out, tiemap.n_in)
    theta.requires_grad_()
    (by_autograd,) = torch.autograd.grad(tiemap.expand(theta), theta, gradient)
    torch.testing.assert_close(by_autograd, tiemap.adjoint(gradient))


@given(any_map, seeds)
def test_leading_axes_are_a_batch(tiemap, seed):
    thetas, matrices = numbers(seed, 2, 3, tiemap.n_weights), numbers(seed, 2, 3, tiemap.n_out, tiemap.n_in)
    assert torch.equal(tiemap.expand(thetas)[1, 2], tiemap.expand(thetas[1, 2]))
    torch.testing.assert_close(tiemap.adjoint(matrices)[1, 2], tiemap.adjoint(matrices[1, 2]))
    torch.testing.assert_close(tiemap.project(matrices)[1, 2], tiemap.project(matrices[1, 2]))


@given(any_map)
def test_every_weight_is_used_and_users_are_its_connections(tiemap):
    assert tiemap.uses.min() >= 1
    assert tiemap.uses.sum() == tiemap.n_connections <= tiemap.n_full
    assert tiemap.n_weights <= tiemap.n_connections
    for weight in range(tiemap.n_weights):
        theirs = [[out, inp] for out, inp, w in zip(tiemap.out, tiemap.inp, tiemap.weight, strict=True) if w == weight]
        assert tiemap.users(weight).tolist() == theirs
        assert tiemap.uses[weight] == len(theirs)


def ties(tiemap: TieMap) -> set[frozenset]:
    """The groups of cells that share a weight, each with its sign relative to the first: what a map means."""
    groups = defaultdict(list)
    cells = zip(tiemap.cells.tolist(), tiemap.weight.tolist(), tiemap.signs.tolist(), strict=True)
    for cell, weight, sign in sorted(cells):
        groups[weight].append((cell, sign))
    return {frozenset((cell, sign * group[0][1]) for cell, sign in group) for group in groups.values()}


@given(any_map, st.data())
def test_the_same_ties_under_other_names_are_the_same_ties(tiemap, data):
    renamed = data.draw(shuffled(tiemap))
    assert ties(renamed) == ties(tiemap)
    assert tiemap.same_ties(renamed)
    for name in ("out", "inp", "weight", "signs"):
        assert np.array_equal(getattr(renamed.canonical(), name), getattr(tiemap.canonical(), name))


@given(tiemaps(), tiemaps())
def test_same_ties_means_the_same_groups_of_cells(one, other):
    same = (one.n_out, one.n_in) == (other.n_out, other.n_in) and ties(one) == ties(other)
    assert one.same_ties(other) == same


@given(any_map, st.data())
def test_another_weight_in_one_place_is_another_tie_map(tiemap, data):
    place = data.draw(st.integers(0, tiemap.n_connections - 1))
    weight = tiemap.weight.copy()
    weight[place] = data.draw(st.integers(0, tiemap.n_weights))
    used, weight = np.unique(weight, return_inverse=True)
    other = TieMap(tiemap.n_out, tiemap.n_in, len(used), tiemap.out, tiemap.inp, weight, tiemap.sign)
    assert tiemap.same_ties(other) == (ties(tiemap) == ties(other))


@given(any_map)
def test_canonical_form_is_in_order_and_stays(tiemap):
    canonical = tiemap.canonical()
    assert (np.diff(canonical.cells) > 0).all()
    first = np.unique(canonical.weight, return_index=True)[1]
    assert (np.diff(first) > 0).all()
    assert (canonical.signs[first] == 1).all()
    assert tiemap.same_ties(canonical)
    assert np.array_equal(canonical.canonical().weight, canonical.weight)


@given(tiemaps())
def test_a_map_can_be_written_as_a_matrix_of_indices(tiemap):
    index, sign = np.full((tiemap.n_out, tiemap.n_in), -1), np.ones((tiemap.n_out, tiemap.n_in), dtype=int)
    index[tiemap.out, tiemap.inp], sign[tiemap.out, tiemap.inp] = tiemap.weight, tiemap.signs
    assert TieMap.from_matrix(index, sign).same_ties(tiemap)


def test_a_tie_map_never_changes():
    given_out = np.array([0, 1])
    tiemap = TieMap(2, 1, 1, given_out, [0, 0], [0, 0])
    given_out[0] = 1
    assert tiemap.out.tolist() == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        tiemap.weight[0] = 1
    with pytest.raises(FrozenInstanceError):
        tiemap.n_out = 3


def test_a_tie_map_prints_its_sizes():
    assert repr(TieMap(2, 1, 1, [0, 1], [0, 0], [0, 0])) == "TieMap(1 -> 2, 2 connections, 1 weights)"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((2, 2, 1, [0, 1], [0], [0, 0]), r"one entry for each connection in each list; got lists of \[2, 1, 2\]"),
        ((2, 2, 1, [0, 1], [0, 1], [0, 0], [1]), r"got lists of \[2, 2, 2, 1\]"),
        ((2, 2, 1, [0, 1], [0, 1], [0, 0], [1, 0]), r"sign is \+1 or -1; got 0: leave the connection out"),
        ((2, 2, 1, [0, 1], [0, 1], [0, 0], [1, 2]), r"sign runs from -1 to 1; got 1 to 2"),
        ((2, 2, 3, [0, 1, 0], [0, 1, 1], [0, 2, 2]), r"but 1 of 3 are not, the first is weight 1: number the weights"),
        ((2, 2, 10**15, [0], [0], [0]), r"^TieMap\(2 -> 2, 1 connections, 1000000000000000 weights\) cannot be: each"),
        ((2**40, 2**40, 1, [0], [0], [0]), r"cannot be: each weight needs a connection, and 2\^62 cells are the most"),
        (("2", 2, 1, [0], [0], [0]), r"A tie map takes whole numbers of at least 1; got '2', 2, 1"),
        ((2.5, 2, 1, [0], [0], [0]), r"A tie map takes whole numbers of at least 1; got 2.5, 2, 1"),
        ((2, 2, 0, [], [], []), r"A tie map takes whole numbers of at least 1; got 2, 2, 0"),
        ((2, 2, 2, [1, 1], [0, 0], [0, 1]), r"Two connections join input 0 to output 1: a connection has one weight"),
        ((2, 2, 1, [0, 2], [0, 1], [0, 0]), r"out runs from 0 to 1; got 0 to 2"),
        ((2, 2, 1, [0, 1], [-1, 1], [0, 0]), r"inp runs from 0 to 1; got -1 to 1"),
        ((2, 2, 1, [0, 1], [0, 1], [0, 1]), r"weight runs from 0 to 0; got 0 to 1"),
        (
            (2, 2, 1, [0.0, 1.0], [0, 1], [0, 0]),
            r"out is a list of integers, one for each connection; got float64 \(2,\)",
        ),
        (
            (2, 2, 1, [[0, 1]], [0, 1], [0, 0]),
            r"out is a list of integers, one for each connection; got int64 \(1, 2\)",
        ),
        ((2, 2, 1, [], [], []), r"out is a list of integers, one for each connection; got float64 \(0,\)"),
    ],
)
def test_what_is_no_tie_map_is_refused(arguments, sentence):
    with pytest.raises(PatternError, match=sentence):
        TieMap(*arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([0, 1, 2],), r"a row of whole numbers for each output; got int64 \(3,\)"),
        (([[0, 1], [2]],), r"a row of whole numbers for each output; got rows of different lengths"),
        (([[0.0, 1.0]],), r"a row of whole numbers for each output; got float64 \(1, 2\)"),
        ((None,), r"a row of whole numbers for each output; got object \(\)"),
        (([[-1, -1]],), r"A tie map takes whole numbers of at least 1; got 1, 2, 0"),
        (([[0, 10**15]],), r"each weight needs a connection"),
        (([[0, 1]], [[1]]), r"The signs have the shape of the indices, \(1, 2\); got \(1, 1\)"),
        (([[0, 1]], [1, 1]), r"Signs have a row of \+1 and -1 for each output; got int64 \(2,\)"),
    ],
)
def test_what_is_no_matrix_of_indices_is_refused(arguments, sentence):
    with pytest.raises(PatternError, match=sentence):
        TieMap.from_matrix(*arguments)


def test_matrices_and_weights_of_another_shape_are_refused():
    """A transposed matrix has as many cells: without a check it would give wrong numbers, and no error."""
    tiemap = TieMap(2, 3, 2, [0, 0, 1, 1], [0, 1, 1, 2], [0, 1, 0, 1])
    for make, sentence in (
        (lambda: tiemap.expand(torch.zeros(3)), r"θ is a tensor of shape \(..., 2\); got one of shape \(3,\)"),
        (lambda: tiemap.expand([1.0, 2.0]), r"θ is a tensor of shape \(..., 2\); got a list"),
        (lambda: tiemap.adjoint(torch.zeros(3, 2)), r"G is a tensor of shape \(..., 2, 3\); got one of shape \(3, 2\)"),
        (lambda: tiemap.adjoint(torch.zeros(6)), r"G is a tensor of shape \(..., 2, 3\); got one of shape \(6,\)"),
        (lambda: tiemap.project(torch.zeros(5, 5)), r"G is a tensor of shape \(..., 2, 3\); got one of shape \(5, 5\)"),
    ):
        with pytest.raises(PatternError, match=sentence):
            make()


@pytest.mark.parametrize("weight", [-1, 2, 0.5, "a"])
def test_there_are_no_users_of_a_weight_that_is_not_there(weight):
    with pytest.raises(PatternError, match=f"There is no weight {weight}: this map has weights 0 to 1"):
        TieMap.from_matrix([[0, 1]]).users(weight)
