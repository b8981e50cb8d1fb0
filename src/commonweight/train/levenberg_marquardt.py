"""Levenberg-Marquardt: the curvature from the Jacobian of the net, damped as far as the last steps call for."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from commonweight.train.flat import BLOCK, Objective
from commonweight.train.jacobian import Jacobian

JACOBIAN_BYTES = 1 << 27
"""Of the rows of the Jacobian that are held at once, and of what is made of them."""
FIRST_DAMPING = 1e-3
TRIALS = 8
FIRST_DECAY = 0.01
TINY = 1e-6
"""Of a weight that is determined, so that λ stays above 0 and finite where none is."""


class LevenbergMarquardt(torch.optim.Optimizer):
    """θ <- θ + δ with (G + μ I) δ = -∂L/∂θ, where G is the curvature that the Jacobian of the outputs tells of.

    With the Jacobian J of all outputs z (∂z/∂θ), G = Jᵀ (∂²L/∂z²) J: of the mean squared error 2/(N T) JᵀJ as in
    Levenberg (1944) and Marquardt (1963), for nets in Hagan & Menhaj (1994); of the cross entropy, whose ∂²L/∂z² is
    (diag(p) - p pᵀ)/N for each sample, the generalised Gauss-Newton matrix (Schraudolph 2002). μ follows Nielsen (1999,
    "Damping parameter in Marquardt's method"): with ρ the ratio of what L fell by to what the quadratic model said,
    μ <- μ max(1/3, 1 - (2ρ - 1)³) after a step that made L smaller; otherwise the step is not made, μ <- ν μ, ν <- 2ν.
    Since μ > 0, G may be singular, as where a unit copies another or there are more weights than samples.

    With `bayesian`, L + ½ λ ‖θ‖² is made smaller instead, with the λ that the data make most probable (MacKay 1992;
    Foresee & Hagan 1997): γ = n - λ tr (G + λ I)⁻¹ is the number of weights that the data determine, and
    λ = 2 γ L / ((N T - γ) ‖θ‖²) for squared errors, or γ / (N ‖θ‖²) for the cross entropy, from 0.01 at first. Where
    the targets are noise, λ grows and the weights vanish.

    The Jacobian is worked out in blocks of samples, of which only G (n, n) is kept; it is solved in float64.

    Args:
        params: weights, as for any torch optimiser.
        lr: of no effect.
        bayesian: whether to regularise.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1.0, *, bayesian: bool = False) -> None:
        super().__init__(params, {"lr": lr})
        self.bayesian = bayesian
        self.jacobian: Jacobian | None = None

    @torch.no_grad()
    def step(self, objective: Objective) -> None:  # type: ignore[override]  # more than a closure
        """One Jacobian, and as many trials of μ as it takes to get lower; no step after `TRIALS` without success."""
        state = self.state[self.param_groups[0]["params"][0]]
        theta = objective.net.read()
        if self.jacobian is None or self.jacobian.net is not objective.net:
            self.jacobian = Jacobian(objective.net)
        curvature, slope, value = gauss_newton(objective, self.jacobian, theta)
        decay = state.setdefault("decay", FIRST_DECAY if self.bayesian else 0.0)
        curvature.diagonal().add_(decay)
        slope += decay * theta
        state.setdefault("damping", FIRST_DAMPING * max(float(curvature.diagonal().amax()), 1e-30))
        damping = state["damping"]
        for trial in range(TRIALS):
            move = solve(curvature, damping, -slope)
            ahead = theta + move.to(theta)
            new_value = objective.value(ahead)
            fallen = value - new_value + decay / 2 * float(theta @ theta - ahead @ ahead)
            if fallen > 0:
                foreseen = float(move @ (damping * move - slope)) / 2
                state["damping"] = damping * max(1 / 3, 1 - (2 * fallen / foreseen - 1) ** 3)
                objective.net.write(ahead)
                break
            damping *= 2 ** (trial + 1)
        else:
            return
        if self.bayesian:
            state["determined"] = determined_weights(curvature, decay)
            state["decay"] = probable_decay(objective, new_value, ahead, state["determined"])


def gauss_newton(objective: Objective, jacobian: Jacobian, theta: Tensor) -> tuple[Tensor, Tensor, float]:
    """G and ∂L/∂θ at θ (n,), of shapes (n, n) and (n,), and L; see `LevenbergMarquardt`.

    Blocks are multiplied in the precision of the net and added up in float64.
    """
    net, value = objective.net, 0.0
    curvature = torch.zeros(net.n, net.n, dtype=torch.float64, device=theta.device)
    slope = torch.zeros(net.n, dtype=torch.float64, device=theta.device)
    wide = objective.targets.shape[1] if objective.kind == "squares" else int(objective.targets.amax()) + 1
    rows = max(1, JACOBIAN_BYTES // (net.n * wide * (2 * theta.element_size())))
    for inputs, targets, share in objective.blocks(min(rows, BLOCK)):
        jacobian_BCn, outputs_BC = jacobian(theta, inputs)
        with torch.enable_grad():
            outputs_BC = outputs_BC.detach().requires_grad_()
            loss = objective.loss(outputs_BC, targets)
            (errors_BC,) = torch.autograd.grad(loss, outputs_BC)
        value += share * loss.item()
        slope += share * (errors_BC.flatten() @ jacobian_BCn.flatten(0, 1))
        if objective.kind == "squares":
            scale = 2 / outputs_BC.numel()
        else:
            p_BC1 = outputs_BC.detach().softmax(1)[..., None]
            jacobian_BCn = p_BC1.sqrt() * (jacobian_BCn - (p_BC1 * jacobian_BCn).sum(1, keepdim=True))
            scale = 1 / len(outputs_BC)
        rows_Rn = jacobian_BCn.flatten(0, 1)
        curvature += share * scale * (rows_Rn.T @ rows_Rn)
    return curvature, slope, value


def solve(curvature: Tensor, damping: float, right: Tensor) -> Tensor:
    """x with (G + μ I) x = b, for G (n, n) positive semidefinite but for rounding; 0 if that spoils G + μ I."""
    damped = curvature.clone()
    damped.diagonal().add_(damping)
    factor, failed = torch.linalg.cholesky_ex(damped)
    return torch.zeros_like(right) if failed else torch.cholesky_solve(right[:, None], factor)[:, 0]


def determined_weights(curvature: Tensor, decay: float) -> float:
    """γ = n - λ tr H⁻¹, H = G + λ I of shape (n, n): each direction counts as its share g/(g + λ) of the curvature."""
    factor, failed = torch.linalg.cholesky_ex(curvature)
    undetermined = 0.0 if failed else decay * float(torch.cholesky_inverse(factor).trace())
    return max(len(curvature) - undetermined, TINY)


def probable_decay(objective: Objective, value: float, theta: Tensor, determined: float) -> float:
    """The most probable λ where L, θ and the number γ of determined weights are as given; see `LevenbergMarquardt`."""
    squared = max(float(theta.double() @ theta.double()), TINY**2)
    n_values = objective.targets.numel()
    if objective.kind == "squares":
        return 2 * determined * value / (max(n_values - determined, 1.0) * squared)
    return determined / (n_values * squared)
