"""Update rules by name, torch's own where torch has them, and the learning rate of each step."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from commonweight.errors import TrainError
from commonweight.train.choice import WHOLE_BATCH
from commonweight.train.flat import Objective
from commonweight.train.genetic import Genetic
from commonweight.train.levenberg_marquardt import LevenbergMarquardt
from commonweight.train.line_search import Descent
from commonweight.train.muon import Muon
from commonweight.train.newton import NewtonCG
from commonweight.train.settings import Settings

WARM_UP_EPOCHS = 0.25


class LBFGS(torch.optim.LBFGS):
    """torch's L-BFGS (Liu & Nocedal 1989) with a search for the strong conditions of Wolfe; a step is four of its own.

    Args:
        params: weights, as for any torch optimiser.
        lr: the first length to try along each direction.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1.0) -> None:
        super().__init__(params, lr, max_iter=4, max_eval=8, history_size=20, line_search_fn="strong_wolfe")

    def step(self, objective: Objective) -> None:  # type: ignore[override]  # more than a closure
        """Four directions, each with its line search."""

        def closure() -> float:
            value, slope = objective.gradient(objective.net.read())
            for weight, part in zip(objective.net.weights, torch.split(slope, objective.net.sizes), strict=True):
                weight.grad = part.view(weight.shape).clone()
            return value

        super().step(closure)  # type: ignore[no-untyped-call]  # torch


RULES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "muon": Muon,
    "sgd": torch.optim.SGD,
    "momentum": lambda groups, **given: torch.optim.SGD(groups, momentum=0.9, **given),
    "nesterov": lambda groups, **given: torch.optim.SGD(groups, momentum=0.9, nesterov=True, **given),
    "rmsprop": torch.optim.RMSprop,
    "adam": lambda groups, **given: torch.optim.Adam(groups, fused=True, **given),
    "adamw": lambda groups, **given: torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True, **given),
    "descent": Descent,
    "lbfgs": LBFGS,
    "newton": NewtonCG,
    "lm": LevenbergMarquardt,
    "lm-bayes": partial(LevenbergMarquardt, bayesian=True),
    "genetic": Genetic,
}
DECAYING = ("muon", "adamw")


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser of the settings; each weight once, however many names it has.

    Decay is decoupled (Loshchilov & Hutter 2019) and only for weights with two axes or more.

    Raises:
        TrainError: a net none of whose weights learns.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not weights:
        raise TrainError(
            f"None of the {sum(1 for _ in model.parameters())} parameters of the net learns: let some, by "
            f"requires_grad_(True)."
        )
    if settings.lr is None:
        return RULES[settings.optimizer](weights)
    if settings.optimizer not in DECAYING:
        return RULES[settings.optimizer](weights, lr=settings.lr)
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return RULES[settings.optimizer]([group for group in groups if group["params"]], lr=settings.lr)


def rate_at(step: int, settings: Settings, steps_per_epoch: int) -> float:
    """The learning rate of a step: up from 0 in the first quarter of an epoch, then straight down to 0 at the end.

    Rules that take all samples at each step have one rate throughout, and it is 1 where they find their own way.
    """
    if settings.lr is None:
        return 1.0
    if settings.optimizer in WHOLE_BATCH:
        return settings.lr
    steps = settings.epochs * steps_per_epoch
    warm = WARM_UP_EPOCHS * steps_per_epoch
    return settings.lr * min((step + 1) / warm, 1.0, (steps - step) / (steps - warm))


def averaging_at(step: int, settings: Settings) -> float:
    """How far the running average goes towards the weights after a step: it reaches back over a share of the steps."""
    return 1 / max(1.0, (step + 1) * settings.average_share)
