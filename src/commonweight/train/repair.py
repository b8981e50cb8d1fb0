"""Follow the advice of the diagnosis: begin again with what it says changed, and keep the better run.

What is wrong seldom comes alone, and settings that went with it were not made for what comes next: a restart has the
rule, rate and batches that the library chooses for the data by itself, and at least as many epochs (`restart.anew`).
"""

import math
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import nn

from commonweight.data.dataset import Data
from commonweight.errors import CommonweightError, DivergedError
from commonweight.measure.diagnosis import Finding
from commonweight.measure.diagnosis.rules_data import RARE
from commonweight.measure.diagnosis.words import advised
from commonweight.train.choice import batch_rule
from commonweight.train.loop import fit
from commonweight.train.remedies import follow
from commonweight.train.restart import Start, anew
from commonweight.train.run import Run, write_description
from commonweight.train.settings import DEFAULT_RATE
from commonweight.train.together import Team

ROUNDS = 3
RATES = ("lower_rate", "raise_rate")
REPLACING = ("leakage", "broken_tie")


@dataclass(frozen=True)
class Attempt:
    """A training from a start: its run, and the error that it ended with, if the loss was no number any more."""

    start: Start
    run: Run
    error: DivergedError | None

    @property
    def metric(self) -> str:
        """What attempts are compared by: where a class is rare, one that the most frequent class alone does not win."""
        data = self.start.data
        if data.task == "regression":
            return "rmse"
        counts = torch.bincount(data.y[data.validation], minlength=data.n_outputs)
        return "balanced accuracy" if counts.min() < RARE * counts.max() else "accuracy"

    @property
    def score(self) -> float:
        """The validation score of the weights that were kept: larger is better; -∞ after an error.

        The balanced accuracy is the mean over the classes of the share of its samples that are recognised.
        """
        if self.error is not None:
            return -math.inf
        if self.metric == "balanced accuracy":
            recalls: Sequence[float] = self.run.description["evidence"]["recalls"]
            return mean(recalls)
        sign = -1 if self.metric == "rmse" else 1
        return max(sign * record.validation_metric for record in self.run.records)

    @property
    def outcome(self) -> str:
        """The score in words."""
        if self.error is not None:
            return "the loss became no number"
        return f"best validation {self.metric} {abs(self.score):.4g}"


def fit_repaired(
    model: nn.Module, data: Data, *, out: str | Path | None = "auto", progress: bool = True, **settings: Any
) -> Run:
    """Train; while something is wrong that a program can put right, begin again with that put right.

    At most `ROUNDS` times, and never twice from the same start. The run with the better validation score is kept, the
    later one where they are equal, and its first finding that leads to a new start is what is acted on next. A restart
    has a folder of its own. Findings that say the run is not what it should have been (`REPLACING`) are followed
    whatever the score becomes, if the loss stays a number. A start that cannot be trained, or whose folder cannot be
    written, ends the search with the best run so far.

    Args:
        model, data, out, progress, settings: those of `fit`.

    Returns:
        The run that is kept; `description["repaired"]` lists the advice that led to it.

    Raises:
        DivergedError: the loss of every attempt became no number.
    """
    best = put_right(attempt(Start(deepcopy(model), data, settings), out, progress), out, progress)
    if best.error is not None:
        raise best.error
    return best.run


def put_right(best: Attempt, out: str | Path | None = None, progress: bool = False) -> Attempt:
    """What `fit_repaired` does after its first attempt: the best one, which may be the first."""
    begun = [best.start]
    say = sys.stderr.write if progress and Team.current().leads else lambda text: 0
    try:
        for number in range(1, ROUNDS + 1):
            step = _next(best, begun)
            if step is None:
                if best.run.findings():
                    say("\nrepair: what is left was tried already, or is for a person to put right\n")
                break
            finding, start = step
            begun.append(start)
            folder = out if out in (None, "auto") else f"{out}-repaired-{number}"
            advice = (*best.run.description["repaired"], finding.advice.code)
            say(f"\nrepair {number}: again, with the library's own settings and this changed. {advised(finding)}\n")
            again = attempt(start, folder, progress, advice)
            kept = again.score >= best.score or (finding.code in REPLACING and again.error is None)
            which = "this" if kept else "the earlier"
            say(f"repair {number}: {again.outcome}; before: {best.outcome}; {which} run is kept\n")
            if kept:
                best = again
    except CommonweightError as error:
        say(f"\nrepair: the best run so far is kept, for the next start cannot be trained: {error}\n")
    return best


def _next(best: Attempt, begun: Sequence[Start]) -> tuple[Finding, Start] | None:
    """The first finding whose advice can be followed to where no attempt began yet, and that start."""
    start = best.start.having(optimizer=best.run.description["settings"]["optimizer"])
    for finding in best.run.findings():
        changed = follow(finding.advice, anew(start, keep_pace=finding.advice.code in RATES))
        if changed is not None and (rule := batch_rule(changed.model)) != changed.settings["optimizer"]:
            changed = changed.having(optimizer=rule, lr=DEFAULT_RATE[rule])  # a wider net may be one for another rule
        if changed is not None and not any(map(changed.repeats, begun)):
            return finding, changed
    return None


def attempt(start: Start, out: str | Path | None, progress: bool, advice: Sequence[str] = ()) -> Attempt:
    """Train from a start, which stays as it is."""
    model = deepcopy(start.model)
    error = None
    try:
        run = fit(model, start.data, out=out, progress=progress, **start.settings)
    except DivergedError as caught:
        error, run = caught, caught.run
    run.description["repaired"] = list(advice)
    if run.folder is not None:
        write_description(run.folder, run.description)
    return Attempt(start, run, error)
