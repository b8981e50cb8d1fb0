"""What is wrong, as data: a finding, and the advice that goes with it. The words are in `words`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from commonweight.measure.records import plain


@dataclass(frozen=True)
class Advice:
    """What to do, in a form that a program can follow (see `commonweight.train.remedies`).

    Attributes:
        code: the name of the change, a key of `words.ADVICE`.
        parameters: its numbers and names, such as {"factor": 0.1}.
    """

    code: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        code: which rule found it, as in `words.FINDINGS`.
        layer: the path of the module, tensor or feature it is about; empty for the run as a whole.
        value: what was measured.
        threshold: from where on, or down to where, that is wrong.
        since: the optimiser step at which it was first so; 0 is before the first step.
        advice: what to do.
        measured: of what the value is, where the rule has several measures; else empty.
    """

    code: str
    layer: str
    value: float
    threshold: float
    since: int
    advice: Advice
    measured: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values; a number that JSON has no word for becomes a string."""
        told: dict[str, Any] = plain(asdict(self))
        return told
