"""Newton's method for nets: the curvature enters by its products with vectors only, and is never written down."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from commonweight.errors import TrainError
from commonweight.train.flat import Objective
from commonweight.train.line_search import wolfe

ROUNDS = 250


def newton_direction(product: Callable[[Tensor], Tensor], slope: Tensor, rounds: int = ROUNDS) -> Tensor:
    """d with H d ≈ -g by conjugate gradients (Hestenes & Stiefel 1952), cut short where that is wise.

    It ends when ‖H d + g‖ ≤ min(½, √‖g‖) ‖g‖, so that far from the minimum little work is done and near it Newton's
    speed is kept; and where the curvature along a search direction p is not positive, pᵀ H p ≤ 0, with what it has, or
    with -g at the very first (Dembo & Steihaug 1983; Nocedal & Wright 2006, algorithm 7.1). So d always leads downhill.

    Args:
        product: v -> H v, H symmetric, v of shape (n,).
        slope: g, shape (n,).
        rounds: at most so many products.

    Example:
        >>> newton_direction(lambda v: torch.tensor([2.0, 4.0]) * v, torch.tensor([2.0, 2.0]) * 1e-6) * 1e6
        tensor([-1.0000, -0.5000])
    """
    size = slope.norm()
    goal = size * size.sqrt().clamp_max(0.5)
    direction, residual = torch.zeros_like(slope), slope.clone()
    search, squared = -residual, residual @ residual
    for number in range(rounds):
        curved = product(search)
        curvature = search @ curved
        if curvature <= 0:
            return search if number == 0 else direction
        length = squared / curvature
        direction, residual = direction + length * search, residual + length * curved
        new_squared = residual @ residual
        if new_squared.sqrt() <= goal:
            break
        search, squared = new_squared / squared * search - residual, new_squared
    return direction


def kept_bytes(objective: Objective) -> int:
    """How much memory `objective.hessian` takes for as long as its products are asked for."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        objective.hessian(objective.net.read())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


class NewtonCG(torch.optim.Optimizer):
    """Newton's method with all samples: θ <- θ + t d, d by `newton_direction`, t by `wolfe` from 1.

    Args:
        params: weights, as for any torch optimiser.
        lr: the first t to try; 1 is Newton's own.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1.0) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, objective: Objective) -> None:  # type: ignore[override]  # more than a closure
        """One direction, one line search.

        Raises:
            TrainError: a loss that torch cannot differentiate twice.
        """
        theta = objective.net.read()
        value, slope = objective.gradient(theta)
        try:
            direction = newton_direction(objective.hessian(theta), slope)
        except NotImplementedError as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise TrainError(f"newton needs second derivatives of the loss ({reason}): use lbfgs.") from error
        length = wolfe(objective, theta, direction, value, slope, self.param_groups[0]["lr"])
        objective.net.write(theta + length * direction)
