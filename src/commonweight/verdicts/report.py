"""What an audit found: verdicts and problems as data, as JSON and as a report for people."""

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from commonweight.numerals import counted, size

if TYPE_CHECKING:
    from commonweight.verdicts.suggestion import Suggestion

VERSION = 1
_WIDTH = 120
_LONG = 48
_NONE = "-"


class Verdict(StrEnum):
    """How same the tensors of a group are, from the best to the worst."""

    SAME_OBJECT = "same object"
    SAME_STORAGE = "same storage"
    EQUAL_BITS = "equal bits"
    TRANSFORMED = "equal up to a transform"
    PERMUTED = "equal up to a permutation of rows"
    CLOSE = "close"
    UNREAD = "not compared"
    MISSING = "missing"
    DIVERGED = "diverged"
    NEVER_INITIALISED = "never initialised"


class Code(StrEnum):
    """What can be wrong; docs/json.md says what each one means."""

    CONTRADICTED = "contradicted"
    TRANSFORMED = "transformed"
    PERMUTED = "permuted"
    ROUNDED = "rounded"
    TIE_MISSING = "tie_missing"
    HEAD_MISSING = "head_missing"
    TWO_COPIES = "two_copies"
    TWO_PARAMETERS = "two_parameters"
    NEVER_INITIALISED = "never_initialised"
    NOT_FINITE = "not_finite"
    ALTERED = "altered"
    ABSENT = "absent"
    EXTRA = "extra"
    SHAPE = "shape"
    DIFFERS = "differs"
    UNTOUCHED = "untouched"
    UNTOUCHED_ROWS = "untouched_rows"


