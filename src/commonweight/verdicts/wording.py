"""Many plain ties in few equations: `layers.{1,2}.* = layers.0.*` for a repeated layer, not a line for each tensor.

Whatever is written here is read back before it is returned: it stands for exactly these ties.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from commonweight.errors import TieError
from commonweight.notation import Equation, expand, parse

Pair = tuple[str, str]  # alias and source


@dataclass(frozen=True)
class Wording:
    """One text, and the plain ties that it stands for."""

    text: str
    pairs: tuple[Pair, ...]
    repeated: bool  # whole modules, not single tensors


@dataclass(frozen=True)
class _Entry:
    """A tie between two paths: of tensors, or of modules with all that is in them."""

    alias: str
    source: str
    pairs: tuple[Pair, ...]
    whole: bool


def worded(ties: Mapping[str, str], names: Iterable[str], same: Callable[[str, str], bool]) -> list[Wording]:
    """Equations for plain ties, as few as say the same.

    A module that is tied as a whole brings along the rest of its tensors where they have equal bits, such as
    biases that are all 0: they are no evidence by themselves.

    Args:
        ties: the source of each alias; no source is an alias.
        names: of all tensors that there are.
        same: whether two tensors have equal bits.
    """
    known = list(names)
    modules = _whole_modules(ties, known, same)
    done = {name for entry in modules for pair in entry.pairs for name in _settled(pair, ties)}
    entries = modules + [_Entry(a, s, ((a, s),), False) for a, s in ties.items() if a not in done]
    groups: dict[tuple[object, ...], list[_Entry]] = {}
    for entry in entries:
        groups.setdefault(_kind(entry), []).append(entry)
    return [wording for group in groups.values() for wording in _group(group, known)]


def _settled(pair: Pair, ties: Mapping[str, str]) -> list[str]:
    """The aliases that need no more words: this one, and its source if that was to be the alias of this one."""
    alias, source = pair
    return [alias, source] if ties.get(source) == alias else [alias]


def _whole_modules(ties: Mapping[str, str], names: list[str], same: Callable[[str, str], bool]) -> list[_Entry]:
    """Modules of several tensors that all are tied to those of another one, the outermost; no tie in two of them."""
    ordered = sorted(names)

    @cache
    def within(path: str) -> frozenset[str]:
        start = bisect_left(ordered, f"{path}.")
        found = []
        for name in ordered[start:]:
            if not name.startswith(f"{path}."):
                break
            found.append(name[len(path) + 1 :])
        return frozenset(found)

    @cache
    def equal(alias: str, source: str) -> bool:
        rest = within(alias)
        return (
            len(rest) > 1
            and rest == within(source)
            and all(
                ties.get(one, one) == ties.get(other, other) or same(one, other)
                for one, other in ((f"{alias}.{name}", f"{source}.{name}") for name in rest)
            )
        )

    pairs = dict.fromkeys(pair for tie in ties.items() if (pair := _outermost(*tie, equal)))
    chosen: list[_Entry] = []
    done: set[str] = set()
    for alias, source in sorted(pairs, key=lambda pair: pair[0].count(".")):
        inner = tuple((f"{alias}.{name}", f"{source}.{name}") for name in sorted(within(alias)))
        if any(name in ties and name not in done for name, _ in inner):
            chosen.append(_Entry(alias, source, inner, True))
            done.update(name for pair in inner for name in _settled(pair, ties))
    return chosen


def _outermost(alias: str, source: str, equal: Callable[[str, str], bool]) -> Pair | None:
    ours, theirs = alias.split("."), source.split(".")
    common = 0
    while common < min(len(ours), len(theirs)) - 1 and ours[-1 - common] == theirs[-1 - common]:
        common += 1
    for count in range(common, 0, -1):
        pair = ".".join(ours[:-count]), ".".join(theirs[:-count])
        if not pair[0].startswith(f"{pair[1]}.") and not pair[1].startswith(f"{pair[0]}.") and equal(*pair):
            return pair
    return None


def _kind(entry: _Entry) -> tuple[object, ...]:
    """What entries have in common that differ in one and the same component of their paths."""
    place = _place(entry)
    if place is None:
        return entry.alias, entry.source
    path = entry.alias.split(".")
    return place, tuple(path[:place]), tuple(path[place + 1 :]), entry.whole


def _place(entry: _Entry) -> int | None:
    """The one component in which both paths differ."""
    ours, theirs = entry.alias.split("."), entry.source.split(".")
    places = [n for n, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other]
    return places[0] if len(ours) == len(theirs) and len(places) == 1 else None


def _group(entries: list[_Entry], names: list[str]) -> list[Wording]:
    """One equation for all of them, or, where names have no place in a brace list, one for each tensor."""
    pairs = tuple(dict.fromkeys(pair for entry in entries for pair in entry.pairs))
    for text in _texts(sorted(entries, key=lambda entry: _natural(entry.alias)), names):
        if _stands_for(text, pairs, names):
            return [Wording(text, pairs, entries[0].whole)]
    return [Wording(str(Equation(*pair)), (pair,), False) for pair in pairs]


def _texts(entries: Sequence[_Entry], names: list[str]) -> list[str]:
    first, place = entries[0], _place(entries[0])
    star = ".*" if first.whole else ""
    if place is None or (len(entries) == 1 and not first.whole):
        return [f"{first.alias}.* = {first.source}.*"] if first.whole else [str(Equation(first.alias, first.source))]
    path = first.alias.split(".")
    stem, tail = "".join(f"{part}." for part in path[:place]), "".join(f".{part}" for part in path[place + 1 :]) + star
    aliases = [entry.alias.split(".")[place] for entry in entries]
    sources = [entry.source.split(".")[place] for entry in entries]
    one = len(set(sources)) == 1
    left = f"{{{','.join(aliases)}}}" if len(aliases) > 1 else aliases[0]
    right = sources[0] if one else f"{{{','.join(sources)}}}"
    texts = [f"{stem}{left}{tail} = {stem}{right}{tail}"]
    beside = {name[len(stem) :].split(".")[0] for name in names if name.startswith(stem)}
    if one and len(aliases) > 1 and stem and beside == {*aliases, *sources}:
        texts.insert(0, f"{stem}* = {stem}{right}.*" if tail == ".*" else f"{stem}*{tail} = {stem}{right}{tail}")
    return texts


def _natural(path: str) -> list[tuple[int, str]]:
    """A key that sorts layer 10 behind layer 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path)]


def _stands_for(text: str, pairs: tuple[Pair, ...], names: list[str]) -> bool:
    try:
        equations = expand(parse(text), names)
    except TieError:
        return False
    meant = [(equation.alias, equation.source) for equation in equations if not equation.transforms]
    return len(equations) == len(pairs) and set(meant) == set(pairs)
