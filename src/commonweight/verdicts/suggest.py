"""What could be tied: the suggestions of `audit(suggest=True)`, put together.

Whole tensors come first, since nothing saves more than a tensor that need not be stored; then parts of tensors; then,
for each tensor that is left, the one that saves most of: another order, repeated lines, a pattern, a codebook.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from commonweight.verdicts.bits import Weights, difference
from commonweight.verdicts.few_values import few_values
from commonweight.verdicts.lines import lines
from commonweight.verdicts.orders import reordered
from commonweight.verdicts.sharing import parts, permuted, repeated_lines
from commonweight.verdicts.structure import structure
from commonweight.verdicts.suggestion import Candidate, Suggestion
from commonweight.verdicts.wholes import Found, equal_wholes
from commonweight.verdicts.wording import Pair, worded

if TYPE_CHECKING:
    from commonweight.checkpoints import Content

__all__ = ["Suggestion", "suggest"]


def suggest(
    names_shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], Tensor], contents: Mapping[str, "Content"]
) -> list[Suggestion]:
    """Ties that hold, exactly or closely, among tensors that are not tied yet; the largest saving first.

    Each tensor is rebuilt by one suggestion at most, and only from tensors of a lower rank (larger, or as large and
    an embedding or earlier), so all suggestions can be followed together and `bytes_saved` adds up. Where a tensor is
    rebuilt from one that is rebuilt itself, their errors add up too. Close means that max |Δ| is at most 1/16 of the
    scale (`commonweight.verdicts.bits`); equations and patterns of noise are not suggested.

    Every tensor is read a few times, in blocks, and no two tensors are compared without a reason.

    Args:
        names_shapes: the tensors, each weight under one name.
        read: gives a tensor on the CPU, mapped where it can be.
        contents: what `commonweight.checkpoints` says of the bytes of each.

    Example:
        >>> import torch
        >>> from commonweight.checkpoints import content_of
        >>> encoder = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        >>> tensors = {"encoder.weight": encoder, "decoder.weight": encoder.T.contiguous()}
        >>> shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        >>> contents = {name: content_of(tensor) for name, tensor in tensors.items()}
        >>> for found in suggest(shapes, tensors.__getitem__, contents):
        ...     print(found.text, found.error, found.bytes_saved)
        decoder.weight = encoder.weight.T 0.0 96
    """
    weights = Weights(names_shapes, read, contents)
    suggestions = _wholes(weights, equal_wholes(weights))
    taken = {name for one in suggestions for name in one.rebuilt}
    tables = lines(weights, [name for name in weights.varied if name not in taken])
    suggestions += [_tie(weights, found) for found in parts(weights, tables)]
    taken |= {name for one in suggestions for name in one.rebuilt}
    candidates = [*permuted(weights, tables, taken), *repeated_lines(weights, tables, taken)]
    del tables
    candidates += _within(weights, [name for name in weights.names if name not in taken])
    for candidate in sorted(candidates, key=_strength):
        if taken.isdisjoint(candidate.rebuilt):
            taken.update(candidate.rebuilt)
            suggestions.append(candidate)
    return [one.suggestion for one in sorted(suggestions, key=_strength)]


def _strength(candidate: Candidate) -> tuple[int, float]:
    """A key that sorts the strongest first."""
    return -candidate.suggestion.bytes_saved, candidate.suggestion.error


def _within(weights: Weights, names: Iterable[str]) -> Iterator[Candidate]:
    for name in names:
        for candidate in (structure(weights, name) or reordered(weights, name), few_values(weights, name)):
            if candidate:
                yield candidate


def _wholes(weights: Weights, found: list[Found]) -> list[Candidate]:
    """Plain ties in as few equations as say the same, the others one by one."""
    plain = {one.equation.alias: one for one in found if not one.equation.transforms}

    def same(one: str, other: str) -> bool:
        return weights.contents[one].sha256 == weights.contents[other].sha256

    def error(alias: str, source: str) -> float:
        if same(alias, source):
            return 0.0
        known = plain.get(alias)
        if known and known.equation.source == source:
            return known.error
        return difference(weights[alias], weights[source]) or 0.0

    candidates = []
    ties = {alias: one.equation.source for alias, one in plain.items()}
    for wording in worded(ties, weights.shapes, same):
        worst = max(error(*pair) for pair in wording.pairs)
        kind = "layers" if wording.repeated else "tie"
        candidates.append(_equation(weights, kind, wording.text, wording.pairs, worst))
    done = {name for one in candidates for name in one.rebuilt}
    return candidates + [_tie(weights, one) for one in found if one.equation.alias not in {*plain, *done}]


def _tie(weights: Weights, found: Found) -> Candidate:
    pair = (found.equation.alias, found.equation.source)
    return _equation(weights, "tie", str(found.equation), (pair,), found.error)


def _equation(weights: Weights, kind: str, text: str, pairs: tuple[Pair, ...], error: float) -> Candidate:
    aliases = tuple(alias for alias, _ in pairs)
    sources = tuple(name for name in dict.fromkeys(source for _, source in pairs) if name not in aliases)
    saved = sum(weights.nbytes(name) for name in aliases)
    return Candidate(Suggestion(kind, aliases + sources, text, error, saved), aliases)
