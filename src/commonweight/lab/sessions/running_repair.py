"""The advice of a finding, followed: a training of its own, in a thread, whose run folder can be watched."""

import threading
from inspect import signature
from pathlib import Path
from typing import Any

from commonweight import data
from commonweight.errors import CommonweightError, LabError
from commonweight.measure.diagnosis import Finding
from commonweight.train.loop import fit
from commonweight.train.remedies import follow
from commonweight.train.repair import attempt
from commonweight.train.restart import Start
from commonweight.train.run import build_net, read_description
from commonweight.train.start import load_data


class Repair:
    """A training with the advice applied.

    Args:
        folder: of the runs.
        name: the run that the finding is about.
        finding: whose advice is followed.

    Attributes:
        name: of the new run folder.
        ended: whether the training has.
        error: the sentence that it ended with, if it failed.

    Raises:
        LabError: no program can follow this advice, the net or data of the run cannot be had again, or the
            new folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, finding: Finding) -> None:
        start = follow(finding.advice, _start_of(folder / name))
        if start is None:
            raise LabError(f"only a person can do what {finding.advice.code} says.")
        self.name = _free(folder, f"{name}-{finding.advice.code.replace('_', '-')}")
        self.ended, self.error = False, ""
        arguments: tuple[Any, ...] = (start, folder / self.name, finding.advice.code)
        self.thread = threading.Thread(target=self._train, args=arguments, daemon=True)
        self.thread.start()
        while not (folder / self.name / "run.json").exists() and self.thread.is_alive():
            self.thread.join(0.05)
        if not (folder / self.name / "run.json").exists():
            raise LabError(self.error)

    def _train(self, start: Start, out: Path, code: str) -> None:
        try:
            done = attempt(start, out, False, (code,))
            self.error = "" if done.error is None else str(done.error)
        except CommonweightError as error:
            self.error = str(error)
        self.ended = True


def _start_of(folder: Path) -> Start:
    """How a run began: its net with its first weights, its data, and its settings as arguments of `fit`."""
    description = read_description(folder)
    about = description["data"]
    source = str(about["source"])
    if source not in data.names() and not (source and Path(source).resolve().is_relative_to(folder.parent)):
        raise LabError("its data has no name here and is no file in the folder that this lab may read.")
    model = build_net(folder, description, None)
    loaded = load_data(source, about, description["seed"])
    known = set(signature(fit).parameters) - {"model", "data", "out", "net", "progress", "repair"}
    return Start(model, loaded, {key: value for key, value in description["settings"].items() if key in known})


def _free(folder: Path, name: str) -> str:
    """The name, with a number where it is taken."""
    names = [name, *(f"{name}-{number}" for number in range(2, 100))]
    return next(name for name in names if not (folder / name).exists())
