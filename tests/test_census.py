"""The count of one layer, against the gradient at inputs of ones, partial derivatives and hand arithmetic."""

from itertools import product
from math import prod

import pytest
import torch
from counting import Net, by_layer, by_parameter, totals
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence

import commonweight as cw
from commonweight.census.operations import real_taps

torch.set_num_threads(1)


def ones_count(module, *inputs):
    """How often each parameter is multiplied, where the output is linear in it: d sum(y) / d w at inputs of ones."""
    module = module.double()
    outputs = module(*(x if x.dtype == torch.int64 else torch.ones_like(x, dtype=torch.float64) for x in inputs))
    gradients = torch.autograd.grad(outputs.sum(), list(module.parameters()))
    names = [name for name, _ in module.named_parameters()]
    return {name: round(g.sum().item()) for name, g in zip(names, gradients, strict=True)}


# Single layers


def test_first_layer_of_lenet5():
    census = cw.count(nn.Conv2d(1, 6, 5), torch.zeros(1, 1, 32, 32))
    assert totals(census) == (156, 122_304, 1024 * 4704 + 4704)
    (layer,) = census.layers
    assert (layer.name, layer.kind, layer.uses) == ("Conv2d", "Conv2d", 1)
    assert (layer.in_shape, layer.out_shape) == ((1, 32, 32), (6, 28, 28))


@given(
    axes=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 2),
    mode=st.sampled_from(["zeros", "circular", "reflect", "replicate"]),
    transposed=st.booleans(),
    bias=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_convolutions_of_every_kind(axes, kernel, stride, padding, dilation, groups, mode, transposed, bias):
    kind = f"Conv{'Transpose' * transposed}{axes}d"
    options = {} if transposed else {"padding_mode": mode}
    channels = (2 * groups, groups)
    layer = getattr(nn, kind)(
        *channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias, **options
    )
    x = torch.zeros(2, channels[0], *(5, 6, 5)[:axes])
    census, y = cw.count(layer, x), layer(x)
    assert by_parameter(census) == {name: n / 2 for name, n in ones_count(layer, x).items()}
    assert census.full == x[0].numel() * y[0].numel() + bias * y[0].numel()
    assert census.connections == sum(by_parameter(census).values())


