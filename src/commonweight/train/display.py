"""Training on the terminal: a live bar for a person, plain lines for a file. Always on standard error."""

import math
import time
from collections.abc import Iterable, Sequence

from commonweight.measure.diagnosis import Finding
from commonweight.measure.diagnosis.words import say
from commonweight.measure.records import Record

REFRESH_SECONDS = 0.1


class Display:
    """Shows loss, metric, samples per second and time left.

    Args:
        name: what is trained on what.
        steps: optimiser steps in all.
        metric: the name of the training metric.
        batch_size: samples for each step.
    """

    def __init__(self, name: str, steps: int, metric: str, batch_size: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.metric, self.batch_size, self.steps = metric, batch_size, steps
        self.next_refresh, self.tenths = 0.0 if self.console.is_terminal else math.inf, -1
        self.told: set[str] = set()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task(name, total=steps, state="")
        self.say(name)
        self.bar.start()
        self.last = (time.perf_counter(), 0)

    def say(self, text: str) -> None:
        """One line above the bar."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def warn(self, sentences: Iterable[str]) -> None:
        """A line for each thing that is wrong."""
        for sentence in sentences:
            self.say(f"warning: {sentence}")

    def advance(self, step: int, loss: float, metric: float) -> None:
        """Move the bar, ten times a second at the most."""
        now = time.perf_counter()
        if now >= self.next_refresh:
            (before, done), self.last = self.last, (now, step)
            speed = (step - done) * self.batch_size / (now - before)
            state = f"loss {loss:.4f}  {self.metric} {metric:.4g}  {speed:,.0f} samples/s"
            self.bar.update(self.task, completed=step, state=state)
            self.next_refresh = now + REFRESH_SECONDS

    def check(self, record: Record, best: bool) -> None:
        """One line for every tenth of the way, which says whether its validation score is the best so far."""
        tenths = 10 * record.step // self.steps
        if tenths == self.tenths:
            return
        self.tenths = tenths
        left = (self.steps - record.step) / record.step * record.seconds
        self.say(
            f"epoch {record.epoch:6.2f}  loss {record.loss:.4g}  {self.metric} {record.metric:.4g}, "
            f"validation {record.validation_metric:.4g}{' best' if best else '     '}  {left:,.0f} s left"
        )

    def tell(self, findings: Sequence[Finding]) -> None:
        """One line for each kind of finding, the first time that there is one."""
        for finding in findings:
            if finding.code not in self.told:
                self.told.add(finding.code)
                self.say(f"! {say(finding)}")

    def close(self) -> None:
        """Take the bar away."""
        self.bar.stop()
