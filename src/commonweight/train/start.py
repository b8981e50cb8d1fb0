"""From names to a run: what `commonweight train` starts, or takes up again."""

from pathlib import Path
from typing import Any

from commonweight import data, nets
from commonweight.errors import TrainError
from commonweight.train.loop import fit, resume
from commonweight.train.run import DESCRIPTION, Run, read_description

DEFAULT_NET = {True: "cnn", False: "mlp"}  # for images, and for everything else


def start_run(name: str, *, net: str | None, target: str | None, seed: int, **settings: Any) -> Run:
    """Load data by name or path, build a net for it, and fit it. Further settings are those of `fit`."""
    loaded = data.load(name, target=target, seed=seed)
    net = net or DEFAULT_NET[loaded.is_image]
    model = nets.build(net, loaded.in_shape, loaded.n_outputs, seed=seed)
    return fit(model, loaded, net=net, seed=seed, **settings)


def resume_run(folder: Path, *, name: str | None, net: str | None) -> Run:
    """Take up an interrupted run with the data and the net it began with.

    Raises:
        TrainError: another net was asked for.
        FileError: no run there.
    """
    description = read_description(folder)
    about, began_with = description["data"], description["net"]
    if net is not None and net != began_with:
        raise TrainError(f"{folder / DESCRIPTION} was begun with the net {began_with}, not {net}: leave --net out.")
    loaded = data.load(name or about["source"], target=about["target"] or None, seed=description["seed"])
    model = nets.build(began_with, loaded.in_shape, loaded.n_outputs, seed=description["seed"])
    return resume(folder, model, loaded)
