"""Runs of the study, stored with all that the rules need: rules are tried on them without training again."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commonweight.measure.diagnosis import Evidence, Finding, diagnose
from commonweight.measure.records import Record
from commonweight.train.repair import Attempt, attempt, put_right
from commonweight.train.restart import Start

from .cells import HALF, Setup, healthy
from .injections import FAULTS, fits
from .peers import listening, published

FOLDER = Path("runs/diagnosis")
HEALTHY = "healthy"
SEEDS = range(1, 15)
"""Of healthy runs; faults are put into runs of seed 1."""


@dataclass(frozen=True)
class Outcome:
    """A run that is over.

    Attributes:
        score: accuracy or R² on the test part; 0 where the loss was no number any more.
        seconds: processor time of the first training, with the other tools listening.
        warned: what the other tools said.
        repaired: the score after `repair`; None where that was not tried.
    """

    cell: tuple[str, str]
    seed: int
    fault: str
    score: float
    seconds: float
    records: tuple[Record, ...]
    evidence: Evidence
    warned: Mapping[str, Sequence[str]]
    repaired: float | None

    def findings(self) -> list[Finding]:
        return diagnose(self.records, self.evidence)

    def to_line(self) -> str:
        values: dict[str, Any] = {"cell": list(self.cell), "seed": self.seed, "fault": self.fault}
        values |= {"score": self.score, "seconds": self.seconds, "repaired": self.repaired}
        values |= {"warned": dict(self.warned or {}), "evidence": self.evidence.to_json()}
        return json.dumps({**values, "records": [record.to_line() for record in self.records]}) + "\n"

    @staticmethod
    def from_line(line: str) -> "Outcome":
        v = json.loads(line)
        records, evidence = tuple(map(Record.from_line, v["records"])), Evidence.from_json(v["evidence"])
        known = {key: v.get(key) for key in ("seed", "fault", "score", "seconds", "warned", "repaired")}
        return Outcome(cell=tuple(v["cell"]), records=records, evidence=evidence, **known)


def train(setup: Setup, fault: str, repair: bool) -> Outcome:
    """Train a setup to its end, or to where its loss is no number any more; then follow the advice, if asked to."""
    started = time.process_time()
    with listening() as listener:
        first = attempt(Start(setup.model, setup.data, setup.settings), None, False)
    seconds = time.process_time() - started
    records, evidence = tuple(first.run.records), Evidence.from_json(first.run.description["evidence"])
    warned = {tool: sorted(said) for tool, said in listener.warned.items()}
    warned["published"] = sorted(published(records, evidence))
    return Outcome(
        cell=setup.cell,
        seed=setup.seed,
        fault=fault,
        score=score(first),
        seconds=seconds,
        records=records,
        evidence=evidence,
        warned=warned,
        repaired=score(put_right(first)) if repair else None,
    )


def score(tried: Attempt) -> float:
    """Accuracy or R² on the test part; 0 where the loss was no number any more."""
    test = tried.run.results.get("test", {"accuracy": 0.0})
    found: float = test["accuracy"] if "accuracy" in test else test["r2"]
    return found


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


def run_missing(
    name: str, wanted: Iterable[tuple[tuple[str, str], str, int]], deadline: float, repair: bool = False
) -> bool:
    """Train what the file does not hold yet, till a time of `time.monotonic`; whether it holds all by now."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = {(outcome.cell, outcome.fault, outcome.seed) for outcome in stored(name)}
    with (FOLDER / f"{name}.jsonl").open("a") as file:
        for cell, fault, seed in wanted:
            if (cell, fault, seed) in known:
                continue
            if time.monotonic() > deadline:
                return False
            setup = injected(cell, fault, seed)
            if setup is not None:
                file.write(train(setup, fault, repair and fault != HEALTHY).to_line())
                file.flush()
    return True
