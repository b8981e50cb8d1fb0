"""Update rules by name, torch's own but for Muon, and the learning rate of each step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from commonweight.train.muon import Muon
from commonweight.train.settings import Settings

WARM_UP_EPOCHS = 0.25

RULES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "muon": Muon,
    "sgd": torch.optim.SGD,
    "momentum": lambda groups, **given: torch.optim.SGD(groups, momentum=0.9, **given),
    "nesterov": lambda groups, **given: torch.optim.SGD(groups, momentum=0.9, nesterov=True, **given),
    "rmsprop": torch.optim.RMSprop,
    "adam": lambda groups, **given: torch.optim.Adam(groups, fused=True, **given),
    "adamw": lambda groups, **given: torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True, **given),
}
DECAYING = ("muon", "adamw")


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser of the settings; each weight once, however many names it has.

    Decay is decoupled (Loshchilov & Hutter 2019) and only for weights with two axes or more.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.optimizer not in DECAYING:
        return RULES[settings.optimizer](weights, lr=settings.lr)
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return RULES[settings.optimizer]([group for group in groups if group["params"]], lr=settings.lr)


def rate_at(step: int, settings: Settings, steps_per_epoch: int) -> float:
    """The learning rate of a step: up from 0 in the first quarter of an epoch, then straight down to 0 at the end."""
    steps = settings.epochs * steps_per_epoch
    warm = WARM_UP_EPOCHS * steps_per_epoch
    return settings.lr * min((step + 1) / warm, 1.0, (steps - step) / (steps - warm))