@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_connections_are_the_partial_derivatives_that_are_not_zero(padding):
    layer = nn.Conv2d(2, 4, 3, padding=padding, groups=2, bias=False).double()
    x = torch.rand(1, 2, 5, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(layer, x)
    assert cw.count(layer, x).connections == jacobian.count_nonzero()


@given(
    *(st.integers(0, 6), st.integers(0, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3)),
    *(st.integers(1, 3), st.integers(0, 3), st.integers(0, 6)),
)
def test_real_taps_against_a_list_of_them(start, length, kernel, stride, padding, dilation, first, size):
    moving, inside = range(start, start + length), range(first, first + size)
    listed = [p for p, t in product(moving, range(kernel)) if p * stride - padding + t * dilation in inside]
    assert real_taps(moving, kernel, stride, padding, dilation, inside) == len(listed)


@pytest.mark.parametrize(
    ("pad", "conv"),
    [
        (nn.ZeroPad2d(1), nn.Conv2d(1, 2, 3)),
        (nn.ZeroPad2d((2, 0, 1, 0)), nn.Conv2d(1, 2, 3, padding=1)),
        (nn.Sequential(nn.ZeroPad2d(1), nn.ZeroPad2d((0, 1, 0, 1))), nn.Conv2d(1, 2, 3, stride=2)),
        (nn.ZeroPad2d((-1, 1, 0, 0)), nn.ConvTranspose2d(1, 2, 3)),
    ],
)
def test_zero_padding_in_a_layer_of_its_own_makes_no_connections(pad, conv):
    x = torch.zeros(1, 1, 4, 4)
    expected = ones_count(nn.Sequential(pad, conv), x)
    assert by_parameter(cw.count(nn.Sequential(pad, conv).float(), x)) == expected


def test_padding_that_is_cut_afterwards_counts_as_input():
    net = Net(lambda net, x: net.conv(F.pad(x, (2, 0))[..., 1:]), conv=nn.Conv1d(1, 1, 3, bias=False))
    assert cw.count(net, torch.zeros(2, 1, 5)).connections == 4 * 3


def test_padding_with_a_number_makes_connections():
    census = cw.count(nn.Sequential(nn.ConstantPad1d(1, 0.5), nn.Conv1d(1, 1, 3, bias=False)), torch.zeros(1, 1, 4))
    assert census.connections == 4 * 3


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Linear(3, 4), [torch.zeros(2, 3)]),
        (nn.Linear(3, 4), [torch.zeros(2, 5, 3)]),
        (nn.Linear(3, 4, bias=False), [torch.zeros(2, 5, 6, 3)]),
        (nn.Bilinear(3, 4, 5), [torch.zeros(2, 3), torch.zeros(2, 4)]),
        (nn.Embedding(5, 3), [torch.zeros(2, 4, dtype=torch.int64)]),
        (nn.EmbeddingBag(5, 3, mode="sum"), [torch.zeros(2, 4, dtype=torch.int64)]),
        (Net(lambda net, x: x @ net.w.t(), w=torch.rand(4, 3)), [torch.zeros(2, 5, 3)]),
        (Net(lambda net, x: torch.einsum("bld,dhe->bhle", x, net.w), w=torch.rand(3, 2, 4)), [torch.zeros(2, 5, 3)]),
        (Net(lambda net, x: x[:, None] @ net.w, w=torch.rand(2, 3, 4)), [torch.zeros(2, 5, 3)]),
        (Net(lambda net, x: x @ net.w, w=torch.rand(3)), [torch.zeros(2, 3)]),
        (Net(lambda net, x: x * net.w + net.b, w=torch.rand(3, 1), b=torch.rand(1)), [torch.zeros(2, 3, 4)]),
        (
            Net(lambda net, x: torch.baddbmm(net.b, x, net.w), w=torch.rand(2, 3, 4), b=torch.rand(4)),
            [torch.zeros(2, 5, 3)],
        ),
        (Net(lambda net, x: torch.cat([net.c.expand(2, 1, 3), x], 1), c=torch.rand(3)), [torch.zeros(2, 5, 3)]),
        (Net(lambda net, x: F.unfold(x, 2).mT @ net.w, w=torch.rand(4, 3)), [torch.zeros(2, 1, 4, 4)]),
        (Net(lambda net, x: x @ net.w[:, :2].flip(0), w=torch.rand(3, 4)), [torch.zeros(2, 3)]),
        (Net(lambda net, x: net.w[x], w=torch.rand(5, 3)), [torch.zeros(2, 4, dtype=torch.int64)]),
    ],
)
def test_layers_against_the_gradient_at_ones(layer, inputs):
    assert by_parameter(cw.count(layer, *inputs)) == {name: n / 2 for name, n in ones_count(layer, *inputs).items()}


@pytest.mark.parametrize(
    ("layer", "x", "full"),
    [
        (nn.Linear(3, 4), torch.zeros(2, 5, 3), 15 * 20 + 20),
        (nn.Embedding(7, 3), torch.zeros(2, 4, dtype=torch.int64), 4 * 7 * 4 * 3),
        (nn.EmbeddingBag(7, 3), torch.zeros(2, 4, dtype=torch.int64), 7 * 3),
        (nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular"), torch.zeros(2, 1, 6), 6 * 12 + 12),
        (Net(lambda net, x: F.unfold(x, 2).mT @ net.w, w=torch.rand(4, 3)), torch.zeros(2, 1, 4, 4), 16 * 27),
        (Net(lambda net, x: x[:, None] @ net.w, w=torch.rand(2, 3, 4)), torch.zeros(2, 5, 3), 15 * 40),
        (
            Net(lambda net, x: torch.einsum("blk,lok->bol", x.unfold(1, 3, 1), net.w), w=torch.rand(5, 2, 3)),
            torch.zeros(2, 7),
            70,
        ),
        (Net(lambda net, x: x + net.p, p=torch.rand(5, 3)), torch.zeros(2, 5, 3), 15),
        (Net(lambda net, x: x * net.p, p=torch.rand(1)), torch.zeros(2, 5, 3), 15 * 15),
        (Net(lambda net, x: torch.cdist(x, net.w), w=torch.rand(6, 3)), torch.zeros(2, 3), 18),
    ],
)
def test_fully_connected_joins_every_input_unit_to_every_output_unit(layer, x, full):
    assert cw.count(layer, x).full == full


@pytest.mark.parametrize(
    ("layer", "shape", "weights", "per_element"),
    [
        (nn.BatchNorm2d(3), (2, 3, 4, 4), 6, 2),
        (nn.BatchNorm1d(3, affine=False), (2, 3, 4), 0, 0),
        (nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 4), 6, 2),
        (nn.GroupNorm(1, 3), (2, 3, 4), 6, 2),
        (nn.LayerNorm(4), (2, 3, 4), 8, 2),
        (nn.LayerNorm(4, bias=False), (2, 3, 4), 4, 1),
        (nn.RMSNorm(4), (2, 3, 4), 4, 1),
        (nn.PReLU(3), (2, 3, 4), 3, 1),
        (nn.PReLU(), (2, 3, 4), 1, 1),
    ],
)
def test_one_connection_for_each_element_and_parameter(layer, shape, weights, per_element):
    n = prod(shape[1:])
    full = {0: 0, 1: n * n, 2: n * n + n}[per_element]
    assert totals(cw.count(layer, torch.zeros(shape))) == (weights, per_element * n, full)


