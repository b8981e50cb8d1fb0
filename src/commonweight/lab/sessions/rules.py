"""Update rules of torch by name, at one rate throughout, as a person steers them; and as they are written in Python."""

import torch
from torch import nn

RULES = ("adam", "sgd", "momentum", "nesterov", "rmsprop")

WRITTEN = {
    "adam": "Adam(net.parameters(), lr={rate}{decay})",
    "sgd": "SGD(net.parameters(), lr={rate}{decay})",
    "momentum": "SGD(net.parameters(), lr={rate}, momentum=0.9{decay})",
    "nesterov": "SGD(net.parameters(), lr={rate}, momentum=0.9, nesterov=True{decay})",
    "rmsprop": "RMSprop(net.parameters(), lr={rate}{decay})",
}


def make_optimizer(net: nn.Module, rule: str, rate: float, decay: float = 0.0) -> torch.optim.Optimizer:
    """The rule for all weights of a net; decay adds decay · θ to their gradients."""
    weights = list(net.parameters())
    match rule:
        case "adam":
            return torch.optim.Adam(weights, lr=rate, weight_decay=decay)
        case "rmsprop":
            return torch.optim.RMSprop(weights, lr=rate, weight_decay=decay)
    momentum = 0.0 if rule == "sgd" else 0.9
    return torch.optim.SGD(weights, lr=rate, momentum=momentum, nesterov=rule == "nesterov", weight_decay=decay)


def written(rule: str, rate: float, decay: float = 0.0) -> str:
    """The same as Python.

    >>> written("momentum", 0.1)
    'torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)'
    """
    return "torch.optim." + WRITTEN[rule].format(rate=rate, decay=f", weight_decay={decay}" if decay else "")
