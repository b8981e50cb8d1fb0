"""A population of weight-agnostic networks, worked out together: all genomes, all shared weights, all samples.

What the inputs add to a node is the same for all shared weights, and is summed once. The compiled kernel does the work
(`kernels.networks`); without it, and in other precisions than float32, torch does, node by node and much more slowly.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.errors import NetError
from commonweight.kernels import networks
from commonweight.kernels.native_library import instructions
from commonweight.nets.genome import ACTIVATIONS, NAMES, Genome

Index = NDArray[np.int64]


class Population:
    """Genomes of equally many inputs and outputs, ready to be worked out together.

    Args:
        genomes: P of them.

    Example:
        >>> both = Population([Genome(2, 1, (), ((0, 3),)), Genome(2, 1, ("relu",), ((1, 4), (2, 4), (4, 3)))])
        >>> both(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.5]])).squeeze()
        tensor([[1.0000, 0.5000],
                [3.0000, 0.7500]])
    """

    def __init__(self, genomes: Sequence[Genome]) -> None:
        self.n_in, n_given = genomes[0].n_in, genomes[0].first_output
        sizes = [genome.n_nodes - n_given for genome in genomes]
        first = np.cumsum([0, *sizes])
        level = np.concatenate([genome.levels[n_given:] for genome in genomes])
        kind = np.concatenate([genome.kinds for genome in genomes])
        owner = np.repeat(np.arange(len(genomes)), sizes)
        order = np.lexsort((level, owner))
        place = np.argsort(order)  # of each computed node in the row of all
        pairs = np.concatenate([genome.pairs for genome in genomes])
        owner = np.repeat(np.arange(len(genomes)), [len(genome.connections) for genome in genomes])
        target = place[pairs[:, 1] - n_given + first[owner]]
        is_given = pairs[:, 0] < n_given
        inside = owner[~is_given]
        source = place[pairs[~is_given, 0] - n_given + first[inside]] - first[inside]
        outputs = place[first[:-1, None] + np.arange(genomes[0].n_out)] - first[:-1, None]
        rows = (first, kind[order], *_by_target(target[is_given], pairs[is_given, 0], len(order)),
                *_by_target(target[~is_given], source, len(order)), outputs)  # fmt: skip
        self.networks = networks.Networks(*(torch.from_numpy(np.ascontiguousarray(row)) for row in rows))

    @torch.no_grad()
    def __call__(self, x: Tensor, weights: Tensor) -> Tensor:
        """Outputs of every genome with every shared weight for every sample.

        Args:
            x: inputs, shape (n_in, B), or (P, n_in, B) where each genome has its own.
            weights: shape (K, 1), or (K, B) where samples have weights of their own.

        Returns:
            Shape (P, n_out, K, B).

        Raises:
            NetError: inputs of another shape.
        """
        n_networks = len(self.networks.outputs)
        if x.shape[:-1] not in ((self.n_in,), (n_networks, self.n_in)):
            raise NetError(
                f"{n_networks} genomes of {self.n_in} inputs take samples of shape ({self.n_in}, B) or ({n_networks}, "
                f"{self.n_in}, B); got {tuple(x.shape)}."
            )
        weights = weights.to(x).expand(-1, x.shape[-1])
        if x.dtype == torch.float32 and instructions() != "off":
            return networks.run(self.networks, x, weights)
        own = x if x.ndim == 3 else x.expand(n_networks, -1, -1)
        return torch.stack([self._one(number, inputs, weights) for number, inputs in enumerate(own)])

    def _one(self, number: int, x: Tensor, weights: Tensor) -> Tensor:
        """Outputs of one genome, shape (n_out, K, B), node by node."""
        it = self.networks
        x = torch.cat([x, x.new_ones(1, x.shape[1])])
        first, last = it.first[number : number + 2].tolist()
        values = x.new_empty(last - first, *weights.shape)
        for node in range(first, last):
            given = it.given[it.given_start[node] : it.given_start[node + 1]]
            computed = it.computed[it.computed_start[node] : it.computed_start[node + 1]]
            sums = weights * (x[given].sum(0) + values[computed].sum(0))
            values[node - first] = ACTIVATIONS[NAMES[it.kind[node]]](sums)
        return values[it.outputs[number]]


def _by_target(target: Index, source: Index, n: int) -> tuple[Index, Index]:
    """Where the sources of each of n targets start, shape (n + 1,), and all sources, sorted by target."""
    order = np.lexsort((source, target))
    return np.searchsorted(target[order], np.arange(n + 1)), source[order]
