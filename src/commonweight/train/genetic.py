"""A genetic algorithm for weights: real numbers as genes, the whole population worked out as one batch."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Generator, Tensor

from commonweight.errors import TrainError
from commonweight.train.flat import Objective

POPULATION = 64
ELITE = 2
RIVALS = 5
BLEND = 0.5
MUTATED = 0.1


def evolve(
    cost: Callable[[Tensor], Tensor], population: Tensor, *, generations: int, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Evolve vectors towards a low cost.

    A child has two parents, each the best of `RIVALS` drawn at random (tournament). With parents a and b, each of its
    genes is uniform in [min(a, b) - β d, max(a, b) + β d], d = |a - b|, β = `BLEND`: BLX-β (Eshelman & Schaffer 1993,
    "Real-coded genetic algorithms and interval-schemata"). A share `MUTATED` of all genes then moves by a normal
    deviate as wide as that gene is spread over the population. The best `ELITE` go on as they are, so the best cost
    never rises.

    Args:
        cost: maps a population (P, n) to the cost of each member (P,); NaN counts as infinite.
        population: the first one, shape (P, n), P at least 4.
        generations: how often to replace it, from 0.
        generator: draws parents and children; torch's default one when omitted.

    Returns:
        The last population (P, n) and its costs (P,), the best first.

    Raises:
        TrainError: fewer than 4 members.

    Example:
        >>> seeded = Generator().manual_seed(0)
        >>> start = torch.randn(50, 3, generator=seeded)
        >>> last, costs = evolve(lambda p: ((p - 1) ** 2).sum(1), start, generations=60, generator=seeded)
        >>> bool((last[0] - 1).abs().max() < 0.01)
        True
    """
    if len(population) < 4:
        raise TrainError(f"A population has at least 4 members; got {len(population)}.")
    population, costs = ranked(population, cost(population))
    for _ in range(generations):
        children = offspring(population, generator)
        everyone = torch.cat([population[:ELITE], children])
        population, costs = ranked(everyone, torch.cat([costs[:ELITE], cost(children)]))
    return population, costs


def ranked(population: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
    """A population (P, n) and its costs (P,), the best first; NaN is the worst of all."""
    costs, order = costs.nan_to_num(nan=torch.inf).sort(stable=True)
    return population[order], costs


def offspring(population: Tensor, generator: Generator | None = None) -> Tensor:
    """Children of a ranked population (P, n), as `evolve` says: shape (P - ELITE, n)."""
    n_children, n = len(population) - ELITE, population.shape[1]
    # Of a ranked population, the winner of a tournament is the rival with the lowest number.
    drawn = torch.randint(len(population), (RIVALS, 2, n_children), generator=generator, device=population.device)
    mother, father = population[drawn.amin(0)]
    uniform = torch.rand(n_children, n, generator=generator, dtype=population.dtype, device=population.device)
    children = torch.lerp(mother, father, uniform * (1 + 2 * BLEND) - BLEND)
    # A gene mutates with probability MUTATED: one draw says which, and a normal one how far.
    chosen = torch.rand(n_children, n, generator=generator, dtype=population.dtype, device=population.device) < MUTATED
    far = torch.randn(n_children, n, generator=generator, dtype=population.dtype, device=population.device)
    return children + chosen * far * population.std(0, correction=0)


def first_population(first: Tensor, sizes: Iterable[int], size: int, generator: Generator | None = None) -> Tensor:
    """A population around the first weights of a net: itself, and others drawn uniformly from the ranges it shows.

    Args:
        first: the weights of the net, shape (n,).
        sizes: of its tensors, which add up to n. The range of a tensor is ± its largest weight; where that is 0, ± the
            largest of all.
        size: of the population.
        generator: draws the others; torch's default one when omitted.

    Returns:
        Shape (size, n), the net itself in the first row.
    """
    ranges = [part.abs().amax().expand(len(part)) for part in torch.split(first, list(sizes))]
    width = torch.cat(ranges)
    width = torch.where(width > 0, width, width.amax())
    uniform = torch.rand(size, len(first), generator=generator, dtype=first.dtype, device=first.device)
    population = width * (2 * uniform - 1)
    population[0] = first
    return population


class Genetic(torch.optim.Optimizer):
    """The genetic algorithm as an update rule: each step is a generation, and the net gets the best of its members.

    The population begins as `first_population`. No gradient is used.

    Args:
        params: weights, as for any torch optimiser.
    """

    def __init__(self, params: Iterable[Any]) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, objective: Objective) -> None:  # type: ignore[override]  # more than a closure
        """One generation: parents to children, and the best member into the model."""
        state = self.state[self.param_groups[0]["params"][0]]
        if "population" not in state:
            first = first_population(objective.net.read(), objective.net.sizes, POPULATION)
            state["population"], state["costs"] = ranked(first, objective.values(first))
        children = offspring(state["population"])
        everyone = torch.cat([state["population"][:ELITE], children])
        costs = torch.cat([state["costs"][:ELITE], objective.values(children)])
        state["population"], state["costs"] = ranked(everyone, costs)
        objective.net.write(state["population"][0])
