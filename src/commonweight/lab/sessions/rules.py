"""Update rules of torch by name, at one rate throughout, as a person steers them; and as they are written in Python."""

from dataclasses import dataclass

import torch
from torch import nn

from commonweight.lab.settings import choice, real, whole

RULES = ("adam", "sgd", "momentum", "nesterov", "rmsprop")

WRITTEN = {
    "adam": "Adam(net.parameters(), lr={rate})",
    "sgd": "SGD(net.parameters(), lr={rate})",
    "momentum": "SGD(net.parameters(), lr={rate}, momentum=0.9)",
    "nesterov": "SGD(net.parameters(), lr={rate}, momentum=0.9, nesterov=True)",
    "rmsprop": "RMSprop(net.parameters(), lr={rate})",
}


@dataclass(frozen=True)
class Learning:
    """What can be set of how a net learns digits.

    Attributes:
        rule, rate, batch: of the updates.
        seed: of the split, the first weights and the order of samples.
    """

    rule: str = choice("adam", RULES)
    rate: float = real(0.01, 1e-5, 1.0)
    batch: int = whole(64, 1, 256)
    seed: int = whole(0, 0, 9999)


def make_optimizer(net: nn.Module, rule: str, rate: float, momentum: float = 0.9) -> torch.optim.Optimizer:
    """The rule for all weights of a net; RMSprop and plain descent have no momentum, Adam's is its first β."""
    weights = list(net.parameters())
    match rule:
        case "adam":
            return torch.optim.Adam(weights, lr=rate, betas=(momentum, 0.999))
        case "rmsprop":
            return torch.optim.RMSprop(weights, lr=rate)
        case "sgd":
            return torch.optim.SGD(weights, lr=rate)
    return torch.optim.SGD(weights, lr=rate, momentum=momentum, nesterov=rule == "nesterov" and momentum > 0)


def written(rule: str, rate: float) -> str:
    """The same as Python.

    >>> written("momentum", 0.1)
    'torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)'
    """
    return "torch.optim." + WRITTEN[rule].format(rate=rate)
