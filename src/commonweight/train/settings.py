"""By what numbers a net is trained: what the user says, and good values for what he leaves open."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from commonweight.data.dataset import Data
from commonweight.errors import TrainError
from commonweight.train.goal import Goal
from commonweight.train.initialise import INITS

DEFAULT_RATE = {
    "muon": 0.03,
    "sgd": 0.1,
    "momentum": 0.05,
    "nesterov": 0.05,
    "rmsprop": 1e-3,
    "adam": 3e-3,
    "adamw": 3e-3,
}
OPTIMIZERS = tuple(DEFAULT_RATE)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the final weights, given the net, its first weights and the data.

    Attributes:
        epochs: passes over the training part, at most.
        goal: stop when the validation part reaches it, such as "accuracy>=0.99"; None to go to the end.
        optimizer: one of `OPTIMIZERS`.
        lr: the largest learning rate; it rises linearly from 0 and falls linearly back to 0.
        batch_size: samples for each step.
        precision: float32, or bfloat16 for the multiplications (weights stay float32).
        device: cpu or cuda.
        seed: of the order of samples and of dropout.
        weight_decay: decoupled, of muon and adamw; not for biases and other weights with one axis.
        label_smoothing: for the cross entropy.
        average_share: the running average of the weights, which is what is checked and kept, reaches back over about
            this share of the steps so far.
        checks_per_epoch: how often the validation part is looked at, but not more often than every `check_steps` steps.
        patience: epochs without a better validation score after which training stops.
        init: the rule by which weights begin, see `initialise`; "auto" for that of the net itself.
    """

    epochs: int
    goal: str | None
    optimizer: str
    lr: float
    batch_size: int
    precision: str
    device: str
    seed: int
    weight_decay: float
    label_smoothing: float
    average_share: float
    checks_per_epoch: int
    check_steps: int
    patience: float
    init: str = "auto"


def choose_settings(
    model: nn.Module,
    data: Data,
    *,
    epochs: int | None,
    goal: str | None,
    optimizer: str,
    lr: float | None,
    batch_size: int | None,
    precision: str,
    device: str,
    seed: int,
    init: str = "auto",
) -> Settings:
    """Check what was given and fill in the rest from the size of the data and the kind of net.

    Raises:
        TrainError: a value out of range, an unknown name, or a device or goal that cannot be had.
    """
    require("epochs", epochs, lambda value: isinstance(value, int) and value >= 1, "a whole number of at least 1")
    require("lr", lr, lambda value: 0 < value < float("inf"), "a number above 0")
    n_train = len(data.train)
    fits = f"a whole number from 1 to {n_train}, the size of the training part"
    require("batch_size", batch_size, lambda value: isinstance(value, int) and 1 <= value <= n_train, fits)
    require("seed", seed, lambda value: isinstance(value, int) and 0 <= value < 2**63, "a whole number from 0")
    if optimizer not in ("auto", *OPTIMIZERS):
        raise TrainError(f"The optimizer is auto or one of {', '.join(OPTIMIZERS)}; got {optimizer!r}.")
    if precision not in ("auto", "float32", "bfloat16"):
        raise TrainError(f"The precision is auto, float32 or bfloat16; got {precision!r}.")
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise TrainError(f"The device is auto, cpu, or cuda where there is one; got {device!r}.")
    if init not in INITS:
        raise TrainError(f"Weights are initialised by one of {', '.join(INITS)}; got {init!r}.")
    if goal is not None:
        Goal.parse(goal, data.task)
    chosen = "muon" if optimizer == "auto" else optimizer
    batch = batch_size or _batch_size(n_train)
    epochs = epochs or _epochs(n_train, batch)
    return Settings(
        epochs=epochs,
        goal=goal,
        optimizer=chosen,
        lr=lr or DEFAULT_RATE[chosen],
        batch_size=batch,
        precision=_precision(model, data) if precision == "auto" else precision,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        seed=seed,
        weight_decay=0.01,
        label_smoothing=0.1 if data.task == "classification" else 0.0,
        average_share=1 / 8,
        checks_per_epoch=4,
        check_steps=25,
        patience=max(5, epochs / 3),
        init=init,
    )


def _batch_size(n_train: int) -> int:
    """A power of two near √n: 16 for a hundred samples, 256 for tens of thousands."""
    power = round(math.log2(n_train) / 2 + 0.5)
    return min(256, n_train, max(16, 1 << power))


def _epochs(n_train: int, batch_size: int) -> int:
    """About 750 steps for little data, at least 4 epochs for much."""
    return max(4, -(-750 * batch_size // n_train))


def _precision(model: nn.Module, data: Data) -> str:
    """bfloat16 where the processor multiplies it natively and the net is made of torch's convolutions."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    large = any(isinstance(module, nn.Conv2d) for module in model.modules()) and len(data.train) >= 10_000
    return "bfloat16" if native and large else "float32"


def require(name: str, value: Any, holds: Any, expected: str) -> None:
    """Refuse a value that was given and does not hold, in one sentence."""
    if value is not None and not holds(value):
        raise TrainError(f"{name} is {expected}; got {value!r}.")
