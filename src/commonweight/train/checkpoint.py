"""Everything that training needs to go on as if it had never stopped, in one file that is whole or not there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from commonweight.errors import FileError
from commonweight.files import fill, own_tensors, read_tensors, write_tensors


@dataclass
class Progress:
    """Where training stands, apart from tensors.

    Attributes:
        step: optimiser steps done.
        epoch: whole epochs done.
        checks: records written.
        seconds: training time, checks not counted.
        goal_seconds: training time at which the goal was first reached.
        best: validation score of the best check so far, larger is better.
        best_check: which check that was.
        stopped: why training ended; empty while it goes on.
    """

    step: int = 0
    epoch: int = 0
    checks: int = 0
    seconds: float = 0.0
    goal_seconds: float | None = None
    best: float = float("-inf")
    best_check: int = 0
    stopped: str = ""


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    others: Mapping[str, Mapping[str, Tensor]],
    progress: Progress,
) -> None:
    """Write the net, the optimiser's state, the given further groups of tensors, torch's random state and the progress."""
    numbers: dict[str, float] = {}
    tensors = {f"model/{name}": tensor for name, tensor in own_tensors(model).items()}
    tensors["random"] = torch.get_rng_state()
    for group, named in others.items():
        tensors |= {f"{group}/{name}": tensor for name, tensor in named.items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            elif value is not None:
                numbers[f"{index}/{key}"] = value
    metadata = {"progress": json.dumps(asdict(progress)), "optimizer": json.dumps(numbers)}
    write_tensors(path, tensors, metadata)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, others: Mapping[str, dict[str, Tensor]]
) -> Progress:
    """Read back what `save_checkpoint` wrote: into the net, the optimiser, the groups of tensors and torch's random state.

    Raises:
        FileError: damaged, or written for another net.
    """
    tensors, metadata = read_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    try:
        progress = Progress(**json.loads(metadata["progress"]))
        numbers = json.loads(metadata["optimizer"])
        random = groups.pop("random")[""]
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is not a checkpoint of commonweight ({error}); start the run anew.") from error
    if set(asdict(progress)) != {field.name for field in fields(Progress)}:
        raise FileError(f"{path} is not a checkpoint of commonweight; start the run anew.")
    fill(model, groups.pop("model", {}), path)
    state: dict[int, dict[str, object]] = {}
    for name, tensor in groups.pop("optimizer", {}).items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    for name, number in numbers.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = number
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for group, target in others.items():
        target.clear()
        target.update(groups.get(group, {}))
    torch.set_rng_state(random)
    return progress
