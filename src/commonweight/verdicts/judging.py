"""What is wrong, and what is merely equal: intent and reality of each tie brought together."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from commonweight.notation import Equation
from commonweight.verdicts.intent import FLAG, Intent
from commonweight.verdicts.report import Code, Group, Problem, Verdict
from commonweight.verdicts.sides import Found, Side, State
from commonweight.verdicts.words import say

_BY_VALUE = (Verdict.EQUAL_BITS, Verdict.TRANSFORMED, Verdict.CLOSE)


@dataclass
class Classes:
    """Names that belong together, by union and find."""

    above: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """The one that stands for all that are together with this name."""
        while (above := self.above.get(name, name)) != name:
            name = above
        return name

    def join(self, first: str, second: str) -> bool:
        """Bring two names together; false if they were so before."""
        one, two = self.of(first), self.of(second)
        self.above[one] = two
        return one != two


@dataclass
class Findings:
    """What is gathered while an audit goes on.

    Attributes:
        groups: with whether there is a problem with them.
        problems: what is wrong.
        tied: names that are declared to be one, on either side.
        equal: names of the subject with the same values, up to a transform.
    """

    groups: list[tuple[Group, bool]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    tied: Classes = field(default_factory=Classes)
    equal: Classes = field(default_factory=Classes)


def judge(subject: Side, other: Side | None, extra: Iterable[Intent] = ()) -> Findings:
    """Judge every tie that someone declared, on both sides, and list what is equal on the subject besides.

    Args:
        subject: what is audited.
        other: what it is audited against.
        extra: ties that are declared elsewhere.
    """
    findings = Findings()
    sides = [subject] if other is None else [subject, other]
    found = [list(side.found()) for side in sides]
    intents = [intent for side in sides for intent in side.intents]
    if other is not None:
        intents += [intent for side, facts in zip(sides, found, strict=True) for intent in of_facts(side, facts)]
    judged: list[tuple[Group, bool]] = []
    for intent in _once([*intents, *extra]):
        states = [_state(intent, side) for side in sides]
        problems = [_problem(intent, side, state) for side, state in zip(sides, states, strict=True)]
        findings.problems += [problem for problem in problems if problem is not None]
        judged.append((_group(intent, sides, states), any(problems)))
        if intent.tied:
            _note(findings, intent.equation, sides, states[0])
    findings.groups += _merged(judged, subject)
    together = Classes(dict(findings.tied.above))
    for equation in subject.untied:
        together.join(equation.alias, equation.source)
    for one in found[0]:
        _add_found(findings, subject, one, together)
    return findings


def of_facts(side: Side, found: Iterable[Found]) -> list[Intent]:
    """Ties that nobody declared, but that a model or a file has as one object or one memory."""
    shared = (Verdict.SAME_OBJECT, Verdict.SAME_STORAGE)
    settles = say("tie_there")
    return [
        Intent(equation, say("in_detail", label=side.label, text=one.text), settles, fact=True)
        for one in found
        if one.verdict in shared
        for equation in one.equations
    ]


def _once(intents: Iterable[Intent]) -> list[Intent]:
    """Each tie once, whoever declared it; `a = b` and `b = a` are one."""
    kept: dict[object, Intent] = {}
    for intent in intents:
        known = kept.get(key := (_pair(intent.equation), intent.tied))
        if known is None:
            kept[key] = intent
        elif not intent.fact and intent.says not in known.says:
            kept[key] = replace(known, says=say("both", one=known.says, other=intent.says))
    return list(kept.values())


def _pair(equation: Equation) -> Hashable:
    """Equal for `a = b` and `b = a`."""
    return frozenset((equation.alias, equation.source)) if not equation.transforms else equation


def _state(intent: Intent, side: Side) -> State:
    if intent.tied:
        return side.state(intent.equation)
    absent = intent.equation.alias not in side.entries
    return (
        State(Verdict.MISSING, None, say("no_head"), False)
        if absent
        else State(Verdict.UNREAD, None, say("a_head"), True)
    )


def _note(findings: Findings, equation: Equation, sides: Sequence[Side], state: State) -> None:
    findings.tied.join(equation.alias, equation.source)
    for side in sides:
        for pair in side.pairs(equation):
            findings.tied.join(pair.alias, pair.source)
    if state.difference == 0 and state.verdict in _BY_VALUE:
        for pair in [state.instead] if state.instead else sides[0].pairs(equation):
            findings.equal.join(pair.alias, pair.source)


def _group(intent: Intent, sides: Sequence[Side], states: Sequence[State]) -> Group:
    order = list(Verdict)
    worst = max(states, key=lambda state: (order.index(state.verdict), state.difference or 0.0))
    columns: dict[str, str] = {"intent": say("tied_by" if intent.tied else "not_tied_by", by=intent.by)}
    for side, state in zip(sides, states, strict=True):
        slot = "reality" if side.in_memory else "file"
        columns["against" if slot in columns else slot] = state.text
    equation = intent.equation
    names = (equation.source, equation.alias)
    tie = str(equation) if intent.tied else None
    return Group(worst.verdict, names, tie, worst.difference, sides[0].bytes(names), **columns)


def _merged(judged: Sequence[tuple[Group, bool]], subject: Side) -> list[tuple[Group, bool]]:
    """Aliases of one owner of which the same is true, as one group."""

    def alike(one: tuple[Group, bool]) -> tuple[object, ...]:
        group, bad = one
        return bad, group.names[0], group.verdict, group.intent, group.reality, group.file, group.against

    merged = []
    for (bad, *_), same in groupby(judged, alike):
        groups = [group for group, _ in same]
        names = tuple(dict.fromkeys(name for group in groups for name in group.names))
        ties = [group.tie for group in groups if group.tie is not None]
        differences = [group.difference for group in groups if group.difference is not None]
        whole = replace(
            groups[0],
            names=names,
            tie="; ".join(ties) or None,
            difference=max(differences, default=None),
            bytes=subject.bytes(names),
        )
        merged.append((whole, bool(bad)))
    return merged


def _add_found(findings: Findings, subject: Side, found: Found, together: Classes) -> None:
    """A group for what is equal though nobody declared it; in a model, two Parameters on one memory are a problem."""
    new = [equation for equation in found.equations if together.join(equation.alias, equation.source)]
    if found.verdict in _BY_VALUE:
        for equation in found.equations:
            findings.equal.join(equation.alias, equation.source)
    if not new:
        return
    bad = subject.live and found.verdict is Verdict.SAME_STORAGE
    if bad:
        findings.problems += [
            _two_parameters(say("holds", equation=equation, says=subject.label), equation) for equation in new
        ]
    names = (new[0].source, *(equation.alias for equation in new))
    slot = "reality" if subject.in_memory else "file"
    text = "; ".join(map(str, new))
    group = Group(found.verdict, names, text, 0.0, subject.bytes(names), **{slot: found.text})
    findings.groups.append((group, bad))


def _two_parameters(start: str, equation: Equation) -> Problem:
    return Problem(
        Code.TWO_PARAMETERS,
        (equation.source, equation.alias),
        say("two_parameters", start=start),
        say("tie_now", equation=equation),
    )


def _problem(intent: Intent, side: Side, state: State) -> Problem | None:
    """What is wrong with a declared tie on one side, if anything is."""
    if state.holds is not False:
        return None
    equation = intent.equation
    own = {_pair(one.equation) for one in side.intents}
    if state.verdict is Verdict.MISSING and _pair(equation) not in own:
        return None  # a tie of the other side, between tensors that this one has not
    if not intent.tied:
        return _no_head(intent, side)
    declared = say("holds" if intent.fact else "declared", equation=equation, says=intent.says)
    if state.verdict is Verdict.SAME_STORAGE:
        return _two_parameters(say("has_it", declared=declared, label=side.label), equation)
    code, fact, remedy = _broken(intent, side, state)
    return Problem(code, (equation.source, equation.alias), say("sentence", declared=declared, fact=fact), remedy)


def _broken(intent: Intent, side: Side, state: State) -> tuple[Code, str, str]:
    """The code, the fact and the remedy for a declared tie that does not hold."""
    label, settles = side.label, intent.settles
    delta = f"{state.difference:.3g}" if state.difference is not None else ""
    match state.verdict:
        case Verdict.MISSING:
            return Code.TIE_MISSING, say("missing", label=label, text=state.text), say("save_again")
        case Verdict.NEVER_INITIALISED:
            return Code.TWO_COPIES, say("unfilled", label=label), settles
        case Verdict.TRANSFORMED if state.instead is not None:
            fact = say("instead", label=label, instead=state.instead)
            return Code.TRANSFORMED, fact, say("declare_instead", instead=state.instead)
        case Verdict.EQUAL_BITS | Verdict.TRANSFORMED:
            return Code.TWO_COPIES, say("copies_part", label=label), settles
        case Verdict.CLOSE if state.difference == 0:
            return Code.TWO_COPIES, say("copies_part", label=label), settles
        case Verdict.UNREAD:
            return Code.TWO_COPIES, say("not_compared", label=label), settles
        case Verdict.PERMUTED:
            return Code.PERMUTED, say("permuted", label=label), say("one_order")
        case Verdict.CLOSE:
            return Code.ROUNDED, say("rounded", label=label, delta=delta), settles
        case Verdict.DIVERGED if state.difference is None:
            return Code.CONTRADICTED, say("cannot", label=label, text=state.text), settles
        case _:
            return (
                Code.CONTRADICTED,
                say("differ" if side.live else "differ_in_file", label=label, delta=delta),
                settles,
            )


def _no_head(intent: Intent, side: Side) -> Problem:
    alias = intent.equation.alias
    return Problem(
        Code.HEAD_MISSING,
        (alias,),
        say("head_missing", says=intent.says, alias=alias, label=side.label),
        say("head_remedy", flag=FLAG),
    )
