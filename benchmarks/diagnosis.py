"""Is the diagnosis right? Healthy runs and injected faults, tuning and evaluation half, repairs, other tools beside.

    pip install traintools==0.6.2 trainwatch==0.1.0
    python benchmarks/diagnosis.py

The design is in docs/diagnosis.md, where the tables go, too. Runs are stored in runs/diagnosis and not trained
again; all of them take about half an hour on one core.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from faults.cells import GOOD, SIZES
from faults.injections import FAULTS
from faults.running import HEALTHY, SEEDS, Outcome, cells_of, run_missing, stored
from machine import setting, write_result

PAGE = Path(__file__).parents[1] / "docs" / "diagnosis.md"
MARK = "<!-- results: written by `make diagnosis` -->\n"
BY_NAME = {fault.name: fault for fault in FAULTS}
POINT = 0.01
SECOND, THIRD = "second evaluation", "third evaluation"
Cell = tuple[str, str]
PARTS = (THIRD, SECOND, "evaluation", "tuning")
TARGETS = {"recall": 0.95, "named first": 0.85, "false alarms": 0.02, "repaired": 0.90}


def is_good(outcome: Outcome) -> bool:
    return outcome.score >= GOOD[outcome.cell[0]]


@dataclass(frozen=True)
class Usual:
    """What is healthy: the scores of the healthy runs by pair and seed, and their deviation by pair."""

    scores: dict[tuple[Cell, int], float]
    deviations: dict[Cell, float]

    @staticmethod
    def of(outcomes: Iterable[Outcome]) -> "Usual":
        healthy = [outcome for outcome in outcomes if outcome.fault == HEALTHY]
        by_cell = defaultdict(list)
        for outcome in healthy:
            if is_good(outcome):
                by_cell[outcome.cell].append(outcome.score)
        deviations = {cell: stdev(found) for cell, found in by_cell.items() if len(found) > 1}
        return Usual({(outcome.cell, outcome.seed): outcome.score for outcome in healthy}, deviations)

    def loss(self, outcome: Outcome, score: float) -> float:
        """By how much a score is below that of the healthy run on the same split."""
        return self.scores[outcome.cell, outcome.seed] - score


def harmful(outcome: Outcome, usual: Usual) -> bool:
    limit = max(POINT, 2 * usual.deviations.get(outcome.cell, 0.0))
    return BY_NAME[outcome.fault].always or usual.loss(outcome, outcome.score) > limit


def is_repaired(outcome: Outcome, usual: Usual) -> bool:
    sample = 1 / SIZES[outcome.cell[0]][2] if outcome.evidence.data.task == "classification" else 0.0
    return usual.loss(outcome, outcome.repaired) <= max(POINT, sample) + 1e-9


def ours(outcome: Outcome) -> list[str]:
    return [finding.code for finding in outcome.findings()]


def said_by(tool: str) -> Callable[[Outcome], list[str]]:
    return lambda outcome: outcome.warned[tool]


def share(parts: Sequence[bool]) -> str:
    return f"{sum(parts)} of {len(parts)} ({100 * mean(parts):.1f} %)" if parts else "–"


def row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def summary(half: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Recall, named first, false alarms and repairs of a half, beside the targets."""
    usual = Usual.of(outcomes)
    hit, first, repaired, others = [], [], [], []
    for outcome in outcomes:
        if outcome.fault == HEALTHY or not harmful(outcome, usual):
            continue
        fault, codes = BY_NAME[outcome.fault], ours(outcome)
        hit.append(any(code in fault.codes for code in codes))
        first.append(bool(codes) and codes[0] in fault.codes)
        if half == THIRD and outcome.repaired is not None:
            (repaired if fault.by_machine else others).append(is_repaired(outcome, usual))
    healthy = [outcome for outcome in outcomes if outcome.fault == HEALTHY]
    alarms = [bool(ours(outcome)) for outcome in healthy if is_good(outcome)]
    lines = [row("part", "measured", "result", "target", "verdict"), row(*["---"] * 5)]
    for name, parts in (("recall", hit), ("named first", first), ("false alarms", alarms), ("repaired", repaired)):
        if parts:
            target = TARGETS[name]
            met = mean(parts) <= target if name == "false alarms" else mean(parts) >= target
            sign = "≤" if name == "false alarms" else "≥"
            lines.append(row(half, name, share(parts), f"{sign} {100 * target:.0f} %", "met" if met else "**not met**"))
    if others:
        lines.append(row(half, "repaired, though a person would have to", share(others), "–", "–"))
    n = len(healthy) - len(alarms)
    return [*lines, "", f"{n} of {len(healthy)} healthy runs did not reach the known-good score and are left out.", ""]


