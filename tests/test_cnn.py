"""The default convolutional network: its shapes, its weights, what it computes and what it refuses."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import NetError
from commonweight.nets.cnn import CNN
from commonweight.nets.locally_connected import LocallyConnected

SIDES = st.integers(8, 64)


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(1, 4), n_rows=SIDES, n_columns=SIDES, n_outputs=st.integers(1, 12), width=st.integers(1, 9))
def test_any_image_gives_outputs_from_the_announced_weights(channels, n_rows, n_columns, n_outputs, width):
    net = CNN((channels, n_rows, n_columns), n_outputs, width=width)
    assert net(torch.zeros(2, channels, n_rows, n_columns)).shape == (2, n_outputs)
    convolutions = 9 * width * (channels + 10 * width)
    linear = n_outputs * (4 * width * (n_rows // 8) * (n_columns // 8) + 1)
    assert sum(weight.numel() for weight in net.parameters()) == convolutions + 14 * width + linear


def test_forward_is_the_formula_written_out():
    generator = torch.Generator().manual_seed(0)
    net = CNN((3, 20, 13), 5, width=4).double().eval()
    with torch.no_grad():
        for tensor in [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    x = torch.randn(6, 3, 20, 13, generator=generator, dtype=torch.float64)
    y, weights = x, net.state_dict()
    for stage in (1, 2, 3):
        norm = {key: weights[f"conv{stage}_norm.{key}"][:, None, None] for key in ("weight", "bias")}
        mean, var = (weights[f"conv{stage}_norm.running_{key}"][:, None, None] for key in ("mean", "var"))
        y = F.conv2d(F.pad(y, (1, 1, 1, 1)), weights[f"conv{stage}.weight"])
        rows, columns = y.shape[2] // 2, y.shape[3] // 2
        y = y[:, :, : 2 * rows, : 2 * columns].unflatten(3, (columns, 2)).unflatten(2, (rows, 2)).amax((3, 5))
        y = ((y - mean) / (var + 1e-5).sqrt() * norm["weight"] + norm["bias"]).clamp(min=0)
    expected = y.flatten(1) @ weights["output.weight"].T + weights["output.bias"]
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("length", [8, 15, 64])
def test_series_are_images_of_one_row_under_kernels_of_one_row(length):
    net = CNN((3, length), 5, width=4, pooling="average").double().eval()
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, weights = x, net.state_dict()
    for stage in (1, 2, 3):
        y = F.conv2d(y[:, :, None], weights[f"conv{stage}.weight"][:, :, None], padding=(0, 1))[:, :, 0]
        half = y.shape[2] // 2
        y = (y[:, :, : 2 * half : 2] + y[:, :, 1 : 2 * half : 2]) / 2
        y = (y / (1 + 1e-5) ** 0.5).clamp(min=0)
    torch.testing.assert_close(net(x), y.flatten(1) @ weights["output.weight"].T + weights["output.bias"])
    assert sum(weight.numel() for weight in net.parameters()) == 3 * 4 * 43 + 14 * 4 + 5 * (16 * (length // 8) + 1)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_pooling_takes_the_maximum_or_the_average_and_drops_an_odd_border(pooling):
    x = torch.arange(1 * 1 * 5 * 5.0).reshape(1, 1, 5, 5)
    windows = [[[0, 1, 5, 6], [2, 3, 7, 8]], [[10, 11, 15, 16], [12, 13, 17, 18]]]
    expected = torch.tensor(windows, dtype=torch.float32)
    expected = expected.amax(2) if pooling == "max" else expected.mean(2)
    assert torch.equal(CNN((1, 8, 8), 2, pooling=pooling).conv1_pool(x)[0, 0], expected)


@pytest.mark.parametrize("in_shape", [(2, 16), (2, 9, 12)])
def test_a_true_convolution_turns_its_kernels(in_shape):
    """Against the definition: y[p] = Σ_k w[k] x[p - k], with x zero outside."""
    net = CNN(in_shape, 3, convolution="true", width=2)
    kernels = net.conv1.parametrizations.weight.original.detach()
    x = torch.randn(in_shape, generator=torch.Generator().manual_seed(0))
    y = net.conv1(x[None])[0].detach()
    axes = len(in_shape) - 1
    place = tuple(size // 2 for size in in_shape[1:])
    for out in range(2):
        total = 0.0
        for offset in torch.cartesian_prod(*[torch.arange(3)] * axes).reshape(-1, axes).tolist():
            there = tuple(p - (k - 1) for p, k in zip(place, offset, strict=True))
            total += sum(kernels[(out, c, *offset)] * x[(c, *there)] for c in range(2))
        torch.testing.assert_close(y[(out, *place)], total)


def test_true_convolution_and_correlation_with_turned_kernels_are_one_net_and_learn_alike():
    correlation = CNN((1, 8, 8), 3, width=2)
    true = CNN((1, 8, 8), 3, width=2, convolution="true")
    with torch.no_grad():
        for name in ("conv1", "conv2", "conv3"):
            true.get_submodule(name).weight = correlation.get_submodule(name).weight.detach()
        true.output.load_state_dict(correlation.output.state_dict())
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for net in (correlation, true):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    turned = true.conv1.parametrizations.weight.original.detach()
    torch.testing.assert_close(turned.flip(2, 3), correlation.conv1.weight.detach())
    torch.testing.assert_close(copy.deepcopy(true)(x), correlation(x))


def test_bfloat16_agrees_with_float32_to_its_precision():
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    net = CNN((1, 28, 28), 10)
    x = torch.randn(32, 1, 28, 28)
    torch.set_rng_state(torch_state)
    expected = net(x).detach()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(x.bfloat16())
    assert mixed.dtype == torch.bfloat16
    assert (mixed - expected).abs().max() < 0.05 * expected.abs().max()
    pure = net.bfloat16()(x.bfloat16())
    assert (pure - expected).abs().max() < 0.05 * expected.abs().max()


def test_channels_last_changes_nothing_but_the_order_in_memory():
    net = CNN((3, 16, 24), 4).eval()
    x = torch.randn(5, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    expected = net(x)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(x), expected, rtol=1e-4, atol=1e-5)


def test_every_weight_receives_a_gradient():
    net = CNN((1, 8, 8), 3)
    net(torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


@pytest.mark.parametrize(
    ("in_shape", "given", "sentence"),
    [
        ((30,), {}, r"images of shape .* or series of shape .*, but the samples have shape \(30,\): use mlp"),
        ((1, 7, 28), {}, r"needs at least 8 pixels or steps of it, but these samples have 7×28: enlarge them, or use"),
        ((2, 5), {}, r"needs at least 8 pixels or steps of it, but these samples have 5: enlarge them, or use mlp"),
        ((1, 28, 28), {"width": 0}, r"width is a whole number from 1; got int: 0"),
        ((1, 28, 28), {"pooling": "median"}, r"pooling of a cnn is max or average; got 'median'"),
        (
            (1, 28, 28),
            {"convolution": "false"},
            "convolution of a cnn is one of the words 'correlation' and 'true'; got 'false'",
        ),
        ((1, 28, 28), {"convolution": True}, r"got True\. On the command line .* --structure 'convolution=\"true\"'"),
    ],
)
def test_what_it_cannot_take_is_said_in_a_sentence(in_shape, given, sentence):
    with pytest.raises(NetError, match=sentence):
        CNN(in_shape, 10, **given)


def test_the_unshared_twin_takes_no_series():
    with pytest.raises(NetError, match=r"images of shape .*, but the samples have shape \(2, 16\): use cnn for series"):
        LocallyConnected((2, 16), 10)


def test_without_normalisation_convolutions_have_a_bias():
    net = CNN((1, 8, 8), 3, width=2, batch_norm=False)
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y, weights = x, net.state_dict()
    for stage in (1, 2, 3):
        y = F.conv2d(y, weights[f"conv{stage}.weight"], weights[f"conv{stage}.bias"], padding=1)
        y = F.max_pool2d(y, 2).clamp(min=0)
    torch.testing.assert_close(net(x), y.flatten(1) @ weights["output.weight"].T + weights["output.bias"])


def test_dropout_is_before_the_linear_layer():
    net = CNN((1, 8, 8), 3, dropout=0.5)
    assert [name for name, _ in net.named_children()][-3:] == ["flat", "dropout", "output"]
    assert net.dropout.p == 0.5
    with pytest.raises(NetError, match=r"The dropout of a cnn is a probability from 0 to below 1; got -0\.1"):
        CNN((1, 8, 8), 3, dropout=-0.1)
    with pytest.raises(NetError, match="The dropout of a cnn is a number from 0 to below 1; got str: 'half'"):
        CNN((1, 8, 8), 3, dropout="half")
