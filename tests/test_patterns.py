"""Each pattern against a definition of its own: scipy, Kronecker products, loops by hand, and counts in closed form."""

import ast
from itertools import product
from math import prod

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from strategies import leaves, patterns, side_by_side, small

from commonweight import patterns as P
from commonweight.errors import PatternError
from commonweight.hashing import hashed

seeds = st.integers(0, 2**32 - 1)


def theta_of(pattern: P.Pattern, seed: int = 0) -> torch.Tensor:
    return torch.randn(pattern.n_weights, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(pattern: P.Pattern, theta) -> np.ndarray:
    """The (O, I) matrix of the pattern with these weights, in their natural order."""
    return pattern.tiemap().expand(torch.as_tensor(theta, dtype=torch.float64).flatten()).numpy()


# All patterns.


@given(patterns())
def test_counts_in_closed_form_are_those_of_the_connections(pattern):
    tiemap = pattern.tiemap()
    assert (pattern.n_out, pattern.n_in, pattern.n_weights) == (tiemap.n_out, tiemap.n_in, tiemap.n_weights)
    assert (pattern.n_connections, pattern.n_full) == (tiemap.n_connections, tiemap.n_full)
    assert pattern.n_in == prod(pattern.in_shape)
    assert pattern.n_out == prod(pattern.out_shape)
    assert pattern.n_weights == prod(pattern.weight_shape)


@given(patterns())
@example(P.orbits([[1, 2, 0]], [[1, 2, 0]]))
def test_index_holds_the_weight_of_each_cell(pattern):
    tiemap, index = pattern.tiemap(), pattern.index()
    assert index.shape == (pattern.n_out, pattern.n_in)
    assert np.array_equal(index[tiemap.out, tiemap.inp], tiemap.weight)
    assert (index >= 0).sum() == pattern.n_connections
    assert index.dtype == np.int64
    index[:] = -1  # the caller's own: the pattern stays what it is
    assert np.array_equal(pattern.index()[tiemap.out, tiemap.inp], tiemap.weight)


def called(node: ast.expr):
    """The value of a notation: nested calls of the names in `patterns` with numbers, strings, tuples and lists."""
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    options = {keyword.arg: called(keyword.value) for keyword in node.keywords}
    return getattr(P, node.func.id)(*map(called, node.args), **options)


@given(patterns().filter(lambda pattern: "<" not in str(pattern)))  # nothing left out
def test_the_notation_is_the_call_that_makes_the_pattern(pattern):
    again = called(ast.parse(str(pattern), mode="eval").body)
    assert again == pattern
    assert hash(again) == hash(pattern)
    assert again.tiemap().same_ties(pattern.tiemap())
    assert (again.in_shape, again.out_shape, again.weight_shape) == (
        pattern.in_shape,
        pattern.out_shape,
        pattern.weight_shape,
    )


@given(leaves(), leaves())
def test_patterns_of_one_notation_have_one_meaning(one, other):
    if one == other:
        assert one.tiemap().same_ties(other.tiemap())
    assert one != "a pattern"


def test_a_large_convolution_is_counted_without_writing_its_connections_out():
    pattern = P.conv2d((512, 4096, 4096), 512, kernel=3, padding=1)
    assert pattern.n_weights == 512 * 512 * 9
    assert pattern.n_connections == 512 * 512 * (3 * 4096 - 2) ** 2
    assert pattern.n_full == (512 * 4096 * 4096) ** 2


# Leaves.


@given(small, small)
def test_dense_has_a_weight_for_each_cell_and_single_one_for_all(n_in, n_out):
    theta = np.arange(1.0, n_in * n_out + 1)
    assert np.array_equal(matrix(P.dense(n_in, n_out), theta), theta.reshape(n_out, n_in))
    assert np.array_equal(matrix(P.single(n_in, n_out), [7]), np.full((n_out, n_in), 7))


@given(small, small)
def test_toeplitz_is_scipys(n_in, n_out):
    pattern = P.toeplitz(n_in, n_out)
    theta = theta_of(pattern).numpy()
    first_row, first_column = theta[:n_in][::-1], theta[n_in - 1 :]
    assert np.array_equal(matrix(pattern, theta), scipy.linalg.toeplitz(first_column, first_row))


@given(st.integers(1, 7))
def test_circulant_is_scipys_and_convolves_around(n):
    pattern = P.circulant(n)
    theta, x = theta_of(pattern).numpy(), np.random.default_rng(0).normal(size=n)
    assert np.array_equal(matrix(pattern, theta), scipy.linalg.circulant(theta))
    convolved = np.fft.ifft(np.fft.fft(theta) * np.fft.fft(x)).real
    assert matrix(pattern, theta) @ x == pytest.approx(convolved, abs=1e-12)


@given(st.integers(1, 6))
def test_diagonal_symmetric_and_antisymmetric_are_what_they_say(n):
    theta = theta_of(P.diagonal(n)).numpy()
    assert np.array_equal(matrix(P.diagonal(n), theta), np.diag(theta))
    theta = theta_of(P.symmetric(n)).numpy()
    symmetric = matrix(P.symmetric(n), theta)
    assert np.array_equal(symmetric, symmetric.T)
    assert np.array_equal(symmetric[np.triu_indices(n)], theta)
    if n > 1:
        theta = theta_of(P.antisymmetric(n)).numpy()
        antisymmetric = matrix(P.antisymmetric(n), theta)
        assert np.array_equal(antisymmetric, -antisymmetric.T)
        assert np.array_equal(antisymmetric[np.triu_indices(n, 1)], theta)


def test_table_connects_what_it_lists_row_by_row():
    pattern = P.table([[2, 0], [], [1]], 3)
    assert matrix(pattern, [5, 6, 7]).tolist() == [[5, 0, 6], [0, 0, 0], [0, 7, 0]]
    assert pattern == P.table(((0, 2), (), (1,)), 3)


# Windows, by hand-written loops. The kernel of position o is the one of residue o mod period along each axis.


@st.composite
def windows_by_hand(draw):
    """A pattern and the loops' own idea of it: for each cell the name of its weight."""
    n_axes = draw(st.integers(1, 2))
    groups, c_in, c_out = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    each = {
        name: tuple(draw(st.integers(low, high)) for _ in range(n_axes))
        for name, low, high in [("kernel", 1, 3), ("stride", 1, 3), ("padding", 0, 2), ("dilation", 1, 2)]
    }
    room = [draw(st.integers(0, 4)) for _ in range(n_axes)]
    spans = [d * (k - 1) + 1 for k, d in zip(each["kernel"], each["dilation"], strict=True)]
    size = [max(1, span - 2 * p + r) for span, p, r in zip(spans, each["padding"], room, strict=True)]
    padding_mode = draw(st.sampled_from(["zeros", "circular"]))
    kind = draw(st.sampled_from(["conv", "local", "tiled"]))
    period = tuple(draw(st.integers(1, 3)) for _ in range(n_axes)) if kind == "tiled" else None
    make = {"conv": (P.conv1d, P.conv2d)[n_axes - 1], "local": P.local, "tiled": P.tiled}[kind]
    options = each | {"groups": groups, "padding_mode": padding_mode} | ({"period": period} if period else {})
    in_shape = (groups * c_in, *size)
    try:
        pattern = make(in_shape, groups * c_out, **options)
    except PatternError:  # a circular kernel that laps the axis
        return draw(windows_by_hand())
    positions = pattern.out_shape[1:]
    period = {"conv": (1,) * n_axes, "local": positions, "tiled": period}[kind]
    names = {}
    for group, co, ci in product(range(groups), range(c_out), range(c_in)):
        for o, k in product(product(*map(range, positions)), product(*map(range, each["kernel"]))):
            where = [o[a] * each["stride"][a] - each["padding"][a] + k[a] * each["dilation"][a] for a in range(n_axes)]
            if padding_mode == "circular":
                where = [w % n for w, n in zip(where, size, strict=True)]
            if all(0 <= w < n for w, n in zip(where, size, strict=True)):
                out = np.ravel_multi_index((group * c_out + co, *o), pattern.out_shape)
                inp = np.ravel_multi_index((group * c_in + ci, *where), in_shape)
                residue = tuple(o[a] % period[a] for a in range(n_axes))
                slots = [coordinate for pair in zip(residue, k, strict=True) for coordinate in pair]
                names[int(out), int(inp)] = (group * c_out + co, ci, *slots)
    return pattern, names


@given(windows_by_hand())
def test_windows_are_those_of_hand_written_loops(case):
    pattern, names = case
    tiemap = pattern.tiemap()
    assert pattern.n_connections == len(names)
    number = {name: p for p, name in enumerate(sorted(set(names.values())))}
    theirs = {(out, inp): number[name] for (out, inp), name in names.items()}
    ours = zip(zip(tiemap.out.tolist(), tiemap.inp.tolist(), strict=True), tiemap.weight.tolist(), strict=True)
    assert dict(ours) == theirs  # weights in the order channel, channel, then residue and kernel position of each axis
    assert pattern.n_weights == len(number)


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_names_without_a_number_take_the_axes_of_the_input(n_axes):
    size = (4,) * n_axes
    assert P.local((2, *size), 3, kernel=2).out_shape == (3, *(3,) * n_axes)
    assert P.local((2, *size), 3, kernel=2).n_weights == P.local((2, *size), 3, kernel=2).n_connections
    assert P.tiled((2, *size), 3, kernel=2, period=2).weight_shape == (3, 2, *(4,) * n_axes)


def test_between_local_and_convolution_stands_tiled():
    tiled = [P.tiled((1, 9), 1, kernel=2, period=period) for period in (1, 2, 8)]
    assert tiled[0].tiemap().same_ties(P.conv1d((1, 9), 1, kernel=2).tiemap())
    assert tiled[2].tiemap().same_ties(P.local((1, 9), 1, kernel=2).tiemap())
    assert [pattern.n_weights for pattern in tiled] == [2, 4, 16]
    assert [pattern.is_convolution for pattern in tiled] == [True, False, False]
    assert P.local((1, 2), 1, kernel=2).is_convolution


def test_the_period_shows_wherever_it_is_not_the_default():
    assert str(P.conv1d((1, 9), 1, kernel=2, period=2)) == "conv1d((1, 9), 1, kernel=2, period=2)"
    assert str(P.local((1, 9), 1, kernel=2, period=2)) == "local((1, 9), 1, kernel=2, period=2)"
    assert str(P.local((1, 9), 1, kernel=2)) == "local((1, 9), 1, kernel=2)"


def test_sizes_may_be_numpy_integers():
    assert P.conv2d((1, 5, 5), 2, kernel=np.int64(3)) == P.conv2d(np.array([1, 5, 5]), 2, kernel=(3, 3))


def test_the_padding_that_a_kernel_only_ever_meets_is_no_weight():
    assert P.conv1d((1, 1), 1, kernel=3, padding=1).weight_shape == (1, 1, 1)
    assert P.conv2d((2, 1, 3), 4, kernel=3, padding=1).weight_shape == (4, 2, 1, 3)


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_transposed_convolutions_have_the_output_size_and_weights_of_torch(n_axes):
    torch_layer = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)[n_axes - 1]
    make = (P.conv_transpose1d, P.conv_transpose2d, P.conv_transpose3d)[n_axes - 1]
    options = {"stride": 2, "padding": 1, "output_padding": 1, "dilation": 1, "groups": 2}
    layer, pattern = torch_layer(4, 6, 3, **options), make((4, *(3,) * n_axes), 6, kernel=3, **options)
    assert pattern.out_shape == tuple(layer(torch.zeros(1, 4, *(3,) * n_axes)).shape[1:])
    assert pattern.weight_shape == tuple(layer.weight.shape)


