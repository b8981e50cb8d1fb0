"""Patterns whose rows and columns are in another order: which order that is.

What a pattern leaves as it is in any order says what it could be: rows of a circulant matrix have the same values, rows
of a symmetric one those of the columns, neighbours in a Toeplitz one all values but one. Each such fact gives an order
of rows and columns, which is a proposal only: `named` says whether the matrix has a pattern in it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from commonweight.patterns import Pattern
from commonweight.reordering import Reordered
from commonweight.verdicts.bits import CLOSE, EVIDENCE, Bits, Values, Weights, scale_of
from commonweight.verdicts.lines import Index, Mask
from commonweight.verdicts.seriation import deviation, parts_of, windows
from commonweight.verdicts.sharing import index_bytes
from commonweight.verdicts.structure import named
from commonweight.verdicts.suggestion import Candidate, Suggestion
from commonweight.verdicts.support import clearly_connected

Orders: TypeAlias = tuple[Index, Index]  # the rows and the columns that have a pattern, one after another

_LARGEST = 1 << 18  # cells of a matrix that is looked at,
_LONGEST = 1 << 10  # and its rows or columns
_DIAGONALS = 64  # rows or columns of a Toeplitz matrix below noise: of more, too many values agree by chance
_SIMILAR = (0.0, 0.25, 0.5, 1.0)  # tolerances by which rows of a Toeplitz matrix are compared
_ROUNDS = 4  # of matching rows by columns and columns by rows
_ZERO = 5  # deviations of the noise that a zero may have
_TURNS = 32  # rows that may be the first one turned
_OVERLAP = 64  # places of two lines that are compared


class Ordered(NamedTuple):
    """A pattern that these rows and columns of a matrix have in this order; those left out are 0 or near it.

    The error is max |Δ| to the nearest matrix of the pattern, which is 0 where it is left out.
    """

    pattern: Pattern
    rows: Index
    columns: Index
    error: float


def reordered(weights: Weights, name: str) -> Candidate | None:
    """The pattern of fewest weights that a matrix has in some order of its rows and columns, if it saves bytes."""
    bits = weights[name]
    if len(bits.shape) != 2 or name not in weights.varied:
        return None
    if bits.size > _LARGEST or max(bits.shape) > _LONGEST or min(bits.shape) < 2:
        return None
    found = in_order(bits.values())
    if found is None:
        return None
    part, rows, columns, error = found
    n_out, n_in = bits.shape
    saved = weights.nbytes(name) - part.n_weights * weights.dtypes[name].itemsize
    saved -= index_bytes(n_out, n_out) + index_bytes(n_in, n_in)
    if saved <= 0:
        return None
    pattern = Reordered(part, rows, columns, n_out=n_out, n_in=n_in)
    text = f"reordered({part}, rows, columns{Reordered.sizes(part, n_out, n_in)})"
    orders = (tuple(rows.tolist()), tuple(columns.tolist()))
    return Candidate(Suggestion("order", (name,), text, error, saved, pattern, orders), (name,))


def in_order(values: Values) -> Ordered | None:
    """The pattern of fewest weights, then of fewest connections, that a matrix has in some order, or None."""
    mask = clearly_connected(values)
    if not mask.all():
        mask |= np.abs(values) > _ZERO * deviation(values[~mask])
    tolerance = CLOSE * scale_of(values[mask])
    found: list[Ordered] = []
    for orders in (_mirrored(values, tolerance), _turned(values, tolerance), _shifted(values, tolerance)):
        found += islice(_named(values, orders, tolerance), 1)
    if not mask.all():
        found += _named(values, windows(values, mask, tolerance), tolerance)
        found += _named(values, _side_by_side(values, mask, tolerance), tolerance)
    return min(found, key=lambda one: (one.pattern.n_weights, one.pattern.n_connections), default=None)


def _named(values: Values, orders: Iterable[Orders], tolerance: float) -> Iterator[Ordered]:
    """Those orders in which rows and columns have a pattern, if what they leave out is small."""
    for rows, columns in orders:
        left = values.copy()
        left[np.ix_(rows, columns)] = 0
        off = float(np.abs(left).max())
        if off <= tolerance and (one := _name(values[np.ix_(rows, columns)])):
            yield Ordered(one[0], rows, columns, max(off, one[1]))


def _name(values: Values) -> tuple[Pattern, float] | None:
    return named(Bits.of(torch.from_numpy(values.copy())))


# Dense matrices.


def _mirrored(values: Values, tolerance: float) -> Iterator[Orders]:
    """W = ± Wᵀ: row i has the values of column i, or their negatives."""
    if values.shape[0] != values.shape[1]:
        return
    rows = np.sort(values, axis=1)
    for sign in (1, -1):
        columns = np.sort(sign * values.T, axis=1)
        if np.abs(np.sort(rows[:, 0]) - np.sort(columns[:, 0])).max() > 2 * tolerance:
            continue
        apart = cdist(rows, columns, "chebyshev")
        row, column = linear_sum_assignment(apart)
        if apart[row, column].max() <= 2 * tolerance:
            yield row, column


def _turned(values: Values, tolerance: float) -> Iterator[Orders]:
    """W[p(o), q(i)] = W[o, i], where p and q turn all rows and columns around in rings of one length.

    In steps of such a turn, the matrix is a circulant one of as many blocks as a ring is long.
    """
    if 2 * len(np.unique(values[0])) <= values.shape[1]:  # few values do not say which column is which
        return
    profiles = np.sort(values, axis=1)
    alike = np.flatnonzero(np.abs(profiles - profiles[0]).max(1) <= 2 * tolerance)
    if len(alike) < 2 or not (_have_twins(profiles, tolerance) and _have_twins(np.sort(values.T, 1), tolerance)):
        return
    for row in alike[1 : 1 + _TURNS].tolist():
        if turn := _matched(values, values, row, tolerance):
            rings = [_rings(order) for order in turn]
            if {len(ring) for some in rings for ring in some} == {len(alike)}:
                rows, columns = (np.array(some).T.ravel() for some in rings)
                yield rows, columns


def _have_twins(profiles: Values, tolerance: float) -> bool:
    """Whether each list of sorted values is there twice."""
    apart = cdist(profiles, profiles, "chebyshev")
    np.fill_diagonal(apart, np.inf)
    return bool(apart.min(1).max() <= 2 * tolerance)


def _matched(model: Values, other: Values, row: int, tolerance: float) -> Orders | None:
    """The order in which a matrix is another one of its size, if this row is the first of the model.

    Values of the two rows, sorted, say which column is which, but for close ones: then rows are matched by all columns,
    and columns by all rows.
    """
    columns = np.empty(model.shape[1], dtype=np.int64)
    columns[np.argsort(model[0])] = np.argsort(other[row])
    for _ in range(_ROUNDS):
        rows = linear_sum_assignment(cdist(model, other[:, columns], "sqeuclidean"))[1]
        before, columns = columns, linear_sum_assignment(cdist(model.T, other[rows].T, "sqeuclidean"))[1]
        if np.array_equal(before, columns):
            break
    off = np.abs(other[np.ix_(rows, columns)] - model).max()
    return (rows, columns) if off <= 2 * tolerance else None


def _rings(order: Index) -> list[list[int]]:
    """The cycles of a permutation."""
    rings, left = [], set(range(len(order)))
    while left:
        ring = [min(left)]
        while (following := int(order[ring[-1]])) != ring[0]:
            ring.append(following)
        left -= set(ring)
        rings.append(ring)
    return rings


def _shifted(values: Values, tolerance: float) -> Iterator[Orders]:
    """W[o + 1, i + 1] = W[o, i]: lines next to each other have all values but one in common."""
    n_out, n_in = values.shape
    if n_out < n_in:
        yield from ((rows, columns) for columns, rows in _shifted(values.T, tolerance))
        return
    different = len(np.unique(values))
    exact = different < n_out + n_in
    if (not exact and n_out > _DIAGONALS) or different <= n_out / 2:  # of few values, neighbours are not told
        return
    for similar in _SIMILAR[:1] if exact else _SIMILAR[1:]:
        if found := _along_diagonals(values, _neighbours(np.sort(values.T, axis=1), similar * tolerance)):
            yield found


def _along_diagonals(values: Values, columns: Index) -> Orders | None:
    """Rows in the order that nearly ordered columns tell, and columns in the order that these rows tell; both twice."""
    orders: Orders | None = None
    for _ in range(2):
        rows = _chain(values[:, columns])
        following = None if rows is None else _chain(values[rows].T)
        if rows is None or following is None:
            return None
        columns = following
        orders = rows, columns
    return orders


def _neighbours(lines: Values, tolerance: float) -> Index:
    """Lines of sorted values, one after another by how many they have in common: by the Fiedler vector.

    Source: Atkins, Boman and Hendrickson 1998, "A Spectral Algorithm for Seriation and the Consecutive Ones Problem".
    """
    n, length = lines.shape
    one, other = np.triu_indices(n, 1)
    common = np.zeros((n, n))
    place, next_to = np.zeros(len(one), dtype=np.int64), np.zeros(len(one), dtype=np.int64)
    while len(one):  # along both sorted lines of each pair at once: the most that can be paired
        delta = lines[one, place] - lines[other, next_to]
        paired = np.abs(delta) <= tolerance
        common[one, other] += paired
        place, next_to = place + (paired | (delta < 0)), next_to + (paired | (delta > 0))
        on = (place < length) & (next_to < length)
        one, other, place, next_to = one[on], other[on], place[on], next_to[on]
    common += common.T
    common -= common[~np.eye(n, dtype=bool)].min()
    np.fill_diagonal(common, 0)
    return np.argsort(np.linalg.eigh(np.diag(common.sum(1)) - common)[1][:, 1])


def _chain(lines: Values) -> Index | None:
    """The order in which each line is the one before, moved on by a place; a few columns may stand in a wrong place."""
    n, length = lines.shape
    places = np.linspace(0, length - 2, min(length - 1, _OVERLAP)).astype(np.int64)
    apart = [np.quantile(np.abs(line[places] - lines[:, places + 1]), 0.25, axis=1) for line in lines]
    cost = np.pad(np.array(apart), (0, 1))  # nothing follows the last line, and the first follows none
    np.fill_diagonal(cost, cost.max() + 1)
    following = linear_sum_assignment(cost)[1]
    ring = next(ring for ring in _rings(following) if n in ring)
    start = ring.index(n) + 1
    return np.array(ring[start:] + ring[: start - 1]) if len(ring) == n + 1 else None


# Parts side by side.


def _side_by_side(values: Values, mask: Mask, tolerance: float) -> Iterator[Orders]:
    """Parts that zeros separate, each in its own order, those of one size in that of the first of them."""
    of_row, of_column = parts_of(mask)
    if max(of_row.max(), of_column.max()) == 0:
        return
    by_size: defaultdict[tuple[int, int], list[Orders]] = defaultdict(list)
    for number in np.intersect1d(of_row, of_column):
        rows, columns = np.flatnonzero(of_row == number), np.flatnonzero(of_column == number)
        part = values[np.ix_(rows, columns)]
        if part.size > EVIDENCE and not _name(part) and (found := in_order(part)):
            rows, columns = rows[found.rows], columns[found.columns]
        by_size[len(rows), len(columns)].append((rows, columns))
    ordered: list[Orders] = []
    for alike in by_size.values():
        model = values[np.ix_(*alike[0])]
        ordered += [_like(values, model, one, tolerance) for one in alike]
    rows, columns = (np.concatenate(side) for side in zip(*ordered, strict=True))
    if by_size.keys() == {(1, 1)}:  # a diagonal, of which small weights may look like zeros
        left = [np.setdiff1d(np.arange(n), some) for n, some in zip(values.shape, (rows, columns), strict=True)]
        row, column = linear_sum_assignment(-np.abs(values[np.ix_(*left)]))
        rows, columns = np.append(rows, left[0][row]), np.append(columns, left[1][column])
    yield rows, columns


def _like(values: Values, model: Values, orders: Orders, tolerance: float) -> Orders:
    """The rows and columns of a part in the order in which it is the model, if there is one."""
    rows, columns = orders
    part = values[np.ix_(rows, columns)]
    alike = np.abs(np.sort(part, axis=1) - np.sort(model[0])).max(1) <= 2 * tolerance
    for row in np.flatnonzero(alike).tolist():
        if found := _matched(model, part, row, tolerance):
            return rows[found[0]], columns[found[1]]
    return orders
