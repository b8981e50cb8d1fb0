"""A population of weight-agnostic networks, worked out as one network, whose nodes are computed level by level.

All nodes of the same level and activation, of whichever genome, are rows next to each other: a level is one sum over
connections, and an activation for each kind. All shared weights are worked out together, and what the inputs add to a
node is summed once for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from commonweight.nets.genome import ACTIVATIONS, NAMES, Genome

Index = NDArray[np.int64]


@dataclass(frozen=True)
class _Level:
    """The nodes first to last, in order of activation.

    Attributes:
        sums: what computed nodes lead to each of them; None where there are none.
        kinds: the activations.
        sizes: number of nodes of each activation.
    """

    first: int
    last: int
    sums: "_Sums | None"
    kinds: tuple[str, ...]
    sizes: tuple[int, ...]


class _Sums:
    """For each node, the sum of the rows that lead to it.

    Args:
        target: node that each connection leads to, from 0 to n - 1.
        source: row that it comes from.
    """

    def __init__(self, target: Index, source: Index, n: int) -> None:
        order = np.lexsort((source, target))
        self.source = torch.from_numpy(source[order])
        self.start = torch.from_numpy(np.searchsorted(target[order], np.arange(n)))

    def of(self, rows: Tensor) -> Tensor:
        """(R, B) -> (n, B)"""
        return F.embedding_bag(self.source, rows, self.start, mode="sum")


class Population:
    """Genomes of equally many inputs and outputs, ready to be worked out together.

    Args:
        genomes: P of them.
        own_inputs: each genome has inputs of its own, as in control; by default they all see the same samples.
    """

    def __init__(self, genomes: Sequence[Genome], *, own_inputs: bool = False) -> None:
        n_given = genomes[0].first_output
        self.own_inputs = own_inputs
        n_computed = [genome.n_nodes - n_given for genome in genomes]
        first = np.cumsum([0, *n_computed])  # of each genome's computed nodes, all in a row
        level = np.concatenate([genome.levels[n_given:] for genome in genomes])
        kind = np.concatenate([genome.kinds for genome in genomes])
        order = np.lexsort((kind, level))
        row = np.empty(len(order), dtype=np.int64)
        row[order] = np.arange(len(order))
        outputs = first[:-1, None] + np.arange(genomes[0].n_out)
        self.outputs = torch.from_numpy(row[outputs])
        pairs = np.concatenate([genome.pairs for genome in genomes])
        owner = np.repeat(np.arange(len(genomes)), [len(genome.connections) for genome in genomes])
        is_given = pairs[:, 0] < n_given
        target = row[pairs[:, 1] - n_given + first[owner]]
        given = pairs[:, 0] + (owner * n_given if own_inputs else 0)
        self.given = _Sums(target[is_given], given[is_given], len(row))
        source = row[pairs[~is_given, 0] - n_given + first[owner[~is_given]]]
        self.levels = _levels(level[order], kind[order], target[~is_given], source)

    @torch.no_grad()
    def __call__(self, x: Tensor, weights: Tensor) -> Tensor:
        """Outputs of every genome with every shared weight for every sample.

        Args:
            x: inputs, shape (n_in, B), or (P, n_in, B) where each genome has its own.
            weights: shape (K, 1), or (K, B) where samples have weights of their own.

        Returns:
            Shape (P, n_out, K, B).
        """
        given = torch.cat([x, x.new_ones(*x.shape[:-2], 1, x.shape[-1])], -2).flatten(0, -2)
        from_inputs = self.given.of(given)
        values = x.new_empty(len(from_inputs), len(weights), x.shape[-1])
        for level in self.levels:
            sums = from_inputs[level.first : level.last, None]
            if level.sums is not None:
                sums = sums + level.sums.of(values.flatten(1)).view(-1, *values.shape[1:])
            parts = (sums * weights).split(level.sizes)
            activated = [ACTIVATIONS[name](part) for name, part in zip(level.kinds, parts, strict=True)]
            torch.cat(activated, out=values[level.first : level.last])
        return values[self.outputs]


def _levels(level: Index, kind: Index, target: Index, source: Index) -> list[_Level]:
    """The levels in order.

    Args:
        level, kind: of each node, sorted by both.
        target, source: nodes that each connection between computed nodes leads to and comes from.
    """
    levels = []
    for number in range(1, level[-1] + 1):
        first, last = np.searchsorted(level, [number, number + 1]).tolist()
        kinds, sizes = np.unique(kind[first:last], return_counts=True)
        here = (target >= first) & (target < last)
        sums = _Sums(target[here] - first, source[here], last - first) if here.any() else None
        levels.append(_Level(first, last, sums, tuple(NAMES[index] for index in kinds), tuple(sizes.tolist())))
    return levels
