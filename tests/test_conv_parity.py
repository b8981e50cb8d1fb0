"""Convolution patterns are torch's convolutions, for all small sizes and options: matrix, counts, output, gradients.

torch's kernel has a weight for every tap; a pattern has none for a tap that only ever meets padding. Which taps are
alive is asked of torch: those that its convolution of ones has a gradient for.
"""

from functools import partial
from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from agreement import close
from torch.nn import functional as F

from commonweight import patterns as P
from commonweight.errors import PatternError
from commonweight.tied import Tied

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
PATTERN = {1: P.conv1d, 2: P.conv2d, 3: P.conv3d}
PATTERN_TRANSPOSE = {1: P.conv_transpose1d, 2: P.conv_transpose2d, 3: P.conv_transpose3d}
CHANNELS = [(1, 1, 1), (2, 3, 1), (2, 4, 2), (3, 3, 3)]  # input, output, groups


def convolve(x, kernel, stride, padding, dilation, groups, padding_mode="zeros"):
    if padding_mode == "circular":  # by hand, since torch's pad refuses to go around twice
        for axis, (size, width) in enumerate(zip(x.shape[2:], padding, strict=True), 2):
            x = x.index_select(axis, torch.arange(-width, size + width) % size)
        padding = 0
    return CONV[x.ndim - 2](x, kernel, None, stride, padding, dilation, groups)