# Combinators.


@given(leaves(), leaves() | side_by_side(leaves()), seeds)
def test_kron_is_numpys(a, b, seed):
    assume(a.n_full * b.n_full <= 40_000)
    theta_a, theta_b = theta_of(a, seed), theta_of(b, seed + 1)
    together = matrix(P.kron(a, b), torch.outer(theta_a, theta_b))
    assert together == pytest.approx(np.kron(matrix(a, theta_a), matrix(b, theta_b)))


@given(leaves(), st.integers(1, 3), seeds)
def test_copies_are_a_block_diagonal_of_one_matrix(a, n, seed):
    theta = theta_of(a, seed)
    assert np.array_equal(matrix(P.copies(n, a), theta), scipy.linalg.block_diag(*[matrix(a, theta)] * n))
    assert P.copies(n, a).in_shape == (n, *a.in_shape)


@given(st.lists(leaves() | side_by_side(leaves()), min_size=1, max_size=3), seeds)
def test_block_is_a_block_diagonal_of_different_matrices(parts, seed):
    thetas = [theta_of(part, seed + k) for k, part in enumerate(parts)]
    parts_of = [matrix(part, theta) for part, theta in zip(parts, thetas, strict=True)]
    assert np.array_equal(matrix(P.block(*parts), torch.cat(thetas)), scipy.linalg.block_diag(*parts_of))


