"""The networks: published tables out of the architecture, losses by hand, seeds, and what `build` refuses."""

import math
import re
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import data, nets, patterns
from commonweight.errors import NetError
from commonweight.nets import lenet
from commonweight.nets.activations import ACTIVATIONS
from commonweight.nets.cnn import CNN
from commonweight.nets.lenet import FixedCodes, GreyImage, LeNet5, LeNet1989, ScaledTanh, digit_codes
from commonweight.nets.locally_connected import LocallyConnected
from commonweight.nets.mlp import MLP
from commonweight.tied import Tied

LENET5 = {  # LeCun et al. 1998, section II.B: weights, connections
    "c1": (156, 122_304),
    "s2": (12, 5_880),
    "c3": (1_516, 151_600),
    "s4": (32, 2_000),
    "c5": (48_120, 48_120),
    "f6": (10_164, 10_164),
    "output": (0, 840),
}
LENET1989 = {  # LeCun et al. 1989, section 3
    "h1": (1_068, 19_968),
    "h2": (2_592, 38_592),
    "h3": (5_790, 5_790),
    "output": (310, 310),
}
PUBLISHED = [
    (LeNet5, (1, 32, 32), LENET5, (60_000, 340_908)),
    (LeNet1989, (1, 16, 16), LENET1989, (9_760, 64_660)),
]
PUBLISHED_IDS = ["lenet5", "lenet1989"]
LARGE = ("resnet18", "resnet50", "resnet152")  # too many weights to train here; held by tests/test_resnet.py
BY_GRADIENTS = [
    entry for entry in nets.entries() if "image" in entry.inputs and not entry.estimators and entry.name not in LARGE
]
BUILT = [(entry, shape) for entry in BY_GRADIENTS for shape in ((1, 8, 8), (3, 28, 20), (1, 32, 32))]


# What the papers say


@pytest.mark.parametrize(("net", "in_shape", "table", "total"), PUBLISHED, ids=PUBLISHED_IDS)
def test_published_tables_come_out_of_the_patterns(net, in_shape, table, total):
    counted = {}
    for name, layer in net(in_shape).named_children():
        if hasattr(layer, "pattern"):
            weights = sum(parameter.numel() for parameter in layer.parameters())
            rest = layer.bias_pattern
            counted[name] = (weights, layer.pattern.n_connections + (rest.n_connections if rest else 0))
            if weights:
                assert weights == layer.pattern.n_weights + rest.n_weights
    assert counted == table
    assert tuple(map(sum, zip(*counted.values(), strict=True))) == total


@pytest.mark.parametrize(("net", "in_shape", "table", "total"), PUBLISHED, ids=PUBLISHED_IDS)
def test_published_tables_come_out_of_count(net, in_shape, table, total):
    census = cw.count(net(in_shape), torch.zeros(1, *in_shape))
    assert {layer.name: (layer.weights, layer.connections) for layer in census.layers} == table
    assert (census.weights, census.connections) == total


@pytest.mark.parametrize("in_shape", [(1, 8, 8), (3, 28, 28), (1, 64, 40)])
def test_resizing_has_neither_weights_nor_connections(in_shape):
    assert cw.count(LeNet5(in_shape), torch.zeros(1, *in_shape)).connections == 340_908
    assert cw.count(LeNet1989(in_shape), torch.zeros(1, *in_shape)).connections == 64_660


@pytest.mark.parametrize(
    ("net", "units"),
    [
        (LeNet5, {"c1": 4704, "s2": 1176, "c3": 1600, "s4": 400, "c5": 120, "f6": 84, "output": 10}),
        (LeNet1989, {"h1": 768, "h2": 192, "h3": 30, "output": 10}),
    ],
    ids=PUBLISHED_IDS,
)
def test_units_of_each_layer(net, units):
    built = net()
    assert {name: getattr(built, name).pattern.n_out for name in units} == units


def test_the_table_of_c3_is_the_published_one():
    """Three in a row, four in a row, two pairs with a gap between, all: each around the corner of the six maps."""
    steps = [(0, 1, 2)] * 6 + [(0, 1, 2, 3)] * 6 + [(0, 1, 3, 4)] * 3 + [range(6)]
    firsts = [*range(6), *range(6), *range(3), 0]
    expected = [{(first + step) % 6 for step in some} for first, some in zip(firsts, steps, strict=True)]
    assert [set(maps) for maps in lenet.C3_MAPS] == expected


