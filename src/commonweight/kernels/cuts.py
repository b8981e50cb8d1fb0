"""The cuts of an optimal k-means on a line, in numpy: what `native/kmeans_path.cpp` computes where it can.

b_t is the cut before cluster t of the sorted points, 0 = b₀ < b₁ < … < b_k = n. Each of b₁ … b_{k-1} has a list of
cells that it may lie in, at first all; the cheapest path over cells bounds from below what a cut in each of them costs,
and cells whose bound is above the cost of cuts that are known are dropped, the others divided down to single cuts.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DIVISION = 8  # cells into which a cell is divided


def clusters_of_a_row(points: NDArray[np.floating], k: int, weights: Floats | None) -> tuple[Floats, Ints, float]:
    """Centres (at most k), a code for each of the points (n,), and Σ w (x - centre)²."""
    weighted = np.ones(len(points)) if weights is None else weights
    values, place = np.unique(points[weighted > 0], return_inverse=True)
    of_value: Floats = np.bincount(place, weights=weighted[weighted > 0]).astype(np.float64)
    k = min(k, len(values))
    y = values.astype(np.float64)
    unit = 2.0 ** -np.clip(np.frexp(np.abs(y).max())[1], -1000, 1000)
    line = y * unit - np.average(y * unit, weights=of_value)
    cuts = best_cuts(line, of_value / of_value.max(), k)
    centres, best = _measured(y, of_value, cuts)
    for _ in range(16):  # the steps of Lloyd that rounding had hidden: no point is nearer to another centre
        moved = np.concatenate([[0], np.searchsorted(y, centres[:-1] / 2 + centres[1:] / 2), [len(y)]])
        if (np.diff(moved) < 1).any() or np.array_equal(moved, cuts):
            break
        means, total = _measured(y, of_value, moved)
        if not total <= best:
            break
        cuts, centres, best = moved, means, total
    last, first = values[cuts[1:-1] - 1], values[cuts[1:-1]]
    middles = (centres[:-1] / 2 + centres[1:] / 2).astype(values.dtype)
    thresholds = np.where((last < middles) & (middles <= first), middles, first)
    return centres, np.searchsorted(thresholds, points, side="right"), best


def _measured(y: Floats, weights: Floats, cuts: Ints) -> tuple[Floats, float]:
    """Means of the runs between cuts and their cost, from the points themselves."""
    starts, sizes = cuts[:-1], np.diff(cuts)
    unit = np.repeat(np.maximum.reduceat(weights, starts), sizes)
    totals = np.add.reduceat(weights / unit, starts)
    moments = np.add.reduceat(weights / unit * (y / 2 - np.repeat(y[starts], sizes) / 2), starts)
    centres = y[starts] + 2 * (moments / totals)
    with np.errstate(over="ignore"):  # infinite, as the compiled kernel says
        return centres, float((weights * (y - np.repeat(centres, sizes)) ** 2).sum())


class Sums(NamedTuple):
    """Σ w, Σ w y and Σ w y² of all points before some cuts."""

    weight: Floats
    first: Floats
    second: Floats

    def at(self, cuts: Ints) -> "Sums":
        return Sums(self.weight[cuts], self.first[cuts], self.second[cuts])


def cost(before: Sums, to: Sums) -> Floats:
    """Σ w (y - mean)² of the points between two cuts; 0 where there are none."""
    weight = to.weight - before.weight
    some = weight > 0
    square = np.divide((to.first - before.first) ** 2, weight, out=np.zeros_like(weight), where=some)
    return np.where(some, np.maximum(0.0, to.second - before.second - square), 0.0)


class Stage:
    """The cells that one cut may be in: each stands for the cuts first … last."""

    def __init__(self, sums: Sums, first: Ints, last: Ints) -> None:
        self.first, self.last = first, last
        self.head, self.tail = sums.at(first), sums.at(last)
        self.before = self.after = np.zeros(len(first))  # the least cost of all points before the cell, after it
        self.origin = np.zeros(len(first), dtype=np.int64)  # the cell before, on the cheapest path


def best_cuts(y: Floats, weights: Floats, k: int) -> Ints:
    """b₀ … b_k for rising points y, centred, of positive weights, 1 ≤ k ≤ n."""
    n = len(y)
    sums = Sums(*(np.concatenate([[0.0], np.cumsum(weights * y**power)]) for power in range(3)))
    slack = 16 * k * np.finfo(float).eps * sums.second[-1]
    size = DIVISION ** max(0, int(np.log(max(1.0, n / (16 * k))) / np.log(DIVISION)))
    stages = [_divided(sums, np.array([t]), np.array([t + n - k]), size) for t in range(k + 1)]
    stages[0], stages[k] = (_divided(sums, np.array([end]), np.array([end]), 1) for end in (0, n))
    known = np.inf
    while True:
        for columns, rows in pairwise(stages):
            _forwards(columns, rows)
        path = _cheapest(stages)
        if size == 1:
            return path
        known = min(known, _improved(y, sums, path))
        for rows, columns in zip(stages[-2::-1], stages[:0:-1], strict=True):
            _backwards(rows, columns)
        size //= DIVISION
        kept = [stage.before + stage.after <= known + slack for stage in stages]
        stages = [_divided(sums, s.first[keep], s.last[keep], size) for s, keep in zip(stages, kept, strict=True)]


def _divided(sums: Sums, first: Ints, last: Ints, size: int) -> Stage:
    """Cells of at most `size` cuts instead of the cells first … last."""
    parts = (last - first) // size + 1
    starts = np.repeat(first, parts) + size * (np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts))
    return Stage(sums, starts, np.minimum(starts + size - 1, np.repeat(last, parts)))


def _forwards(columns: Stage, rows: Stage) -> None:
    def entries(row: Ints, column: Ints) -> Floats:
        return columns.before[column] + cost(columns.tail.at(column), rows.head.at(row))

    ends = np.searchsorted(columns.first, rows.last)  # a cut in the column may come before one in the row
    rows.before, rows.origin = row_minima(len(columns.first), np.zeros_like(ends), ends, entries)


def _backwards(rows: Stage, columns: Stage) -> None:
    def entries(row: Ints, column: Ints) -> Floats:
        return columns.after[column] + cost(rows.tail.at(row), columns.head.at(column))

    begins = np.searchsorted(columns.last, rows.first, side="right")
    rows.after, _ = row_minima(len(columns.first), begins, np.full_like(begins, len(columns.first)), entries)


def row_minima(
    n_columns: int, begins: Ints, ends: Ints, entries: Callable[[Ints, Ints], Floats]
) -> tuple[Floats, Ints]:
    """The least entry of each row, from column begins[row] to ends[row] - 1, and the leftmost column where it stands.

    begins, ends and those columns rise from row to row. Every second of the rows that are left is searched between the
    columns found for its neighbours: all rows of one round at once.
    """
    n_rows = len(begins)
    least, at = np.full(n_rows, np.inf), np.zeros(n_rows, dtype=np.int64)
    step = 1 << max(0, n_rows.bit_length() - 1)
    while step:
        rows = np.arange(step - 1, n_rows, 2 * step)
        left = np.where(rows >= step, at[rows - step], 0)
        right = np.where(rows + step < n_rows, at[np.minimum(rows + step, n_rows - 1)], n_columns - 1)
        first, last = np.maximum(left, begins[rows]), np.minimum(right, ends[rows] - 1)
        at[rows] = np.minimum(first, right)
        some = last >= first
        rows, first, widths = rows[some], first[some], (last - first + 1)[some]
        if len(rows):
            starts = np.cumsum(widths) - widths
            columns = np.arange(widths.sum()) - np.repeat(starts - first, widths)
            values = entries(np.repeat(rows, widths), columns)
            least[rows] = np.minimum.reduceat(values, starts)
            where = np.flatnonzero(values == np.repeat(least[rows], widths))
            at[rows] = columns[where[np.searchsorted(where, starts)]]
        step //= 2
    return least, at


def _cheapest(stages: list[Stage]) -> Ints:
    """Cuts within the cells of the cheapest path."""
    k, cell, cuts = len(stages) - 1, 0, []
    for stage in reversed(stages):
        cuts.append(stage.first[cell])
        cell = stage.origin[cell]
    rising = np.maximum.accumulate(np.array(cuts[::-1]) - np.arange(k + 1))
    n = cuts[0]
    cuts_within: Ints = np.minimum(rising, n - k) + np.arange(k + 1)
    return cuts_within


def _improved(y: Floats, sums: Sums, cuts: Ints) -> float:
    """The cost of these cuts after some steps of Lloyd: each goes to the middle between the means beside it."""
    for _ in range(50):
        ends = sums.at(cuts)
        means = np.diff(ends.first) / np.diff(ends.weight)
        moved = np.concatenate([[0], np.searchsorted(y, (means[:-1] + means[1:]) / 2), [len(y)]])
        if np.array_equal(moved, cuts) or (np.diff(moved) < 1).any():
            break
        cuts = moved
    return float(cost(sums.at(cuts[:-1]), sums.at(cuts[1:])).sum())