def test_equal_blocks_stack_and_different_ones_are_flat():
    equal, different = P.block(P.dense(2, 3), P.dense(2, 3)), P.block(P.dense(2, 3), P.circulant(2))
    assert (equal.is_stack, equal.in_shape, equal.out_shape, equal.weight_shape) == (True, (2, 2), (2, 3), (2, 3, 2))
    assert (different.is_stack, different.in_shape, different.out_shape) == (False, (4,), (5,))
    assert different.weight_shape == (8,)


@given(patterns(), seeds)
def test_transpose_is_the_transposed_matrix_with_the_same_weights(a, seed):
    theta = theta_of(a, seed)
    assert np.array_equal(matrix(P.transpose(a), theta), matrix(a, theta).T)
    assert P.transpose(a).weight_shape == a.weight_shape


@pytest.mark.parametrize(
    "weights_of",
    [P.single(4, 1), P.toeplitz(2, 2), P.diagonal(2), P.antisymmetric(2), P.table([[0], [1]], 2), P.dense(2, 2)],
)
def test_compose_expands_twice(weights_of):
    a = P.conv2d((1, 4, 3), 1, kernel=2)
    theta = theta_of(weights_of)
    expected = matrix(a, matrix(weights_of, theta))
    pattern = P.compose(a, weights_of=weights_of)
    assert np.array_equal(matrix(pattern, theta), expected)
    assert pattern.n_connections == np.count_nonzero(expected)
    assert pattern.weight_shape == weights_of.weight_shape


