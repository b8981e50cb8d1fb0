"""The backward pass uses the weights of the forward pass, transposed.

If y = W x, then ∂L/∂x = Wᵀ ∂L/∂y: the error travels back over the connections that the signal came by. Whatever is
shared forward is shared backward; for a convolution, Wᵀ is the transposed convolution with the same kernel.

Half true as the articles put it, for two reasons. Between two layers there is also the derivative of the
activation: δ₁ = (W₂ᵀ δ₂) ⊙ f'(z₁). And it is a statement about the gradient, not about learning, which can do with
other weights on the way back (feedback alignment, Lillicrap et al. 2016); that is not tried here.

Criterion: in double precision, for every pattern, autograd's input gradient through the fast operator differs from
expand(θ)ᵀ g and from the sum over the listed connections by less than 1e-12 of its largest entry, and from central
differences by less than 1e-8; and on real digits the gradient by the inputs of a two-layer net, put together by
hand from the transposed weights, differs from autograd's by less than 1e-12.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight import Tied, data, patterns, reference
from commonweight.claims import Result
from commonweight.patterns import Pattern

SEED = 6
BATCH = 4
STEP = 1e-3  # a linear map has no higher derivatives: the step only has to stand clear of rounding
PATTERNS = (
    patterns.dense(12, 7),
    patterns.local((1, 7, 7), 2, kernel=3),
    patterns.conv1d((2, 11), 3, kernel=4, dilation=2),
    patterns.conv2d((3, 7, 7), 4, kernel=3),
    patterns.conv2d((4, 8, 8), 6, kernel=3, stride=2, padding=1, groups=2),
    patterns.conv_transpose2d((4, 4, 4), 2, kernel=3, stride=2, padding=1),
    patterns.circulant(9),
    patterns.toeplitz(6, 9),
    patterns.symmetric(6),
    patterns.antisymmetric(6),
    patterns.copies(3, patterns.dense(4, 5)),
    patterns.kron(patterns.dense(2, 3), patterns.circulant(5)),
    patterns.single(5, 4),
)


def off(found: Tensor, expected: Tensor) -> float:
    """Largest difference, in units of the largest entry expected."""
    return float((found - expected).abs().max() / expected.abs().max())


def compare(pattern: Pattern, generator: torch.Generator) -> tuple[float, float, float]:
    """How far autograd's input gradient is from Wᵀ g, from the oracle's sum, and from central differences."""
    layer = Tied(pattern, bias="none", generator=generator, dtype=torch.float64)
    x = torch.randn(BATCH, *pattern.in_shape, generator=generator, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    grad_BO = torch.randn(BATCH, pattern.n_out, generator=generator, dtype=torch.float64)
    (found,) = torch.autograd.grad(y, x, grad_BO.reshape(y.shape))
    found_BI = found.flatten(1)
    theta, tiemap = layer.weight.detach().flatten(), pattern.tiemap()
    with torch.no_grad():
        steps = STEP * torch.eye(pattern.n_in, dtype=torch.float64).reshape(-1, *pattern.in_shape)
        change_IO = (layer(x[0] + steps) - layer(x[0] - steps)).flatten(1) / (2 * STEP)
    return (
        off(found_BI, grad_BO @ tiemap.expand(theta)),
        off(found_BI, reference.input_gradient(tiemap, theta, grad_BO)),
        off(found_BI[0], change_IO @ grad_BO[0]),
    )


def two_layers_on_digits(generator: torch.Generator) -> tuple[float, int]:
    """A convolution, tanh and a full connection under cross entropy: the input gradient by hand against autograd's.

    Returns:
        How far they differ, and for how many digits.
    """
    digits = data.load("digits", seed=SEED)
    x = digits.normalisation.apply(digits.x[digits.test]).double().requires_grad_()
    target = digits.y[digits.test]
    convolution = patterns.conv2d(digits.in_shape, 6, kernel=3)
    first = Tied(convolution, bias="none", generator=generator, dtype=torch.float64)
    second = Tied(patterns.dense(convolution.n_out, 10), bias="none", generator=generator, dtype=torch.float64)
    hidden = torch.tanh(first(x))
    outputs = second(hidden.flatten(1))
    (found,) = torch.autograd.grad(F.cross_entropy(outputs, target), x)
    with torch.no_grad():
        delta2 = (outputs.softmax(1) - F.one_hot(target, 10)) / len(x)
        delta1 = (delta2 @ second.weight).reshape(hidden.shape) * (1 - hidden**2)
        return off(F.conv_transpose2d(delta1, first.weight), found), len(x)


def run() -> Result:
    generator = torch.Generator().manual_seed(SEED)
    rows = [["pattern", "autograd - Wᵀg", "autograd - listed sum", "autograd - differences"]]
    worst = [0.0, 0.0, 0.0]
    for pattern in PATTERNS:
        errors = compare(pattern, generator)
        worst = list(map(max, worst, errors))
        rows.append([str(pattern), *(f"{error:.0e}" for error in errors)])
    by_hand, n_digits = two_layers_on_digits(generator)
    numbers = {
        "patterns": len(PATTERNS),
        "largest relative difference from Wᵀg": worst[0],
        "largest relative difference from the listed sum": worst[1],
        "largest relative difference from central differences": worst[2],
        "two layers on digits, by hand, relative difference": by_hand,
    }
    holds = max(worst[0], worst[1], by_hand) < 1e-12 and worst[2] < 1e-8
    verdict = (
        f"For all {len(PATTERNS)} patterns, the input gradient is Wᵀg to {max(worst[:2]):.0e}, also where the operator "
        f"never forms W; the rounding of double precision is 2e-16. Through two layers on {n_digits} digits, the "
        f"transposed weights and the derivative of tanh give autograd's gradient to {by_hand:.0e}."
    )
    return Result(holds, verdict, numbers, rows)