def assert_is(make, run, in_shape, kernel):
    """The pattern is the linear map run(x, kernel): in its matrix, its counts, and as a layer with its gradients.

    `make` makes the pattern; `kernel` is the shape of torch's kernel.
    """
    generator = torch.Generator().manual_seed(prod(in_shape))
    kernel = torch.randn(kernel, generator=generator, dtype=torch.float64)
    basis = torch.eye(prod(in_shape), dtype=torch.float64).reshape(-1, *in_shape)
    ones = torch.ones_like(kernel).requires_grad_()
    met = run(basis, ones)
    (uses,) = torch.autograd.grad(met.sum(), ones)
    alive = np.nonzero(uses.numpy())
    if not len(alive[0]):
        with pytest.raises(PatternError, match="none may be 0"):
            make()
        return
    pick = np.ix_(*map(np.unique, alive))
    pattern = make()

    assert pattern.in_shape == in_shape
    assert pattern.out_shape == met.shape[1:]
    assert pattern.weight_shape == kernel[pick].shape
    tiemap = pattern.tiemap()
    assert pattern.n_connections == tiemap.n_connections == int((met != 0).sum())
    assert pattern.n_weights == tiemap.n_weights == int((uses > 0).sum())
    matrix = run(basis, kernel).reshape(len(basis), -1).t()
    assert torch.equal(tiemap.expand(kernel[pick].flatten()), matrix)

    layer = Tied(pattern, bias="none", dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(kernel[pick])
    x = torch.randn(2, *in_shape, generator=generator, dtype=torch.float64, requires_grad=True)
    kernel.requires_grad_()
    expected, got = run(x, kernel), layer(x)
    grad = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    close(got.detach(), expected.detach(), f"output of {pattern}", 1e-12)
    gradients = torch.autograd.grad(got, (x, layer.weight), grad)
    x_grad, kernel_grad = torch.autograd.grad(expected, (x, kernel), grad)
    close(gradients[0], x_grad, f"input gradient of {pattern}", 1e-12)
    close(gradients[1], kernel_grad[pick], f"weight gradient of {pattern}", 1e-12)


def assert_conv(channels, size, kernel, stride, padding, dilation, padding_mode="zeros"):
    """One convolution; or PatternError, where the kernel fits nowhere, or laps a circular axis."""
    c_in, c_out, groups = channels
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    make = partial(PATTERN[len(size)], (c_in, *size), c_out, kernel, padding_mode=padding_mode, **options)
    axes = list(zip(size, kernel, padding, dilation, strict=True))
    if any(n + 2 * p < d * (k - 1) + 1 for n, k, p, d in axes):
        with pytest.raises(PatternError, match=r"the kernel spans .* more than the input"):
            make()
    elif padding_mode == "circular" and any(len({tap * d % n for tap in range(k)}) < k for n, k, _, d in axes):
        with pytest.raises(PatternError, match=r"A circular kernel of \d laps an axis of"):
            make()
    else:
        run = partial(convolve, **options, padding_mode=padding_mode)
        assert_is(make, run, (c_in, *size), (c_out, c_in // groups, *kernel))


def assert_transposed(channels, size, kernel, stride, padding, dilation, output_padding):
    """One transposed convolution, where torch has one."""
    c_in, c_out, groups = channels
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    each = zip(size, kernel, stride, padding, dilation, output_padding, strict=True)
    if all((n - 1) * s - 2 * p + d * (k - 1) + 1 + extra >= 1 for n, k, s, p, d, extra in each):
        make = partial(PATTERN_TRANSPOSE[len(size)], (c_in, *size), c_out, kernel, groups=groups, **options)
        run = partial(CONV_TRANSPOSE[len(size)], groups=groups, **options)
        assert_is(make, run, (c_in, *size), (c_in, c_out // groups, *kernel))


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("channels", CHANNELS)
def test_every_small_conv1d(size, channels):
    for kernel, stride, padding, dilation in product(range(1, 8), range(1, 4), range(4), range(1, 4)):
        assert_conv(channels, (size,), (kernel,), (stride,), (padding,), (dilation,))


@pytest.mark.parametrize("size", range(1, 8))
def test_every_stride_and_padding_of_conv1d(size):
    for kernel, stride, padding, dilation in product(range(1, 8), range(1, 8), range(8), (1, 2)):
        assert_conv((1, 1, 1), (size,), (kernel,), (stride,), (padding,), (dilation,))


@pytest.mark.parametrize("size", range(1, 8))
def test_every_small_circular_conv1d(size):
    for kernel, stride, padding, dilation in product(range(1, 5), range(1, 4), range(4), range(1, 4)):
        assert_conv((2, 2, 1), (size,), (kernel,), (stride,), (padding,), (dilation,), "circular")


@pytest.mark.parametrize("size", range(1, 6))
def test_every_small_conv_transpose1d(size):
    for kernel, stride, padding, dilation in product(range(1, 5), range(1, 4), range(3), range(1, 3)):
        for output_padding in range(stride):
            assert_transposed((2, 4, 2), (size,), (kernel,), (stride,), (padding,), (dilation,), (output_padding,))


@pytest.mark.parametrize("kernel", list(product((1, 2, 3), repeat=2)))
def test_every_conv2d_of_few_sizes(kernel):
    pairs = [list(product(values, repeat=2)) for values in ((1, 2), (0, 1), (1, 2))]
    for channels, stride, padding, dilation in product([(2, 2, 1), (2, 4, 2)], *pairs):
        assert_conv(channels, (5, 4), kernel, stride, padding, dilation)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n_axes", "longest"), [(2, 7), (3, 4)])
def test_random_larger_convolutions(n_axes, longest, seed):
    draw = np.random.default_rng([n_axes, seed]).integers
    for _ in range(20):
        size, kernel = (tuple(draw(1, longest + 1, n_axes).tolist()) for _ in range(2))
        stride, dilation = (tuple(draw(1, 4, n_axes).tolist()) for _ in range(2))
        padding, extra = tuple(draw(0, 8, n_axes).tolist()), tuple(draw(0, stride).tolist())
        channels = CHANNELS[draw(len(CHANNELS))]
        assert_conv(channels, size, kernel, stride, padding, dilation, ["zeros", "circular"][draw(2)])
        assert_transposed(channels, size, kernel, stride, padding, dilation, extra)


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_groups_that_do_not_divide_the_channels_are_refused(n_axes):
    with pytest.raises(
        PatternError, match="groups divides the channels; got 2 groups for 3 input and 4 output channels"
    ):
        PATTERN[n_axes]((3, *[4] * n_axes), 4, kernel=2, groups=2)
