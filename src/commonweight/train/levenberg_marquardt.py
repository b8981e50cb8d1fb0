"""Levenberg-Marquardt: the curvature from the Jacobian of the net, damped as far as the last steps call for."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from commonweight.train.curvature import PAIRS_FROM, Dual, Primal, add_products, is_dual
from commonweight.train.flat import BLOCK, Objective
from commonweight.train.jacobian import Jacobian, Way

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

    The Jacobian is worked out in blocks of samples, of which only G (n, n) is kept, or their rows where these are fewer
    than the weights; see `train.curvature`. Equations are solved in float64.

    Args:
        params: weights, as for any torch optimiser.
        bayesian: whether to regularise.
    """

    def __init__(self, params: Iterable[Any], *, bayesian: bool = False) -> None:
        super().__init__(params, {})
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
        slope += decay * theta
        state.setdefault("damping", FIRST_DAMPING * max(curvature.largest() + decay, 1e-30))
        damping = state["damping"]
        for trial in range(TRIALS):
            move = curvature.solve(damping + decay, -slope)
            ahead = theta + move.to(theta)
            new_value = objective.value(ahead)
            fallen = value - new_value + decay / 2 * float(theta @ theta - ahead @ ahead)
            if fallen > 0:
                foreseen = float(move @ (damping * move - slope)) / 2
                ratio = fallen / foreseen if fallen < foreseen else 1.0  # beyond 1, μ falls no further
                state["damping"] = damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3)
                objective.net.write(ahead)
                break
            damping *= 2 ** (trial + 1)
        else:
            return
        if self.bayesian:
            state["determined"] = max(curvature.determined(decay), TINY)
            state["decay"] = probable_decay(objective, new_value, ahead, state["determined"])


def gauss_newton(objective: Objective, jacobian: Jacobian, theta: Tensor) -> tuple[Primal | Dual, Tensor, float]:
    """G and ∂L/∂θ at θ (n,), of shapes (n, n) and (n,), and L; see `LevenbergMarquardt`.

    Blocks are multiplied in the precision of the net and added up in float64; what is kept as rows is float64.
    """
    net, value = objective.net, 0.0
    slope = torch.zeros(net.n, dtype=torch.float64, device=theta.device)
    wide = n_outputs(objective)
    dual = is_dual(len(objective) * wide, net.n)
    matrix = torch.zeros(() if dual else (net.n, net.n), dtype=torch.float64, device=theta.device)
    kept: list[Tensor] = []
    pairs = not dual and bool(jacobian.layers) and net.n * wide >= PAIRS_FROM
    at_once = BLOCK if pairs else max(1, JACOBIAN_BYTES // (net.n * wide * (2 * theta.element_size())))
    for inputs, targets, share in objective.blocks(min(at_once, BLOCK)):
        found = jacobian.ways(theta, inputs) if pairs else None
        if found is not None:
            loss, errors_BC, p_BC, scale = _of_outputs(objective, found[1], targets)
            slope += share * torch.cat([_gradient(way, errors_BC) for way in found[0]])
            p_C1B = None if p_BC is None else p_BC.T[:, None, :]
            ways = [replace(way, back=_weighted(way.back, p_C1B, 0)) for way in found[0]]
            add_products(matrix, ways, share * scale)
        else:
            jacobian_BCn, outputs_BC = jacobian(theta, inputs)
            loss, errors_BC, p_BC, scale = _of_outputs(objective, outputs_BC, targets)
            slope += share * (errors_BC.flatten() @ jacobian_BCn.flatten(0, 1))
            rows_Rn = _weighted(jacobian_BCn, None if p_BC is None else p_BC[..., None], 1).flatten(0, 1)
            if dual:
                kept.append((share * scale) ** 0.5 * rows_Rn.double())
            else:
                matrix += share * scale * (rows_Rn.T @ rows_Rn)
        value += share * loss
    return Dual(torch.cat(kept)) if dual else Primal(matrix), slope, value


@torch.enable_grad()
def _of_outputs(
    objective: Objective, outputs_BC: Tensor, targets: Tensor
) -> tuple[float, Tensor, Tensor | None, float]:
    """The mean loss of a block, its gradient by the outputs, p where a softmax is, and the scale of its curvature.

    ∂²L/∂z² is scale · I for squares, and scale · (diag(p) - p pᵀ) for the cross entropy.
    """
    outputs_BC = outputs_BC.detach().requires_grad_()
    loss = objective.loss(outputs_BC, targets)
    (errors_BC,) = torch.autograd.grad(loss, outputs_BC)
    if objective.kind == "squares":
        return loss.item(), errors_BC, None, 2 / outputs_BC.numel()
    return loss.item(), errors_BC, outputs_BC.detach().softmax(1), 1 / len(outputs_BC)


def _weighted(derivatives: Tensor, p: Tensor | None, axis: int) -> Tensor:
    """A with Aᵀ A = Dᵀ (diag(p) - p pᵀ) D for the derivatives D of outputs along an axis: √p_c (d_c - Σ p d)."""
    if p is None:
        return derivatives
    return p.sqrt() * (derivatives - (p * derivatives).sum(axis, keepdim=True))


def n_outputs(objective: Objective) -> int:
    """Outputs of the net for each sample."""
    return objective.targets.shape[1] if objective.kind == "squares" else int(objective.targets.amax()) + 1


def _gradient(way: Way, errors_BC: Tensor) -> Tensor:
    """∂L/∂(W, b) of a layer, in the order of its weights."""
    sums_OB = (way.back * errors_BC.T[:, None, :]).sum(0)
    return (sums_OB @ way.given.T).flatten()[way.order()]


def probable_decay(objective: Objective, value: float, theta: Tensor, determined: float) -> float:
    """The most probable λ where L, θ and the number γ of determined weights are as given; see `LevenbergMarquardt`."""
    squared = max(float(theta.double() @ theta.double()), TINY**2)
    n_values = objective.targets.numel()
    if objective.kind == "squares":
        return 2 * determined * value / (max(n_values - determined, 1.0) * squared)
    return determined / (n_values * squared)