# Orbits.


def closure(in_perms, out_perms):
    """All elements of the group that the generators make, as pairs of permutations, one product at a time."""
    generators = [(tuple(i), tuple(o)) for i, o in zip(in_perms, out_perms, strict=True)]
    group = {(tuple(range(len(in_perms[0]))), tuple(range(len(out_perms[0]))))}
    frontier = list(group)
    while frontier:
        i, o = frontier.pop()
        for gi, go in generators:
            element = (tuple(gi[x] for x in i), tuple(go[x] for x in o))
            if element not in group:
                group.add(element)
                frontier.append(element)
    return group


@st.composite
def generators(draw):
    n_in, n_out, count = draw(small), draw(small), draw(st.integers(1, 2))
    return tuple([draw(st.permutations(range(n))) for _ in range(count)] for n in (n_in, n_out))


@given(generators(), seeds)
def test_orbits_tie_exactly_what_the_group_carries_into_each_other(perms, seed):
    in_perms, out_perms = perms
    pattern, group = P.orbits(in_perms, out_perms), closure(in_perms, out_perms)
    index = pattern.index()
    for o, i in product(range(pattern.n_out), range(pattern.n_in)):
        orbit = {(go[o], gi[i]) for gi, go in group}
        assert {tuple(cell) for cell in np.argwhere(index == index[o, i])} == orbit


