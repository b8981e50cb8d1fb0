"""The facts that a training stores beside its records, so that a finished run can be diagnosed without its data."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.measure.diagnosis.data_facts import data_facts
from commonweight.measure.diagnosis.evidence import Evidence
from commonweight.measure.diagnosis.model_facts import look
from commonweight.train.choice import WHOLE_BATCH
from commonweight.train.objective import Part
from commonweight.train.settings import Settings

LEAST_SAMPLES, MOST_SAMPLES = 32, 256
"""Of the batch that net and loss are looked at with."""


def gather(
    model: nn.Module,
    data: Data,
    train: Part,
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: Settings,
    optimizer: torch.optim.Optimizer,
    steps: int,
) -> Evidence:
    """Look at data, net, loss and settings before the first step; nothing is changed, and no random number drawn."""
    size = min(len(train), max(LEAST_SAMPLES, min(settings.batch_size, MOST_SAMPLES)))
    some = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(train))[:size])
    some = some.to(train.inputs.device)
    learned = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    seen = look(model, train.inputs[some], train.targets[some], loss, learned)
    return replace(
        seen,
        data=data_facts(data),
        optimizer=settings.optimizer,
        rate=0.0 if settings.lr is None or settings.optimizer in WHOLE_BATCH else settings.lr,
        batch_size=settings.batch_size,
        steps=steps,
    )


@torch.no_grad()
def recalls(model: nn.Module, part: Part, data: Data) -> tuple[float, ...]:
    """The share of the samples of each class that a net in evaluation mode answers rightly; empty for regression."""
    if data.task != "classification":
        return ()
    right = torch.cat([model(x.float()).argmax(1) for x in torch.split(part.inputs, 1000)]) == part.targets
    sizes = torch.bincount(part.targets, minlength=data.n_outputs).clamp_min(1)
    return tuple((torch.bincount(part.targets[right], minlength=data.n_outputs) / sizes).tolist())
