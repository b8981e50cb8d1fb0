"""What a side lacks against what it should equal; what did not move since it was trained; what nobody ever wrote."""

from collections.abc import Hashable, Iterable, Sequence

from commonweight.verdicts.judging import Classes, Findings
from commonweight.verdicts.report import Code, Group, Problem, Verdict
from commonweight.verdicts.sides import Side
from commonweight.verdicts.words import listed, say


def against(subject: Side, other: Side, tied: Classes) -> list[Problem]:
    """Where a side differs from what it should equal: names, shapes and values.

    Args:
        tied: names that are declared to be one: each of them speaks for the others.
    """
    problems = []
    here, there = ({tied.of(name) for name in side.entries} for side in (subject, other))
    if absent := [name for name in other.entries if tied.of(name) not in here and name not in other.unsaved]:
        problems.append(
            Problem(
                Code.ABSENT,
                tuple(absent),
                say("absent", other=other.label, names=listed(absent), subject=subject.label, **_in_number(absent)),
                say("same_architecture"),
            )
        )
    if extra := [name for name in subject.entries if tied.of(name) not in there and name not in subject.unsaved]:
        key = "extra_random" if subject.live else "extra"
        problems.append(
            Problem(
                Code.EXTRA,
                tuple(extra),
                say(key, subject=subject.label, names=listed(extra), other=other.label),
                say("same_architecture"),
            )
        )
    both = [name for name in subject.entries if name in other.entries]
    unlike = [name for name in both if subject.entries[name].shape != other.entries[name].shape]
    if unlike:
        one, two = (side.entries[unlike[0]].shape for side in (subject, other))
        problems.append(
            Problem(
                Code.SHAPE,
                tuple(unlike),
                say("other_shapes", names=listed(unlike), subject=subject.label, other=other.label, one=one, two=two),
                say("resized"),
            )
        )
    return problems + _differing(subject, other, [name for name in both if name not in set(unlike)])


def _differing(subject: Side, other: Side, names: Sequence[str]) -> list[Problem]:
    from commonweight.verdicts.grading import Grader

    grader = Grader(lambda: (subject.release(), other.release()))
    bits = {name: (_bits(subject, name), _bits(other, name)) for name in names}
    unequal = [name for name, pair in bits.items() if None not in pair and pair[0] != pair[1]]
    deltas = {}
    for name in unequal:
        if subject.entries[name].readable and other.entries[name].readable:
            deltas[name] = grader.gap(subject.read(name), other.read(name))
    differing = sorted((name for name in unequal if deltas.get(name) != 0), key=lambda name: -deltas.get(name, 0.0))
    if not differing:
        return []
    first = differing[0]
    largest = say("by_up_to", delta=f"{deltas[first]:.3g}", name=first) if first in deltas else ""
    return [
        Problem(
            Code.DIFFERS,
            tuple(differing),
            say(
                "other_values",
                count=f"{len(differing):,}",
                all=f"{len(names):,}",
                subject=subject.label,
                other=other.label,
                largest=largest,
                names=listed(differing),
            ),
            say("give_before"),
        )
    ]


def before(subject: Side, earlier: Side, tied: Iterable[str]) -> list[Problem]:
    """What did not move although the rest did: whole tensors, and rows of weights that are tied.

    Where most tensors are as they were, they were frozen, as adapters do it; only that all are would be wrong. Every
    row of a tied embedding gets a gradient through the head: one that stays is one that no process updated.

    Args:
        tied: the tensors that are one with another, or should be.
    """
    weights = [
        name for name in subject.owners.values() if subject.entries[name].floating and subject.entries[name].weight
    ]
    names = [name for name in weights if _bits(subject, name)]
    still = [name for name in names if _bits(subject, name) == _bits(earlier, name)]
    problems = []
    if still and not len(names) / 2 < len(still) < len(names):
        problems.append(
            Problem(
                Code.UNTOUCHED,
                tuple(still),
                say(
                    "still",
                    count=f"{len(still):,}",
                    all=f"{len(names):,}",
                    earlier=earlier.label,
                    names=listed(still),
                ),
                say("frozen"),
            )
        )
    for name in dict.fromkeys(tied):
        if name in names and name in earlier.entries and name not in still:
            problems += _still_rows(subject, earlier, name)
    return problems