@given(generators(), seeds)
def test_orbits_commute_with_the_generators_and_their_number_is_burnsides(perms, seed):
    in_perms, out_perms = perms
    pattern, group = P.orbits(in_perms, out_perms), closure(in_perms, out_perms)
    w = matrix(pattern, theta_of(pattern, seed))
    for i, o in zip(in_perms, out_perms, strict=True):
        assert np.array_equal(w[np.ix_(o, i)], w)
    fixed = sum(
        sum(go[o] == o for o in range(pattern.n_out)) * sum(gi[i] == i for i in range(pattern.n_in)) for gi, go in group
    )
    assert fixed == pattern.n_weights * len(group)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_named_groups_have_the_dimension_that_theory_says(n):
    turn, mirror = np.roll(range(n), 1), np.arange(n)[::-1]
    swap = np.arange(n)
    swap[:2] = swap[:2][::-1]
    assert P.orbits([turn], [turn]).tiemap().same_ties(P.circulant(n).tiemap())  # cyclic: n
    assert P.orbits([turn, mirror], [turn, mirror]).n_weights == n // 2 + 1  # dihedral: distances around
    all_permutations = P.orbits([turn, swap], [turn, swap])
    assert all_permutations.n_weights == min(n, 2)  # Deep Sets: one for itself, one for the others
    assert np.array_equal(all_permutations.index() == all_permutations.index()[0, 0], np.eye(n, dtype=bool))
    assert P.orbits([mirror], [mirror]).n_weights == (n * n + n % 2) // 2  # time reversal
    assert P.orbits([np.arange(n)], [np.arange(n)]).tiemap().same_ties(P.dense(n, n).tiemap())  # no symmetry


def test_translations_of_the_plane_give_two_dimensional_circular_convolution():
    cell = np.arange(15).reshape(3, 5)
    shifts = [np.roll(cell, 1, axis).ravel() for axis in (0, 1)]
    expected = P.kron(P.circulant(3), P.circulant(5))
    assert P.orbits(shifts, shifts).tiemap().same_ties(expected.tiemap())
    circular = P.conv2d((1, 3, 5), 1, kernel=(3, 5), padding=(1, 2), padding_mode="circular")
    assert circular.tiemap().same_ties(expected.tiemap())


def test_time_reversal_ties_each_kernel_to_its_mirror_image():
    perm = [3, 2, 1, 0]
    w = matrix(P.orbits([perm], [perm]), theta_of(P.orbits([perm], [perm])))
    assert np.array_equal(w, w[::-1, ::-1])


def test_orbits_of_a_million_connections():
    n = 1024
    turn = np.roll(np.arange(n), 1)
    assert P.orbits([turn], [turn]).n_weights == n


def test_orbits_of_other_permutations_are_another_pattern():
    one, other = P.orbits([[1, 0, 2]], [[0]]), P.orbits([[0, 2, 1]], [[0]])
    assert one != other
    assert one == P.orbits(np.array([[1, 0, 2]]), np.array([[0]]))
    assert str(one).startswith("orbits(<1 permutations of 3 inputs and 1 outputs, ")


# Bias, and LeNet-5 from patterns alone (LeCun et al. 1998, section II.B).


def test_biases_count_as_connections_to_a_constant():
    assert P.bias("none", (6, 28, 28)) is None
    unit, channel = P.bias("unit", (6, 28, 28)), P.bias("channel", (6, 28, 28))
    assert (unit.n_in, unit.n_out, unit.n_weights, unit.n_connections) == (1, 4704, 4704, 4704)
    assert (channel.n_in, channel.n_out, channel.n_weights, channel.n_connections) == (1, 4704, 6, 4704)
    assert np.array_equal(matrix(channel, range(6)).ravel(), np.repeat(range(6), 784))
    assert P.bias("channel", (5,)).tiemap().same_ties(P.bias("unit", (5,)).tiemap())


C3_ROWS = "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345"
C3_TABLE = [[int(m) for m in row] for row in C3_ROWS.split()]


def subsampling(maps: int, side: int) -> P.Pattern:
    """Each map by itself, 2 × 2 windows, one coefficient a map."""
    sums = P.compose(P.conv2d((1, side, side), 1, kernel=2, stride=2), weights_of=P.single(4, 1))
    return P.kron(P.diagonal(maps), sums)


