"""One helper for every fast path: `agree` compares a layer with the oracle, and asserts."""

from itertools import product

import torch

from commonweight import reference
from commonweight.patterns import Pattern
from commonweight.tied import Tied

# Largest error relative to the largest entry: a few rounding steps of each type.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def close(got: torch.Tensor, expected: torch.Tensor, what: str, tolerance: float) -> None:
    """Asserts equal shapes, and an error of at most `tolerance` of the largest expected entry (or of 1)."""
    assert got.shape == expected.shape, f"{what} has shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    if expected.numel():
        error, largest = (got.double() - expected).abs().max().item(), expected.abs().max().item()
        assert error <= tolerance * max(1.0, largest), f"{what} is off by {error}, at a largest entry of {largest}"


def layouts(x: torch.Tensor) -> list[torch.Tensor]:
    """The same numbers in memory as they are, with the batch last, and with the channels last."""
    batch_last = x.permute(*range(1, x.ndim), 0).contiguous().permute(-1, *range(x.ndim - 1))
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return [x, batch_last] + ([x.to(memory_format=formats[x.ndim])] if x.ndim in formats else [])


def agree(pattern: Pattern, bias: str = "none", batch: int = 3, seed: int = 0) -> None:
    """Output and both gradients of `Tied(pattern)` are the oracle's three sums.

    In float32 and float64, in train and eval mode, for several layouts of the input in memory.
    """
    generator = torch.Generator().manual_seed(seed)
    tiemap = pattern.tiemap()
    x, theta = torch.randn(batch, tiemap.n_in, generator=generator), torch.randn(tiemap.n_weights, generator=generator)
    grad = torch.randn(batch, tiemap.n_out, generator=generator)
    exact = [t.double() for t in (theta, x, grad)]
    y_exact = reference.forward(tiemap, exact[0], exact[1]).reshape(batch, *pattern.out_shape)
    x_grad_exact = reference.input_gradient(tiemap, exact[0], exact[2]).reshape(batch, *pattern.in_shape)
    weight_grad_exact = reference.weight_gradient(tiemap, exact[1], exact[2]).reshape(pattern.weight_shape)
    x, grad = x.reshape(batch, *pattern.in_shape), grad.reshape(batch, *pattern.out_shape)
    for dtype, training in product(TOLERANCE, (True, False)):
        layer = Tied(pattern, bias, generator=generator, dtype=dtype).train(training)
        added = torch.zeros(()).double()
        if layer.bias is not None:
            added = layer.bias.detach().double()
            added = added.reshape(*added.shape, *(1,) * (len(pattern.out_shape) - added.ndim))
        with torch.no_grad():
            layer.weight.copy_(theta.reshape(pattern.weight_shape))
        for inputs in layouts(x.to(dtype)):
            inputs = inputs.detach().requires_grad_()
            y = layer(inputs)
            layer.zero_grad()
            y.backward(grad.to(dtype))
            assert y.dtype == dtype
            close(y.detach(), y_exact + added, f"output of {pattern}", TOLERANCE[dtype])
            close(inputs.grad, x_grad_exact, f"input gradient of {pattern}", TOLERANCE[dtype])
            close(layer.weight.grad, weight_grad_exact, f"weight gradient of {pattern}", TOLERANCE[dtype])
            if layer.bias is not None:
                summed = grad.double().sum(0)
                summed = summed if bias == "unit" else summed.reshape(len(summed), -1).sum(1)
                close(layer.bias.grad, summed, f"bias gradient of {pattern}", TOLERANCE[dtype])
