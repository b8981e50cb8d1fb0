"""Runs of the study, stored with all that the rules need: rules are tried on them without training again."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commonweight.errors import DivergedError
from commonweight.measure.diagnosis import Evidence, Finding, diagnose
from commonweight.measure.records import Record
from commonweight.train.loop import fit

from .cells import HALF, Setup, healthy
from .injections import FAULTS, fits

FOLDER = Path("runs/diagnosis")
HEALTHY = "healthy"


@dataclass(frozen=True)
class Outcome:
    """A run that is over.

    Attributes:
        score: accuracy or R² on the test part; 0 where the loss was no number any more.
        seconds: processor time.
    """

    cell: tuple[str, str]
    seed: int
    fault: str
    score: float
    seconds: float
    records: tuple[Record, ...]
    evidence: Evidence

    def findings(self) -> list[Finding]:
        return diagnose(self.records, self.evidence)

    def to_line(self) -> str:
        values: dict[str, Any] = {"cell": list(self.cell), "seed": self.seed, "fault": self.fault}
        values |= {"score": self.score, "seconds": self.seconds, "evidence": self.evidence.to_json()}
        return json.dumps({**values, "records": [record.to_line() for record in self.records]}) + "\n"

    @staticmethod
    def from_line(line: str) -> "Outcome":
        v = json.loads(line)
        records, evidence = tuple(map(Record.from_line, v["records"])), Evidence.from_json(v["evidence"])
        return Outcome(tuple(v["cell"]), v["seed"], v["fault"], v["score"], v["seconds"], records, evidence)


def train(setup: Setup, fault: str) -> Outcome:
    """Train a setup to its end, or to where its loss is no number any more."""
    started = time.process_time()
    try:
        run = fit(setup.model, setup.data, out=None, progress=False, **setup.settings)
        test = run.results["test"]
        score = test["accuracy"] if "accuracy" in test else test["r2"]
    except DivergedError as error:
        run, score = error.run, 0.0
    evidence = Evidence.from_json(run.description["evidence"])
    seconds = time.process_time() - started
    return Outcome(setup.cell, setup.seed, fault, score, seconds, tuple(run.records), evidence)


def injected(cell: tuple[str, str], fault_name: str, seed: int) -> Setup | None:
    """The setup of a run by its name; None where the net or the data cannot have the fault."""
    setup = healthy(cell, seed)
    if fault_name == HEALTHY:
        return setup
    fault = next(fault for fault in FAULTS if fault.name == fault_name)
    return fault.inject(setup) if fits(fault, setup) else None


def cells_of(half: str) -> list[tuple[str, str]]:
    return [cell for cell, of in HALF.items() if of == half]


def stored(name: str) -> list[Outcome]:
    """The outcomes of a file, in order; none if it is not there."""
    path = FOLDER / f"{name}.jsonl"
    return [Outcome.from_line(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_missing(name: str, wanted: Iterable[tuple[tuple[str, str], str, int]], most_seconds: float) -> bool:
    """Train what the file does not hold yet, for so long; whether it holds all by now."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = {(outcome.cell, outcome.fault, outcome.seed) for outcome in stored(name)}
    deadline = time.monotonic() + most_seconds
    with (FOLDER / f"{name}.jsonl").open("a") as file:
        for cell, fault, seed in wanted:
            if (cell, fault, seed) in known:
                continue
            if time.monotonic() > deadline:
                return False
            setup = injected(cell, fault, seed)
            if setup is not None:
                file.write(train(setup, fault).to_line())
                file.flush()
    return True
