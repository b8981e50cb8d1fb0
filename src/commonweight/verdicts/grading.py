"""How same two tensors with different bytes are: turned, with their rows in another order, close, or diverged.

Tensors are mapped from their files and looked at in blocks, and what was looked at is given back: memory stays bounded.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from commonweight.equations.sameness import difference, rounded
from commonweight.equations.turning import Release, keep, spans, sum_of_bits, turnable, turned
from commonweight.notation import Equation
from commonweight.transforms import Slice
from commonweight.verdicts.report import Verdict
from commonweight.verdicts.sides import Shape, State
from commonweight.verdicts.words import say


@dataclass(frozen=True)
class Grader:
    """Compares tensors in blocks.

    Attributes:
        release: called after each block, to give back the memory of tensors that are mapped from files.
    """

    release: Release = keep

    def grade(self, equation: Equation, alias: Tensor, source: Tensor) -> State:
        """What is true of a tie between two tensors whose bytes differ.

        The ladder: equal values; close, which is what rounding explains; equal after transposing, reversing or
        negating; equal but for the order of rows; equal in the rows that both have; else diverged.
        """
        alias, source = alias.detach(), source.detach()
        if equation.transforms or alias.shape == source.shape:
            expected = equation.apply(source)
            delta = self.gap(alias, expected)
            if delta == 0 and equation.transforms:
                return State(Verdict.TRANSFORMED, 0.0, say("equal_turned"), True)
            if delta == 0:
                return State(Verdict.CLOSE, 0.0, say("equal_values"), True)
            if self._close(alias, expected):
                return State(Verdict.CLOSE, delta, say("apart", delta=f"{delta:.3g}"), False)
            if not equation.transforms and (other := self._rearranged(equation, alias, source)) is not None:
                return other
            return State(Verdict.DIVERGED, delta, say("apart", delta=f"{delta:.3g}"), False)
        if (other := self._rearranged(equation, alias, source)) is not None:
            return other
        return State(Verdict.DIVERGED, None, say("shapes", one=tuple(alias.shape), other=tuple(source.shape)), False)

    def gap(self, first: Tensor, second: Tensor) -> float:
        """max |first - second| for tensors of one shape and any types; infinite where only one is NaN."""
        wide = _wide(first, second)
        pairs = ((one.to(second.device, wide), two.to(wide)) for one, two in self._blocks(first, second))
        return max((difference(one, two) or 0.0 for one, two in pairs), default=0.0)

    def still_rows(self, before: Tensor, after: Tensor) -> list[int]:
        """The rows (along the first axis) in which two tensors of one shape, of two axes or more, are equal."""
        still: list[int] = []
        start = 0
        for one, two in self._blocks(before, after, whole_rows=True):
            equal = (one.to(two.device).flatten(1) == two.flatten(1)).all(1)
            still += (start + equal.nonzero().flatten()).tolist()
            start += len(one)
        return still

    def turned_pairs(self, shapes: Mapping[str, Shape], read: Callable[[str], Tensor]) -> Iterator[Equation]:
        """Tensors that are equal to others after transposing, reversing or negating.

        The sizes of the values in the corners are the same then: few bytes of a file tell which tensors to read whole.
        """
        alike: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
        for name, shape in shapes.items():
            tensor = read(name).detach()
            if turnable(tensor) and 0 < tensor.ndim <= 5 and tensor.numel() > 1:
                corners = tensor[tuple(slice(None, None, max(size - 1, 1)) for size in shape)]
                sizes = corners.to(_wide(corners)).abs()
                alike[tensor.dtype, *sorted(shape), *sorted(sizes.flatten().tolist())].append(name)
        for names in alike.values():
            sums = {name: sum_of_bits(read(name), self.release) for name in names} if len(names) > 1 else {}
            aliases: set[str] = set()
            for source, alias in combinations(sums, 2):
                if sums[source] == sums[alias] and not {source, alias} & aliases:
                    transforms = turned(read(source), read(alias), self.release)
                    if transforms is not None:
                        aliases.add(alias)
                        yield Equation(alias, source, transforms)

    def _rearranged(self, equation: Equation, alias: Tensor, source: Tensor) -> State | None:
        """The state of two tensors that have the same values in other places, or the same first rows."""
        if alias.dtype != source.dtype or not alias.ndim:
            return None
        if alias.shape != source.shape and alias.shape[1:] == source.shape[1:]:
            return self._same_start(equation, alias, source)
        if not turnable(alias) or sum_of_bits(alias, self.release) != sum_of_bits(source, self.release):
            return None
        if (transforms := turned(source, alias, self.release)) is not None:
            instead = Equation(equation.alias, equation.source, transforms)
            return State(Verdict.TRANSFORMED, 0.0, say("equal_turned"), False, instead)
        if alias.ndim > 1 and alias.shape == source.shape and self._rows(alias) == self._rows(source):
            return State(Verdict.PERMUTED, 0.0, say("rows_reordered"), False)
        return None

    def _same_start(self, equation: Equation, alias: Tensor, source: Tensor) -> State | None:
        rows = min(len(alias), len(source))
        if not rows or self.gap(alias[:rows], source[:rows]) != 0:
            return None
        shorter, longer = equation.alias, equation.source
        if len(source) < len(alias):
            shorter, longer = longer, shorter
        text = say("equal_start", rows=f"{rows:,}", all=f"{max(len(alias), len(source)):,}")
        instead = Equation(shorter, longer, (Slice(((0, rows, None),)),))
        return State(Verdict.TRANSFORMED, 0.0, text, False, instead)

    def _close(self, first: Tensor, second: Tensor) -> bool:
        largest = max(float(block.to(_wide(second)).abs().max()) for (block,) in self._blocks(second))
        return all(rounded(one.to(two.device), two, largest) for one, two in self._blocks(first, second))

    def _rows(self, tensor: Tensor) -> Counter[bytes]:
        """How often each row is there, by its hash."""
        found: Counter[bytes] = Counter()
        for (block,) in self._blocks(tensor, whole_rows=True):
            for row in block.flatten(1).contiguous().view(torch.uint8).cpu().numpy():
                found[hashlib.blake2b(row.data, digest_size=16).digest()] += 1
        return found

    def _blocks(self, *tensors: Tensor, whole_rows: bool = False) -> Iterator[tuple[Tensor, ...]]:
        """The same parts of tensors of one shape."""
        for span in spans(tensors[0].shape, whole_rows):
            yield tuple(tensor.detach()[span] for tensor in tensors)
            self.release()


def _wide(*tensors: Tensor) -> torch.dtype:
    return torch.complex128 if any(tensor.is_complex() for tensor in tensors) else torch.float64
