"""By what numbers a net is trained: what the user says, and good values for what he leaves open."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.errors import FileError, TrainError, require_kind, require_seed
from commonweight.numerals import counted
from commonweight.train.augment import KINDS
from commonweight.train.choice import WHOLE_BATCH, WITHOUT_RATE, choose_optimizer, expected, require_fitting
from commonweight.train.goal import Goal
from commonweight.train.initialise import INITS
from commonweight.train.objective import loss_kind

DEFAULT_RATE = {
    "muon": 0.03,
    "sgd": 0.1,
    "momentum": 0.05,
    "nesterov": 0.05,
    "rmsprop": 1e-3,
    "adam": 3e-3,
    "adamw": 3e-3,
    **dict.fromkeys(("descent", "lbfgs", "newton"), 1.0),
}
MOST_EPOCHS = 10**9
MOST_RATE = 1e30
OPTIMIZERS = (*DEFAULT_RATE, *WITHOUT_RATE)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the final weights, given the net, its first weights and the data.

    Attributes:
        epochs: passes over the training part, at most.
        goal: stop when the validation part reaches it, such as "accuracy>=0.99"; None to go to the end.
        optimizer: one of `OPTIMIZERS`.
        lr: the largest learning rate; it rises linearly from 0 and falls linearly back to 0. Rules that take all
            samples at each step try it first; None for those that find by themselves how far to go.
        batch_size: samples for each step.
        precision: float32, or bfloat16 for the multiplications (weights stay float32).
        device: cpu or cuda.
        seed: of the order of samples and of dropout.
        weight_decay: decoupled, of muon and adamw; not for biases and other weights with one axis.
        label_smoothing: for the cross entropy.
        average_share: the running average of the weights, which is what is checked and kept, reaches back over about
            this share of the steps so far; 0 for the weights themselves.
        checks_per_epoch: how often the validation part is looked at, but not more often than every `check_steps` steps.
        patience: epochs without a better validation score after which training stops.
        l1, l2, max_norm, noise, sparsity: see `train.regularise`; 0 (of max_norm, None) for none of it.
        augment: what is done to images at random, some of shift, rotate and flip, see `train.augment`.
        soft_sharing: values that each weight tensor ends with, see `train.soft_sharing`, which goes on with the best
            weights for as many epochs again; None to leave them free.
        reason: why this optimizer, where nobody said which; or that its steps will be long.
        init: the rule by which weights begin, see `initialise`; "auto" for that of the net itself.
    """

    epochs: int
    goal: str | None
    optimizer: str
    lr: float | None
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
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float | None = None
    noise: float = 0.0
    sparsity: float = 0.0
    augment: Sequence[str] = ()
    soft_sharing: int | None = None
    reason: str = ""
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
    l1: float = 0.0,
    l2: float = 0.0,
    max_norm: float | None = None,
    noise: float = 0.0,
    sparsity: float = 0.0,
    augment: Sequence[str] = (),
    label_smoothing: float | None = None,
    patience: float | None = None,
    soft_sharing: int | None = None,
    init: str = "auto",
) -> Settings:
    """Check what was given and fill in the rest from the size of the data and the kind of net.

    Raises:
        TrainError: a value out of range, an unknown name, a device or goal that cannot be had, or a net that does not
            fit the data.
    """
    require_kind(model, nn.Module, "fit trains a torch.nn.Module, such as nets.build makes", TrainError)
    require_kind(data, Data, "fit trains on data as commonweight.data.load gives them", TrainError)
    require_epochs(epochs)
    require_rate(lr)
    n_train = len(data.train)
    fits = f"a whole number from 1 to {n_train}, the size of the training part"
    require("batch_size", batch_size, lambda value: type(value) is int and 1 <= value <= n_train, fits)
    seed = require_seed(seed, TrainError)
    require("patience", patience, lambda value: 0 < value < float("inf"), "a number of epochs above 0")
    _require_restraint({"l1": l1, "l2": l2, "noise": noise}, max_norm, sparsity)
    _require_images(data, augment)
    _require_groups(model, soft_sharing)
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
    _require_answers(model, data, batch_size)
    restraints: dict[str, Any] = {"l1": l1, "l2": l2, "max_norm": max_norm, "noise": noise, "sparsity": sparsity}
    restraints["augment"] = list(augment)
    given = {name: value or None for name, value in restraints.items()}
    given |= {"batch_size": batch_size, "lr": lr, "precision": None if precision == "auto" else precision}
    if optimizer == "auto":
        chosen, reason = choose_optimizer(model, data, given)
    else:
        chosen, reason = optimizer, expected(optimizer, model, data)
    whole = chosen in WHOLE_BATCH
    if whole:
        require_fitting(chosen, model, data, given)
    batch = n_train if whole else batch_size or usual_batch_size(n_train)
    epochs = epochs or WHOLE_BATCH.get(chosen) or usual_epochs(n_train, batch)
    return Settings(
        epochs=epochs,
        goal=goal,
        optimizer=chosen,
        lr=lr or DEFAULT_RATE.get(chosen),
        batch_size=batch,
        precision=("float32" if whole else _precision(model, data)) if precision == "auto" else precision,
        device=("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device,
        seed=seed,
        weight_decay=0.01,
        label_smoothing=_label_smoothing(model, data, label_smoothing),
        average_share=0.0 if whole else 1 / 8,
        checks_per_epoch=4,
        check_steps=1 if whole else 25,
        patience=patience or max(5, epochs / 3),
        **restraints,
        soft_sharing=soft_sharing,
        reason=reason,
        init=init,
    )


def stored_settings(path: Path, stored: Mapping[str, Any], model: nn.Module, data: Data) -> Settings:
    """The settings in the file of a run, checked as those of a new one.

    Raises:
        FileError: these are no settings.
        TrainError: they cannot be met here, as `choose_settings` says.
    """
    names = signature(choose_settings).parameters.keys() - {"model", "data"}
    try:
        choose_settings(model, data, **{name: stored[name] for name in names})
        return Settings(**stored)
    except (KeyError, TypeError) as error:
        raise FileError(f"{path} does not hold the settings of a run ({error}): restore it.") from error


def usual_batch_size(n_train: int) -> int:
    """A power of two near √n: 16 for a hundred samples, 256 for tens of thousands."""
    power = round(math.log2(n_train) / 2 + 0.5)
    return min(256, n_train, max(16, 1 << power))


def usual_epochs(n_train: int, batch_size: int) -> int:
    """About 750 steps for little data, at least 4 epochs for much."""
    return max(4, -(-750 * batch_size // n_train))


def _precision(model: nn.Module, data: Data) -> str:
    """bfloat16 where the processor multiplies it natively and the net is made of torch's convolutions."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    large = any(isinstance(module, nn.Conv2d) for module in model.modules()) and len(data.train) >= 10_000
    return "bfloat16" if native and large else "float32"


@torch.no_grad()
def _require_answers(model: nn.Module, data: Data, batch_size: int | None) -> None:
    """Let a copy of the net take two samples as it would in training, or one where that is a batch.

    Raises:
        TrainError: it cannot take them, it normalises over batches of one, or it prescribes no loss and has not the
            outputs that the usual one is made for.
    """
    x = torch.zeros(min(batch_size or 2, 2), *data.in_shape)
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = deepcopy(model).float().cpu().train()(x)
    except Exception as error:  # a net may raise anything
        if len(x) == 1 and isinstance(error, ValueError):
            raise TrainError(
                f"The net cannot learn from batches of 1, for batch normalisation has only one value to go by "
                f"({error}): take a larger --batch-size."
            ) from error
        raise TrainError(
            f"The net cannot take samples of {data.name}, which have shape {data.in_shape} "
            f"({type(error).__name__}: {error}): build it for that shape."
        ) from error
    given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if loss_kind(model, data) != "own" and given != (len(x), data.n_outputs):
        raise TrainError(
            f"{data.name} needs {counted(data.n_outputs, 'output')} for a sample, which is a tensor of shape "
            f"{(len(x), data.n_outputs)} for {len(x)}, but the net gives {given}: build it with so many."
        )


def _label_smoothing(model: nn.Module, data: Data, given: float | None) -> float:
    """What was given; when nothing was, 0.1 where there is a cross entropy of classes, since it seldom harms.

    Raises:
        TrainError: labels that cannot be smoothed.
    """
    classes = data.task == "classification"
    if given is None:
        return 0.1 if classes and not hasattr(model, "loss") else 0.0
    require("label_smoothing", given, lambda value: 0 <= value < 1, "a number from 0 to below 1")
    if given and (not classes or hasattr(model, "loss")):
        why = "this net prescribes its own loss" if classes else f"{data.name} has values to predict, not classes"
        raise TrainError(f"Label smoothing is a part of the cross entropy of classes, but {why}: leave it out.")
    return given


def _require_restraint(strengths: Mapping[str, float], max_norm: float | None, sparsity: float) -> None:
    for name, strength in {**strengths, "sparsity": sparsity}.items():
        require_kind(strength, Real, f"{name} is a number, and 0 for none of it", TrainError)
    for name, strength in strengths.items():
        require(name, strength, lambda value: 0 <= value < float("inf"), "a number from 0")
    require("max_norm", max_norm, lambda value: 0 < value < float("inf"), "a number above 0")
    require("sparsity", sparsity, lambda value: 0 <= value < 1, "the share of weights that are 0, from 0 to below 1")


def _require_groups(model: nn.Module, soft_sharing: int | None) -> None:
    """Refuse more values for a weight tensor than the largest has weights.

    Raises:
        TrainError: as said.
    """
    whole = "a whole number from 1 to 256"
    require("soft_sharing", soft_sharing, lambda value: type(value) is int and 1 <= value <= 256, whole)
    largest = max((weight.numel() for weight in model.parameters()), default=0)
    if soft_sharing is not None and soft_sharing >= largest:
        raise TrainError(
            f"Soft sharing needs more weights than values, but the largest tensor of this net has {largest}: take "
            f"fewer than {soft_sharing}."
        )


def _require_images(data: Data, kinds: Sequence[str]) -> None:
    """Refuse to augment what are no images, or in a way that is not known.

    Raises:
        TrainError: as said.
    """
    require_kind(kinds, Sequence, "Images are augmented by a list of words", TrainError)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise TrainError(f"Images are augmented by {', '.join(KINDS)}; got {unknown[0]!r}.")
    if kinds and not data.is_image:
        raise TrainError(f"Only images can be shifted, turned and mirrored; {data!r}: leave augment out.")
    if kinds and min(data.in_shape[1:]) < 2:
        size = "x".join(map(str, data.in_shape[1:]))
        raise TrainError(f"Images of {size} have no other side to be moved to: leave augment out.")


def require_epochs(epochs: Any) -> None:
    """Refuse what is no number of epochs, or more of them than any training has.

    Raises:
        TrainError: as said.
    """
    whole = f"a whole number from 1 to {MOST_EPOCHS:,}"
    require("epochs", epochs, lambda value: type(value) is int and 1 <= value <= MOST_EPOCHS, whole)


def require_rate(lr: Any) -> None:
    """Refuse what is no learning rate, or one whose steps would overflow before they are added up.

    Raises:
        TrainError: as said.
    """
    require("lr", lr, lambda value: 0 < value <= MOST_RATE, f"a number above 0, at most {MOST_RATE:g}")


def require(name: str, value: Any, holds: Any, expected: str) -> None:
    """Refuse a value that was given and is no number, or does not hold, in one sentence."""
    if value is not None and not (isinstance(value, Real) and holds(value)):
        raise TrainError(f"{name} is {expected}; got {value!r}.")