def test_c3_looks_at_the_maps_of_the_table():
    """Against a convolution over all maps whose missing kernels are zero."""
    net = LeNet5()
    kernels = torch.zeros(16, 6, 5, 5)
    pair = 0
    for out, maps in enumerate(lenet.C3_MAPS):
        for inp in maps:
            kernels[out, inp] = net.c3.weight[pair, 0, 0].detach()
            pair += 1
    assert pair == 60
    x = torch.randn(2, 6, 14, 14, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net.c3(x), F.conv2d(x, kernels, net.c3.bias))


def test_subsampling_is_a_coefficient_times_the_sum_of_four():
    net = LeNet5()
    x = torch.randn(2, 6, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = 4 * F.avg_pool2d(x, 2) * net.s2.weight.view(6, 1, 1) + net.s2.bias.view(6, 1, 1)
    torch.testing.assert_close(net.s2(x), expected)


def test_each_map_of_h1_is_used_by_eight_maps_of_h2():
    assert all(len(set(maps)) == 8 for maps in lenet.H2_MAPS)
    assert np.bincount(np.ravel(lenet.H2_MAPS)).tolist() == [8] * 12


def test_lenet1989_sees_a_background_of_minus_one_around_the_image():
    """A unit of h1 in the corner, by hand: 16 of its 25 inputs are pixels, 9 are background."""
    net = LeNet1989()
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = torch.full((5, 5), -1.0)
    seen[2:, 2:] = image[0, 0, :3, :3]
    kernel, bias = net.h1.weight[7, 0], net.h1.bias[7, 0, 0]
    before = net.h1(net.image_border(net.image(image)))[0, 7, 0, 0]
    torch.testing.assert_close(before, (kernel * seen).sum() + bias)
    assert net.h1(net.image_border(net.image(image))).shape == (1, 12, 8, 8)


def test_scaled_tanh():
    a = torch.linspace(-3, 3, 7)
    expected = torch.tensor([1.7159 * math.tanh(2 * value / 3) for value in a.tolist()])
    torch.testing.assert_close(ScaledTanh()(a), expected)


@pytest.mark.parametrize("net", [LeNet5, LeNet1989], ids=PUBLISHED_IDS)
def test_weights_start_within_the_published_range_of_their_unit(net):
    built = net()
    for layer in (module for module in built.modules() if isinstance(module, Tied)):
        tiemap, bias = layer.pattern.tiemap(), layer.bias_pattern.tiemap()
        fan_in = np.bincount(tiemap.out)
        reach = np.abs(layer.weight.detach().numpy().ravel()[tiemap.weight]) * fan_in[tiemap.out]
        assert reach.max() <= 2.4 + 1e-5
        if layer.weight.numel() > 100:
            assert reach.max() > 2.2
            assert abs(reach.mean() - 1.2) < 0.2
        bias_reach = np.abs(layer.bias.detach().numpy().ravel()[bias.weight]) * fan_in[bias.out]
        assert 0 < bias_reach.max() <= 2.4 + 1e-5


# The output of LeNet-5


def test_codes_are_drawings_of_plus_and_minus_one_that_differ_in_many_pixels():
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    different = (codes[:, None] != codes[None]).sum(2) + 84 * torch.eye(10, dtype=torch.int64)
    assert int(different.min()) == 18
    assert lenet.BITMAPS.split()[3] == "".join("#" if pixel > 0 else "." for pixel in codes[3, :7])


def test_a_state_equal_to_a_code_has_no_penalty_for_its_class_and_four_a_pixel_for_others():
    codes = digit_codes()
    penalties = FixedCodes(codes)(codes)
    assert penalties.diagonal().tolist() == [0.0] * 10
    assert float(penalties[3, 5]) == 4 * int((codes[3] != codes[5]).sum())


def test_codes_are_no_weights_but_travel_with_the_net():
    net = LeNet5((1, 8, 8))
    assert "output.codes" not in dict(net.named_parameters())
    with torch.device("meta"):
        empty = LeNet5((1, 8, 8))
    empty.to_empty(device="cpu").load_state_dict(net.state_dict())
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(empty(x), net(x))


def test_scores_of_lenet5_are_minus_the_penalties():
    net = LeNet5((1, 8, 8), 7)
    seen = []
    net.f6_state.register_forward_hook(lambda module, inputs, output: seen.append(output))
    scores = net(torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    expected = [[-float(((state - code) ** 2).sum()) for code in digit_codes()[:7]] for state in seen[0].detach()]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_loss_of_lenet5_by_hand():
    penalties = [[3.0, 0.5, 9.0], [2.0, 80.0, 100.0]]
    by_hand = [
        0.5 + math.log(math.exp(-lenet.RUBBISH) + math.exp(-3.0) + math.exp(-0.5) + math.exp(-9.0)),
        80.0 + math.log(math.exp(-lenet.RUBBISH) + math.exp(-2.0) + math.exp(-80.0) + math.exp(-100.0)),
    ]
    loss = LeNet5(n_outputs=3).loss(-torch.tensor(penalties), torch.tensor([1, 1]))
    assert float(loss) == pytest.approx(sum(by_hand) / 2, rel=1e-6)


def test_loss_of_lenet1989_by_hand():
    outputs, targets = torch.tensor([[1.0, 0.5], [-1.0, 0.0]]), torch.tensor([0, 1])
    by_hand = (0.0 + 1.5**2 + 0.0 + 1.0) / 4
    assert float(LeNet1989(n_outputs=2).loss(outputs, targets)) == pytest.approx(by_hand)


# Images of other sizes


def test_an_image_of_the_right_size_is_only_averaged_over_its_colours():
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    made = GreyImage((3, 32, 32), size=32, inner=28)(image)
    torch.testing.assert_close(made[:, 0], (image[:, 0] + image[:, 1] + image[:, 2]) / 3)


def test_an_image_of_the_inner_size_is_framed_by_its_edge_pixels():
    image = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    made = GreyImage((1, 28, 28), size=32, inner=28)(image)
    assert torch.equal(made, torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")))


def test_a_shrunk_image_loses_no_pixel():
    """One line in four is as bright in the mean when it falls between the places that are looked at."""
    image = torch.zeros(1, 1, 112, 112)
    image[:, :, ::4] = 1
    made = GreyImage((1, 112, 112), size=28, inner=28)(image)[0, 0, 2:-2]
    torch.testing.assert_close(made.mean(), torch.tensor(0.25), atol=0.02, rtol=0)


def test_resizing_is_bilinear():
    """A plane of constant slope stays one, away from the border."""
    rows = torch.arange(8.0).expand(8, 8).t()
    made = GreyImage((1, 8, 8), size=28, inner=28)(rows[None, None])[0, 0]
    inside = made[4:-4]
    torch.testing.assert_close(inside.diff(dim=0), torch.full((19, 28), 8 / 28))


# Every net


@pytest.mark.parametrize(("entry", "in_shape"), BUILT, ids=lambda value: getattr(value, "name", str(value)))
def test_every_net_maps_a_batch_to_outputs_and_learns_with_every_weight(entry, in_shape):
    net = nets.build(entry.name, in_shape, 4)
    x = torch.randn(6, *in_shape, generator=torch.Generator().manual_seed(0))
    outputs, targets = net(x), torch.tensor([0, 1, 2, 3, 0, 1])
    assert outputs.shape == (6, 4)
    getattr(net, "loss", F.cross_entropy)(outputs, targets).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("name", [entry.name for entry in BY_GRADIENTS])
def test_a_seed_makes_the_same_weights_and_leaves_the_random_state_alone(name):
    before = torch.get_rng_state()
    one, same, other = (nets.build(name, (1, 8, 8), 3, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in one.named_parameters():
        assert torch.equal(value, same.get_parameter(key))
    assert any(not torch.equal(value, other.get_parameter(key)) for key, value in one.named_parameters())
    assert one.built_as == name


@pytest.mark.parametrize("name", [entry.name for entry in BY_GRADIENTS])
def test_every_net_learns_a_few_images_by_heart(name):
    generator = torch.Generator().manual_seed(0)
    x, targets = torch.randn(12, 1, 8, 8, generator=generator), torch.arange(12) % 3
    net = nets.build(name, (1, 8, 8), 3)
    loss = getattr(net, "loss", F.cross_entropy)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss(net(x), targets).backward()
        optimizer.step()
    assert torch.equal(net.eval()(x).argmax(1), targets)


@pytest.mark.parametrize("entry", BY_GRADIENTS, ids=lambda entry: entry.name)
def test_entries_describe_what_is_built(entry):
    assert nets.natural_shape(entry.name) == entry.natural_shape
    assert entry.summary
    assert re.search(r"(19|20)\d\d$", entry.source)
    assert set(entry.tasks) <= {"classification", "regression"}
    for kind, in_shape in {"image": (1, 8, 8), "table": (5,)}.items():
        for task in ("classification", "regression"):
            if kind in entry.inputs and task in entry.tasks:
                assert nets.build(entry.name, in_shape, 2, task=task)(torch.zeros(2, *in_shape)).shape == (2, 2)
            else:
                with pytest.raises(NetError, match=rf"^{entry.name} (takes|learns) .*: use .*mlp"):
                    nets.build(entry.name, in_shape, 2, task=task)


def test_names_are_those_of_the_entries_in_order():
    assert nets.names() == tuple(entry.name for entry in nets.entries()) == tuple(sorted(nets.names()))


# The multilayer perceptron


def test_mlp_is_what_its_formula_says():
    net = MLP((2, 3), 2, hidden=(5, 4), activation="tanh")
    weights = [parameter.detach().double().numpy() for parameter in net.parameters()]
    x = np.random.default_rng(0).normal(size=(7, 2, 3))
    state = x.reshape(7, 6)
    for matrix, bias in (weights[0:2], weights[2:4]):
        state = np.tanh(state @ matrix.T + bias)
    expected = state @ weights[4].T + weights[5]
    np.testing.assert_allclose(net.double()(torch.from_numpy(x)).detach().numpy(), expected)


ACTIVATIONS_BY_HAND = {
    "step": lambda a: (a >= 0).astype(float),
    "sgn": lambda a: np.where(a >= 0, 1.0, -1.0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "tanh": lambda a: (np.exp(a) - np.exp(-a)) / (np.exp(a) + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "leaky_relu": lambda a: np.maximum(a, 0.01 * a),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas(name):
    a = np.concatenate([[0.0], np.random.default_rng(0).normal(scale=2, size=50)])
    np.testing.assert_allclose(ACTIVATIONS[name]()(torch.from_numpy(a)), ACTIVATIONS_BY_HAND[name](a), atol=1e-15)


@pytest.mark.parametrize(("name", "slope"), [("step", 0.5), ("sgn", 1.0)])
def test_steps_pass_gradients_through_where_they_are_near(name, slope):
    a = torch.tensor([-1.5, -0.9, 0.0, 0.9, 1.5], requires_grad=True)
    ACTIVATIONS[name]()(a).sum().backward()
    assert a.grad.tolist() == [0.0, slope, slope, slope, 0.0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_net_of_any_depth_learns_with_every_activation(name):
    iris = data.load("iris", seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP((4,), 3, hidden=(16, 16), activation=name)
    run = cw.fit(net, iris, epochs=40, out=None, progress=False)
    assert run.results["test"]["accuracy"] > 0.8


def test_with_softmax_the_outputs_are_logarithms_of_probabilities():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP((4,), 3, softmax=True)
    x, targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    probabilities = net(x).exp()
    torch.testing.assert_close(probabilities, nn.Sequential(*list(net.children())[:-1])(x).softmax(1))
    torch.testing.assert_close(F.cross_entropy(net(x), targets), -probabilities[range(6), targets].log().mean())


def test_mlp_without_hidden_layers_is_linear():
    assert [type(module) for module in MLP((4,), 3, hidden=())] == [nn.Flatten, nn.Linear]


def test_mlp_without_options_is_the_net_it_was():
    """Names and first weights stay, so that stored runs can be read and repeated."""
    net = nets.build("mlp", (4,), 3, seed=5, structure={"hidden": [6]})
    with torch.random.fork_rng():
        torch.manual_seed(5)
        layers = nn.Linear(4, 6), nn.Linear(6, 3)
    expected = {
        f"{name}.{key}": value
        for name, layer in zip(("hidden1", "output"), layers, strict=True)
        for key, value in layer.state_dict().items()
    }
    assert list(net.state_dict()) == list(expected)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in expected.items())


def test_hidden_layers_are_normalised_over_the_batch_and_dropped_out():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = MLP((4,), 3, hidden=(200,), dropout=0.25, batch_norm=True)
        names = ["flat", "hidden1", "hidden1_norm", "hidden1_state", "hidden1_dropout", "output"]
        assert [name for name, _ in net.named_children()] == names
        assert net.hidden1.bias is None
        x = torch.randn(50, 4)
        sums = x @ net.hidden1.weight.T
        hidden = ((sums - sums.mean(0)) / (sums.var(0, correction=0) + 1e-5).sqrt()).clamp(min=0)
        dropped = nn.Sequential(*list(net.children())[:-1])(x)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], hidden[kept] / 0.75, rtol=1e-4, atol=1e-5)
    assert float((dropped[hidden > 0] == 0).double().mean()) == pytest.approx(0.25, abs=0.02)
    net.eval()
    assert torch.equal(net(x), net(x))


# The two twins


def test_locally_connected_is_cnn_with_a_kernel_for_each_position():
    in_shape = (3, 17, 12)
    shared, unshared = CNN(in_shape, 4, width=5), LocallyConnected(in_shape, 4, width=5)
    assert [name for name, _ in shared.named_modules()] == [name for name, _ in unshared.named_modules()]
    x = torch.randn(2, *in_shape, generator=torch.Generator().manual_seed(0))
    counts = [{layer.name: layer for layer in cw.count(net, x).layers} for net in (shared, unshared)]
    for name, layer in counts[0].items():
        twin = counts[1][name]
        assert (layer.connections, layer.full) == (twin.connections, twin.full)
        assert twin.weights == (layer.connections if name.startswith("conv") and "_" not in name else layer.weights)


def test_locally_connected_with_equal_kernels_everywhere_computes_what_cnn_does():
    in_shape = (2, 9, 8)
    shared, unshared = CNN(in_shape, 4, width=3), LocallyConnected(in_shape, 4, width=3)
    for layer in (module for module in shared.children() if isinstance(module, nn.Conv2d)):
        name = next(name for name, module in shared.named_children() if module is layer)
        twin = unshared.get_submodule(name)
        dense = patterns.conv2d(twin.pattern.in_shape, layer.out_channels, kernel=3, padding=1).tiemap()
        weights = twin.pattern.tiemap().project(dense.expand(layer.weight.detach().flatten()))
        twin.weight = nn.Parameter(weights.reshape(twin.pattern.weight_shape))
    unshared.output = shared.output
    x = torch.randn(2, *in_shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unshared(x), shared(x))


# What is refused


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: nets.build("lenet", (1, 8, 8), 10), r"There is no net 'lenet': did you mean .*lenet5.*\?"),
        (lambda: nets.build("zebra", (1, 8, 8), 10), r"There is no net 'zebra': there are .*lenet5, .*file.py:factory"),
        (lambda: nets.natural_shape("lenet6"), r"There is no net 'lenet6': did you mean lenet5"),
        (lambda: nets.natural_shape("mine.py:net"), r"Only you know what mine.py:net was made for: say the shape"),
        (lambda: nets.natural_shape("mine.py"), r"Only you know what mine.py was made for: say the shape"),
        (
            lambda: nets.build("lenet5", (13,), 3),
            r"lenet5 takes images of shape .*; got samples of shape \(13,\): use .*mlp",
        ),
        (
            lambda: nets.build("mlp", (2, 3, 4, 5), 3),
            r"mlp takes images .* or series .* or rows .*; got samples of shape \(2, 3, 4, 5\): no net",
        ),
        (
            lambda: nets.build("lenet5", (1, 8, 8), 1, task="regression"),
            r"lenet5 learns classification, not regression: use",
        ),
        (lambda: nets.build("mlp", (4,), 0), "n_outputs is a whole number from 1; got int: 0"),
        (lambda: nets.build("mlp", (0,), 2), "A size of in_shape is a whole number from 1; got int: 0"),
        (lambda: nets.build("lenet5", (1, 28, 28), 26), r"tells 2 to 10 classes apart; got 26: use the net cnn"),
        (lambda: nets.build("lenet5", (1, 28, 28), 1), r"tells 2 to 10 classes apart; got 1"),
        (lambda: nets.build("lenet1989", (1, 28, 28), 1), r"lenet1989 tells two or more classes apart; got 1"),
        (lambda: MLP((4,), 2, activation="relU"), r"one of step, sgn, sigmoid, .*leaky_relu; got 'relU'"),
        (lambda: MLP((4,), 2, dropout="half"), "The dropout of an mlp is a number from 0 to below 1; got str: 'half'"),
        (lambda: MLP((4,), 2, dropout=1.0), r"The dropout of an mlp is a probability from 0 to below 1; got 1.0"),
        (lambda: MLP((4,), 2, hidden=(8, 0)), r"at least 1 in each, such as \[64, 64\]; got \(8, 0\)"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(call, sentence):
    with pytest.raises(NetError, match=sentence):
        call()


# Nets of the user's own

OWN = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
from beside import WIDTH

@dataclass
class Settings:
    width: int = WIDTH

def wide(in_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0], Settings().width), nn.Linear(WIDTH, n_outputs))

def broken(in_shape, n_outputs):
    return nn.Linear(in_shape[0], "many")

def nothing(in_shape, n_outputs):
    pass

class Head(nn.Linear):
    def __init__(self, in_shape, n_outputs):
        super().__init__(in_shape[0], n_outputs)

_hidden = 1
size = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's file with a file beside it that it imports."""
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "beside.py").write_text("WIDTH = 6\n", encoding="utf-8")
    for name in ("beside", "commonweight_own_mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "mine.py"


def test_a_factory_of_the_users_own_file(own):
    path = list(sys.path)
    net = nets.load_factory(f"{own}:wide")((4,), 3)
    assert net(torch.zeros(2, 4)).shape == (2, 3)
    assert net[1].out_features == 6
    assert sys.path == path


def test_a_class_may_be_a_factory_and_build_seeds_it(own):
    one, same = (nets.build(f"{own}:Head", (4,), 3, seed=8) for _ in range(2))
    assert torch.equal(one.weight, same.weight)
    assert one.built_as == f"{own}:Head"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("wild", r"mine.py has no wild: did you mean wide\?$"),
        ("zzz", r"mine.py has no zzz: did you mean .*wide.*\?$"),
        ("size", r"mine.py:size is a int; expected a function of \(in_shape, n_outputs\)"),
        (
            "broken",
            r"mine.py:broken, called with \(\(4,\), 3\), raised TypeError in line 15 \(.*\): correct the function",
        ),
        ("nothing", r"mine.py:nothing, called with .* returned a NoneType; expected a torch.nn.Module"),
    ],
)
def test_a_factory_that_cannot_be_used(own, name, sentence):
    with pytest.raises(NetError, match=sentence):
        nets.build(f"{own}:{name}", (4,), 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import torch\nx = 1 / 0\n", r"Running .*bad.py raised ZeroDivisionError in line 2 \(division by zero\)"),
        ("def f(:\n", r"Running .*bad.py raised SyntaxError \(.*line 1\)"),
        ("import no_such_module_anywhere\n", r"Running .*bad.py raised ModuleNotFoundError in line 1"),
        ("value = 3\n", r"bad.py has no net: it defines no function"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, text, sentence):
    (tmp_path / "bad.py").write_text(text, encoding="utf-8")
    with pytest.raises(NetError, match=sentence):
        nets.load_factory(f"{tmp_path / 'bad.py'}:net")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("mine.py", r"written file.py:factory, such as nets.py:wide; got 'mine.py'"),
        (":wide", r"written file.py:factory"),
        ("mine.py:", r"written file.py:factory"),
        ("absent.py:wide", r"There is no Python file absent.py to take wide from"),
        ("README.md:wide", r"There is no Python file README.md to take wide from"),
    ],
)
def test_a_specification_that_cannot_be_read(spec, sentence):
    with pytest.raises(NetError, match=sentence):
        nets.build(spec, (4,), 3)


def test_sizes_that_no_machine_has_are_one_line():
    with pytest.raises(NetError, match=r"^mlp cannot be built with {'hidden': \[10{19}\]}: [^\n]*$"):
        nets.build("mlp", (4,), 3, structure={"hidden": [10**19]})
