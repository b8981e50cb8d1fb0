"""Matrices of few different values: a codebook of at most 256, for the whole tensor or for each row.

Values are equal bits, or, for the whole tensor, clusters that noise has spread: each no wider than is close, with gaps
between them that are clearly wider. That every tensor is near to 256 evenly spaced values is no reason to tie it.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

from commonweight.verdicts.bits import EVIDENCE, Bits, Values, Weights, blocks, without_sign_of_zero
from commonweight.verdicts.lines import Index
from commonweight.verdicts.sharing import index_bytes
from commonweight.verdicts.suggestion import Candidate, Suggestion

_MOST = 256
_CLEAR = 4.0  # times that the gaps between clusters are wider than those within
_PROBE = 1 << 12  # elements, or rows' elements, that are looked at first


@dataclass(frozen=True)
class _Codebook:
    k: int
    error: float = 0.0


def few_values(weights: Weights, name: str) -> Candidate | None:
    """The codebook by which this tensor of two axes or more takes the fewest bytes; None if it has no codebook."""
    bits = weights[name]
    if len(bits.shape) < 2:
        return None
    rows, item = bits.shape[0], weights.dtypes[name].itemsize
    found: list[tuple[int, float, int, Literal["row", "tensor"]]] = []
    whole = _equal_values(bits) or _clusters(bits, weights.tolerance(name))
    if whole and bits.size >= EVIDENCE * whole.k:
        stored = index_bytes(bits.size, whole.k) + whole.k * item
        found.append((stored, whole.error, whole.k, "tensor"))
    each = _values_of_rows(bits)
    if each and rows > 1:
        stored = index_bytes(bits.size, each) + rows * each * item
        found.append((stored, 0.0, each, "row"))
    if not found:
        return None
    stored, error, k, per = min(found)
    saved = weights.nbytes(name) - stored
    if saved <= 0:
        return None
    text = f'cw.codebook.learn(weight, k={k}, per="{per}")'
    return Candidate(Suggestion("codebook", (name,), text, error, saved, codebook=(k, per)), (name,))


def _equal_values(bits: Bits) -> _Codebook | None:
    """The different values, by their bits."""
    known = np.unique(without_sign_of_zero(bits.array[next(blocks(bits.shape, _PROBE))]))
    for block in blocks(bits.shape):
        if len(known) > _MOST:
            return None
        known = np.union1d(known, without_sign_of_zero(bits.array[block]))
    return _Codebook(len(known)) if len(known) <= _MOST else None


def _values_of_rows(bits: Bits) -> int | None:
    """The most different values in a row, if each has few of them and so do its first rows."""
    matrix = bits.matrix()
    most, length = 1, matrix.shape[1]
    limit = min(_MOST, length // EVIDENCE)
    for block in [(slice(0, max(1, _PROBE // length)),), *blocks(matrix.shape)]:
        if len(block) > 1:  # a row of millions
            return None
        ordered = np.sort(without_sign_of_zero(matrix[block]), axis=1)
        most = max(most, int((np.diff(ordered, axis=1) != 0).sum(1).max()) + 1)
        if most > limit:
            return None
    return most


def _clusters(bits: Bits, tolerance: float) -> _Codebook | None:
    """Values spread by noise, each element within the tolerance of the middle of its cluster."""
    sample = np.sort(bits.sample())
    gap = _clear_gap(sample)
    if gap is None or np.diff(sample[_ends(sample, gap)]).max() > 2 * tolerance:
        return None
    low = high = np.empty(0)
    for block in blocks(bits.shape):
        values = np.sort(bits.values(block), axis=None)
        low, high = _merged(low, high, values[_ends(values, gap)], gap)
        if len(low) > _MOST or (high - low).max() > 2 * tolerance:
            return None
    return _Codebook(len(low), float((high - low).max()) / 2)


def _ends(values: Values, gap: float) -> Index:
    """The places of the first and the last of each cluster in sorted values, shape (clusters, 2)."""
    cuts = np.flatnonzero(np.diff(values) > gap)
    return np.stack([np.append(0, cuts + 1), np.append(cuts, len(values) - 1)], axis=1)


def _merged(low: Values, high: Values, ends: Values, gap: float) -> tuple[Values, Values]:
    """The clusters of two lists, each from low to high, those without a gap between them as one."""
    order = np.argsort(lows := np.append(low, ends[:, 0]))
    lows, highs = lows[order], np.maximum.accumulate(np.append(high, ends[:, 1])[order])
    apart = lows[1:] - highs[:-1] > gap
    return lows[np.append(True, apart)], highs[np.append(apart, True)]


def _clear_gap(values: Values) -> float | None:
    """A width between the gaps within clusters and those between them, where these are clearly wider."""
    gaps = np.sort(np.diff(values))[::-1]
    most = min(_MOST, len(values) // EVIDENCE, len(gaps))
    if most < 2:
        return None
    # The k - 1 widest gaps part k clusters.
    between, within = gaps[: most - 1], gaps[1:most]
    ratio = np.divide(between, within, out=np.full(len(within), inf), where=within > 0)
    best = int(np.argmax(ratio))
    return float(between[best] / 2) if ratio[best] >= _CLEAR else None