def _still_rows(subject: Side, earlier: Side, name: str) -> list[Problem]:
    from commonweight.verdicts.grading import Grader

    pair = [side.entries[name] for side in (subject, earlier)]
    if pair[0].shape != pair[1].shape or len(pair[0].shape) < 2 or not (pair[0].readable and pair[1].readable):
        return []
    grader = Grader(lambda: (subject.release(), earlier.release()))
    rows = grader.still_rows(earlier.read(name), subject.read(name))
    if not rows:
        return []
    span = say("rows" if len(rows) > 1 else "row", first=f"{rows[0]:,}", last=f"{rows[-1]:,}")
    return [
        Problem(
            Code.UNTOUCHED_ROWS,
            (name,),
            say(
                "still_rows",
                count=f"{len(rows):,}",
                all=f"{pair[0].shape[0]:,}",
                name=name,
                earlier=earlier.label,
                span=span,
            ),
            say("tie_before_sharding"),
        )
    ]


def altered(subject: Side) -> list[Problem]:
    """Tensors that are not what they were when the file was saved, as its manifest says."""
    if not subject.hashes:
        return []
    unlike = {name for name in subject.entries if _bits(subject, name) not in (subject.hashes.get(name), None)}
    names = sorted(unlike | (subject.hashes.keys() ^ subject.entries.keys()))
    if not names:
        return []
    return [
        Problem(
            Code.ALTERED,
            tuple(names),
            say("altered", names=listed(names), subject=subject.label, **_in_number(names)),
            say("copy_again"),
        )
    ]


_NOT_FINITE = ("NaN", "infinite")
_ON_META = "on meta"


def uninitialised(subject: Side, findings: Findings) -> None:
    """Add tensors that nobody ever wrote: NaN, infinite, all zero or constant where that is no usual start, or on meta.

    Vectors may be constant: biases start at 0 and norms at 1. So may buffers of a model. Masks hold 0 and -infinity.
    """
    odd: dict[str, list[str]] = {}
    some_filled = any(entry.filled for entry in subject.entries.values())
    for name in subject.owners.values():
        if (what := _odd(subject, name)) and (what != _ON_META or some_filled):
            odd.setdefault(what, []).append(name)
    for what, names in odd.items():
        code = Code.NOT_FINITE if what in _NOT_FINITE else Code.NEVER_INITIALISED
        key = "not_finite" if what in _NOT_FINITE else "never_written"
        findings.problems.append(
            Problem(
                code,
                tuple(names),
                say(key, names=listed(names), what=say(what), subject=subject.label, **_in_number(names)),
                say("load_again"),
            )
        )
        slot = "reality" if subject.in_memory else "file"
        taken = subject.bytes(names)
        findings.groups.append(
            (Group(Verdict.NEVER_INITIALISED, tuple(names), None, None, taken, **{slot: say(what)}), True)
        )


def _odd(subject: Side, name: str) -> str:
    """In a word what is odd about the values of a tensor; empty if nothing is."""
    entry, content = subject.entries[name], subject.contents.get(name)
    if not entry.filled:
        return _ON_META
    if content is None or not entry.floating:
        return ""
    if content.nan:
        return "NaN"
    if not content.finite:
        return "" if _mask(subject, name) else "infinite"
    if not entry.weight or sum(size > 1 for size in entry.shape) < 2:
        return ""
    return "all zero" if content.zero else "constant" if content.constant else ""


def if_tied(subject: Side, equal: Classes) -> int:
    """The bytes of a side if of all tensors that are equal only the largest were kept."""
    kept = Classes(dict(equal.above))
    first: dict[Hashable, str] = {}
    for name in subject.owners.values():
        kept.join(name, first.setdefault(subject.entries[name].memory, name))
    largest: dict[str, int] = {}
    for name in subject.owners.values():
        root = kept.of(name)
        largest[root] = max(largest.get(root, 0), subject.entries[name].nbytes)
    return sum(largest.values())


def _bits(side: Side, name: str) -> str | None:
    content = side.contents.get(name)
    return content.sha256 if content is not None else None


def _mask(side: Side, name: str) -> bool:
    """Whether a tensor with infinite values is one that is added to attention scores: 0 and -infinity, nothing else."""
    values = side.read(name) if side.entries[name].readable else None
    if values is None or values.is_complex():
        return False
    values = values.float()
    return bool(((values == 0) | values.isneginf()).all())


def _in_number(names: Sequence[str]) -> dict[str, str]:
    """The words of a sentence that go with one name, or with several."""
    are, have, them = ("are", "have", "them") if len(names) > 1 else ("is", "has", "it")
    return {"are": are, "have": have, "them": them}
