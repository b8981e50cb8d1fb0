"""Which update rule suits a net and its data, which cannot be had for them, and why."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from commonweight.data.dataset import Data
from commonweight.errors import TrainError
from commonweight.train.curvature import is_dual
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.jacobian import Jacobian
from commonweight.train.muon import ROUNDS
from commonweight.train.newton import kept_bytes
from commonweight.train.objective import loss_function, loss_kind, part_of
from commonweight.train.together import Team

WHOLE_BATCH = {"descent": 1000, "lbfgs": 200, "newton": 100, "lm": 100, "lm-bayes": 100, "genetic": 300}
"""Rules that take all samples at each step, and how many epochs (which are then steps) are good for most."""
WITHOUT_RATE = ("lm", "lm-bayes", "genetic")
"""Those of them that find by themselves how far to go."""
SMALL_NET, JACOBIAN_WORK = 1000, 2e9
"""Weights, and products for each Jacobian, up to which Levenberg-Marquardt is the rule for values to predict."""
LITTLE_DATA = 500
"""Samples up to which all of them are taken at each step."""
MATRICES = 7
"""Of (n, n) float64 numbers, that Levenberg-Marquardt holds at once, at most."""
PRODUCTS_A_SECOND, LONGEST_STEP, LONG_STEP = 2e10, 30.0, 1.0
"""How fast its equations are set up and solved, and the seconds for a step from which it is refused, or told of."""
MUON_PRODUCTS_A_SECOND, MUON_SECONDS = 4e10, 0.25
"""How fast the products of a step of Muon are worked out, and the seconds of its own from which AdamW is better."""
FEW = 32
"""Samples by which it is found how much Newton's method keeps of each."""
RESTRAINTS = ("l1", "l2", "max_norm", "noise", "sparsity", "augment")
DROPOUT = (nn.modules.dropout._DropoutNd, nn.AlphaDropout, nn.FeatureAlphaDropout)


def choose_optimizer(model: nn.Module, data: Data, given: Mapping[str, Any]) -> tuple[str, str]:
    """The rule for a net that nobody chose one for, and the reason in a few words.

    Args:
        model, data: what is to be trained, and on what.
        given: other settings, by name; None for those that nobody gave. Any of them asks for a rule that takes batches.
    """
    n_train, n = len(data.train), sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    by_batch = batch_rule(model)
    addition = "" if by_batch == "muon" else f", and muon would take {muon_seconds(model):.1g} s for each step"
    asked = [name for name, value in given.items() if value is not None]
    if asked or Team.current().size > 1:
        who = asked[0].replace("_", " ") if asked else "several processes"
        return by_batch, f"batches, as {who} asks for{addition}"
    chosen, reason = by_batch, f"batches, for {n_train:,} samples and {n:,} weights{addition}"
    if len(data.in_shape) == 1 and loss_kind(model, data) != "own":
        if data.task == "regression" and n <= SMALL_NET and n_train * data.n_outputs * n * n <= JACOBIAN_WORK:
            chosen, reason = "lm-bayes", f"the Jacobian of all samples, for values to predict by only {n:,} weights"
        elif n_train <= LITTLE_DATA:
            chosen, reason = "lbfgs", f"all samples at each step, for there are only {n_train:,}"
    try:
        if chosen in WHOLE_BATCH:
            require_fitting(chosen, model, data, given)
    except TrainError:
        return by_batch, f"batches, for a net that cannot take all samples at once or one by one{addition}"
    return chosen, reason


def require_fitting(optimizer: str, model: nn.Module, data: Data, given: Mapping[str, Any]) -> None:
    """Refuse a rule that takes all samples at each step where it cannot, or is asked to do otherwise.

    Args:
        optimizer: one of `WHOLE_BATCH`.
        model, data: what is to be trained, and on what.
        given: other settings, by name; None for those that nobody gave.

    Raises:
        TrainError: a batch, bfloat16, something that changes samples or weights at each step, or a rate of a rule that
            has none; several processes; a net whose loss is drawn anew each time, or depends on which samples stand in
            a batch; recurrent layers; a Jacobian that is too large, or that a net or its loss does not have; more than
            half of the memory.
    """
    if given["batch_size"] not in (None, len(data.train)):
        raise TrainError(f"{optimizer} takes all {len(data.train)} samples at each step: leave --batch-size out.")
    if given["precision"] == "bfloat16":
        raise TrainError(f"{optimizer} compares losses that differ by less than bfloat16 can tell: use float32.")
    for name in RESTRAINTS:
        if given[name] is not None:
            option = name.replace("_", "-")
            raise TrainError(f"{optimizer} makes the loss of all samples small and nothing else: leave --{option} out.")
    if Team.current().size > 1:
        raise TrainError(f"{optimizer} runs in one process; several can share the batches of muon, adam or sgd.")
    if any(isinstance(module, DROPOUT) and module.p for module in model.modules()):
        raise TrainError(f"{optimizer} needs a loss that is the same each time, and dropout draws: use adam or muon.")
    if optimizer == "newton":
        _require_room_for_values(model, data)
    if optimizer not in WITHOUT_RATE:
        return
    if given["lr"] is not None:
        raise TrainError(f"{optimizer} finds by itself how far to go: leave --lr out.")
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise TrainError(f"{optimizer} takes samples one by one, and batch normalisation mixes them: use lbfgs.")
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        raise TrainError(
            f"{optimizer} runs many nets or samples as one batch, which no recurrent layer of torch allows: use lbfgs."
        )
    if optimizer != "genetic":
        _require_jacobian(optimizer, model, data)


