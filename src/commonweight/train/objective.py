"""What training makes small, and how its outcome is scored."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight.data.dataset import Data
from commonweight.train.together import ALONE, Team

EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Part:
    """Inputs and targets of one part of the data, ready for the net: normalised, on its device, in its layout."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


def part_of(data: Data, index: Tensor, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Part:
    """Samples of the data by their indices, normalised and, if images, channels last."""
    inputs = data.normalisation.apply(data.x[index])
    if inputs.ndim == 4:
        inputs = inputs.to(memory_format=torch.channels_last)
    return Part(inputs.to(device, dtype), data.normalisation.apply_target(data.y[index]).to(device))


def loss_function(model: nn.Module, data: Data, label_smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a net prescribes by a method `loss(outputs, targets)`; otherwise the usual one of the task.

    That is the cross entropy of a softmax over the outputs, with label smoothing (Szegedy et al. 2016), or the mean
    squared error of normalised targets.
    """
    own = getattr(model, "loss", None)
    if own is not None:
        return lambda outputs, targets: own(outputs.float(), targets)
    if data.task == "classification":
        return lambda outputs, targets: F.cross_entropy(outputs.float(), targets, label_smoothing=label_smoothing)
    return lambda outputs, targets: F.mse_loss(outputs.float(), targets)


def loss_kind(model: nn.Module, data: Data) -> str:
    """Which loss `loss_function` gives: "own", "softmax" (cross entropy) or "squares"."""
    if getattr(model, "loss", None) is not None:
        return "own"
    return "softmax" if data.task == "classification" else "squares"


@torch.no_grad()
def error_sum(outputs: Tensor, targets: Tensor, data: Data) -> Tensor:
    """Right answers in a batch, or the sum of squared errors in units of the target."""
    if data.task == "classification":
        return (outputs.argmax(1) == targets).sum()
    return (
        (data.normalisation.restore_target(outputs.float()) - data.normalisation.restore_target(targets)) ** 2
    ).sum()


def metric(total: float, n_samples: int, data: Data) -> float:
    """Accuracy, or root mean squared error in units of the target, from `error_sum` over n samples."""
    return total / n_samples if data.task == "classification" else (total / (n_samples * data.n_outputs)) ** 0.5


@torch.no_grad()
def evaluate(
    model: nn.Module,
    part: Part,
    loss: Callable[[Tensor, Tensor], Tensor],
    data: Data,
    precision: Callable[[], AbstractContextManager[object]],
    team: Team = ALONE,
    objective: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """Scores of a net on a part, in evaluation mode; the mode it had is restored. A team shares out the batches.

    Args:
        loss: the score, of labels as they are.
        objective: what training makes small, if that is to be known, too.

    Returns:
        `loss` and `accuracy` for classification; `loss`, `rmse` and `r2` for regression, the last two in units of the
        target: r2 = 1 - Σ (y - ŷ)² / Σ (y - ȳ)², pooled over the targets. Of targets that are all the same, r2 is 1
        if every answer is right, and otherwise 0, as scikit-learn has it. And `objective`, where one is given.
    """
    was_training = model.training
    model.eval()
    total_loss = total_objective = total_error = 0.0
    for start in range(team.rank * EVALUATION_BATCH, len(part), team.size * EVALUATION_BATCH):
        inputs, targets = part.inputs[start : start + EVALUATION_BATCH], part.targets[start : start + EVALUATION_BATCH]
        with precision():
            outputs = model(inputs)
        total_loss += float(loss(outputs, targets)) * len(inputs)
        total_objective += float(objective(outputs, targets)) * len(inputs) if objective else 0.0
        total_error += float(error_sum(outputs, targets, data))
    if was_training:
        model.train()
    total_loss, total_objective, total_error = team.total(total_loss, total_objective, total_error)
    losses = {"loss": total_loss / len(part)} | ({"objective": total_objective / len(part)} if objective else {})
    score = metric(total_error, len(part), data)
    if data.task == "classification":
        return {**losses, "accuracy": score}
    targets = data.normalisation.restore_target(part.targets)
    if (targets == targets[:1]).all():
        return {**losses, "rmse": score, "r2": float(total_error == 0)}
    spread = float(((targets - targets.mean(0)) ** 2).sum())
    return {**losses, "rmse": score, "r2": 1 - total_error / spread}
