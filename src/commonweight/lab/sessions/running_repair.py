"""The advice of a finding, followed: a training of its own, in a thread, whose run folder can be watched."""

import threading
from collections.abc import Sequence
from inspect import signature
from itertools import chain, count
from pathlib import Path
from typing import Any

from commonweight import data
from commonweight.errors import CommonweightError
from commonweight.lab.refusals import RefusalError
from commonweight.lab.sessions.folder_files import data_in
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
        error: what it ended with, if it failed.

    Raises:
        LabError: no program can follow this advice, the net or data of the run cannot be had again, or the
            new folder cannot be written.
    """

    error: CommonweightError | None = None

    def __init__(self, folder: Path, name: str, finding: Finding) -> None:
        description = read_description(folder / name)
        start = follow(finding.advice, _start_of(folder / name, description))
        if start is None:
            raise RefusalError("advice_for_people", advice=finding.advice.code)
        self.name = _free(folder, f"{name}-{finding.advice.code.replace('_', '-')}")
        self.ended = False
        advice = (*description.get("repaired", ()), finding.advice.code)
        arguments: tuple[Any, ...] = (start, folder / self.name, advice)
        self.thread = threading.Thread(target=self._train, args=arguments, daemon=True)
        self.thread.start()
        while not (folder / self.name / "run.json").exists() and self.thread.is_alive():
            self.thread.join(0.05)
        if self.error is not None and not (folder / self.name / "run.json").exists():
            raise self.error

    def _train(self, start: Start, out: Path, advice: Sequence[str]) -> None:
        try:
            self.error = attempt(start, out, False, advice).error
        except CommonweightError as error:
            self.error = error
        finally:
            self.ended = True


def _start_of(folder: Path, description: dict[str, Any]) -> Start:
    """How a run began: its net with its first weights, its data, and its settings as arguments of `fit`."""
    known = set(signature(fit).parameters) - {"model", "data", "out", "net", "progress", "repair"}
    try:
        about = description["data"]
        model = build_net(folder, description, None)
        loaded = load_data(_source_of(str(about["source"]), folder.parent.resolve()), description)
        return Start(model, loaded, {key: value for key, value in description["settings"].items() if key in known})
    except (KeyError, TypeError, AttributeError) as error:
        raise RefusalError("damaged_run", name=folder.name) from error


def _source_of(source: str, home: Path) -> str:
    """Where a run had its data: a name, or a path below a folder.

    Raises:
        LabError: it is elsewhere.
    """
    if source in data.names():
        return source
    try:
        return str(data_in(home, Path(source).resolve().relative_to(home).as_posix()))
    except (OSError, RuntimeError, ValueError) as error:  # elsewhere, a link in a circle, no path at all
        raise RefusalError("data_elsewhere") from error


def _free(folder: Path, name: str) -> str:
    """The name, with a number where it is taken."""
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(name for name in names if not (folder / name).exists())