@pytest.mark.parametrize(
    ("layer", "bias", "weights", "connections"),
    [
        (P.conv2d((1, 32, 32), 6, kernel=5), "channel", 156, 122_304),  # C1
        (subsampling(6, 28), "channel", 12, 5_880),  # S2
        (P.kron(P.table(C3_TABLE, 6), P.conv2d((1, 14, 14), 1, kernel=5)), "channel", 1_516, 151_600),  # C3
        (subsampling(16, 10), "channel", 32, 2_000),  # S4
        (P.conv2d((16, 5, 5), 120, kernel=5), "channel", 48_120, 48_120),  # C5
        (P.dense(120, 84), "unit", 10_164, 10_164),  # F6
    ],
)
def test_lenet_counts_as_published(layer, bias, weights, connections):
    added = P.bias(bias, layer.out_shape)
    assert layer.n_weights + added.n_weights == weights
    assert layer.n_connections + added.n_connections == connections


# What no pattern is.

PERMUTATIONS = r"orbits: in_perms is a list of permutations of 0..n-1; got "


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: P.dense(0, 3), r"dense takes whole numbers of at least 1; got 0, 3"),
        (lambda: P.dense(None, 3), r"dense takes whole numbers of at least 1; got None, 3"),
        (lambda: P.single(1, "2"), r"single takes whole numbers of at least 1; got 1, '2'"),
        (lambda: P.toeplitz(-1, 2), r"toeplitz takes whole numbers of at least 1; got -1, 2"),
        (lambda: P.circulant(2.5), r"circulant takes whole numbers of at least 1; got 2.5"),
        (lambda: P.diagonal(float("nan")), r"diagonal takes whole numbers of at least 1; got nan"),
        (lambda: P.symmetric([3]), r"symmetric takes whole numbers of at least 1; got \[3\]"),
        (lambda: P.antisymmetric("3"), r"antisymmetric takes whole numbers of at least 1; got '3'"),
        (lambda: P.antisymmetric(1), r"antisymmetric\(1\) leads \(1,\) to \(1,\) by weights \(0,\): none may be 0"),
        (lambda: P.copies(0, P.dense(1, 1)), r"copies takes whole numbers of at least 1; got 0"),
        (lambda: P.conv1d((1, 3), 0, kernel=2), r"conv1d: out_channels and groups takes whole .* at least 1; got 0, 1"),
        (lambda: P.conv1d((1, 2), 1, kernel=1, padding=1, stride=3), r"by weights \(1, 1, 0\): none may be 0"),
        (lambda: P.table([[0], [1, 1]], 2), r"table: row 1 lists inputs 0 to 1, each at most once; got \[1, 1\]"),
        (lambda: P.table([[0, 2]], 2), r"table: row 0 lists inputs 0 to 1, each at most once; got \[0, 2\]"),
        (lambda: P.table(3, 3), r"table takes a list of inputs for each output; got int: 3"),
        (lambda: P.table([[0.0]], 2), r"table: row 0 lists inputs 0 to 1, each at most once; got \[0.0\]"),
        (lambda: P.table([["a"]], 2), r"table: row 0 lists inputs 0 to 1, each at most once; got \['a'\]"),
        (lambda: P.table([[0], [0, "a"]], 2), r"table: row 1 lists inputs 0 to 1, each at most once; got \[0, 'a'\]"),
        (lambda: P.table([0, 1], 2), r"table: row 0 lists inputs 0 to 1, each at most once; got 0"),
        (lambda: P.table([[0]], "2"), r"table takes whole numbers of at least 1; got '2'"),
        (lambda: P.table([[], []], 2), r"table\(\[\[\], \[\]\], 2\) leads .* by weights \(0,\)"),
        (lambda: P.orbits([[0, 1], [1, 0]], [[0]]), r"got 2 input and 1 output permutations; give as many of each"),
        (lambda: P.orbits([[0, 0]], [[0]]), PERMUTATIONS + "rows that leave numbers out or repeat them"),
        (lambda: P.orbits([[1, 2]], [[0]]), PERMUTATIONS + "rows that leave numbers out"),
        (lambda: P.orbits([], [[0]]), PERMUTATIONS + r"float64 \(0,\)"),
        (lambda: P.orbits([[[0]]], [[0]]), PERMUTATIONS + r"int64 \(1, 1, 1\)"),
        (lambda: P.orbits([[0, 1], [0]], [[0]]), PERMUTATIONS + "rows of different lengths"),
        (lambda: P.orbits([[0.0, 1.0]], [[0]]), PERMUTATIONS + r"float64 \(1, 2\)"),
        (lambda: P.orbits([[0]], [[0, 0]]), r"orbits: out_perms is a list of permutations"),
        (
            lambda: P.conv2d((1, 5, 5), 1, kernel=3, padding_mode="reflect"),
            r"conv2d: padding_mode is 'zeros' or 'circular'; got 'reflect'",
        ),
        (
            lambda: P.conv2d((3, 5, 5), 4, kernel=3, groups=2),
            r"conv2d: groups divides the channels; got 2 groups for 3 input and 4 output channels",
        ),
        (lambda: P.conv1d((2, 5), 2, kernel=3, groups=0), r"conv1d: out_channels and groups takes .*; got 2, 0"),
        (lambda: P.conv1d((2, 5), "2", kernel=3), r"conv1d: out_channels and groups takes .*; got '2', 1"),
        (
            lambda: P.conv2d((1, 5, 6), 1, kernel=3, dilation=(3, 2), padding=(0, 1)),
            r"conv2d: the kernel spans \(7, 5\), more than the input of \(5, 6\) with padding \(0, 1\): use a smaller",
        ),
        (
            lambda: P.conv1d((1, 3), 1, kernel=4, padding=1, padding_mode="circular"),
            r"A circular kernel of 4 laps an axis of 3: use a smaller kernel",
        ),
        (lambda: P.conv2d((28, 28), 1, kernel=3), r"conv2d: in_shape is 3 whole numbers of at least 1, .*\(28, 28\)"),
        (lambda: P.conv2d(28, 1, kernel=3), r"conv2d: in_shape is 3 whole numbers .*; got 28"),
        (lambda: P.local(28, 1, kernel=3), r"local: in_shape is 2 whole numbers .*; got 28"),
        (lambda: P.conv1d((1, 9), 1, kernel=0), r"conv1d: kernel is 1 whole number of at least 1, one an axis; got 0"),
        (lambda: P.conv1d((1, 9), 1, kernel=2.5), r"conv1d: kernel is 1 whole number .*; got 2.5"),
        (lambda: P.conv1d((1, 9), 1, kernel=None), r"conv1d: kernel is 1 whole number .*; got None"),
        (lambda: P.conv1d((1, 9), 1, kernel="3"), r"conv1d: kernel is 1 whole number .*; got 3"),
        (lambda: P.conv2d((1, 9, 9), 1, kernel=(3, 3, 3)), r"kernel is 2 whole numbers .*; got \(3, 3, 3\)"),
        (lambda: P.conv2d((1, 9, 9), 1, kernel=3, stride=0), r"stride is 2 whole numbers of at least 1"),
        (lambda: P.conv2d((1, 9, 9), 1, kernel=3, padding=-1), r"padding is 2 whole numbers of at least 0"),
        (lambda: P.conv2d((1, 9, 9), 1, kernel=3, dilation=(1, 0)), r"dilation is 2 whole numbers of at least 1"),
        (lambda: P.tiled((1, 9, 9), 1, kernel=3, period=0), r"tiled: period is 2 whole numbers of at least 1"),
        (
            lambda: P.local((9,), 1, kernel=3),
            r"local: in_shape is 2 whole numbers of at least 1, one an axis; got \(9,\)",
        ),
        (
            lambda: P.conv_transpose2d((1, 5, 5), 1, kernel=3, stride=(2, 1), output_padding=1),
            r"conv_transpose2d: output_padding 1 is not less than the stride \(2, 1\)",
        ),
        (
            lambda: P.conv_transpose1d((1, 1), 1, kernel=2, padding=1),
            r"conv_transpose1d: outputs of \(0,\) units cannot be: use less padding",
        ),
        (lambda: P.transpose(3), r"transpose takes patterns, such as dense\(2, 3\); got int: 3"),
        (lambda: P.kron(P.dense(1, 1), "conv"), r"kron takes patterns, such as .*; got str: 'conv'"),
        (lambda: P.copies(2, None), r"copies takes patterns, such as .*; got NoneType: None"),
        (lambda: P.block(P.dense(1, 1), 3), r"block takes patterns, such as .*; got int: 3"),
        (lambda: P.compose(P.dense(1, 1), weights_of=[]), r"compose takes patterns, such as .*; got list: \[\]"),
        (lambda: P.block(), r"block puts one or more patterns side by side; got none"),
        (
            lambda: P.compose(P.dense(2, 3), weights_of=P.single(2, 2)),
            r"the first has 6 weights, the second 4 cells to set them: make the two numbers equal",
        ),
        (lambda: P.bias("map", (3, 4)), r"bias is 'none', 'unit' \(one an output\) or 'channel' .*; got 'map'"),
    ],
)
def test_what_is_no_pattern_is_refused(make, sentence):
    with pytest.raises(PatternError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (
            lambda: P.dense(10**5, 10**5).tiemap(),
            r"dense\(100000, 100000\) has 10,000,000,000 connections; at most 134,",
        ),
        (lambda: P.symmetric(10**5).index(), r"symmetric\(100000\) has 10,000,000,000 cells; at most 134,217,728 are"),
        (
            lambda: hashed(10**5, 10**5, 9).tiemap(),
            r"hashed\(.*\) has 10,000,000,000 connections",
        ),
        (lambda: P.diagonal(10**5).index(), r"diagonal\(100000\) has 10,000,000,000 cells"),
        (lambda: P.copies(10**9, P.dense(2, 2)).tiemap(), r"has 4,000,000,000 connections"),
        (lambda: P.kron(P.circulant(10**4), P.circulant(10**4)).tiemap(), r"has 10,000,000,000,000,000 connections"),
        (lambda: P.conv2d((1, 10**5, 10**5), 6, kernel=5).tiemap(), r"take a smaller pattern, or its counts only"),
        (
            lambda: P.conv1d((1, 9), 1, kernel=3, padding=10**9),
            r"An axis of 9 has 6,000,000,021 pairs of a place of the",
        ),
        (lambda: P.orbits([range(20_000)], [range(20_000)]), r"orbits has 400,000,000 cells to move; at most 134,"),
        (lambda: P.compose(P.dense(10**5, 10**5), weights_of=P.diagonal(10**5)), r"has 10,000,000,000 cells"),
    ],
)
def test_too_many_connections_are_counted_but_not_written_out(write, sentence):
    with pytest.raises(PatternError, match=sentence):
        write()