def test_distances_to_centres_use_each_coordinate_once():
    by_hand = Net(lambda net, x: (x[:, None] - net.w).square().sum(-1), w=torch.rand(6, 3))
    by_torch = Net(lambda net, x: torch.cdist(x, net.w), w=torch.rand(6, 3))
    assert cw.count(by_hand, torch.zeros(2, 3)).connections == 18
    assert cw.count(by_torch, torch.zeros(2, 3)).connections == 18


# Recurrent nets


@given(
    kind=st.sampled_from(["LSTM", "GRU", "RNN"]),
    layers=st.integers(1, 2),
    both_ways=st.booleans(),
    bias=st.booleans(),
    batch_first=st.booleans(),
    steps=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_recurrent_nets_use_every_weight_once_a_step(kind, layers, both_ways, bias, batch_first, steps):
    n_in, n_state, ways = 3, 4, 1 + both_ways
    net = getattr(nn, kind)(n_in, n_state, layers, bias=bias, batch_first=batch_first, bidirectional=both_ways)
    x = torch.zeros(2, steps, n_in) if batch_first else torch.zeros(steps, 2, n_in)
    census = cw.count(net, x, batch_dim=0 if batch_first else 1)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind] * n_state
    cells = [n_in] + [ways * n_state] * (layers - 1)
    one_step = ways * sum(gates * n + gates * n_state + 2 * gates * bias for n in cells)
    assert totals(census) == (one_step, steps * one_step, steps * one_step)
    assert census.layers[0].uses == steps * layers * ways
    assert {use.calls for parameter in census.parameters for use in parameter.uses} == {steps}
    check_fans(net, census)


def check_fans(net, census):
    """A sum in a recurrent layer has as many terms as its matrix has columns, at each time step; a bias is in none."""
    found = {one.name: (one.fan_in, one.fan_out) for one in census.parameters}
    assert found == {name: (w.shape[1], w.shape[0]) if w.ndim == 2 else (0, 0) for name, w in net.named_parameters()}


def unrolled(net, x):
    state = None
    for x_t in x.unbind(1):
        state = net.cell(x_t, state)
    return state


@pytest.mark.parametrize(("cell", "whole"), [(nn.LSTMCell, nn.LSTM), (nn.GRUCell, nn.GRU), (nn.RNNCell, nn.RNN)])
def test_a_cell_in_a_loop_counts_as_the_whole_net(cell, whole):
    x = torch.zeros(2, 5, 3)
    net = Net(unrolled, cell=cell(3, 4))
    loop = cw.count(net, x)
    check_fans(net, loop)
    assert by_layer(loop) == {"cell": (*totals(cw.count(whole(3, 4, batch_first=True), x)), 5)}


def test_a_cell_called_by_keywords():
    net = Net(
        lambda net, x: torch.rnn_tanh_cell(input=x, hx=torch.zeros(len(x), 4), w_ih=net.w, w_hh=net.u),
        w=torch.rand(4, 3),
        u=torch.rand(4, 4),
    )
    assert by_parameter(cw.count(net, torch.zeros(2, 3))) == {"w": 12, "u": 16}


