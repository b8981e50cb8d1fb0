"""How a training begins: as a value that can be changed, begun anew, and compared with another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.train.choice import batch_rule
from commonweight.train.loop import fit
from commonweight.train.settings import DEFAULT_RATE, Settings, choose_settings, usual_batch_size, usual_epochs


@dataclass(frozen=True)
class Start:
    """How a training begins.

    Attributes:
        model: the net as it was before the first step; a change makes a copy.
        data: what it learns from.
        settings: arguments of `fit` by name; what is left out is chosen anew.
    """

    model: nn.Module
    data: Data
    settings: Mapping[str, Any]

    def having(self, **settings: Any) -> "Start":
        """The same start with other settings."""
        return replace(self, settings={**self.settings, **settings})

    def repeats(self, other: "Start") -> bool:
        """Whether it leads to the same training as another, step for step; of nets that were changed by advice.

        >>> from commonweight import data, nets
        >>> iris = data.load("iris")
        >>> start = Start(nets.build("mlp", iris.in_shape, 3), iris, {"optimizer": "adam"})
        >>> start.repeats(start.having(lr=3e-3)), start.repeats(start.having(lr=1e-3))
        (True, False)
        """
        return (
            _completed(self) == _completed(other)
            and _same(_learned_from(self.data), _learned_from(other.data))
            and _structure(self.model) == _structure(other.model)
            and _same(_begun_with(self.model), _begun_with(other.model))
        )


def anew(start: Start, keep_pace: bool = False) -> Start:
    """The same net and data with the settings that the library chooses, and at least as many epochs.

    Args:
        start: a start whose optimizer is known.
        keep_pace: whether the rate stays the same share of the usual one of its rule, for advice to change it.
    """
    n_train, rule = len(start.data.train), batch_rule(start.model)
    usual, rate = rates(start)
    pace = rate / usual if keep_pace else 1.0
    batch_size = usual_batch_size(n_train)
    epochs = max(usual_epochs(n_train, batch_size), start.settings.get("epochs") or 0)
    pace_and_rule = {"optimizer": rule, "lr": pace * DEFAULT_RATE[rule]}
    return start.having(**pace_and_rule, batch_size=batch_size, epochs=epochs, patience=None, init="auto")


def rates(start: Start) -> tuple[float, float]:
    """The usual rate of the update rule, and the one it has."""
    rule = start.settings.get("optimizer", "auto")
    usual = DEFAULT_RATE[rule if rule in DEFAULT_RATE else batch_rule(start.model)]
    return usual, start.settings.get("lr") or usual


def _completed(start: Start) -> Settings:
    """Its settings with all that `fit` would choose; why it would is no part of them."""
    usual = {name: parameter.default for name, parameter in signature(fit).parameters.items()}
    names = signature(choose_settings).parameters.keys() - {"model", "data"}
    given = {name: start.settings.get(name, usual[name]) for name in names}
    return replace(choose_settings(start.model, start.data, **given), reason="")


def _structure(model: nn.Module) -> tuple[object, ...]:
    """What a net is made of, which of its weights learn and which are one, and a loss that was set on it."""
    learns = [(name, weight.requires_grad) for name, weight in model.named_parameters()]
    return repr(model), learns, vars(model).get("loss")


def _begun_with(model: nn.Module) -> list[Tensor | None]:
    return [*model.parameters(), *model.buffers()]


def _learned_from(data: Data) -> list[Tensor | None]:
    found = data.normalisation
    parts = [found.mean, found.scale, found.target_mean, found.target_scale]
    return [data.train, data.validation, *parts, data.x, data.y]


def _same(a: list[Tensor | None], b: list[Tensor | None]) -> bool:
    """Whether these are equal, one by one; None equals None."""
    return len(a) == len(b) and all(
        one is other if one is None or other is None else torch.equal(one, other)
        for one, other in zip(a, b, strict=True)
    )
