"""What labelled rows and columns say: tensors that are a part of others, permuted ones, and lines that repeat."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf, log2

import numpy as np

from commonweight.codebook import codebook
from commonweight.notation import Equation
from commonweight.patterns import Pattern, dense, kron
from commonweight.transforms import Flip, Slice, SliceItem, Transform, Transpose
from commonweight.verdicts.bits import Weights
from commonweight.verdicts.lines import Bundle, Index, Lines, line_errors
from commonweight.verdicts.suggestion import Candidate, Suggestion
from commonweight.verdicts.wholes import Found, compare, to_last_owner
from commonweight.verdicts.words import listed, say

_PLACES = 8  # where the first line of a tensor is sought among those of others
_WORTH = 64  # repeated lines save at least one part in so many of a tensor
_WHOLE: SliceItem = (None, None, None)


def index_bytes(count: int, choices: int) -> int:
    """Bytes of that many numbers below `choices`, packed."""
    return ceil(count * ceil(log2(choices)) / 8)


def parts(weights: Weights, tables: Sequence[Lines]) -> list[Found]:
    """Every tensor that is a slice of a larger one, perhaps reversed or transposed: its lines are the other's."""
    found: dict[str, Found] = {}
    for table in tables:
        order = np.argsort(table.labels, kind="stable")
        for number, side in enumerate(table.sides):
            for equation in _slices(weights, table, number, order) if side.name not in found else ():
                if (error := compare(weights, equation)) is not None:
                    found[side.name] = Found(equation, error)
                    break
    return to_last_owner(weights, list(found.values()))


def _slices(weights: Weights, table: Lines, number: int, order: Index) -> Iterator[Equation]:
    """Equations by which the lines of a side are a run of lines of another, judged by labels."""
    side, ours = table.sides[number], table.labels[table.part(number)]
    count, evident = len(ours), np.flatnonzero(table.evident[table.part(number)])
    if not len(evident):
        return
    probe = int(evident[0])
    first, last = (np.searchsorted(table.labels, ours[probe], place, sorter=order) for place in ("left", "right"))
    lower = [p for p in order[first:last] if weights.rank(table.sides[table.of_side[p]].name) < weights.rank(side.name)]
    for place in lower[:_PLACES]:
        owner = int(table.of_side[place])
        source, theirs = table.sides[owner], table.labels[table.part(owner)]
        if len(weights.shapes[source.name]) == 1:
            continue
        at = int(place - table.starts[owner])
        for step in _steps(ours, theirs, probe, at):
            start, end = at - step * probe, at + step * (count - 1 - probe)
            if min(start, end) < 0 or max(start, end) >= len(theirs):
                continue
            if np.array_equal(theirs[start + step * np.arange(count)], ours):
                yield Equation(side.name, source.name, _transforms(weights, side, source, start, end, step))


def _steps(ours: Index, theirs: Index, probe: int, at: int) -> list[int]:
    """How far apart the lines may stand in the source, from where the second of them is."""
    if len(ours) == 1:
        return [1]
    second = probe + 1 if probe + 1 < len(ours) else probe - 1
    places = np.flatnonzero(theirs == ours[second])[:_PLACES]
    steps = ((places - at) * (second - probe)).tolist()
    return [step for step in dict.fromkeys([1, -1, *steps]) if step]


def _transforms(
    weights: Weights, side: Bundle, source: Bundle, start: int, end: int, step: int
) -> tuple[Transform, ...]:
    before = (_WHOLE,) * source.axis
    if len(weights.shapes[side.name]) == 1:
        return (Slice((*before, start)),)
    low, size, apart = min(start, end), weights.shapes[source.name][source.axis], abs(step)
    high = min(max(start, end) + apart, size)
    whole = (low, high, apart) == (0, size, 1)
    part: list[Transform] = [] if whole else [Slice((*before, (low, high, apart if apart > 1 else None)))]
    flip: list[Transform] = [Flip((source.axis,))] if step < 0 else []
    turn: list[Transform] = [Transpose()] if side.axis != source.axis else []
    return (*part, *flip, *turn)