def test_a_recurrent_net_written_out_by_hand():
    def run(net, x):
        h = torch.zeros(len(x), 4)
        for t in range(x.shape[1]):
            gate, new = (x[:, t] @ net.w + h @ net.u + net.b).chunk(2, -1)
            h = h * gate.sigmoid() + new.tanh()
        return h

    census = cw.count(Net(run, w=torch.rand(3, 8), u=torch.rand(4, 8), b=torch.rand(8)), torch.zeros(2, 5, 3))
    assert by_parameter(census) == {"w": 5 * 24, "u": 5 * 32, "b": 5 * 8}
    assert census.layers[0].uses == 5


def test_parts_of_a_parameter_add_up_to_one_use():
    for made in (lambda w: w, lambda w: 2 * w):
        net = Net(lambda net, x, made=made: [x @ w for w in made(net.w).chunk(4, 1)], w=torch.rand(3, 8))
        census = cw.count(net, torch.zeros(2, 3))
        assert census.parameters[0].uses == (("Net", 1),)
        assert census.connections == 24


def test_projection_packed_sequence_learned_state_and_no_batch():
    projected = nn.LSTM(3, 4, proj_size=2, num_layers=2, batch_first=True)
    with pytest.warns(UserWarning, match="oneDNN"):
        census = cw.count(projected, torch.zeros(2, 5, 3))
    assert census.connections == 5 * census.weights
    check_fans(projected, census)
    gru = nn.GRU(3, 4, bidirectional=True)
    packed = cw.count(gru, pack_sequence([torch.zeros(5, 3), torch.zeros(3, 3)]))
    check_fans(gru, packed)
    assert packed.connections == packed.weights * (5 + 3) / 2
    assert packed.layers[0].uses == 5 * 2
    learned = Net(
        lambda net, x: net.rnn(x, net.h.expand(1, x.shape[1], 4).contiguous()), rnn=nn.RNN(3, 4), h=torch.rand(4)
    )
    census = cw.count(learned, torch.zeros(5, 2, 3), batch_dim=1)
    assert by_parameter(census)["h"] == 4
    assert census.connections == 4 + 5 * (12 + 16 + 8)
    assert cw.count(nn.GRU(3, 4), torch.zeros(5, 3), batch_dim=None).connections == 5 * 3 * (12 + 16 + 8)


def test_states_made_like_a_weight_are_not_made_of_it():
    net = Net(
        lambda net, x: net.rnn(x, net.rnn.weight_hh_l0.new_zeros(1, len(x), 4)), rnn=nn.GRU(3, 4, batch_first=True)
    )
    census = cw.count(net, torch.zeros(2, 5, 3))
    assert census.connections == 5 * census.weights
    mask = Net(lambda net, x: x * (net.w > 0), w=torch.rand(3))
    assert cw.count(mask, torch.zeros(2, 3)).connections == 0


# Attention


def attention_counts(length, memory, embed, k_dim, v_dim):
    """Projections of queries, keys, values and outputs, each with its bias."""
    pieces = [(length, embed), (memory, k_dim), (memory, v_dim), (length, embed)]
    connections = sum(n * (size * embed + embed) for n, size in pieces)
    return connections, sum((n * size) * (n * embed) + n * embed for n, size in pieces)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_counts_its_projections_only(batch_first, need_weights, heads):
    def as_batch(n, size):
        return torch.zeros((2, n, size) if batch_first else (n, 2, size))

    def run(net, q, k, v):
        return net.attention(q, k, v, need_weights=need_weights)

    batch_dim = 0 if batch_first else 1
    own = Net(run, attention=nn.MultiheadAttention(4, heads, batch_first=batch_first))
    x, memory = as_batch(3, 4), as_batch(5, 4)
    weights = 4 * (4 * 4 + 4)
    connections, _ = attention_counts(3, 3, 4, 4, 4)
    packed_full = (3 * 4) * (3 * 12) + 3 * 12 + (3 * 4) * (3 * 4) + 3 * 4
    assert totals(cw.count(own, x, x, x, batch_dim=batch_dim)) == (weights, connections, packed_full)
    crossed = cw.count(own, x, memory, memory.clone(), batch_dim=batch_dim)
    assert totals(crossed) == (weights, *attention_counts(3, 5, 4, 4, 4))
    assert crossed.layers[0].uses == 1
    other = Net(run, attention=nn.MultiheadAttention(4, heads, kdim=6, vdim=7, batch_first=batch_first))
    census = cw.count(other, x, as_batch(5, 6), as_batch(5, 7), batch_dim=batch_dim)
    assert totals(census)[1:] == attention_counts(3, 5, 4, 6, 7)


