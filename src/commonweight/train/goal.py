"""When to stop: a goal such as "accuracy>=0.99", and the scores that it can name."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from commonweight.errors import TrainError, require_kind

SCORES = {"classification": ("accuracy", "loss"), "regression": ("rmse", "r2", "loss")}
RISING = ("accuracy", "r2")
STANDARD_ERRORS = 2


@dataclass(frozen=True)
class Goal:
    """A score that the validation part has to reach; an accuracy by two standard errors.

    The best of many checks flatters, and new data is seldom easier. The accuracy p of n samples has the standard error
    √(p (1 - p) / n), so that 0.90 is reached by 0.909 of 5,000 samples, and 0.95 by 0.974 of 270.

    >>> goal = Goal.parse("accuracy>=0.90", "classification")
    >>> goal.reached({"accuracy": 0.905}, 5000), goal.reached({"accuracy": 0.915}, 5000)
    (False, True)
    """

    score: str
    at_least: bool
    value: float

    @staticmethod
    def parse(text: str, task: str) -> "Goal":
        """Read `SCORE>=NUMBER` or `SCORE<=NUMBER`.

        Raises:
            TrainError: another form, a score that the task does not have, a direction that is reached by getting
                worse, or a number that the score never has.
        """
        require_kind(text, str, "A goal is a text, such as 'loss<=0.1'", TrainError)
        match = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*([-+.\deE]+)\s*", text)
        scores = SCORES[task]
        example = f"{scores[0]}{'>=' if scores[0] in RISING else '<='}0.9"
        if match is None or match[1] not in scores:
            raise TrainError(
                f"A goal is one of {', '.join(scores)}, then >= or <= and a number, such as {example!r}; got {text!r}."
            )
        try:
            value = float(match[3])
        except ValueError:
            raise TrainError(f"A goal ends in a number, as in {example!r}; got {match[3]!r}.") from None
        at_least = match[2] == ">="
        if at_least != (match[1] in RISING):
            right = ">=" if match[1] in RISING else "<="
            raise TrainError(
                f"A better {match[1]} is {right} the goal: write {match[1]}{right}{match[3]}, not {text!r}."
            )
        if value > 1 if at_least else value < 0:
            limit = "at most 1" if at_least else "at least 0"
            raise TrainError(f"The {match[1]} is {limit}, so that no net reaches {text!r}: take another goal.")
        return Goal(match[1], at_least, value)

    def reached(self, scores: Mapping[str, float], n_samples: int) -> bool:
        """Whether the scores, measured on so many samples, meet the goal."""
        score = scores[self.score]
        if self.score == "accuracy":
            score -= STANDARD_ERRORS * math.sqrt(score * (1 - score) / n_samples)
        return score >= self.value if self.at_least else score <= self.value

    def __str__(self) -> str:
        return f"{self.score}{'>=' if self.at_least else '<='}{self.value:g}"
