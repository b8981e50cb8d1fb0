"""The oracle: y = W x and both gradients, from the list of connections alone, by gather and scatter.

Slow and plain on purpose. Every fast operator of `lower` is tested against these three sums, which follow from
y[o] = Σ sign · θ[weight] · x[inp] over the connections into o by the product rule, and share no code with autograd.
"""

import torch

from commonweight.sizes import refuse_misfit
from commonweight.tiemap import TieMap


def forward(tiemap: TieMap, theta: torch.Tensor, x_BI: torch.Tensor) -> torch.Tensor:
    """y[o] = Σ sign · θ[weight] · x[inp] over the connections into output o: (B, I) -> (B, O)."""
    refuse_misfit("theta", theta, tiemap.n_weights, lead=0)
    refuse_misfit("x_BI", x_BI, tiemap.n_in, lead=1)
    out, inp, weight, sign = _connections(tiemap, theta)
    return x_BI.new_zeros(len(x_BI), tiemap.n_out).index_add(1, out, sign * theta[weight] * x_BI[:, inp])


def input_gradient(tiemap: TieMap, theta: torch.Tensor, grad_BO: torch.Tensor) -> torch.Tensor:
    """∂L/∂x[i] = Σ sign · θ[weight] · ∂L/∂y[out] over the connections from input i: the same weights, transposed."""
    refuse_misfit("theta", theta, tiemap.n_weights, lead=0)
    refuse_misfit("grad_BO", grad_BO, tiemap.n_out, lead=1)
    out, inp, weight, sign = _connections(tiemap, theta)
    return grad_BO.new_zeros(len(grad_BO), tiemap.n_in).index_add(1, inp, sign * theta[weight] * grad_BO[:, out])


def weight_gradient(tiemap: TieMap, x_BI: torch.Tensor, grad_BO: torch.Tensor) -> torch.Tensor:
    """∂L/∂θ[p] = Σ sign · x[inp] · ∂L/∂y[out] over the batch and the users of weight p, shape (P,)."""
    refuse_misfit("x_BI", x_BI, tiemap.n_in, lead=1)
    refuse_misfit("grad_BO", grad_BO, tiemap.n_out, lead=1)
    out, inp, weight, sign = _connections(tiemap, x_BI)
    each = (sign * x_BI[:, inp] * grad_BO[:, out]).sum(0)
    return each.new_zeros(tiemap.n_weights).index_add(0, weight, each)


def _connections(tiemap: TieMap, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
    indices = (torch.tensor(index, device=like.device) for index in (tiemap.out, tiemap.inp, tiemap.weight))
    return *indices, torch.tensor(tiemap.signs).to(like)