def test_attention_with_learned_keys_and_learned_queries():
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True, batch_first=True)
    x = torch.zeros(2, 3, 4)
    census = cw.count(attention, x, x, x)
    assert {name: by_parameter(census)[name] for name in ("bias_k", "bias_v")} == {"bias_k": 4, "bias_v": 4}
    queries = Net(
        lambda net, x: net.attention(net.q.expand(len(x), -1, -1), x, x),
        q=torch.rand(1, 6, 4),
        attention=nn.MultiheadAttention(4, 2, batch_first=True),
    )
    census = cw.count(queries, x)
    assert by_parameter(census)["q"] == 6 * 4
    assert census.connections == 6 * 4 + attention_counts(6, 3, 4, 4, 4)[0]


def explicit(q, k, v):
    return (q @ k.mT / 2).softmax(-1) @ v


@pytest.mark.parametrize("attend", [F.scaled_dot_product_attention, explicit])
def test_score_products_use_no_weight_fused_or_not(attend):
    net = Net(lambda net, x: net.out(attend(*net.qkv(x).chunk(3, -1))), qkv=nn.Linear(4, 12), out=nn.Linear(4, 4))
    census = cw.count(net, torch.zeros(2, 3, 4))
    assert by_layer(census) == {"qkv": (60, 180, 12 * 36 + 36, 1), "out": (20, 60, 12 * 12 + 12, 1)}
    learned = Net(lambda net, x: attend(net.q.expand(len(x), -1, -1, -1), x, x), q=torch.rand(1, 2, 6, 4))
    census = cw.count(learned, torch.zeros(3, 2, 5, 4))
    assert census.connections == 2 * 6 * 5 * 4
    assert not census.notes


def test_a_common_weight_gives_each_parameter_its_share_of_connections():
    joined = Net(lambda m, x: F.linear(x, torch.cat([m.a, m.b])), a=torch.randn(2, 3), b=torch.randn(4, 3))
    census = cw.count(joined, torch.zeros(1, 3))
    assert by_parameter(census) == {"a": 6, "b": 12}


def test_lookups_are_in_no_weighted_sum():
    tied = Net(lambda m, tokens: F.linear(F.embedding(tokens, m.words), m.words), words=torch.randn(10, 4))
    (words,) = cw.count(tied, torch.zeros(1, 5, dtype=torch.int64)).parameters
    assert (words.connections, words.fan_in, words.fan_out) == (5 * 4 + 5 * 40, 4, 10)


@pytest.mark.parametrize("batch", [1, 2])
def test_learned_inputs_are_connected_to_a_constant(batch):
    x = torch.zeros(batch, 3)
    queries = Net(
        lambda net, x: net.linear(net.q[:3, None].expand(-1, len(x), -1)) + x,
        q=torch.rand(8, 3),
        linear=nn.Linear(3, 3),
    )
    census = cw.count(queries, x)
    assert by_parameter(census) == {"q": 9, "linear.weight": 27, "linear.bias": 9}
    assert (census.parameters[0].fan_in, census.parameters[0].fan_out) == (0, 0)  # in no weighted sum
    image = Net(
        lambda net, x: net.conv(net.k.repeat(len(x), 1, 1, 1)),
        k=torch.rand(1, 2, 4, 4),
        conv=nn.Conv2d(2, 3, 3, padding=1),
    )
    assert by_parameter(cw.count(image, x)) == {"k": 32, "conv.weight": 2 * 3 * 10 * 10, "conv.bias": 48}
    pair = Net(lambda net, x: net.both(x, net.p.expand(len(x), 4)), p=torch.rand(4), both=nn.Bilinear(3, 4, 5))
    assert by_parameter(cw.count(pair, x)) == {"p": 4, "both.weight": 60, "both.bias": 5}


@pytest.mark.parametrize("training", [False, True])
def test_transformer_encoder_whose_fast_path_hides_the_weights(training):
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, batch_first=True)
    net = nn.TransformerEncoder(layer, 2).train(training)
    per_position = 4 * (4 * 4 + 4) + (4 * 6 + 6) + (6 * 4 + 4) + 2 * 2 * 4
    census = cw.count(net, torch.zeros(2, 3, 4))
    assert census.weights == 2 * (4 * (4 * 4 + 4) + 30 + 28 + 16)
    assert census.connections == 2 * 3 * per_position
    assert not census.notes
