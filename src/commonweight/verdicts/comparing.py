"""What a side lacks against what it should equal; what did not move since it was trained; what nobody ever wrote."""

from collections.abc import Hashable, Iterable, Sequence

from commonweight.verdicts.judging import Classes, Findings
from commonweight.verdicts.report import Code, Group, Problem, Verdict, listed
from commonweight.verdicts.sides import Side


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
                f"{other.label} has {listed(absent)}; {subject.label} has not, and no tie that it knows speaks for "
                f"{_them(absent)}.",
                "Check that both are of one architecture and whole.",
            )
        )
    if extra := [name for name in subject.entries if tied.of(name) not in there and name not in subject.unsaved]:
        random = f": loaded from {other.label}, they keep their first, random values" if subject.live else ""
        problems.append(
            Problem(
                Code.EXTRA,
                tuple(extra),
                f"{subject.label} has {listed(extra)}, for which {other.label} has nothing{random}.",
                "Check that both are of one architecture and whole.",
            )
        )
    both = [name for name in subject.entries if name in other.entries]
    unlike = [name for name in both if subject.entries[name].shape != other.entries[name].shape]
    if unlike:
        shapes = f"{subject.entries[unlike[0]].shape} and {other.entries[unlike[0]].shape}"
        problems.append(
            Problem(
                Code.SHAPE,
                tuple(unlike),
                f"{listed(unlike)} have other shapes in {subject.label} than in {other.label}, the first {shapes}.",
                "Check that both are of one architecture, and that the embeddings were resized in both or in neither.",
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
    largest = f", by up to {deltas[differing[0]]:.3g} in `{differing[0]}`" if differing[0] in deltas else ""
    return [
        Problem(
            Code.DIFFERS,
            tuple(differing),
            f"{len(differing):,} of {len(names):,} tensors have other values in {subject.label} than in "
            f"{other.label}{largest}: {listed(differing)}.",
            "If the one was trained further than the other, give that one as `before`; if not, load or save it again.",
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
                f"{len(still):,} of {len(names):,} tensors did not move since {earlier.label}: {listed(still)}.",
                "If they were frozen on purpose, all is well; if not, see that each process's optimiser has them.",
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
    span = f"rows {rows[0]:,} to {rows[-1]:,}" if len(rows) > 1 else f"row {rows[0]:,}"
    return [
        Problem(
            Code.UNTOUCHED_ROWS,
            (name,),
            f"{len(rows):,} of {pair[0].shape[0]:,} rows of the tied `{name}` did not move since {earlier.label} "
            f"({span}), although the others did: a process did not update its part.",
            "Tie before the model is sharded, and wrap all users of a tied weight in one group "
            "(cw.parallel.fsdp_groups).",
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
            f"{listed(names)} in {subject.label} {'are' if len(names) > 1 else 'is'} not what the manifest of the file "
            f"says: it was damaged, or changed by a program that does not know the manifest.",
            "Copy it again from where it came; if the change was meant, save the model with cw.save.",
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
        verb = "has values that are" if what in _NOT_FINITE else "is"
        findings.problems.append(
            Problem(
                code,
                tuple(names),
                f"{listed(names)} {verb} {what} in {subject.label}: nobody wrote {_them(names)}, or training broke.",
                "Load it from where it was trained; if it is meant to be so, it need not be stored.",
            )
        )
        slot = "reality" if subject.in_memory else "file"
        taken = subject.bytes(names)
        findings.groups.append(
            (Group(Verdict.NEVER_INITIALISED, tuple(names), None, None, taken, **{slot: what}), True)
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


def _them(names: Sequence[str]) -> str:
    return "them" if len(names) > 1 else "it"
