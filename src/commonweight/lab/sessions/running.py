"""Run: any run folder, live or finished, with another beside it; what is wrong with it, and its advice followed."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from commonweight.errors import CommonweightError
from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.running_folder import Shown, require_name, runs_in, shown
from commonweight.lab.sessions.running_repair import Repair
from commonweight.lab.settings import changed, index_of, text

SECONDS = 1.0
"""Between two looks at the folders."""


@dataclass(frozen=True)
class RunSettings:
    """What can be set.

    Attributes:
        run: the name of a run folder; empty for the newest.
        beside: that of another to compare with; empty for none.
    """

    run: str = text(200)
    beside: str = text(200)


class RunSession:
    """Looks at run folders; `advance` looks again, so that a run that goes on is followed."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.folder = folder
        self.settings = RunSettings(run=subject)
        self.runs: list[dict[str, Any]] = []
        self.seen: list[Shown] = []
        self.looked = 0.0
        self.repair: Repair | None = None
        self._look()

    @property
    def step(self) -> int:
        """The last step of the run that is shown."""
        return int(self.seen[0].curves[-1, 0]) if self.seen and len(self.seen[0].curves) else 0

    def change(self, given: Mapping[str, Any]) -> None:
        """Show other runs."""
        old, self.settings = self.settings, changed(self.settings, given)
        try:
            self._look()
        except CommonweightError:
            self.settings = old
            raise

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """`look` again; `apply` a finding's advice: train anew, in a folder of its own, and show both runs."""
        if action == "look":
            self._look_again()
        elif action == "apply":
            self._apply(given)
        else:
            raise RefusalError("no_action", actions="look, apply", got=quoted(action))

    def facts(self) -> dict[str, Any]:
        """Where the runs are."""
        return {"folder": self.folder.name}

    def code(self) -> str:
        """The records and the diagnosis of the runs that are shown, in Python."""
        names = [run.name for run in self.seen] or ["RUN"]
        return _PROGRAM.format(folder=str(self.folder), names=names)

    def advance(self) -> bool:
        """Look again, once a second at most; False when nothing more will come."""
        if self.repair is not None and self.repair.ended:
            repair, self.repair = self.repair, None
            self._look()
            if repair.error is not None:
                raise repair.error
        if time.monotonic() - self.looked >= SECONDS:
            self._look_again()
        return self.repair is not None or any(run.goes_on for run in self.seen)

    def structure(self) -> Frame | None:
        """Nothing: all of it can change."""
        return None

    def live(self) -> Frame:
        """The list of runs, and of those that are shown: facts, findings, curves, layers."""
        values: dict[str, Any] = {"runs": self.runs, "shown": [run.told for run in self.seen]}
        values["repairing"] = None if self.repair is None else self.repair.name
        arrays: dict[str, Any] = {}
        for place, run in enumerate(self.seen):
            arrays |= {f"curves{place}": run.curves, f"layers{place}": run.layers, f"quantiles{place}": run.quantiles}
        return Frame("live", self.step, values, {name: np.asarray(array) for name, array in arrays.items()})

    def _look(self) -> None:
        """Read the list of runs and those that are shown."""
        self.looked = time.monotonic()
        self.runs = runs_in(self.folder)
        run, beside = self.settings.run, self.settings.beside
        self.seen = [self._shown(run)] if run else self._newest()
        if beside and beside not in [run.name for run in self.seen]:
            self.seen.append(self._shown(beside))

    def _look_again(self) -> None:
        """Read all anew; where what is shown cannot be read any more, say so once and go to the newest run."""
        try:
            self._look()
        except CommonweightError:
            self.settings = RunSettings()
            self._look()
            raise

    def _shown(self, name: str) -> Shown:
        return shown(self.folder / require_name(self.folder, name))

    def _newest(self) -> list[Shown]:
        """The newest run that can be read, if there is one."""
        for run in self.runs:
            with suppress(CommonweightError):  # damaged: said when it is chosen
                return [shown(self.folder / run["name"])]
        return []

    def _apply(self, given: Mapping[str, Any]) -> None:
        """Begin a training as a finding of one of the runs that are shown advises.

        Raises:
            LabError: one is under way already, or no program can follow the advice.
        """
        if self.repair is not None:
            raise RefusalError("training_goes_on", name=self.repair.name)
        if not self.seen:
            raise RefusalError("no_run_to_repair")
        run = self.seen[index_of(given, "run", len(self.seen))]
        if not run.findings:
            raise RefusalError("nothing_wrong", name=run.name)
        finding = run.findings[index_of(given, "finding", len(run.findings))]
        try:
            self.repair = Repair(self.folder, run.name, finding)
        except CommonweightError as error:
            raise RefusalError("advice_not_followed", reason=error) from error
        self.settings = RunSettings(run=self.repair.name, beside=run.name)
        self._look()


_PROGRAM = """from pathlib import Path

from commonweight.measure.diagnosis.words import say
from commonweight.measure.records import read_records
from commonweight.train.run import findings_of

for name in {names}:
    folder = Path({folder!r}) / name
    records = read_records(folder / "records.jsonl")
    last = records[-1]
    print(f"{{name}}: {{len(records)}} checks; at step {{last.step}}: validation loss {{last.validation_loss:.4f}}")
    for finding in findings_of(folder):
        print(say(finding, "en"))
"""

SESSION = RunSession