@dataclass(frozen=True)
class _Permuted:
    """A tensor whose line i is line order[i] of the source."""

    alias: str
    source: str
    axis: int
    order: Index
    error: float


def permuted(weights: Weights, tables: Sequence[Lines], taken: Collection[str]) -> list[Candidate]:
    """Tensors with the rows, or columns, of another one in another order.

    Where rows of one tensor and columns of another are in the same other order, these are the neurons between two
    layers: sorted alike, the network computes the same, and no order has to be stored.
    """
    found = [one for table in tables for one in _permutations(weights, table, taken)]
    together: defaultdict[bytes, list[_Permuted]] = defaultdict(list)
    for one in found:
        together[one.order.tobytes()].append(one)
    candidates = []
    for group in together.values():
        neurons = _neurons(weights, group, taken)
        candidates += [neurons] if neurons else [_indexed(weights, one) for one in group]
    return candidates


def _permutations(weights: Weights, table: Lines, taken: Collection[str]) -> Iterator[_Permuted]:
    first: dict[tuple[object, ...], int] = {}
    for number, side in enumerate(table.sides):
        part = table.part(number)
        labels = table.labels[part]
        if side.name in taken or table.evident[part].sum() < 2:
            continue
        key = (side.axis, weights.shapes[side.name], np.sort(labels).tobytes())
        owner = first.setdefault(key, number)
        if owner == number:
            continue
        order, source = np.empty(len(labels), dtype=np.int64), table.sides[owner]
        order[np.argsort(labels, kind="stable")] = np.argsort(table.labels[table.part(owner)], kind="stable")
        error = float(line_errors(weights, side, np.arange(len(order)), source, order).max())
        if error <= weights.tolerance(side.name):
            yield _Permuted(side.name, source.name, side.axis, order, error)


def _indexed(weights: Weights, one: _Permuted) -> Candidate:
    count = len(one.order)
    what = ("rows", "columns")[one.axis]
    text = say(f"reordered_{what}", equation=Equation(one.alias, one.source), count=count)
    saved = weights.nbytes(one.alias) - index_bytes(count, count)
    return Candidate(Suggestion("permutation", (one.alias, one.source), text, one.error, saved), (one.alias,))


def _neurons(weights: Weights, group: list[_Permuted], taken: Collection[str]) -> Candidate | None:
    """Neurons in another order, if rows that make them, columns that read them, and their biases all say so."""
    pairs = {one.alias: one.source for one in group}
    if {one.axis for one in group} != {0, 1} or len(pairs) < len(group):
        return None
    error = max(one.error for one in group)
    for one in group:
        if one.axis:
            continue
        for alias, source in _vectors_beside(weights, one):
            if alias in taken or source not in weights.shapes or weights.dtypes[source] != weights.dtypes[alias]:
                return None
            ours, theirs = (weights[name].values() for name in (alias, source))
            delta = float(np.abs(ours - theirs[one.order]).max()) if ours.shape == theirs.shape else inf
            if delta > weights.tolerance(alias):
                return None
            pairs[alias], error = source, max(error, delta)
    equations = ", ".join(str(Equation(*pair)) for pair in pairs.items())
    text = say("reordered_neurons", equations=equations, count=len(group[0].order))
    saved = sum(weights.nbytes(name) for name in pairs)
    names = (*pairs, *dict.fromkeys(pairs.values()))
    return Candidate(Suggestion("permutation", names, text, error, saved), tuple(pairs))


def _vectors_beside(weights: Weights, one: _Permuted) -> Iterator[tuple[str, str]]:
    """The biases of the neurons, unless they are equal in any order."""
    path, other = one.alias.rpartition(".")[0], one.source.rpartition(".")[0]
    for name, shape in weights.shapes.items():
        if shape == one.order.shape and name.rpartition(".")[0] == path:
            partner = f"{other}.{name.rpartition('.')[2]}".lstrip(".")
            equal = partner in weights.shapes and weights.contents[partner].sha256 == weights.contents[name].sha256
            if not (equal and (weights.contents[name].constant or weights.contents[name].zero)):
                yield name, partner


