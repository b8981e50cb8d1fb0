"""Muon: momentum whose update is orthogonalised, so that every direction of a weight matrix moves at the same speed."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

ROUNDS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor) -> Tensor:
    """A matrix with the singular vectors of the given one and singular values near 1 (0.7 to 1.2).

    Five rounds of X <- a X + b (X Xᵀ) X + c (X Xᵀ)² X from X = M / ‖M‖, a Newton-Schulz iteration whose coefficients
    are chosen for speed rather than for the limit (Jordan et al. 2024).
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024), for weights of any shape.

    m <- μ m + (1 - μ) g;  u = orthogonalise((1 - μ) g + μ m);  θ <- (1 - η λ) θ - η s u

    Kernels are matrices (outputs, everything else) with s = √max(1, rows / columns). Where there is one column only, as
    for biases and scales, u is the gradient's direction, of length 1; weights with one axis do not decay. (The Muon of
    torch.optim takes matrices only.)

    Args:
        params: weights, as for any torch optimiser.
        lr: η.
        momentum: μ.
        weight_decay: λ, decoupled.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.03, momentum: float = 0.9, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group["lr"], group["momentum"], group["weight_decay"])

    def _move(self, weight: Tensor, gradient: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        mean = state["momentum"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(mean, momentum).reshape(weight.shape[0] if weight.ndim else 1, -1)
        rows, columns = ahead.shape
        update = orthogonalise(ahead) if min(rows, columns) > 1 else ahead / (ahead.norm() + 1e-7)
        speed = max(1.0, rows / columns) ** 0.5 if weight.ndim > 1 else 1.0
        if weight.ndim > 1:
            weight.mul_(1 - lr * weight_decay)
        weight.add_(update.view(weight.shape), alpha=-lr * speed)
