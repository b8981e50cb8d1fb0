"""Networks whose layers share weights with each other, as graphs: which use takes which weight, and adds what to its
gradient, by a real pass with real digits."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import count, data, nets, tie, ties
from commonweight.lab.sessions.share_uses import each_use

STEPS = 5
"""Time steps of the recurrent net."""

SAMPLES, CHOSEN = 8, 8
"""Digits of the pass, and weights of a matrix that are told with what each of their users adds."""

Loss = Callable[[], Tensor]


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


def _nets() -> dict[str, tuple[nn.Module, Tensor, Loss]]:
    """Each net, tied, with an input, and with the loss of a pass in which each time step is a use of its own."""
    digits = data.load("digits", seed=0)
    x, y = digits.x[digits.train[:SAMPLES]].flatten(1), digits.y[digits.train[:SAMPLES]]
    rows = x.reshape(SAMPLES, 1, 8, 8)[:, :, 2 : 2 + STEPS].mean(3)
    siamese, autoencoder = Pair(), Autoencoder()
    deep = nets.build("mlp", (64,), 10, structure={"hidden": [16, 16, 16, 16]})
    tie(siamese, "right.* = left.*", keep="source")
    tie(autoencoder, "decoder.weight = encoder.weight.T", keep="source")
    tie(deep, "hidden3.* = hidden2.*", keep="source")
    tie(deep, "hidden4.* = hidden2.*", keep="source")
    recurrent = nets.build("elman", (1, STEPS), 10, structure={"units": 16, "read": "last"})
    return {
        "siamese": (siamese, x, lambda: siamese(x).mean()),
        "autoencoder": (autoencoder, x, lambda: F.mse_loss(autoencoder(x), x)),
        "recurrent": (recurrent, rows, lambda: F.cross_entropy(step_by_step(recurrent, rows), y)),
        "deep": (deep, x, lambda: F.cross_entropy(deep(x), y)),
    }


def step_by_step(net: nn.Module, x: Tensor) -> Tensor:
    """What the recurrent net answers to x (B, 1, T), each step for itself: h ← tanh(W x_t + b + U h + c)."""
    cell = net.get_submodule("cell")
    h = x.new_zeros(len(x), 16)
    for step in range(x.shape[2]):
        seen = F.linear(x[:, :, step], cell.get_parameter("weight_ih_l0"), cell.get_parameter("bias_ih_l0"))
        kept = F.linear(h, cell.get_parameter("weight_hh_l0"), cell.get_parameter("bias_hh_l0"))
        h = torch.tanh(seen + kept)
    answers: Tensor = net.get_submodule("output")(h)
    return answers


@cache
def graphs() -> tuple[dict[str, Any], ...]:
    """Of each net: its equations, its uses in order (a module, and how often), and for each matrix who uses it.

    For some weights of each matrix that is used several times, it says what each use adds to the gradient.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = _nets()
    return tuple(_graph(name, *net) for name, net in made.items())


def _graph(name: str, net: nn.Module, x: Tensor, loss: Loss) -> dict[str, Any]:
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
            {
                "name": p.name,
                "weights": p.weights,
                "uses": [[use.module, use.calls] for use in p.uses],
                "pulled": _pulled(net.get_parameter(p.name), loss) if sum(use.calls for use in p.uses) > 1 else [],
            }
            for p in matrices
        ],
    }


def _pulled(parameter: nn.Parameter, loss: Loss) -> list[dict[str, Any]]:
    """The weights of a matrix at which its uses pull hardest: where, value, what each use adds, and the sum."""
    adds = each_use(parameter, loss)
    found = []
    for place in adds.abs().sum(0).flatten().topk(CHOSEN).indices.tolist():
        at = divmod(place, parameter.shape[1])
        each = adds[:, at[0], at[1]]
        value, total = float(parameter.detach()[at]), float(each.sum())
        found.append({"at": list(at), "value": value, "adds": each.tolist(), "sum": total})
    return found