def _require_room_for_values(model: nn.Module, data: Data) -> None:
    """Refuse a net of which Newton's method would keep too much; see `require_fitting`."""
    n, net = len(data.train), FlatNet(model)
    if n <= FEW:
        return
    device, loss = str(net.read().device), loss_function(model, data, 0.0)
    half, all_few = (
        kept_bytes(Objective(net, part.inputs, part.targets, loss))
        for part in (part_of(data, data.train[:k], device) for k in (FEW // 2, FEW))
    )
    _require_memory("newton", (all_few - half) * n // (FEW // 2), f"what all layers give for {n:,} samples")


def _require_memory(optimizer: str, needed: int, what: str) -> None:
    there = memory_bytes()
    if needed > there / 2:
        raise TrainError(
            f"{optimizer} holds {what}: {needed / 2**30:,.1f} GiB, and half of the memory here is "
            f"{there / 2**31:,.1f} GiB: use lbfgs, or a smaller net."
        )


def _require_jacobian(optimizer: str, model: nn.Module, data: Data) -> None:
    """Refuse a net that Levenberg-Marquardt cannot train; see `require_fitting`."""
    if loss_kind(model, data) == "own":
        raise TrainError(
            f"{optimizer} needs the mean squared error or the cross entropy, and {type(model).__name__} has a loss of "
            f"its own: use lbfgs."
        )
    n = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    rows = len(data.train) * data.n_outputs
    if is_dual(rows, n):
        needed, what = 8 * rows * (n + 3 * rows), f"a Jacobian of {rows:,} × {n:,}, outputs by weights"
    else:
        needed, what = MATRICES * 8 * n * n, f"{MATRICES} matrices of {n:,} × {n:,}, one row for each weight"
    _require_memory(optimizer, needed, what)
    seconds = step_seconds(n, rows)
    if seconds > LONGEST_STEP:
        raise TrainError(
            f"{optimizer} would take roughly {seconds:,.0f} s for each step, for {n:,} weights and {rows:,} outputs of "
            f"all samples: use lbfgs, or a smaller net."
        )
    try:
        net = FlatNet(model)
        Jacobian(net)(net.read(), torch.zeros(2, *data.in_shape, device=net.read().device))
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise TrainError(
            f"{optimizer} needs the derivatives of each sample by itself, which torch cannot work out for "
            f"{type(model).__name__} ({reason}): use lbfgs."
        ) from error


def step_seconds(n: int, n_rows: int) -> float:
    """Roughly how long a step of Levenberg-Marquardt takes, for a Jacobian (rows, n).

    A step was measured to take from an eighth of it, with many samples of few values, to four times as long, with few
    samples: this tells seconds from minutes, no more.
    """
    return min(n, n_rows) ** 2 * max(n, n_rows) / PRODUCTS_A_SECOND


def batch_rule(model: nn.Module) -> str:
    """The rule for a net that takes batches: Muon; AdamW where a step of Muon takes long by itself."""
    return "adamw" if muon_seconds(model) > MUON_SECONDS else "muon"


def muon_seconds(model: nn.Module) -> float:
    """About how long a step of Muon takes besides the gradient: 5 rounds of r²·(2 c + r) products, r ≤ c, a matrix."""
    products = 0
    for weight in model.parameters():
        if weight.requires_grad and weight.ndim > 1:
            r, c = sorted((len(weight), weight.numel() // len(weight)))
            products += ROUNDS * r * r * (2 * c + r)
    return products / MUON_PRODUCTS_A_SECOND


def expected(optimizer: str, model: nn.Module, data: Data) -> str:
    """A warning that the steps of a rule will be long; empty if they will not."""
    n = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    seconds = step_seconds(n, len(data.train) * data.n_outputs) if optimizer in ("lm", "lm-bayes") else 0.0
    return f"roughly {seconds:.0f} s for each step, for {n:,} weights" if seconds >= LONG_STEP else ""


def memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
