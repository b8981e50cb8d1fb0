"""The fully convolutional net: its map is what it answers for each window, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import commonweight as cw
from commonweight.errors import NetError
from commonweight.nets.fully_convolutional import FullyConvolutional

SIDES = st.integers(8, 40)


def made(in_shape, **given):
    """A net in float64 that has seen some images, so that its normalisations do something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = FullyConvolutional(in_shape, 3, width=2, **given).double()
        net(torch.randn(9, *in_shape, dtype=torch.float64) * 2 + 1)
    return net.eval()


@settings(max_examples=20, deadline=None)
@given(rows=SIDES, columns=SIDES, more_rows=st.integers(0, 9), more_columns=st.integers(0, 9))
def test_the_map_is_the_net_on_each_window(rows, columns, more_rows, more_columns):
    net = made((2, rows, columns))
    height, width = net.window
    assert height <= rows
    assert width <= columns
    x = torch.randn(2, 2, height + more_rows, width + more_columns, dtype=torch.float64)
    answers = net.answers(x)
    assert answers.shape == (2, 3, more_rows // net.stride + 1, more_columns // net.stride + 1)
    for i in range(answers.shape[2]):
        for j in range(answers.shape[3]):
            top, left = net.stride * i, net.stride * j
            alone = net(x[:, :, top : top + height, left : left + width])
            torch.testing.assert_close(answers[:, :, i, j], alone, rtol=1e-12, atol=1e-12)


def test_every_pixel_of_the_window_matters_and_none_beyond_it():
    net = made((1, 28, 28))
    assert (net.window, net.stride) == ((26, 26), 4)
    total = torch.zeros(28, 28, dtype=torch.float64)
    for seed in range(40):  # a maximum lets one value of four through: one input does not use all pixels
        x = torch.randn(1, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        x.requires_grad_()
        net(x).sum().backward()
        total += x.grad[0, 0].abs()
    assert (total[:26, :26] > 0).all()
    assert (total[26:] == 0).all()
    assert (total[:, 26:] == 0).all()


def test_a_large_image_is_classified_by_the_mean_of_the_map_and_segmented_at_its_own_size():
    net = made((1, 8, 8))
    x = torch.randn(2, 1, 15, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    answers = net.answers(x)
    torch.testing.assert_close(net(x), answers.flatten(2).mean(2))
    segments = net.segment(x)
    assert segments.shape == (2, 3, 15, 23)
    assert segments.amax() <= answers.amax()
    assert segments.amin() >= answers.amin()


def test_the_fully_connected_layer_is_a_convolution_over_all_that_remains():
    net = made((2, 20, 16))
    x = torch.randn(3, 2, 20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = x
    assert net.hidden.out_channels == 8 * net.conv1.out_channels
    for name, module in net.named_children():
        if name == "hidden":
            break
        before = module(before)
    full = before.flatten(1) @ net.hidden.weight.flatten(1).T
    full = net.hidden_norm(full[:, :, None, None]).relu()[:, :, 0, 0]
    expected = F.linear(full, net.output.weight[:, :, 0, 0], net.output.bias)
    torch.testing.assert_close(net(x), expected)


def test_a_larger_image_has_more_connections_and_the_same_weights():
    net = FullyConvolutional((1, 8, 8), 10)
    counts = [cw.count(net, torch.zeros(1, 1, side, side)) for side in (8, 16)]
    assert counts[0].weights == counts[1].weights
    hidden = [next(layer for layer in count.layers if layer.name == "hidden") for count in counts]
    assert hidden[1].connections == 25 * hidden[0].connections  # windows at 5×5 places


def test_its_views_show_a_scene_and_a_map_for_each_class():
    net = made((1, 8, 10)).float()
    images = torch.randn(17, 1, 8, 10)
    scene, maps = net.views(images, torch.zeros(17, dtype=torch.int64))
    assert scene.images.shape == (1, 24, 30)
    torch.testing.assert_close(scene.images[0, 8:16, 20:], images[10, 0])  # every other one, up to the last
    assert maps.images.shape == (3, 24, 30)
    torch.testing.assert_close(maps.images.sum(0), torch.ones(24, 30))
    assert net.views(images[:1], torch.zeros(1, dtype=torch.int64))[0].images.shape == (1, 8, 10)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: FullyConvolutional((5,), 2), r"images of shape .*, but the samples have shape \(5,\): use mlp"),
        (
            lambda: FullyConvolutional((1, 7, 9), 2),
            r"at least 8×8 pixels, but these have 7×9: enlarge them, or use mlp",
        ),
        (lambda: FullyConvolutional((1, 8, 8), 2, width=0), r"width is a whole number from 1; got int: 0"),
        (
            lambda: FullyConvolutional((1, 28, 28), 2)(torch.zeros(1, 1, 40, 25)),
            r"through a window of 26×26 pixels, but the images have 40×25: enlarge or pad them",
        ),
    ],
)
def test_what_it_cannot_take_is_said_in_a_sentence(call, sentence):
    with pytest.raises(NetError, match=sentence):
        call()
