"""Structure within one matrix: the patterns whose connections it could be, each tested on a sample before all of it.

A pattern is told by the home of each cell: the cell (o', i') of W[o, i] = ± W[o', i'] that stands for its weight. For
W[o, i] = θ[(o - i) mod n] it is row (o - i) mod n of column 0. A matrix without structure fails each test at the first
few sampled cells. What passes is compared whole with the least-squares tied matrix, the mean over each weight's cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import gcd

import numpy as np
import torch

from commonweight import patterns
from commonweight.patterns import Block, Copies, Diagonal, Kron, Pattern
from commonweight.recognise import recognise
from commonweight.tiemap import TieMap
from commonweight.verdicts.bits import CLOSE, EVIDENCE, Bits, Values, Weights, blocks, scale_of
from commonweight.verdicts.lines import Index
from commonweight.verdicts.suggestion import Candidate, Suggestion
from commonweight.verdicts.support import by_support, divisors, fitted

_LARGEST = 1 << 25  # cells of a matrix that is looked at
_WRITTEN_OUT = 1 << 18  # cells of one whose equal values are given to `recognise`
_FEW = 32  # weights, of which the quartiles can be anywhere
_PROBES = (128, 4096)  # cells that are tested, before all

Home = Callable[[Index, Index], tuple[Index, Index]]


@dataclass(frozen=True)
class Hypothesis:
    """A pattern, and for each cell (o, i) its home.

    Attributes:
        home: of cells that are connections.
        within: the size of blocks on the diagonal outside of which the matrix is 0; None where nothing is.
        odd: W[o, i] = -W[home] below the diagonal, and 0 on it.
    """

    pattern: Pattern
    home: Home
    within: tuple[int, int] | None = None
    odd: bool = False

    def signs(self, out: Index, inp: Index) -> Index:
        """What W[home] is multiplied by to give W[o, i]: 1, -1 or, where there is no connection, 0."""
        if self.odd:
            signs: Index = np.sign(inp - out)
            return signs
        if self.within is None:
            return np.ones(1, dtype=np.int64)
        return np.asarray(out // self.within[0] == inp // self.within[1], dtype=np.int64)


def structure(weights: Weights, name: str) -> Candidate | None:
    """The pattern of fewest weights that a matrix has, close or exact; a constant tensor of two axes or more is one."""
    bits = weights[name]
    rows = bits.shape[0]
    found: tuple[Pattern, float] | None = None
    if len(bits.shape) > 1 and weights.contents[name].constant:
        found = patterns.single(bits.size // rows, rows), 0.0
    elif len(bits.shape) == 2 and name in weights.varied:
        found = named(bits)
    if found is None:
        return None
    pattern, error = found
    saved = weights.nbytes(name) - pattern.n_weights * weights.dtypes[name].itemsize
    return Candidate(Suggestion("pattern", (name,), str(pattern), error, saved, pattern), (name,))


def named(bits: Bits, close: float = CLOSE) -> tuple[Pattern, float] | None:
    """The pattern of a matrix that is not constant, with max |Δ| to the nearest matrix of this pattern.

    A part of a larger matrix, which is judged again as a whole, may be off by more of its own scale.
    """
    if min(bits.shape) < 2 or bits.size > _LARGEST:
        return None
    found = [one for one in (_first_that_holds(bits), _written_out(bits)) if one]
    if bits.size <= _WRITTEN_OUT:
        values = bits.values()
        found += [one for one in (_one_weight(values), _few_weights(values, close), *by_support(values, close)) if one]
        found += [finer for one in found if (finer := _with_finer_parts(bits, one[0]))]
    return min(found, key=lambda one: one[0].n_weights, default=None)


def _one_weight(values: Values) -> tuple[Pattern, float] | None:
    """A matrix that is one value up to noise; the scale of a single weight is its size."""
    error = float(np.abs(values - values.mean()).max())
    if values.size < EVIDENCE or error > CLOSE * abs(values.mean()):
        return None
    return patterns.single(values.shape[1], values.shape[0]), error


def _few_weights(values: Values, close: float) -> tuple[Pattern, float] | None:
    """The first pattern that holds, of so few weights that a sample says little of their scale."""
    few = (one.pattern for one in hypotheses(*values.shape) if one.pattern.n_weights <= _FEW)
    for pattern in sorted(few, key=lambda one: one.n_weights):
        if (error := fitted(values, pattern, close)) is not None:
            return pattern, error
    return None


def _with_finer_parts(bits: Bits, pattern: Pattern) -> tuple[Pattern, float] | None:
    """Parts side by side of which some are more than dense."""
    values = bits.values()
    finer: Pattern | None
    if isinstance(pattern, Copies):
        mean = np.mean(_parts(values, [pattern.a] * pattern.n), axis=0)
        found = named(Bits.of(torch.from_numpy(mean)))
        finer = patterns.copies(pattern.n, found[0]) if found else None
    else:
        parts = _side_by_side(pattern)
        each = [named(Bits.of(torch.from_numpy(part.copy())), 2 * CLOSE) for part in _parts(values, parts)]
        named_parts = [found[0] if found else part for found, part in zip(each, parts, strict=True)]
        finer = recognise(patterns.block(*named_parts).tiemap()) if any(each) else None
    error = fitted(values, finer) if finer else None
    return (finer, error) if finer is not None and error is not None else None


def _side_by_side(pattern: Pattern) -> list[Pattern]:
    """The parts of which nothing is shared between."""
    if isinstance(pattern, Block):
        return list(pattern.parts)
    if isinstance(pattern, Kron) and isinstance(pattern.a, Diagonal):
        return [pattern.b] * pattern.a.n_in
    return []


def _parts(values: Values, parts: Sequence[Pattern]) -> list[Values]:
    """The blocks of a matrix, on its diagonal, that are parts of these sizes."""
    ends = [np.cumsum([0, *(getattr(part, n) for part in parts)]).tolist() for n in ("n_out", "n_in")]
    return [values[slice(*o), slice(*i)] for o, i in zip(*map(pairwise, ends), strict=True)]


def _first_that_holds(bits: Bits) -> tuple[Pattern, float] | None:
    draw = np.random.default_rng(bits.size)
    cells = [draw.integers(size, size=_PROBES[-1]) for size in bits.shape]
    for hypothesis in sorted(hypotheses(*bits.shape), key=lambda one: one.pattern.n_weights):
        for probe in _PROBES:
            tolerance = _sampled(bits, hypothesis, *(some[:probe] for some in cells))
            if tolerance is None:
                break
        if tolerance is not None and (error := _rebuilt(bits, hypothesis, tolerance)) is not None:
            return hypothesis.pattern, error
    return None


def _written_out(bits: Bits) -> tuple[Pattern, float] | None:
    """What `recognise` says of the ties between cells of equal values, if there are enough of them to be no chance."""
    if bits.size > _WRITTEN_OUT or bits.dtype.itemsize < 4:  # 16 bits have equal values without a tie
        return None
    values = bits.values()
    out, inp = np.nonzero(values)
    connected = values[out, inp]
    different, weight = np.unique(np.abs(connected), return_inverse=True)
    if len(different) < 2 or len(weight) < 2 * len(different) or len(weight) - len(different) < EVIDENCE:
        return None
    n_out, n_in = bits.shape
    signs = np.sign(connected).astype(np.int8)
    pattern = recognise(TieMap(n_out, n_in, len(different), out, inp, weight, signs))
    return (pattern, 0.0) if pattern else None


def hypotheses(n_out: int, n_in: int) -> Iterator[Hypothesis]:
    """The patterns that a matrix of this size could have, with at least `EVIDENCE` cells to say so."""
    for one in _all(n_out, n_in):
        if n_out * n_in - one.pattern.n_weights >= EVIDENCE:
            yield one


def _all(n_out: int, n_in: int) -> Iterator[Hypothesis]:
    dense, kron, single = patterns.dense, patterns.kron, patterns.single
    if n_out == n_in:
        yield Hypothesis(patterns.symmetric(n_in), lambda o, i: (np.minimum(o, i), np.maximum(o, i)))
        yield Hypothesis(patterns.antisymmetric(n_in), lambda o, i: (np.minimum(o, i), np.maximum(o, i)), odd=True)
    yield Hypothesis(patterns.toeplitz(n_in, n_out), partial(_toeplitz, (1, 1)))
    for n in divisors(gcd(n_out, n_in))[1:]:
        size = (n_out // n, n_in // n)
        part = dense(size[1], size[0])
        yield Hypothesis(_times(patterns.circulant(n), part), partial(_circulant, size, n_in))
        if n > 2 and size != (1, 1):
            yield Hypothesis(kron(patterns.toeplitz(n, n), part), partial(_toeplitz, size))
        yield Hypothesis(_times(patterns.diagonal(n), part), lambda o, i: (o, i), size)
        yield Hypothesis(patterns.copies(n, part), partial(_first, size), size)
    for n in divisors(n_out)[1:]:
        size = (n_out // n, n_in)
        yield Hypothesis(kron(single(1, n), dense(n_in, size[0])), partial(_first, size))
        if n < n_out:
            yield Hypothesis(kron(dense(n_in, size[0]), single(1, n)), partial(_runs, (n, 1)))
    for n in divisors(n_in)[1:]:
        size = (n_out, n_in // n)
        yield Hypothesis(kron(single(n, 1), dense(size[1], n_out)), partial(_first, size))
        if n < n_in:
            yield Hypothesis(kron(dense(size[1], n_out), single(n, 1)), partial(_runs, (1, n)))


def _times(outer: Pattern, part: Pattern) -> Pattern:
    return outer if part.n_weights == 1 else patterns.kron(outer, part)


def _toeplitz(size: tuple[int, int], out: Index, inp: Index) -> tuple[Index, Index]:
    """W[o, i] is that of the block on the same diagonal of blocks in the first row or column of blocks."""
    (m, k) = size
    back = np.minimum(out // m, inp // k)
    return out - back * m, inp - back * k


def _circulant(size: tuple[int, int], n_in: int, out: Index, inp: Index) -> tuple[Index, Index]:
    """W[o, i] is that of the block of the first column of blocks that is as many blocks below the diagonal."""
    (m, k) = size
    n = n_in // k
    return (out // m - inp // k) % n * m + out % m, inp % k


def _first(size: tuple[int, int], out: Index, inp: Index) -> tuple[Index, Index]:
    """Each block of this size is as the first."""
    return out % size[0], inp % size[1]


def _runs(size: tuple[int, int], out: Index, inp: Index) -> tuple[Index, Index]:
    """Each cell is as the first of its block of this size."""
    return out // size[0] * size[0], inp // size[1] * size[1]


def _sampled(bits: Bits, hypothesis: Hypothesis, out: Index, inp: Index) -> float | None:
    """How far off a cell may be, by the scale of sampled connections; None if some sampled cell is too far off."""
    if hypothesis.within is not None:  # connections are few among cells drawn anywhere
        m, k = hypothesis.within
        out, inp = np.append(out, out), np.append(inp, out // m * k + inp % k)
    values = bits.values((out, inp))
    on = np.broadcast_to(hypothesis.signs(out, inp) != 0, values.shape)
    tolerance = CLOSE * scale_of(values[on])
    return None if _off(bits, hypothesis, out, inp, values, tolerance) is None else tolerance


def _off(bits: Bits, hypothesis: Hypothesis, out: Index, inp: Index, values: Values, tolerance: float) -> float | None:
    """max |Δ| between cells and their homes, None if it is too much: each may be off to its side of their mean."""
    signs = hypothesis.signs(out, inp)
    delta = np.abs(values - signs * bits.values(hypothesis.home(out, inp)))
    return None if (delta > np.where(signs == 0, tolerance, 2 * tolerance)).any() else float(delta.max())


def _rebuilt(bits: Bits, hypothesis: Hypothesis, tolerance: float) -> float | None:
    """max |Δ| to the matrix of the mean of each weight's cells, None if that is more than the tolerance."""
    worst = 0.0
    for part, out, inp in _grid(bits):
        delta = _off(bits, hypothesis, out, inp, bits.values(part), tolerance)
        if delta is None:
            return None
        worst = max(worst, delta)
    if worst == 0:
        return worst
    total, count = np.zeros(bits.size), np.zeros(bits.size, dtype=np.int32)
    for part, out, inp in _grid(bits):
        signs, home = hypothesis.signs(out, inp), _number(bits, hypothesis, out, inp)
        np.add.at(total, home, signs * bits.values(part))
        np.add.at(count, home, (signs != 0).astype(np.int32))
    mean = total / np.maximum(count, 1)
    worst = 0.0
    for part, out, inp in _grid(bits):
        expected = hypothesis.signs(out, inp) * mean[_number(bits, hypothesis, out, inp)]
        worst = max(worst, float(np.abs(bits.values(part) - expected).max()))
    return worst if worst <= tolerance else None


def _grid(bits: Bits) -> Iterator[tuple[tuple[slice, ...], Index, Index]]:
    """Parts of a matrix, with the row and the column of each cell."""
    for block in blocks(bits.shape):
        part = (*block, slice(None), slice(None))[:2]
        rows, columns = (np.arange(size)[some] for size, some in zip(bits.shape, part, strict=True))
        out, inp = np.broadcast_arrays(rows[:, None], columns)
        yield part, out, inp


def _number(bits: Bits, hypothesis: Hypothesis, out: Index, inp: Index) -> Index:
    """The home of each cell as one number."""
    home = hypothesis.home(out, inp)
    return home[0] * bits.shape[1] + home[1]