def repeated_lines(weights: Weights, tables: Sequence[Lines], taken: Collection[str]) -> Iterator[Candidate]:
    """Tensors with rows, or columns, that occur before, in the same one or in those of a lower rank."""
    for table in tables:
        for axis in (0, 1):
            numbers = [n for n, side in enumerate(table.sides) if side.axis == axis and side.name not in taken]
            if numbers:
                yield from _repeated(weights, table, numbers)


def _repeated(weights: Weights, table: Lines, numbers: list[int]) -> Iterator[Candidate]:
    chosen = np.concatenate([np.arange(*table.part(number).indices(len(table.labels))[:2]) for number in numbers])
    labels = table.labels[chosen]
    # A constant line, such as one of zeros, is found again in its own tensor only; one of nearly all zeros nowhere.
    apart = np.where(table.constant[chosen], table.of_side[chosen], -1 - chosen)
    apart[table.evident[chosen]] = len(table.sides)
    _, first, same = np.unique(np.stack([labels, apart], 1), axis=0, return_index=True, return_inverse=True)
    owner = np.empty(len(table.labels), dtype=np.int64)
    owner[chosen] = chosen[first[same.reshape(-1)]]
    for number in numbers:
        part = table.part(number)
        places = np.arange(part.start, part.stop)
        again = places[owner[places] != places]
        if len(again) and len(places) > 1:
            candidate = _lines(weights, table, number, again, owner[again])
            if candidate:
                yield candidate


def _lines(weights: Weights, table: Lines, number: int, again: Index, owners: Index) -> Candidate | None:
    side, count = table.sides[number], int(table.starts[number + 1] - table.starts[number])
    others = [int(n) for n in np.unique(table.of_side[owners]) if n != number]
    kept = count - len(again)
    choices = kept + sum(int(table.starts[n + 1] - table.starts[n]) for n in others)
    saved = weights.nbytes(side.name) // count * len(again) - index_bytes(count, choices)
    if saved * _WORTH < weights.nbytes(side.name):
        return None
    error = 0.0
    for other in {number, *others}:
        some = table.of_side[owners] == other
        mine, theirs = again[some] - table.starts[number], owners[some] - table.starts[other]
        error = max(error, float(line_errors(weights, side, mine, table.sides[other], theirs).max(initial=0.0)))
    if error > weights.tolerance(side.name):
        return None
    names, what = (side.name, *(table.sides[n].name for n in others)), ("rows", "columns")[side.axis]
    pattern: Pattern | None = None
    if others:
        text: str = say(f"{what}_of_others", again=len(again), count=count, name=side.name, sources=listed(names[1:]))
    elif error:
        text = say(f"different_{what}", name=side.name, kept=kept, count=count)
    else:
        line = np.arange(count)
        line[again - table.starts[number]] = owners - table.starts[number]
        which = np.unique(line, return_inverse=True)[1]
        text, pattern = _of_lines(which, side.axis, kept, weights[side.name].size // count)
    return Candidate(Suggestion("lines", names, text, error, saved, pattern), (side.name,))


def _of_lines(which: Index, axis: int, kept: int, length: int) -> tuple[str, Pattern]:
    """A matrix of so many different lines of this length, as a text whose numbers are found by the reader's torch."""
    found = f"weight.unique(dim={axis}, return_inverse=True)[1].numpy()"
    if axis:
        text = f"kron(codebook({found}[None], k={kept}), dense(1, {length}))"
        return text, kron(codebook(which[None], kept), dense(1, length))
    text = f"kron(codebook({found}[:, None], k={kept}, rows={len(which)}), dense({length}, 1))"
    return text, kron(codebook(which[:, None], kept, rows=len(which)), dense(length, 1))
