"""Tuning on the terminal: a live table of the best trials for a person, a line for each trial for a file."""

from typing import TYPE_CHECKING

from optuna.trial import TrialState
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from commonweight.train.tune_space import Candidate

if TYPE_CHECKING:
    from optuna import Study

SHOWN = 10


class TuneDisplay:
    """Shows the best trials so far, and the one that runs. Always on standard error.

    Args:
        title: what is tuned.
    """

    def __init__(self, title: str) -> None:
        self.console, self.title = Console(stderr=True), title
        self.live = Live(console=self.console, transient=True) if self.console.is_terminal else None
        self.chosen: dict[int, Candidate] = {}
        self.say(title)
        if self.live:
            self.live.start()

    def say(self, text: str) -> None:
        """One line above the table."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, number: int, candidate: Candidate) -> None:
        """A trial starts."""
        self.chosen[number] = candidate

    def end(self, study: "Study", number: int, score: float | None, whole: bool) -> None:
        """A trial is over: `score` is None if it could not be trained, `whole` whether it came to its end."""
        told = "could not be trained" if score is None else f"{score:.4f}" if whole else f"{score:.4f}, given up"
        if self.live:
            self.live.update(self._table(study))
        else:
            self.say(f"trial {number:3}  {told:18}  {self.chosen[number]}")

    def _table(self, study: "Study") -> Table:
        """The best trials, of all workers."""
        trials = study.get_trials(deepcopy=False)
        whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        given_up = sum(trial.state == TrialState.PRUNED for trial in trials)
        table = Table("trial", "score", "settings", box=box.SIMPLE_HEAD, title=self.title, title_justify="left")
        for trial in sorted(whole, key=lambda trial: trial.value or 0.0, reverse=True)[:SHOWN]:
            shown = {
                name: f"{value:.3g}" if isinstance(value, float) else value for name, value in trial.params.items()
            }
            table.add_row(str(trial.number), f"{trial.value:.4f}", "  ".join(f"{n} {v}" for n, v in shown.items()))
        table.caption = f"{len(whole)} whole, {given_up} given up"
        return table

    def close(self) -> None:
        """Take the live table away."""
        if self.live:
            self.live.stop()
