"""Everything that training needs to go on as if it had never stopped, in one file that is whole or not there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.atomic import fill, own_tensors, read_tensors, write_tensors
from commonweight.errors import FileError


@dataclass
class Progress:
    """Where training stands, apart from tensors.

    Attributes:
        step: optimiser steps done.
        checks: records written.
        seconds: training time, checks not counted.
        goal_seconds: training time at which the goal was reached.
        best: the best validation scores so far, the first one counts most and larger is better; empty before any check.
        best_step: the step of that check.
        stopped: why training ended ("goal", "epochs", "patience"); empty while it goes on.
    """

    step: int = 0
    checks: int = 0
    seconds: float = 0.0
    goal_seconds: float | None = None
    best: list[float] = field(default_factory=list)
    best_step: int = 0
    stopped: str = ""


def save_checkpoint(
    path: Path, models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the tensors of the models, the state of the optimiser, torch's random state, and the progress."""
    tensors = {"random": torch.get_rng_state()}
    for name, model in models.items():
        tensors |= {f"{name}/{key}": tensor for key, tensor in own_tensors(model).items()}
    numbers = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            elif isinstance(value, list):  # of L-BFGS: tensors, or None where one is still to come
                numbers[f"{index}/{key}"] = [None] * len(value)
                kept = {f"optimizer/{index}/{key}/{place}": tensor for place, tensor in enumerate(value)}
                tensors |= {name: tensor for name, tensor in kept.items() if tensor is not None}
            elif value is not None:
                numbers[f"{index}/{key}"] = value
    write_tensors(path, tensors, {"progress": json.dumps(asdict(progress)), "optimizer": json.dumps(numbers)})


def load_checkpoint(path: Path, models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> Progress:
    """Read back what `save_checkpoint` wrote, into the models, the optimiser and torch's random state.

    Raises:
        FileError: damaged, or written for another net.
    """
    tensors, metadata = read_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in (*models, "optimizer")}
    state: dict[int, dict[str, Any]] = {}
    try:
        random = tensors.pop("random")
        for name, tensor in tensors.items():
            group, _, key = name.partition("/")
            groups[group][key] = tensor.clone()  # at an even address: sums depend on it
        entries = {**json.loads(metadata["optimizer"]), **groups.pop("optimizer")}
        for name, value in entries.items():
            index, key, *place = name.split("/")
            own = state.setdefault(int(index), {})
            if place:
                own[key][int(place[0])] = value
            else:
                own[key] = value
        progress = Progress(**json.loads(metadata["progress"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FileError(f"{path} is not a checkpoint of a run ({error!r}); start the run anew.") from error
    for name, model in models.items():
        fill(model, groups[name], path)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(random)
    return progress
