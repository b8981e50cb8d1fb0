"""From names to a run: what `commonweight train` starts, or takes up again."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commonweight import data, nets
from commonweight.data.dataset import Data
from commonweight.data.tables import SUFFIXES as TABLES
from commonweight.errors import TrainError
from commonweight.nets.architecture import Architecture
from commonweight.nets.cnn import SMALLEST
from commonweight.train.choice import memory_bytes
from commonweight.train.estimating import fit_estimator
from commonweight.train.loop import fit, resume
from commonweight.train.remedies import OF_DATA
from commonweight.train.run import BY_RULE, DESCRIPTION, Run, build_net, read_description

WITH_TASK = (*TABLES, ".npz")  # files whose task can be said
BYTES_A_WEIGHT = 16  # float32: itself, its gradient, and two means of an update rule


def default_net(in_shape: tuple[int, ...]) -> str:
    """What is trained where nobody names a net: cnn for images that it can halve, mlp for everything else.

    >>> default_net((1, 28, 28)), default_net((3, 6, 6)), default_net((13,))
    ('cnn', 'mlp', 'mlp')
    """
    return "cnn" if len(in_shape) == 3 and min(in_shape[1:]) >= SMALLEST else "mlp"


def start_run(
    name: str,
    *,
    net: str | None,
    target: str | None,
    task: str | None,
    seed: int,
    prepare: str = "standard",
    structure: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Load data by name or path, build a net for it, and fit it.

    Args:
        name: of data, or its path.
        net: a name of `commonweight.nets`, or file.py:factory; None for `default_net`.
        target, task, seed, prepare: of `commonweight.data.load`.
        structure: further arguments of the net, or parameters of the estimator of a family with a rule of its own.
        settings: those of `fit`.

    Raises:
        TrainError: a run instead of data, or a setting that the net has no use for, because it learns by a rule of its
            own.
        NetError: a structure that the net does not have, or with more weights than the memory can train.
    """
    if os.path.isfile(Path(name) / DESCRIPTION):  # unlike `Path.is_file`, no error for a name too long
        raise TrainError(f"{name} is a run, not data: go on with it by `commonweight train --resume {name}`.")
    loaded = data.load(name, target=target, task=task, seed=seed, prepare=prepare)
    net = net or default_net(loaded.in_shape)
    estimator = nets.estimator(net, loaded.in_shape, task=loaded.task, seed=seed)
    if estimator is not None:
        return fit_estimator(estimator, loaded, net=net, seed=seed, parameters=structure, **settings)
    asked = Architecture(net, loaded.in_shape, loaded.n_outputs, loaded.task, dict(structure or {}))
    model = asked.build(seed=seed, net=net, most_weights=memory_bytes() // BYTES_A_WEIGHT)
    return fit(model, loaded, net=net, seed=seed, **settings)


def resume_run(folder: Path, *, name: str | None, net: str | None) -> Run:
    """Take up an interrupted run with the data and the net it began with.

    Raises:
        TrainError: another net was asked for, the net learns by a rule of its own, or the data was not loaded by name
            or path.
        FileError: no run there, or a net that cannot be built again.
    """
    description = read_description(folder)
    if description["results"].get("stopped") == BY_RULE:
        raise TrainError(f"{folder} was learned in one piece by the rule of {description['net']}: train it anew.")
    model = build_net(folder, description, net)
    about = description["data"]
    source = name or about["source"]
    if not source:
        raise TrainError(
            f"{folder} was begun with data that are in no file: go on with it by `resume` of train.loop if they were "
            f"made in Python, and begin a new run with --stream if they came from a stream, which cannot come again."
        )
    return resume(folder, model, load_data(source, description))


def load_data(source: str, description: Mapping[str, Any]) -> Data:
    """The data of a run again, from where it had them or elsewhere.

    With its target, task, split and preparation, and changed as a repair that led to it changed them.
    """
    about = description["data"]
    task = about["task"] if Path(source).suffix.lower() in WITH_TASK else None
    prepare, target = about.get("prepare", "standard"), about["target"] or None
    loaded = data.load(source, target=target, task=task, seed=description["seed"], prepare=prepare)
    for code in description.get("repaired", ()):
        if code in OF_DATA:
            loaded = OF_DATA[code](loaded) or loaded
    return loaded
