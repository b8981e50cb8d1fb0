"""A genome: the nodes and connections of a network without weights, as a search changes them and as a file stores them.

Nodes are numbered: the n_in inputs first, then one that is always 1 (the bias), the n_out outputs, the hidden nodes. A
node's value is its activation of w · Σ of the values that lead to it, with one weight w for all connections; outputs
are linear. Only what is acyclic can be worked out: a node's level is the length of the longest path to it, and nodes of
one level do not need each other.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.errors import NetError


def _turn(x: Tensor) -> Tensor:
    """x less the nearest even number, so that sin πx and cos πx of a large x are as exact as x is."""
    return x - 2 * torch.round(x / 2)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "step": lambda x: (x > 0).to(x.dtype),
    "sine": lambda x: torch.sin(math.pi * _turn(x)),
    "gaussian": lambda x: torch.exp(-0.5 * x * x),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "inverse": torch.neg,
    "absolute": torch.abs,
    "relu": torch.relu,
    "cosine": lambda x: torch.cos(math.pi * _turn(x)),
}
"""Those of Gaier & Ha 2019."""
NAMES = tuple(ACTIVATIONS)
LARGEST = 1_000_000
"""So many hidden nodes or connections are taken from a file at most."""


@dataclass(frozen=True)
class Genome:
    """Who is connected to whom, and what each hidden node computes.

    Attributes:
        n_in, n_out: number of inputs and of outputs, at least 1.
        hidden: activation of each hidden node, a key of `ACTIVATIONS`.
        connections: pairs (from, to) of node numbers, each once.

    >>> genome = Genome(2, 1, ("tanh",), ((0, 4), (2, 4), (4, 3), (1, 3)))
    >>> genome.levels.tolist()  # two inputs, the bias, the output, the hidden node
    [0, 0, 0, 2, 1]
    """

    n_in: int
    n_out: int
    hidden: tuple[str, ...]
    connections: tuple[tuple[int, int], ...]

    @property
    def first_output(self) -> int:
        """Number of the first output: those before it are given, those from it on are computed."""
        return self.n_in + 1

    @property
    def first_hidden(self) -> int:
        """Number of the first hidden node."""
        return self.first_output + self.n_out

    @property
    def n_nodes(self) -> int:
        """Inputs, bias, outputs and hidden nodes."""
        return self.first_hidden + len(self.hidden)

    @cached_property
    def levels(self) -> NDArray[np.int64]:
        """Longest path to each node, shape (n_nodes,): 0 for what is given, at least 1 for what is computed.

        Raises:
            NetError: a cycle.
        """
        users: list[list[int]] = [[] for _ in range(self.n_nodes)]
        waiting = [0] * self.n_nodes
        for source, target in self.connections:
            users[source].append(target)
            waiting[target] += 1
        level = [0] * self.first_output + [1] * (self.n_nodes - self.first_output)
        ready = [node for node in range(self.n_nodes) if not waiting[node]]
        for node in ready:  # grows meanwhile
            for target in users[node]:
                level[target] = max(level[target], level[node] + 1)
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        if len(ready) < self.n_nodes:
            stuck = next(node for node in range(self.n_nodes) if waiting[node])
            raise NetError(f"The genome has a cycle, before or through node {stuck}: leave out a connection of it.")
        return np.array(level)

    @cached_property
    def kinds(self) -> NDArray[np.int64]:
        """Index in `NAMES` of the activation of each computed node, outputs first."""
        return np.array([0] * self.n_out + [NAMES.index(name) for name in self.hidden])

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """The connections as an array, shape (E, 2)."""
        return np.array(self.connections, dtype=np.int64).reshape(-1, 2)


def checked(
    n_in: int, n_out: int, hidden: Sequence[str] | None = None, connections: Iterable[Sequence[int]] | None = None
) -> Genome:
    """A genome as a file tells it, after making sure that it can be computed.

    Args:
        n_in, n_out: number of inputs and of outputs.
        hidden: activations by name; none by default.
        connections: pairs (from, to); by default every input and the bias to every output.

    Raises:
        NetError: something that is no list, an unknown activation, a connection that is no pair of node numbers, leads
            to or from where it cannot, or comes twice; a hidden node to which nothing leads; a cycle; or too much.
    """
    if connections is None:
        connections = [(source, n_in + 1 + output) for output in range(n_out) for source in range(n_in + 1)]
    hidden = [] if hidden is None else hidden
    for what, given in (("hidden nodes", hidden), ("connections", connections)):
        if not isinstance(given, list | tuple):
            raise NetError(f"The {what} of a genome are a list; got {type(given).__name__}.")
        if len(given) > LARGEST:
            raise NetError(f"A genome has at most {LARGEST:,} {what}; got {len(given):,}: this is no genome of ours.")
    unknown = [name for name in hidden if name not in NAMES]
    if unknown:
        raise NetError(f"A genome knows the activations {', '.join(NAMES)}; got {unknown[0]!r}.")
    genome = Genome(n_in, n_out, tuple(hidden), tuple(map(_pair, connections)))
    _check_connections(genome)
    _ = genome.levels
    return genome


def _pair(given: object) -> tuple[int, int]:
    """Two whole numbers."""
    if not isinstance(given, list | tuple) or len(given) != 2 or any(type(node) is not int for node in given):
        raise NetError(f"A connection of a genome is a pair of node numbers (from, to); got {given!r}.")
    return given[0], given[1]


def _check_connections(genome: Genome) -> None:
    """Refuse connections that lead nowhere, come twice or leave a hidden node out."""
    for source, target in genome.connections:
        if not (0 <= source < genome.n_nodes and genome.first_output <= target < genome.n_nodes):
            raise NetError(
                f"A connection of this genome leads from a node 0 to {genome.n_nodes - 1} to one of "
                f"{genome.first_output} to {genome.n_nodes - 1}; got {source} to {target}."
            )
        if genome.first_output <= source < genome.first_hidden:
            raise NetError(f"Nothing leads from an output of a genome; got a connection from output {source}.")
    if len(set(genome.connections)) < len(genome.connections):
        twice = next(pair for pair in genome.connections if genome.connections.count(pair) > 1)
        raise NetError(f"A genome has each connection once; got {twice[0]} to {twice[1]} twice.")
    fed = {target for _, target in genome.connections}
    unfed = [node for node in range(genome.first_hidden, genome.n_nodes) if node not in fed]
    if unfed:
        raise NetError(f"Something must lead to every hidden node of a genome; nothing leads to node {unfed[0]}.")
    if not genome.connections:
        raise NetError("A genome has at least one connection; got none.")
