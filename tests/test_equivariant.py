"""Group convolutions: they commute with their group, miss nothing that does, and are one plain convolution."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
from agreement import agree
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import patterns as P
from commonweight.errors import NetError, PatternError
from commonweight.lower import lower
from commonweight.nets.cnn import CNN
from commonweight.nets.deep_sets import DeepSets
from commonweight.nets.equivariant import (
    P1,
    P4,
    P4M,
    GroupPool,
    p1_conv2d,
    p4_conv2d,
    p4m_conv2d,
    plain,
    plane_conv,
    reversal_conv1d,
)
from commonweight.nets.group_cnn import GroupCNN
from commonweight.tied import Tied

GROUPS = [(P1, p1_conv2d), (P4, p4_conv2d), (P4M, p4m_conv2d)]
every_group = pytest.mark.parametrize(("group", "conv2d"), GROUPS, ids=lambda value: getattr(value, "name", ""))
# Relative to the largest entry: the rounding of sums in another order. The target, which kernels up to 3×3 meet; and 20
# units of rounding for any: torch's own convolution is 1e-6 off float64 at 7×7, and turned once more by 1.4e-6.
ERROR = {torch.float32: 1e-6, torch.float64: 4e-15}
ROUNDING = {dtype: 20 * torch.finfo(dtype).eps for dtype in ERROR}


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def layer(pattern, bias="channel", dtype=torch.float64, seed=0):
    return Tied(pattern, bias, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def equal_up_to_rounding(one, other, error=ERROR):
    assert one.shape == other.shape
    assert (one - other).abs().max() <= error[one.dtype] * other.abs().max()


# The groups, against matrices of whole numbers

TURN, MIRROR = np.array([[0, -1], [1, 0]]), np.array([[1, 0], [0, -1]])


def as_matrix(group, element):
    """On (row, column) from the centre: a quarter turn against the clock, after exchanging left and right."""
    mirrored, turns = divmod(element, group.turns)
    return np.linalg.matrix_power(TURN, turns) @ (MIRROR if mirrored else np.eye(2, dtype=int))


def find(group, matrix):
    (element,) = (e for e in range(group.order) if np.array_equal(as_matrix(group, e), matrix))
    return element


@pytest.mark.parametrize("group", [P1, P4, P4M], ids=lambda group: group.name)
def test_products_and_moves_are_those_of_matrices(group):
    image, corner = draw(3, 5, 5), np.array([2, 2])
    for a in range(group.order):
        moved = group.act(a, image)
        for place in product(range(5), repeat=2):
            row, column = as_matrix(group, a) @ (np.array(place) - corner) + corner
            assert torch.equal(moved[:, row, column], image[(slice(None), *place)])
        for b in range(group.order):
            assert group.product(a, b) == find(group, as_matrix(group, a) @ as_matrix(group, b))
            field = draw(2, group.order, 4, 6)
            both = group.act(a, group.act(b, field, field=True), field=True)
            assert torch.equal(both, group.act(group.product(a, b), field, field=True))


# The layers, against kernels that are turned one by one


def one_by_one(group, x, weight, bias, **options):
    """Each map from each map with its own kernel, turned for itself by torch; weight (O, I, |H|, k, k)."""
    matrices = [as_matrix(group, g) for g in range(group.order)]
    fields = []
    for o, g in product(range(weight.shape[0]), range(group.order)):
        y = bias[o]
        for i, h in product(range(x.shape[1]), range(x.shape[2])):
            back = find(group, np.linalg.inv(matrices[g]) @ matrices[h]) if x.shape[2] > 1 else 0
            mirrored, turns = divmod(g, group.turns)
            kernel = weight[o, i, back].flip(1) if mirrored else weight[o, i, back]
            kernel = kernel.rot90(turns)
            y = y + F.conv2d(x[:, i, h][:, None], kernel[None, None], **options)[:, 0]
        fields.append(y)
    y = torch.stack(fields, 1)
    return y.reshape(y.shape[0], weight.shape[0], group.order, *y.shape[2:])


@every_group
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (2, 1, 0), (3, 2, 0), (1, 1, 0)])
def test_layers_are_kernels_turned_one_by_one(group, conv2d, kernel, stride, padding):
    windows = {"stride": stride, "padding": padding}
    lifting = layer(conv2d((2, 7, 7), 3, kernel=kernel, **windows))
    x = draw(2, 2, 7, 7)
    expected = one_by_one(group, x[:, :, None], lifting.weight[:, :, None], lifting.bias, **windows)
    equal_up_to_rounding(lifting(x), expected)
    between = layer(conv2d((3, group.order, 5, 7), 2, kernel=kernel, **windows))
    x = draw(2, 3, group.order, 5, 7)
    assert between.weight.shape == (2, 3, group.order, kernel, kernel)
    equal_up_to_rounding(between(x), one_by_one(group, x, between.weight, between.bias, **windows))


@every_group
@pytest.mark.parametrize("bias", ["none", "channel", "unit"])
def test_gradients_are_those_of_the_oracle(group, conv2d, bias):
    agree(conv2d((2, 5, 5), 2, kernel=3, padding=1, padding_mode="circular"), bias)
    agree(conv2d((2, group.order, 5, 4), 1, kernel=3, padding=1), bias)
    agree(conv2d((1, group.order, 3, 3), 2, kernel=3), bias)  # one position only: runs as a linear product
    agree(P.transpose(conv2d((1, 5, 5), 2, kernel=3, stride=2)), bias)
    agree(reversal_conv1d((4, 6), 2, kernel=3, complement=(3, 2, 1, 0)), bias)


@every_group
def test_it_runs_as_one_plain_convolution(group, conv2d):
    assert lower(conv2d((2, group.order, 6, 6), 3, kernel=3)).operator == "torch.nn.functional.conv2d"
    assert lower(conv2d((2, group.order, 6, 6), 3, kernel=3)).rule == "convolution"


# Equivariance


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(GROUPS[1:]),
    st.integers(4, 9),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from(["zeros", "circular"]),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 2**32 - 1),
)
@example((P4M, p4m_conv2d), 4, 4, 2, 2, "zeros", torch.float32, 4)
def test_turned_inputs_give_turned_outputs(named, size, kernel, stride, padding, mode, dtype, seed):
    group, conv2d = named
    options = {"kernel": kernel, "stride": stride, "padding": padding, "padding_mode": mode}
    if (size + 2 * padding - kernel) % stride:
        with pytest.raises(PatternError, match="leave a rest"):
            conv2d((2, size, size), 3, **options)
        return
    lifting, between = (conv2d((2, *maps, size, size), 3, **options) for maps in ((), (group.order,)))
    lifting, between = layer(lifting, dtype=dtype, seed=seed), layer(between, dtype=dtype, seed=seed)
    image = draw(2, 2, size, size, seed=seed, dtype=dtype)
    field = draw(2, 2, group.order, size, size, seed=seed, dtype=dtype)
    for a in range(group.order):
        equal_up_to_rounding(lifting(group.act(a, image)), group.act(a, lifting(image), field=True), ROUNDING)
        turned = between(group.act(a, field, field=True))
        equal_up_to_rounding(turned, group.act(a, between(field), field=True), ROUNDING)


@pytest.mark.parametrize(("group", "conv2d"), GROUPS[1:], ids=["p4", "p4m"])
@pytest.mark.parametrize(("kernel", "error"), [(2, ERROR), (3, ERROR), (5, ROUNDING), (7, ROUNDING)])
@pytest.mark.parametrize("dtype", ERROR)
def test_the_error_of_small_kernels_is_within_the_target(group, conv2d, kernel, error, dtype):
    ours = layer(conv2d((8, group.order, 14, 14), 8, kernel=kernel, padding=kernel // 2), dtype=dtype)
    x = draw(4, 8, group.order, 14, 14, dtype=dtype)
    for a in range(group.order):
        equal_up_to_rounding(ours(group.act(a, x, field=True)), group.act(a, ours(x), field=True), error)


def test_a_plain_convolution_does_not_turn_with_its_input():
    plain_one, x = layer(p1_conv2d((1, 5, 5), 2, kernel=3)), draw(1, 1, 5, 5)
    assert (plain_one(x.rot90(1, (2, 3))) - plain_one(x).rot90(1, (3, 4))).abs().max() > 0.1


def test_p4_does_not_mirror():
    p4, x = layer(p4_conv2d((1, 5, 5), 2, kernel=3)), draw(1, 1, 5, 5)
    mirrored, kept = p4(x.flip(3)).flatten(1).sort()[0], p4(x).flatten(1).sort()[0]
    assert (mirrored - kept).abs().max() > 0.01


@every_group
@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize("dtype", ERROR)
def test_stacks_turn_and_their_pools_do_not(group, conv2d, kind, dtype):
    order = group.order
    net = nn.Sequential(
        layer(conv2d((2, 11, 11), 3, kernel=3), dtype=dtype),
        nn.ReLU(),
        nn.BatchNorm3d(3, dtype=dtype),
        layer(conv2d((3, order, 9, 9), 4, kernel=3, stride=2, padding=1), dtype=dtype),
        nn.Tanh(),
        layer(conv2d((4, order, 5, 5), 3, kernel=2, padding=1), dtype=dtype),
        GroupPool(kind),
    )
    x = draw(3, 2, 11, 11, dtype=dtype)
    for a in range(order):
        turned, straight = net(group.act(a, x)), net(x)
        equal_up_to_rounding(turned, group.act(a, straight))
        equal_up_to_rounding(turned.mean((2, 3)), straight.mean((2, 3)))
        equal_up_to_rounding(turned.amax((2, 3)), straight.amax((2, 3)))


# Exactly the maps that commute: nothing is missing


def moves(group, size, *, field):
    """Where shifts, quarter turns and mirrors take the units of a circular image or of a field on it."""
    maps = group.order if field else 1
    units = torch.arange(maps * size * size).reshape(maps, size, size)
    shifted = [units.roll(1, 1), units.roll(1, 2)]
    turned = [group.act(a, units, field=field) for a in range(1, group.order)]
    return [moved.flatten().argsort().numpy() for moved in shifted + turned]


def closure(generators):
    """All elements of the group, as pairs of moves of inputs and outputs."""
    identity = tuple(np.arange(len(moves)) for moves in generators[0])
    found, frontier = {identity[0].tobytes() + identity[1].tobytes(): identity}, [identity]
    while frontier:
        i, o = frontier.pop()
        for gi, go in generators:
            element = (gi[i], go[o])
            key = element[0].tobytes() + element[1].tobytes()
            if key not in found:
                found[key] = element
                frontier.append(element)
    return list(found.values())


@every_group
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("field", [False, True], ids=["lifting", "between"])
def test_they_are_exactly_the_maps_that_commute_with_the_group_and_its_shifts(group, conv2d, size, field):
    in_moves, out_moves = moves(group, size, field=field), moves(group, size, field=True)
    maps = (group.order,) if field else ()
    windows = {"kernel": size, "padding": size // 2, "padding_mode": "circular"}
    pattern = conv2d((1, *maps, size, size), 1, **windows)
    assert pattern.tiemap().same_ties(P.orbits(in_moves, out_moves).tiemap())
    elements = closure(list(zip(in_moves, out_moves, strict=True)))
    assert len(elements) == group.order * size**2
    fixed = sum((i == np.arange(len(i))).sum() * (o == np.arange(len(o))).sum() for i, o in elements)
    assert pattern.n_weights * len(elements) == fixed  # Burnside's lemma
    assert pattern.n_weights == (group.order if field else 1) * size**2


def test_with_more_channels_too():
    channels, group = P.dense(2, 3), P4
    ties = P.kron(channels, P.orbits(moves(group, 3, field=True), moves(group, 3, field=True)))
    windows = {"kernel": 3, "padding": 1, "padding_mode": "circular"}
    assert p4_conv2d((2, 4, 3, 3), 3, **windows).tiemap().same_ties(ties.tiemap())


def joined(pattern, acts):
    """The fewest further ties that let a convolution commute: cells of one weight, or moved into each other."""
    index = pattern.index().ravel()
    cells = np.flatnonzero(index >= 0)
    first = cells[np.unique(index[cells], return_index=True)[1]]
    ends = [(cells, first[index[cells]])]
    whole = np.arange(pattern.n_full).reshape(pattern.n_out, pattern.n_in)
    ends += [(cells, whole[np.ix_(o, i)].ravel()[cells]) for i, o in acts]
    a, b = (np.concatenate(x) for x in zip(*ends, strict=True))
    assert (index[b] >= 0).all()
    label = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=[pattern.n_full] * 2), directed=False)[1]
    matrix = np.full(pattern.n_full, -1)
    matrix[cells] = np.unique(label[cells], return_inverse=True)[1]
    return cw.TieMap.from_matrix(matrix.reshape(pattern.n_out, pattern.n_in))


def acts(group, shapes):
    """How each element moves the inputs and the outputs of these shapes: (|H|, n, n) and (|G|, m, m)."""
    for a in range(1, group.order):
        units = (torch.arange(shape.numel()).reshape(shape) for shape in map(torch.Size, shapes))
        yield [group.act(a, u, field=len(u) > 1).flatten().argsort().numpy() for u in units]


@every_group
@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), [(5, 3, 2, 1), (4, 2, 1, 0), (4, 2, 2, 1)])
@pytest.mark.parametrize("field", [False, True], ids=["lifting", "between"])
def test_among_convolutions_they_tie_no_more_than_needed(group, conv2d, size, kernel, stride, padding, field):
    maps = (group.order,) if field else ()
    pattern = conv2d((1, *maps, size, size), 1, kernel=kernel, stride=stride, padding=padding)
    shapes = ((*(maps or (1,)), size, size), pattern.out_shape[1:])
    assert pattern.tiemap().same_ties(joined(pattern.conv, acts(group, shapes)))


# Time reversal


@pytest.mark.parametrize("stride", [1, 2])
def test_reversal_layers_do_not_mind_the_direction(stride):
    partner = [3, 2, 1, 0]
    first = layer(reversal_conv1d((4, 15), 3, kernel=3, stride=stride, complement=partner))
    length = first.pattern.out_shape[-1]
    second = layer(reversal_conv1d((3, 2, length), 2, kernel=3, padding=1))
    x = draw(5, 4, 15)
    back = x[:, partner].flip(2)
    equal_up_to_rounding(first(back), first(x).flip(2, 3))
    y, other = second(first(x).tanh()), second(first(back).tanh())
    equal_up_to_rounding(other, y.flip(2, 3))
    equal_up_to_rounding(GroupPool()(other), GroupPool()(y).flip(2))
    assert (first.weight.shape, second.weight.shape) == ((3, 4, 3), (2, 3, 2, 3))


def test_reversal_by_hand():
    forwards = layer(reversal_conv1d((2, 9), 3, kernel=4))
    x, weight = draw(2, 2, 9), forwards.weight
    expected = torch.stack([F.conv1d(x, weight), F.conv1d(x, weight.flip(2))], 2) + forwards.bias[:, None, None]
    equal_up_to_rounding(forwards(x), expected)
    strands = layer(reversal_conv1d((2, 9), 3, kernel=4, complement=(1, 0)), "none")
    expected = torch.stack([F.conv1d(x, strands.weight), F.conv1d(x, strands.weight.flip(1, 2))], 2)
    equal_up_to_rounding(strands(x), expected)


def test_reversal_ties_no_more_than_needed():
    pattern = reversal_conv1d((4, 5), 1, kernel=3, complement=(3, 2, 1, 0))
    assert pattern.tiemap().same_ties(joined(pattern.conv, [[np.arange(20)[::-1], np.arange(6)[::-1]]]))
    pattern = reversal_conv1d((1, 2, 5), 1, kernel=3)
    assert pattern.tiemap().same_ties(joined(pattern.conv, [[np.arange(10)[::-1], np.arange(6)[::-1]]]))


# Deep Sets


@pytest.mark.parametrize("n", [2, 3, 6])
def test_deep_sets_are_exactly_the_maps_that_commute_with_all_permutations(n):
    turn, swap = np.roll(range(n), 1), np.array([1, 0, *range(2, n)])
    ties = P.kron(P.orbits([turn, swap], [turn, swap]), P.dense(3, 2)).tiemap()
    net = DeepSets(3, 2).double()
    matrix = torch.func.jacrev(net)(draw(n, 3)).reshape(2 * n, 3 * n).detach()
    theta = ties.project(matrix)
    torch.testing.assert_close(ties.expand(theta), matrix)
    assert ties.n_weights == sum(w.numel() for w in (net.own, net.shared))
    itself, other = theta.reshape(2, 2, 3)
    torch.testing.assert_close(other * n, net.shared.detach())
    torch.testing.assert_close(itself - other, net.own.detach())


def test_deep_sets_take_sets_of_any_size_and_count_their_weights():
    net, x = DeepSets(4, 5).double(), draw(3, 7, 4)
    order = np.random.default_rng(0).permutation(7)
    equal_up_to_rounding(net(x[:, order]), net(x)[:, order])
    assert net(x[:, :2]).shape == (3, 2, 5)
    assert cw.count(net, x).weights == 45
    torch.testing.assert_close(net(x)[0, 1], net.own @ x[0, 1] + net.shared @ x[0].mean(0) + net.bias)


# Counts, copies, export


@every_group
def test_count_finds_the_free_weights(group, conv2d):
    order = group.order
    net = nn.Sequential(layer(conv2d((2, 9, 9), 3, kernel=3)), layer(conv2d((3, order, 7, 7), 5, kernel=3)))
    census = cw.count(net, draw(1, 2, 9, 9))
    first, second = census.layers
    assert (first.weights, second.weights) == (3 * 2 * 9 + 3, 5 * 3 * order * 9 + 5)
    assert first.connections == 3 * order * 49 * (2 * 9 + 1)
    assert second.connections == 5 * order * 25 * (3 * order * 9 + 1)
    assert census.weights == sum(weight.numel() for weight in net.parameters())


@every_group
@pytest.mark.parametrize("bias", ["none", "channel"])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_the_plain_layer_does_the_same(group, conv2d, bias, mode):
    options = {"kernel": 3, "stride": 2, "padding": 1, "padding_mode": mode}
    for maps in ((), (group.order,)):
        ours = layer(conv2d((3, *maps, 7, 9), 2, **options), bias)
        state = torch.get_rng_state()
        theirs, x = plain(ours), draw(2, 3, *maps, 7, 9)
        assert torch.equal(torch.get_rng_state(), state)
        assert type(theirs) is nn.Conv2d
        y = theirs(x.reshape(2, -1, 7, 9))
        torch.testing.assert_close(y.reshape(2, 2, group.order, *y.shape[2:]), ours(x))


def test_the_plain_layer_of_sequences_does_the_same():
    ours, x = layer(reversal_conv1d((3, 2, 8), 4, kernel=3, stride=1, padding=1)), draw(2, 3, 2, 8)
    torch.testing.assert_close(plain(ours)(x.flatten(1, 2)).unflatten(1, (4, 2)), ours(x))


def test_a_copy_does_the_same_and_state_is_the_weights():
    ours, x = layer(p4m_conv2d((2, 6, 6), 3, kernel=3)), draw(1, 2, 6, 6)
    assert torch.equal(copy.deepcopy(ours)(x), ours(x))
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == {
        "weight": (3, 2, 3, 3),
        "bias": (3,),
    }


def test_a_net_is_made_without_memory_and_loaded():
    made = GroupCNN(P4, (1, 8, 8), 3, width=2)
    with torch.device("meta"):
        empty = GroupCNN(P4, (1, 8, 8), 3, width=2)
        p4_conv2d((1, 9, 9), 2, kernel=7)  # whose orbits nobody has asked for before
        reversal_conv1d((4, 9), 2, kernel=7, complement=(3, 2, 1, 0))
    empty.to_empty(device="cpu").load_state_dict(made.state_dict())
    x = draw(2, 1, 8, 8, dtype=torch.float32)
    assert torch.equal(empty.eval()(x), made.eval()(x))


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": 2, "padding_mode": "circular"}])
def test_notation_says_all_and_nothing_else(options):
    words = "".join(f", {key}={value!r}" for key, value in options.items())
    pattern = p4_conv2d((2, 7, 7), 3, kernel=3, **options)
    assert str(pattern) == f"p4_conv2d((2, 7, 7), 3, kernel=3{words})"
    assert pattern == p4_conv2d((2, 7, 7), 3, 3, **options)
    assert pattern == p4_conv2d((2, 7, 7), 3, np.int64(3), **options)
    assert pattern != p4m_conv2d((2, 7, 7), 3, 3, **options)


def test_notation_of_a_reversal_layer():
    pattern = reversal_conv1d((2, 7), 3, kernel=(3,), stride=2, complement=[1, 0])
    assert str(pattern) == "reversal_conv1d((2, 7), 3, kernel=3, stride=2, complement=(1, 0))"
    assert pattern == reversal_conv1d((2, 7), 3, 3, 2, complement=np.array([1, 0]))
    assert pattern == reversal_conv1d((np.int64(2), np.int64(7)), np.int64(3), 3, 2, complement=(1, 0))


# The nets


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([P4, P4M]), st.integers(8, 20), st.integers(8, 20), st.booleans())
def test_nets_give_the_same_answer_however_the_image_is_turned(group, n_rows, n_columns, training):
    net, lying = (GroupCNN(group, (2, *sides), 5, width=2) for sides in ((n_rows, n_columns), (n_columns, n_rows)))
    net, lying = net.double(), lying.double()
    lying.load_state_dict(net.state_dict())
    x = draw(4, 2, n_rows, n_columns)
    straight = net.train(training)(x)
    for a in range(group.order):
        turned = group.act(a, x)
        answers = (lying if a % 2 else net).train(training)(turned)
        assert (answers - straight).abs().max() <= 1e-11 * straight.abs().max()


@every_group
def test_nets_have_the_announced_weights(group, conv2d):
    net = GroupCNN(group, (3, 9, 16), 7, width=4)
    announced = 9 * 4 * (3 + 10 * group.order * 4) + 14 * 4 + 7 * (4 * 4 + 1)
    assert sum(weight.numel() for weight in net.parameters()) == announced
    assert cw.count(net, torch.zeros(1, 3, 9, 16)).weights == announced


def test_without_turns_a_net_has_the_convolutions_of_cnn():
    ours, theirs = GroupCNN(P1, (1, 8, 8), 3, width=4), CNN((1, 8, 8), 3, width=4)
    for stage in (1, 2, 3):
        conv = theirs.get_submodule(f"conv{stage}")
        conv.weight = nn.Parameter(ours.get_submodule(f"conv{stage}").weight.detach().reshape(conv.weight.shape))
    theirs.output = ours.output  # its image is 1 × 1 there
    x = draw(6, 1, 8, 8, dtype=torch.float32)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


# What is refused

CONV = r"p4_conv2d takes images of shape \(channels, height, width\) or fields of shape \(channels, 4, height, width\)"


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: p4_conv2d((2, 8, 8, 8), 3, kernel=3), PatternError, CONV + r"; got \(2, 8, 8, 8\)"),
        (lambda: p4_conv2d((8, 8), 3, kernel=3), PatternError, CONV),
        (
            lambda: p4m_conv2d((1, 8, 8), 3, kernel=(3, 5)),
            PatternError,
            r"p4m_conv2d: out_channels, kernel and stride are one whole number of at least 1 each, padding one of at"
            r" least 0; a window is as high as it is wide; got .*\(3, 5\)",
        ),
        (lambda: p4_conv2d((1, 8, 8), 3.0, kernel=3), PatternError, r"out_channels, kernel .*; got .*3\.0"),
        (lambda: p4_conv2d((1, 8, 8), 0, kernel=3), PatternError, r"out_channels, kernel .*; got .*'out_channels': 0"),
        (lambda: p4_conv2d((1, 8, 8), 3, 3, padding=-1), PatternError, r"padding one of at least 0; .*'padding': -1"),
        (
            lambda: p4_conv2d((1, 8, 8), 3, 3, padding_mode=["zeros"]),
            PatternError,
            r"p4_conv2d: padding_mode is 'zeros' or 'circular'; got list: \['zeros'\]",
        ),
        (
            lambda: plane_conv("p4", (1, 8, 8), 3, 3),
            PatternError,
            r"plane_conv takes a group: P1, P4 or P4M; got str: 'p4'",
        ),
        (lambda: P4.act(4, torch.zeros(5, 5)), PatternError, r"p4 has the elements 0 to 3; got 4"),
        (lambda: P4M.product(0, 1.0), PatternError, r"p4m has the elements 0 to 7; got 1\.0"),
        (lambda: P4.act(1, torch.zeros(5)), PatternError, r"p4 turns images of shape \(\.\.\., H, W\); got \(5,\)"),
        (
            lambda: P4.act(1, torch.zeros(8, 5, 5), field=True),
            PatternError,
            r"p4 turns fields of shape \(\.\.\., 4, H, W\); got \(8, 5, 5\)",
        ),
        (lambda: p4_conv2d((1.0, 8, 8), 3, kernel=3), PatternError, CONV + r"; got \(1\.0, 8, 8\)"),
        (
            lambda: p4m_conv2d((1, 8, 8), 3, kernel=3, stride=2, padding=1),
            PatternError,
            r"windows of 3 with stride 2 and padding 1 leave a rest on an axis of 8 and would not turn or mirror with"
            r" it: make 8 \+ 2·1 - 3 a multiple of 2",
        ),
        (
            lambda: p4_conv2d((1, 1, 1), 3, kernel=3, padding=1),
            PatternError,
            r"p4_conv2d\(.*\): parts of the kernel only ever meet padding: use a smaller kernel or less padding",
        ),
        (lambda: p4_conv2d((1, 3, 3), 3, kernel=5), PatternError, r"kernel spans \(5, 5\), more than the input"),
        (
            lambda: reversal_conv1d((2, 3, 9), 3, kernel=3),
            PatternError,
            r"takes sequences of shape \(channels, time\) or fields of shape \(channels, 2, time\); got \(2, 3, 9\)",
        ),
        (lambda: reversal_conv1d(("4", 9), 3, kernel=3), PatternError, r"takes sequences of shape .*; got \('4', 9\)"),
        (
            lambda: reversal_conv1d((4, 9), 1.5, kernel=3),
            PatternError,
            r"reversal_conv1d: out_channels takes whole numbers of at least 1; got 1\.5",
        ),
        (
            lambda: reversal_conv1d((4, 9), 3, kernel=3, complement="TGCA"),
            PatternError,
            r"complement pairs the channels of a sequence, as \(3, 2, 1, 0\) does for A, C, G, T; got <U4",
        ),
        (lambda: reversal_conv1d((4, 9), 3, 3, complement=(3.7, 2, 1, 0)), PatternError, r"complement .*; got float64"),
        (lambda: reversal_conv1d((4, 9), 3, 3, complement=(None, 2, 1, 0)), PatternError, r"complement .*; got object"),
        (
            lambda: reversal_conv1d((3, 9), 3, kernel=3, complement=(1, 2, 0)),
            PatternError,
            r"complement pairs the channels of a sequence, .*; got \(1, 2, 0\) for an input of shape \(3, 9\)",
        ),
        (lambda: reversal_conv1d((3, 9), 3, kernel=3, complement=(0, 1)), PatternError, "complement pairs"),
        (lambda: reversal_conv1d((3, 2, 9), 3, kernel=3, complement=(0, 1)), PatternError, "complement pairs"),
        (lambda: GroupPool("sum"), PatternError, r"A field is pooled by its 'max' or its 'mean'; got 'sum'"),
        (lambda: plain(Tied(P.dense(2, 2))), PatternError, r"Tied\(dense\(2, 2\), .*\) is no group convolution with"),
        (lambda: plain(Tied(p4_conv2d((1, 5, 5), 1, 3), "unit")), PatternError, r"is no group convolution with a bias"),
        (lambda: DeepSets(0, 3), NetError, r"whole numbers of features, at least 1; got 0 in and 3 out"),
        (lambda: DeepSets(3, 1.5), NetError, r"whole numbers of features, at least 1; got 3 in and 1\.5 out"),
        (
            lambda: DeepSets(3, 2)(torch.zeros(7, 4)),
            NetError,
            r"This layer of Deep Sets takes sets of shape \(\.\.\., n, 3\); got \(7, 4\)",
        ),
        (lambda: DeepSets(3, 2)(torch.zeros(3)), NetError, r"takes sets of shape \(\.\.\., n, 3\); got \(3,\)"),
        (
            lambda: DeepSets(3, 2)(torch.zeros(7, 3, dtype=torch.int64)),
            NetError,
            r"has weights of torch\.float32 and cannot take sets of torch\.int64: .* x\.to\(torch\.float32\) does",
        ),
        (lambda: GroupCNN(P4, (30,), 3), NetError, r"p4_cnn takes images .* have shape \(30,\): use mlp"),
        (lambda: GroupCNN(P4M, (1, 7, 9), 3), NetError, r"p4m_cnn needs images of at least 8×8 .*; got 7×9"),
        (lambda: GroupCNN(P4, (1, 8, 8), 3, width=0), NetError, r"width is a whole number from 1; got int: 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