@dataclass(frozen=True)
class Group:
    """Tensors that are one weight, are meant to be, or could be; or tensors that were never initialised.

    Attributes:
        verdict: how same they are; where there are several columns, the worst of them.
        names: the owner first, then its aliases.
        tie: the equation between them, several joined by "; "; None for tensors that were never initialised.
        difference: max |Δ|; None where values were not compared or cannot be.
        bytes: what they take now, each memory counted once.
        intent, reality, file, against: the columns: who wants it, what is in memory, what the file holds, and what the
            second file or model holds; empty where there is nothing to say.
    """

    verdict: Verdict
    names: tuple[str, ...]
    tie: str | None
    difference: float | None
    bytes: int
    intent: str = ""
    reality: str = ""
    file: str = ""
    against: str = ""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do.

    Attributes:
        code: one word for programs.
        names: the tensors that it is about.
        message: what is wrong, in a sentence or two; `words.translated` has it in other languages.
        remedy: what to do about it; the same.
    """

    code: Code
    names: tuple[str, ...]
    message: str
    remedy: str


@dataclass(frozen=True)
class Audit:
    """The result of `commonweight.audit`.

    Attributes:
        subject: what was audited, in words.
        tensors: how many tensors it has, counting each name.
        groups: one verdict each, those with a problem first.
        problems: what is wrong.
        bytes: what its tensors take, each memory counted once.
        bytes_if_tied: what they would take if all that is equal were stored once.
        suggestions: what else could be tied; None when that was not asked for.
        notes: what was not looked at, a sentence each.
    """

    subject: str
    tensors: int
    groups: tuple[Group, ...]
    problems: tuple[Problem, ...]
    bytes: int
    bytes_if_tied: int
    suggestions: "tuple[Suggestion, ...] | None" = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def savings(self) -> int:
        """The bytes that tying what is equal would save."""
        return self.bytes - self.bytes_if_tied

    def to_json(self) -> dict[str, Any]:
        """The form that `commonweight audit --json` prints; docs/json.md describes it."""
        answer: dict[str, Any] = {
            "version": VERSION,
            "ok": self.ok,
            "groups": [
                {
                    "verdict": str(group.verdict),
                    "names": list(group.names),
                    "tie": group.tie,
                    "max_difference": _finite(group.difference),
                    "bytes": group.bytes,
                }
                for group in self.groups
            ],
            "problems": [
                {"code": str(p.code), "names": list(p.names), "message": p.message, "remedy": p.remedy}
                for p in self.problems
            ],
            "bytes": self.bytes,
            "bytes_if_tied": self.bytes_if_tied,
        }
        if self.suggestions is not None:
            answer["suggestions"] = [
                {
                    "kind": s.kind,
                    "names": list(s.names),
                    "text": s.text,
                    "error": _finite(s.error),
                    "bytes_saved": s.bytes_saved,
                }
                | ({"orders": [list(side) for side in s.orders]} if s.orders else {})
                for s in self.suggestions
            ]
        return answer

    def __str__(self) -> str:
        count = len(self.problems)
        found = "no problem" if not count else "1 problem" if count == 1 else f"{count} problems"
        parts = [f"{self.subject}: {counted(self.tensors, 'tensor')}, {size(self.bytes)}: {found}."]
        parts += [_numbered(number, problem) for number, problem in enumerate(self.problems, 1)]
        parts.append(_table(self.groups) if self.groups else "No tie is declared, and nothing that was read is equal.")
        if self.savings:
            share = f"{self.savings / self.bytes:.0%}" if self.savings * 200 > self.bytes else "under 1%"
            parts.append(f"Stored once, what is equal would take {size(self.savings)} less ({share}).")
        if self.suggestions is not None:
            parts.append(_suggested(self.suggestions))
        parts += [f"Note: {note}" for note in self.notes]
        return "\n".join(map(_printable, "\n\n".join(parts).split("\n")))


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _numbered(number: int, problem: Problem) -> str:
    head = f"{number}. "
    indent = " " * len(head)
    text = textwrap.fill(f"{head}{problem.code}: {problem.message}", _WIDTH, subsequent_indent=indent, **_WRAP)
    todo = textwrap.fill(problem.remedy, _WIDTH, initial_indent=f"{indent}→ ", subsequent_indent=f"{indent}  ", **_WRAP)
    return f"{text}\n{todo}"


_WRAP: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def _table(groups: Sequence[Group]) -> str:
    head = ["verdict", "tensors", "intent", "reality", "file"]
    rows = [[str(g.verdict), _shown(g), g.intent, g.reality, g.file] for g in groups]
    if any(group.against for group in groups):
        head.append("against")
        for row, group in zip(rows, groups, strict=True):
            row.append(group.against)
    return aligned(head, [[cell or _NONE for cell in row] for row in rows])


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _shown(group: Group) -> str:
    """The equation; for more than two tensors their names, those that differ only in numbers as one."""
    if group.tie is not None and "; " not in group.tie:
        return " = ".join(map(_elided, group.tie.split(" = ")))
    shapes: dict[str, list[str]] = {}
    for name in group.names:
        shapes.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", name), []).append(name)
    texts = [_elided(f"{shape} ({len(names)})" if len(names) > 1 else names[0]) for shape, names in shapes.items()]
    return ", ".join(texts[:3]) + (f", ... ({len(group.names)} in all)" if len(texts) > 3 else "")


def _printable(text: str) -> str:
    """A line without control characters, which names out of a file may hold."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _elided(text: str) -> str:
    """A long name without its middle; problems and JSON have it whole."""
    text = _printable(text)
    return text if len(text) <= _LONG else f"{text[: _LONG // 2 - 1]}…{text[-_LONG // 2 :]}"


def _suggested(suggestions: "Sequence[Suggestion]") -> str:
    if not suggestions:
        return "Nothing else could be tied."
    rows = [[s.kind, _elided(s.names[0]), s.text, f"{s.error:.3g}", size(s.bytes_saved)] for s in suggestions]
    return "Could be tied:\n" + aligned(["kind", "tensor", "equation, pattern or call", "max |Δ|", "saves"], rows)
