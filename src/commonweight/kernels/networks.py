"""Many small networks at once, each with one weight for all its connections, by the compiled kernel.

The kernel takes 64 samples at a time with all weights, a network for each thread, and sums what the inputs add to a
node once for all weights. `nets.population` writes the networks down for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from commonweight.kernels.native_library import compiled, instructions


@dataclass(frozen=True)
class Networks:
    """Networks, the nodes of all in a row, network after network, each after those that lead to it; all int64.

    Attributes:
        first: first node of each network, and their number, shape (P + 1,).
        kind: activation of each node, by number; see `nets.genome.NAMES`.
        given_start, given: the inputs that lead to node n are given[given_start[n]:given_start[n + 1]]; the number of
            inputs stands for a constant 1.
        computed_start, computed: the nodes that do, counted from the first of the network.
        outputs: nodes of each network, counted from its first, shape (P, n_out).
    """

    first: Tensor
    kind: Tensor
    given_start: Tensor
    given: Tensor
    computed_start: Tensor
    computed: Tensor
    outputs: Tensor


def run(networks: Networks, x: Tensor, weights: Tensor) -> Tensor:
    """Outputs, float32 of shape (P, n_out, K, B).

    Args:
        networks: P of them.
        x: float32, shape (n_in, B), or (P, n_in, B) where each network has its own.
        weights: float32, shape (K, B).
    """
    x, weights = x.contiguous(), weights.contiguous()
    n_networks, n_out = networks.outputs.shape
    y = torch.empty(n_networks, n_out, len(weights), x.shape[-1], dtype=torch.float32)
    index = (
        networks.first, networks.kind, networks.given_start, networks.given, networks.computed_start,
        networks.computed, networks.outputs,
    )  # fmt: skip
    compiled().networks(
        instructions(),
        *(tensor.data_ptr() for tensor in (*index, x, weights, y)),
        n_networks,
        int(networks.first.diff().max()),
        x.shape[-2],
        n_out,
        len(weights),
        x.shape[-1],
        x[0].numel() if x.ndim == 3 else 0,
        torch.get_num_threads(),
    )
    return y
