"""Audit: what is shared in a model or a checkpoint, what should have been, and what could be; intent, reality and file.

Three things can disagree about a tie, so they are looked at separately: what someone declared (ties of
`commonweight.tie`, `_tied_weights_keys` of transformers, a `config.json`, a file's metadata), what a model in memory
does, and what a checkpoint holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from commonweight.checkpoints import open_checkpoint
from commonweight.errors import TieError
from commonweight.verdicts import comparing
from commonweight.verdicts.judging import Findings, judge, of_facts
from commonweight.verdicts.report import Audit, Code, Group, Problem, Verdict
from commonweight.verdicts.sides import Side, of_checkpoint
from commonweight.verdicts.words import say

if TYPE_CHECKING:
    from torch import nn

    from commonweight.verdicts.suggestion import Suggestion

    Subject: TypeAlias = nn.Module | Mapping[str, object] | str | Path

CONFIG = "config.json"

__all__ = ["Audit", "Code", "Group", "Problem", "Verdict", "audit"]


def audit(
    subject: "Subject",
    against: "Subject | None" = None,
    *,
    before: "Subject | None" = None,
    suggest: bool = False,
    headers_only: bool = False,
) -> Audit:
    """Say of a model or a checkpoint which tensors are one weight, which should be, and what is wrong.

    Every byte of a file is read once, to hash it; tensors that are declared to be one and differ are read again, in
    blocks, to say by how much.

    Args:
        subject: a model, a state dict, or the path of a checkpoint: safetensors, PyTorch (.pt, .pth, .bin), ONNX, the
            index of shards, or a folder as Hugging Face lays it out.
        against: what the subject should equal, in any of these forms: a model's checkpoint, a file's original. Ties of
            either must hold in both; names, shapes and values must be the same.
        before: what the subject was trained or merged from. Its ties must hold still, and what did not move with the
            rest is a problem: whole tensors (unless that is most of them), and rows of tied weights.
        suggest: also say what else could be tied; this reads values several times.
        headers_only: read no values: of a file of any size only its headers. What only values can tell is left open.

    Returns:
        The verdicts, the problems with their remedies, and the savings in bytes. It prints as a report.

    Raises:
        FileError: a checkpoint that is missing, damaged, or of no known format.
        TieError: a subject that is none of the above, a state dict without tensors, `suggest` with `headers_only`.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        >>> model[2].weight = model[0].weight
        >>> print(audit(model))
        Sequential: 4 tensors, 60 bytes: no problem.
        <BLANKLINE>
        verdict      tensors              intent  reality        file
        -------------------------------------------------------------
        same object  2.weight = 0.weight  -       one Parameter  -
    """
    values = not headers_only
    if suggest and headers_only:
        raise TieError("What could be tied is told by values, which headers_only does not read; leave one of them out.")
    side = _side(subject, values)
    other = None if against is None else _side(against, values)
    earlier = None if before is None else _side(before, values)
    inherited = [] if earlier is None else [*earlier.intents, *of_facts(earlier, earlier.found())]
    findings = judge(side, other, inherited)
    if other is not None:
        findings.problems += comparing.against(side, other, findings.tied)
    if earlier is not None:
        findings.problems += comparing.before(side, earlier, _tied_names(side, findings))
    findings.problems += comparing.altered(side)
    comparing.uninitialised(side, findings)
    groups = [group for group, bad in findings.groups if bad] + [group for group, bad in findings.groups if not bad]
    return Audit(
        subject=" against ".join(one.label for one in (side, other) if one is not None),
        tensors=len(side.entries),
        groups=tuple(groups),
        problems=tuple(findings.problems),
        bytes=side.bytes(side.entries),
        bytes_if_tied=comparing.if_tied(side, findings.equal),
        suggestions=tuple(_suggestions(side)) if suggest else None,
        notes=tuple(_notes(subject)),
    )


def _side(subject: "Subject", values: bool) -> Side:
    if isinstance(subject, str | Path):
        return of_checkpoint(open_checkpoint(subject), values)
    from commonweight.verdicts.live import of_memory

    return of_memory(subject, values)


def _notes(subject: "Subject") -> Iterator[str]:
    if isinstance(subject, str | Path) and not Path(subject).is_dir() and Path(subject).with_name(CONFIG).exists():
        yield say("config_beside", file=CONFIG)


def _tied_names(side: Side, findings: Findings) -> list[str]:
    """Every tensor of a side that is one with another, or should be."""
    groups = [group for group, _ in findings.groups if group.verdict is not Verdict.NEVER_INITIALISED]
    return [name for group in groups for wanted in group.names for name in side.within(wanted)]


def _suggestions(side: Side) -> "Sequence[Suggestion]":
    from commonweight.verdicts.suggest import suggest

    entries = side.entries
    names = [name for name in side.owners.values() if entries[name].readable and entries[name].nbytes]
    shapes = {name: entries[name].shape for name in names}
    found = suggest(shapes, side.read, {name: side.contents[name] for name in names})
    # A buffer can be shared with its module, not by itself.
    return [one for one in found if one.kind == "layers" or all(entries[name].weight for name in one.names)]
