"""How likely a Boltzmann machine makes its data: log Z, exactly where it is small, or by importance sampling.

log P(v) = -F(v) - log Z,   Z = Σ_v exp(-F(v)), a sum (or integral) over all states of the visible units.
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from commonweight.errors import NetError
from commonweight.nets.boltzmann import LEAST, RestrictedBoltzmannMachine, sample

LARGEST = 20
"""Units whose states are gone through one by one: 2²⁰ of them."""


class Estimate(NamedTuple):
    """An estimate of log Z, and where it lies when Z is moved by three standard errors down and up."""

    log_z: float
    low: float
    high: float


def states(n: int) -> Tensor:
    """All states of n units, float64 of shape (2ⁿ, n).

    >>> states(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    places = torch.arange(n - 1, -1, -1)
    return (torch.arange(2**n).unsqueeze(1) >> places & 1).double()


@torch.no_grad()
def exact_log_z(machine: RestrictedBoltzmannMachine) -> float:
    """log Z by all states of the smaller side; the other side is summed in closed form, in float64.

    Args:
        machine: with at most 20 units on one side; on the hidden side if the visible units are Gaussian.

    Raises:
        NetError: too many units.

    Example:
        >>> exact_log_z(RestrictedBoltzmannMachine(3, 2)) > 5 * math.log(2) - 0.1
        True
    """
    weight, b, c = (p.double() for p in (machine.weight, machine.visible_bias, machine.hidden_bias))
    gaussian = machine.kind == "gaussian"
    n_hidden, n_visible = weight.shape
    if (n_hidden if gaussian else min(n_hidden, n_visible)) > LARGEST:
        raise NetError(
            f"A machine of {n_visible} visible ({machine.kind}) and {n_hidden} hidden units has too many states to go "
            f"through: use annealed_log_z."
        )
    if gaussian:
        h = states(n_hidden)
        down = h @ weight
        terms = h @ c + (down * b + down**2 / 2).sum(1) + n_visible / 2 * math.log(2 * math.pi)
    elif n_hidden <= n_visible:
        h = states(n_hidden)
        terms = h @ c + F.softplus(h @ weight + b).sum(1)
    else:
        v = states(n_visible)
        terms = v @ b + F.softplus(v @ weight.T + c).sum(1)
    return float(terms.logsumexp(0))


@torch.no_grad()
def annealed_log_z(
    machine: RestrictedBoltzmannMachine,
    generator: Generator,
    *,
    mean: Tensor | None = None,
    chains: int = 100,
    temperatures: int = 1000,
) -> Estimate:
    """log Z by annealed importance sampling: from independent units, whose Z is known, to the machine in small steps.

    p_β(v) ∝ exp((1 - β) a·v + β b·v) Π_j (1 + exp(β (c_j + W_j v))), β from 0 to 1; a chain's weight is the product of
    p_β'(v) / p_β(v) over its steps, and Z = Z_0 · the mean weight, log Z_0 = H log 2 + Σ_i log(1 + exp(a_i)).

    Source: Neal 2001; Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks" (2008).

    Args:
        machine: with Bernoulli units.
        mean: of the data, shape (V,), which gives the biases a; None for units that are on half the time.
        chains: number of independent weights.
        temperatures: number of steps of β.

    Raises:
        NetError: Gaussian visible units.

    Example:
        >>> machine = RestrictedBoltzmannMachine(3, 2)
        >>> estimate = annealed_log_z(machine, Generator().manual_seed(0))
        >>> abs(estimate.log_z - exact_log_z(machine)) < 0.01
        True
    """
    if machine.kind == "gaussian":
        raise NetError("Annealed importance sampling is written for Bernoulli units; this machine has Gaussian ones.")
    weight, b, c = machine.weight, machine.visible_bias, machine.hidden_bias
    a = torch.zeros_like(b) if mean is None else torch.logit(mean, LEAST)
    v = sample(torch.sigmoid(a).repeat(chains, 1), generator)
    log_weights = torch.zeros(chains, dtype=torch.float64)

    def log_p(beta: float) -> Tensor:
        return v @ ((1 - beta) * a + beta * b) + F.softplus(beta * up).sum(1)

    for step in range(temperatures):
        beta, next_beta = step / temperatures, (step + 1) / temperatures
        up = F.linear(v, weight, c)
        log_weights += (log_p(next_beta) - log_p(beta)).double()
        h = sample(torch.sigmoid(next_beta * up), generator)
        v = sample(torch.sigmoid((1 - next_beta) * a + next_beta * (h @ weight + b)), generator)
    log_z0 = len(c) * math.log(2) + float(F.softplus(a.double()).sum())
    log_mean = float(log_weights.logsumexp(0)) - math.log(chains)
    spread = float((log_weights - log_mean).exp().std()) / math.sqrt(chains)
    low, high = (log_z0 + log_mean + math.log(max(1 + 3 * sign * spread, 1e-300)) for sign in (-1, 1))
    return Estimate(log_z0 + log_mean, low, high)
