"""The search for weight-agnostic networks (Gaier & Ha 2019): grow the smallest nets, keep what does with any weight.

Each generation works every net out with the shared weights -2, -1, -1/2, 1/2, 1 and 2, and ranks the nets by the fronts
of a non-dominated sort (Deb et al. 2002, NSGA-II): of mean reward and few connections in 80 % of the generations, of
mean and best reward in the others. The best fifth lives on, the worst fifth has no children. A child is its parent,
the best of a few picked at random, with one change: a node inserted into a connection, a connection added, or an
activation changed.

Under torchrun each process works out its share of the nets; all draw the same numbers, so that all hold the same
population, which is that of one process.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from commonweight.nets.genome import NAMES, Genome

WEIGHTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
"""The shared weights that a net is to do well with."""
INSERT, ADD = 0.25, 0.25
"""Probabilities of inserting a node and of adding a connection; otherwise an activation is changed."""
BY_SIZE = 0.8
"""Share of the generations that are ranked by mean and size."""
KEPT = CULLED = 0.2
"""Shares of a population that live on, and that have no children."""

Rewards = NDArray[np.float64]
Fitness = Callable[[Sequence[Genome], int], Rewards]


def evolve(
    fitness: Fitness,
    n_in: int,
    n_out: int,
    *,
    population: int,
    generations: int,
    seed: int,
    tournament: int = 8,
    first_connections: float = 0.5,
) -> Genome:
    """Search from the smallest nets up.

    Args:
        fitness: of some genomes in a generation: reward with each of `WEIGHTS`, shape (P, 6), larger is better. It must
            be the same in all processes, and that of a genome must not depend on the others.
        n_in, n_out: inputs and outputs.
        population: number of nets, at least one for each process.
        generations: how often they are ranked.
        seed: of all that is drawn.
        tournament: of so many nets, the best becomes a parent.
        first_connections: share of the possible connections that a net begins with.

    Returns:
        The net of the largest mean reward in the last generation.
    """
    rng = np.random.default_rng(seed)
    genomes = [smallest(n_in, n_out, first_connections, rng) for _ in range(population)]
    n_kept, n_parents = max(1, round(KEPT * population)), max(1, round((1 - CULLED) * population))
    for generation in range(generations):
        rewards = shared_out(fitness, genomes, generation)
        if generation == generations - 1:
            break
        order = ranked(rewards, np.array([len(genome.connections) for genome in genomes]), rng)
        winners = rng.integers(n_parents, size=(population - n_kept, tournament)).min(1)
        children = [changed(genomes[order[winner]], rng) for winner in winners]
        genomes = [*(genomes[index] for index in order[:n_kept]), *children]
    return genomes[int(rewards.mean(1).argmax())]


def shared_out(fitness: Fitness, genomes: Sequence[Genome], generation: int) -> Rewards:
    """Rewards of all genomes, shape (P, 6), of which each process works out some."""
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    rewards = np.zeros((len(genomes), len(WEIGHTS)))
    rewards[rank::size] = fitness(genomes[rank::size], generation)
    if size > 1:
        dist.all_reduce(torch.from_numpy(rewards))  # the others hold zeros: no rounding
    return rewards


def ranked(rewards: Rewards, sizes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of the nets, the best first.

    Args:
        rewards: shape (P, 6).
        sizes: connections of each, shape (P,).
        rng: decides for size or best reward as the second objective.
    """
    mean = rewards.mean(1)
    second = -sizes.astype(np.float64) if rng.random() < BY_SIZE else rewards.max(1)
    objectives = np.stack([mean, second], 1)
    front = fronts(objectives)
    return np.lexsort((-mean, -crowding(objectives, front), front))


