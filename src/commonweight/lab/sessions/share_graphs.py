"""Networks whose layers share weights with each other, as graphs: which use takes which weight, by a real pass."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from commonweight import count, nets, tie, ties

STEPS = 5
"""Time steps of the recurrent net."""


class Pair(nn.Module):
    """Two networks for two inputs: a siamese net, once they are tied."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))
        self.right = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        """How far the two answers lie apart."""
        apart: Tensor = torch.linalg.vector_norm(self.left(x) - self.right(x.flip(1)), dim=1)
        return apart


class Autoencoder(nn.Module):
    """An encoder and a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 16), nn.Linear(16, 64)

    def forward(self, x: Tensor) -> Tensor:
        """What the decoder makes of the code."""
        decoded: Tensor = self.decoder(torch.tanh(self.encoder(x)))
        return decoded


def _nets() -> dict[str, tuple[nn.Module, Tensor]]:
    """Each net, tied, with an input."""
    flat = torch.zeros(1, 64)
    siamese, autoencoder = Pair(), Autoencoder()
    deep = nets.build("mlp", (64,), 10, structure={"hidden": [16, 16, 16, 16]})
    tie(siamese, "right.* = left.*", keep="source")
    tie(autoencoder, "decoder.weight = encoder.weight.T", keep="source")
    tie(deep, "hidden3.* = hidden2.*", keep="source")
    tie(deep, "hidden4.* = hidden2.*", keep="source")
    recurrent = nets.build("elman", (1, STEPS), 3, structure={"units": 16})
    return {
        "siamese": (siamese, flat),
        "autoencoder": (autoencoder, flat),
        "recurrent": (recurrent, torch.zeros(1, 1, STEPS)),
        "deep": (deep, flat),
    }


@cache
def graphs() -> tuple[dict[str, Any], ...]:
    """Of each net: its equations, its uses in order (a module, and how often), and for each matrix who uses it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = _nets()
    return tuple(_graph(name, net, x) for name, (net, x) in made.items())


def _graph(name: str, net: nn.Module, x: Tensor) -> dict[str, Any]:
    census = count(net, x)
    matrices = [p for p in census.parameters if len(p.shape) > 1 and p.uses]
    seen = dict.fromkeys(use.module for parameter in matrices for use in parameter.uses)
    order = [module for module, _ in net.named_modules() if module in seen]
    most = {module: max(u.calls for p in matrices for u in p.uses if u.module == module) for module in order}
    return {
        "name": name,
        "equations": [str(found) for found in ties(net)],
        "weights": census.weights,
        "uses": [[module, most[module]] for module in order],
        "matrices": [
            {"name": p.name, "weights": p.weights, "uses": [[use.module, use.calls] for use in p.uses]}
            for p in matrices
        ],
    }