def by_fault(outcomes: Sequence[Outcome]) -> list[str]:
    """A row for each fault."""
    usual = Usual.of(outcomes)
    heads = ("fault", "counts as named by", "harmful", "found", "named first", "repaired", "harmless", "alarms there")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for fault in FAULTS:
        runs = [outcome for outcome in outcomes if outcome.fault == fault.name]
        bad = [outcome for outcome in runs if harmful(outcome, usual)]
        fine = [outcome for outcome in runs if outcome not in bad]
        codes = [ours(outcome) for outcome in bad]
        found = sum(any(code in fault.codes for code in said) for said in codes)
        first = sum(bool(said) and said[0] in fault.codes for said in codes)
        tried = [is_repaired(outcome, usual) for outcome in bad if outcome.repaired is not None]
        told = f"{sum(tried)} of {len(tried)}{'' if fault.by_machine else ' (by a person)'}" if tried else "–"
        alarms = sum(bool(ours(outcome)) for outcome in fine)
        named = ", ".join(f"`{code}`" for code in fault.codes)
        lines.append(row(fault.name, named, len(bad), found, first, told, len(fine), alarms))
    return [*lines, ""]


def beside(outcomes: Sequence[Outcome]) -> list[str]:
    """The other tools on the same runs. A set of warnings has no order: they are not asked for the first."""
    usual = Usual.of(outcomes)
    tools = {"commonweight": ours} | {tool: said_by(tool) for tool in ("published", "traintools", "trainwatch")}
    heads = ("tool", "recall", "recall if any alarm counts", "healthy runs with an alarm")
    lines = [row(*heads), row(*["---"] * len(heads))]
    bad = [outcome for outcome in outcomes if outcome.fault != HEALTHY and harmful(outcome, usual)]
    fine = [outcome for outcome in outcomes if outcome.fault == HEALTHY and is_good(outcome)]
    for tool, says in tools.items():
        named = [any(code in BY_NAME[outcome.fault].codes for code in says(outcome)) for outcome in bad]
        any_alarm, false = [bool(says(outcome)) for outcome in bad], [bool(says(outcome)) for outcome in fine]
        lines.append(row(tool, share(named), share(any_alarm), share(false)))
    return [*lines, ""]


def missed(outcomes: Sequence[Outcome]) -> list[str]:
    """Each harmful fault that was not named or not repaired, and each false alarm: nothing is hidden."""
    usual, lines = Usual.of(outcomes), []
    for outcome in outcomes:
        said, where = ours(outcome), f"{' · '.join(outcome.cell)} · seed {outcome.seed}"
        if outcome.fault == HEALTHY:
            if is_good(outcome) and said:
                lines.append(f"- false alarm: {where}, score {outcome.score:.3f}: {', '.join(said)}")
            continue
        if not harmful(outcome, usual):
            continue
        fault, healthy = BY_NAME[outcome.fault], usual.scores[outcome.cell, outcome.seed]
        run = f"{fault.name}, {where}, score {outcome.score:.3f}, healthy {healthy:.3f}"
        if not any(code in fault.codes for code in said):
            lines.append(f"- not named: {run}: said {', '.join(said) or 'nothing'}")
        if fault.by_machine and not is_repaired(outcome, usual):
            lines.append(
                f"- not repaired: {run}, after repair {outcome.repaired:.3f}; said {', '.join(said) or 'nothing'}"
            )
    return lines or ["- none"]


def wanted(half: str) -> list[tuple[Cell, str, int]]:
    cells = cells_of(half)
    faulty = [(cell, fault.name, 1) for fault in FAULTS for cell in cells]
    seeds = SEEDS[: {SECOND: 8, THIRD: 10}.get(half, len(SEEDS))]
    return [(cell, HEALTHY, seed) for seed in seeds for cell in cells] + faulty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="stop training new runs after so long")
    minutes = parser.parse_args().minutes
    torch.set_num_threads(1)
    deadline = time.monotonic() + 60 * minutes
    for part in PARTS:
        if not run_missing(part, wanted(part), deadline, repair=part == THIRD):
            raise SystemExit(f"Not all runs of the {part} part are there yet; run this again.")
    parts = {part: stored(part) for part in PARTS}
    every = [outcome for outcomes in parts.values() for outcome in outcomes]
    n = sum(outcome.fault == HEALTHY for outcome in every)
    faulty, seconds = len(every) - n, sum(outcome.seconds for outcome in every)
    last = parts[THIRD]
    lines = [
        f"Written by `python benchmarks/diagnosis.py` on {setting()}: {n} healthy and {faulty} faulty runs, "
        f"{seconds / 60:.0f} minutes of processor time without repairs.",
        "",
        "With the rules of now. Only the third evaluation judges them: the other parts took part in making them.",
        "",
        *[line for half, outcomes in parts.items() for line in summary(half, outcomes)],
        "Fault by fault, third evaluation:",
        "",
        *by_fault(last),
        "Beside other tools, on the runs of the third evaluation:",
        "",
        *beside(last),
        "Everything that went wrong in the third evaluation:",
        "",
        *missed(last),
        "",
    ]
    text = "\n".join(lines)
    write_result("diagnosis", "# Is the diagnosis right?\n\nThe design is in docs/diagnosis.md.\n\n" + text)
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(f"{head}{MARK}\n## Results\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
