"""From names to a run: what `commonweight train` starts, or takes up again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commonweight import data, nets
from commonweight.data.dataset import Data
from commonweight.data.tables import SUFFIXES as TABLES
from commonweight.errors import TrainError
from commonweight.train.loop import fit, resume
from commonweight.train.run import Run, build_net, read_description

WITH_TASK = (*TABLES, ".npz")  # files whose task can be said
DEFAULT_NET = {True: "cnn", False: "mlp"}  # for images, and for everything else


def start_run(name: str, *, net: str | None, target: str | None, task: str | None, seed: int, **settings: Any) -> Run:
    """Load data by name or path, build a net for it, and fit it. Further settings are those of `fit`."""
    loaded = data.load(name, target=target, task=task, seed=seed)
    net = net or DEFAULT_NET[loaded.is_image]
    model = nets.build(net, loaded.in_shape, loaded.n_outputs, task=loaded.task, seed=seed)
    return fit(model, loaded, net=net, seed=seed, **settings)


def resume_run(folder: Path, *, name: str | None, net: str | None) -> Run:
    """Take up an interrupted run with the data and the net it began with.

    Raises:
        TrainError: another net was asked for, or the data was not loaded by name or path.
        FileError: no run there, or a net that cannot be built again.
    """
    description = read_description(folder)
    model = build_net(folder, description, net)
    about = description["data"]
    source = name or about["source"]
    if not source:
        raise TrainError(
            f"{folder} was begun with data made in Python: go on with it there, by `resume` of train.loop."
        )
    return resume(folder, model, load_data(source, about, description["seed"]))


def load_data(source: str, about: Mapping[str, Any], seed: int) -> Data:
    """The data of a run again, from where it had them or from elsewhere: with its target, its task and its split."""
    task = about["task"] if Path(source).suffix.lower() in WITH_TASK else None
    return data.load(source, target=about["target"] or None, task=task, seed=seed)