def fronts(objectives: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the front of each net: those of front n are beaten in no objective but by nets of fronts before n.

    Args:
        objectives: shape (P, 2), larger is better.

    >>> fronts(np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 1.0], [2.0, 1.0]])).tolist()
    [0, 0, 2, 1]
    """
    at_least = np.all(objectives[:, None] >= objectives, axis=2)
    beats = at_least & ~at_least.T
    front, n_beating, number = np.full(len(objectives), -1), beats.sum(0), 0
    while (front < 0).any():
        here = (front < 0) & (n_beating == 0)
        front[here] = number
        n_beating = n_beating - beats[here].sum(0)
        number += 1
    return front


def crowding(objectives: NDArray[np.float64], front: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far apart the neighbours of each net on its front are, summed over the objectives; infinite at the ends."""
    distance = np.zeros(len(objectives))
    for number in range(front.max() + 1):
        here = np.flatnonzero(front == number)
        for column in objectives[here].T:
            order = np.argsort(column, kind="stable")
            values, sorted_here = column[order], here[order]
            distance[sorted_here[[0, -1]]] = np.inf
            if values[-1] > values[0]:
                distance[sorted_here[1:-1]] += (values[2:] - values[:-2]) / (values[-1] - values[0])
    return distance


def smallest(n_in: int, n_out: int, share: float, rng: np.random.Generator) -> Genome:
    """Inputs and bias connected to the outputs at random, at least one of them; nothing hidden."""
    here = rng.random((n_in + 1, n_out)) < share
    here.flat[rng.integers(here.size)] = True
    sources, outputs = np.nonzero(here)
    return Genome(n_in, n_out, (), tuple(zip(sources.tolist(), (outputs + n_in + 1).tolist(), strict=True)))


def changed(genome: Genome, rng: np.random.Generator) -> Genome:
    """A child: one change. Where there is nothing to change (no hidden node, no connection left), it is its parent."""
    dice = rng.random()
    if dice < INSERT:
        return with_node(genome, rng)
    return with_connection(genome, rng) if dice < INSERT + ADD else with_activation(genome, rng)


def with_node(genome: Genome, rng: np.random.Generator) -> Genome:
    """A connection becomes two, with a new node of any activation between them."""
    at, node = int(rng.integers(len(genome.connections))), genome.n_nodes
    source, target = genome.connections[at]
    connections = (*genome.connections[:at], *genome.connections[at + 1 :], (source, node), (node, target))
    name = NAMES[rng.integers(len(NAMES))]
    return Genome(genome.n_in, genome.n_out, (*genome.hidden, name), connections)


def with_connection(genome: Genome, rng: np.random.Generator) -> Genome:
    """A connection more, from a node to one of a higher level; outputs are above all others."""
    level = genome.levels.copy()
    outputs = slice(genome.first_output, genome.first_hidden)
    level[outputs] = level.max() + 1
    free = level[:, None] < level
    free[outputs] = False
    free[tuple(genome.pairs.T)] = False
    possible = np.flatnonzero(free)
    if not len(possible):
        return genome
    source, target = divmod(int(possible[rng.integers(len(possible))]), genome.n_nodes)
    return Genome(genome.n_in, genome.n_out, genome.hidden, (*genome.connections, (source, target)))


def with_activation(genome: Genome, rng: np.random.Generator) -> Genome:
    """Another activation in one hidden node."""
    if not genome.hidden:
        return genome
    at = int(rng.integers(len(genome.hidden)))
    others = [name for name in NAMES if name != genome.hidden[at]]
    hidden = (*genome.hidden[:at], others[rng.integers(len(others))], *genome.hidden[at + 1 :])
    return Genome(genome.n_in, genome.n_out, hidden, genome.connections)


def rewired(genome: Genome, rng: np.random.Generator) -> Genome:
    """A random wiring with as many nodes of each kind and as many connections: what a search is compared with."""
    hidden = tuple(str(name) for name in rng.permutation(genome.hidden))
    connections: set[tuple[int, int]] = set()
    for node in range(genome.first_hidden, genome.n_nodes):
        connections.add((_source(genome, node, rng), node))
    while len(connections) < len(genome.connections):
        target = int(rng.integers(genome.first_output, genome.n_nodes))
        connections.add((_source(genome, target, rng), target))
    return Genome(genome.n_in, genome.n_out, hidden, tuple(sorted(connections)))


def _source(genome: Genome, target: int, rng: np.random.Generator) -> int:
    """An input, the bias or a hidden node before the target."""
    n_hidden = len(genome.hidden) if target < genome.first_hidden else target - genome.first_hidden
    drawn = int(rng.integers(genome.first_output + n_hidden))
    return drawn if drawn < genome.first_output else drawn + genome.n_out
