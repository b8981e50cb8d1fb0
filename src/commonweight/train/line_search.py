"""Full-batch descent: down the gradient of all samples, as far as a line search says."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from commonweight.train.flat import Objective

DECREASE = 1e-4
CURVATURE = 0.9
TRIALS = 40


def wolfe(objective: Objective, theta: Tensor, direction: Tensor, value: float, slope: Tensor, first: float) -> float:
    """A step t along a direction d that meets the (weak) conditions of Wolfe (1969), with L' = ∂L/∂θ · d:

        L(θ + t d) ≤ L(θ) + 0.0001 t L'(θ)        it falls far enough (Armijo)
        L'(θ + t d) ≥ 0.9 L'(θ)                   it is not too short

    By doubling and bisection (Lewis & Overton 2013, "Nonsmooth optimization via quasi-Newton methods"), which also
    works where the gradient jumps, as with ReLU.

    Args:
        objective: L.
        theta: θ, shape (n,).
        direction: d, shape (n,), downhill.
        value, slope: L(θ) and its gradient, shape (n,).
        first: the first t to try.

    Returns:
        t; after `TRIALS` trials the longest that was found to fall far enough, or 0.

    Example, L = (θ - 1)² from θ = 0, where d = 2 leads beyond the minimum and half of it there:
        >>> from torch import nn
        >>> from commonweight.train.flat import FlatNet
        >>> net = FlatNet(nn.Linear(1, 1, bias=False))
        >>> parabola = Objective(net, torch.ones(1, 1), torch.ones(1, 1), nn.functional.mse_loss)
        >>> wolfe(parabola, torch.zeros(1), torch.tensor([2.0]), 1.0, torch.tensor([-2.0]), first=1.0)
        0.5
    """
    fall = float(slope @ direction)
    low, high, step = 0.0, float("inf"), first
    for _ in range(TRIALS):
        new_value, new_slope = objective.gradient(theta + step * direction)
        if not new_value <= value + DECREASE * step * fall:
            high = step
        elif float(new_slope @ direction) < CURVATURE * fall:
            low = step
        else:
            return step
        step = 2 * low if high == float("inf") else (low + high) / 2
    return low


class Descent(torch.optim.Optimizer):
    """Steepest descent with all samples: θ <- θ - t ∂L/∂θ, t by `wolfe`, beginning with twice the t of last time.

    Args:
        params: weights, as for any torch optimiser.
        lr: the first t to try in the first step.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1.0) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, objective: Objective) -> None:  # type: ignore[override]  # more than a closure
        """One line search."""
        state = self.state[self.param_groups[0]["params"][0]]
        theta = objective.net.read()
        value, slope = objective.gradient(theta)
        first = 2 * state["step"] if state.get("step") else self.param_groups[0]["lr"]
        state["step"] = wolfe(objective, theta, -slope, value, slope, first)
        objective.net.write(theta - state["step"] * slope)