def test_whole_numbers_of_numpy_are_those_of_python():
    three = np.int32(3)
    assert P.table([[np.int64(0), 1]], 2) == P.table([[0, 1]], 2)
    assert str(P.copies(three, P.dense(1, three))) == "copies(3, dense(1, 3))"
    assert hashed(np.int32(70_000), np.int32(70_000), 4).n_full == 70_000**2
    assert hashed(three, three, 4, seed=np.int64(5)) == hashed(3, 3, 4, seed=5)


def test_a_transposed_convolution_may_go_around():
    made = P.conv_transpose2d((4, 5, 5), 2, kernel=3, padding=1, padding_mode="circular")
    assert made == P.transpose(P.conv2d((2, 5, 5), 4, kernel=3, padding=1, padding_mode="circular"))
    assert made.in_shape == (4, 5, 5)


def test_long_patterns_of_few_connections_are_written_out_at_once():
    """In a time that the connections take, not the cells of the matrix and not a tie map for each copy."""
    line = P.diagonal(10**5).tiemap()
    assert (line.out == line.inp).all()
    assert (line.inp == line.weight).all()
    assert line.n_weights == 10**5
    twins, strangers = P.copies(10**5, P.dense(1, 2)).tiemap(), P.block(*[P.dense(1, 2)] * 10**4).tiemap()
    assert (twins.out == np.arange(2 * 10**5)).all()
    assert (twins.weight == np.tile([0, 1], 10**5)).all()
    assert (strangers.out == strangers.weight).all()
    assert strangers.n_weights == 2 * 10**4
