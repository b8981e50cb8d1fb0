"""The default convolutional network: its shapes, its weights, what it computes and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import NetError
from commonweight.nets.cnn import CNN

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
    ("in_shape", "width", "sentence"),
    [
        ((30,), 16, r"shape \(channels, height, width\), but the samples have shape \(30,\): use mlp"),
        ((1, 7, 28), 16, r"at least 8×8 pixels, but these images have 7×28: enlarge them, or use mlp"),
        ((1, 28, 28), 0, r"at least 1 channel; got width 0"),
    ],
)
def test_what_it_cannot_take_is_said_in_a_sentence(in_shape, width, sentence):
    with pytest.raises(NetError, match=sentence):
        CNN(in_shape, 10, width=width)
