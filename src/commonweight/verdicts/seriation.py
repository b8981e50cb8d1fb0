"""The order of units between which windows slide, from what does not depend on any order.

Three facts are put together. The connections of a window are a band, so that correspondence analysis of them has units
in the order of their positions, an axis of it for each axis of the window. Windows that share no unit are parts apart,
of which those at an edge are smaller. And units that use the same weights are a strand: the positions of an output
channel, or those of an input channel that are a stride apart. Without ties, units of the same connections are as good
as each other.

Source: Benzécri 1973, "L'analyse des données"; Atkins, Boman and Hendrickson 1998, "A Spectral Algorithm for Seriation
and the Consecutive Ones Problem".
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from commonweight.verdicts.bits import Values
from commonweight.verdicts.lines import Index, Mask
from commonweight.verdicts.support import divisors

_NOISE = (2.0, 3.0, 4.5)  # deviations of the noise by which values of a strand may differ, in the mean
_FILLED = 0.6  # part of the connections of a window that is found below noise
_EXACT = 1e-9  # coordinates that are equal but for rounding
_AXES = ((0,), (0, 1), (0, 2), (0, 3), (0, 4))  # of correspondence analysis, that may be those of a window
_STEPS = (1, 2, 3)  # strides that are tried
_GROUPS = 128  # of rows that have the same values, or of columns
_CLEAR = 3.0  # times that gaps between positions are wider than those within, where nothing else tells
_EVEN = 0.3  # the same where equally many units lie on each


def parts_of(mask: Mask) -> tuple[Index, Index]:
    """The number of the part of each row and column; what no connections lead between are parts."""
    n_out, n_in = mask.shape
    row, column = np.nonzero(mask)
    graph = coo_array((np.ones(len(row), dtype=bool), (row, column + n_out)), shape=(n_out + n_in, n_out + n_in))
    label = connected_components(graph, directed=False)[1]
    return label[:n_out], label[n_out:]


class Laid(NamedTuple):
    """Units as channels of positions.

    Attributes:
        channel: of each unit, shape (n,).
        place: where each is along each axis, shape (n, axes).
    """

    channel: Index
    place: Index

    def order(self) -> Index:
        """The units, channel by channel, row by row."""
        return np.lexsort((*self.place.T[::-1], self.channel))


def windows(values: Values, mask: Mask, tolerance: float) -> Iterator[tuple[Index, Index]]:
    """Orders of rows and columns in which a window slides along one or two axes; units of no connection left out.

    Args:
        values: shape (O, I).
        mask: what of it is a connection.
        tolerance: how far the values of one weight may be from their mean.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    values, mask = values[np.ix_(rows, columns)], mask[np.ix_(rows, columns)]
    noise = deviation(values[~mask])
    nears = [deviations * noise for deviations in _NOISE] if noise else [0.0, tolerance / 2]
    for found in (*(_tied(values, mask, near, tolerance) for near in nears), _untied(mask)):
        laid = list(found)
        yield from ((rows[one.order()], columns[other.order()]) for one, other in laid)
        if laid:
            return


def _tied(values: Values, mask: Mask, near: float, tolerance: float) -> Iterator[tuple[Laid, Laid]]:
    """Ways to lay out rows and columns in which what is as many places apart, between two channels, is one weight."""
    alike = _alike(values, mask, near), _alike(values.T, mask.T, near)
    groups = [len(profiles) for _, profiles in alike]
    if max(groups) > _GROUPS or all(n > size / 2 for n, size in zip(groups, mask.shape, strict=True)):
        return
    of_row, of_column = (_strands(profiles, near)[of] for of, profiles in alike)
    for rows, columns in _places(values, mask, (of_row, of_column), near):
        axes = rows.shape[1]
        for turn in product((1, -1), repeat=axes):
            one = _by_strands(of_row, rows * turn, (1,) * axes)
            for steps in product(_STEPS, repeat=axes) if one else ():
                other = _by_strands(of_column, columns * turn, steps)
                if one and other and _spread(values, _numbered(one, other, steps)) <= tolerance:
                    yield one, other


def _untied(mask: Mask) -> Iterator[tuple[Laid, Laid]]:
    """Ways to lay out rows and columns in which connections are those that are some numbers of places apart."""
    if max(part.max() for part in parts_of(mask)) > 0:
        return
    for rows, columns in _embedded(mask):
        axes = rows.shape[1]
        for turn in product((1, -1), repeat=axes):
            for one, other in product(_by_places(rows * turn), _by_places(columns * turn)):
                places = Laid(0 * one.channel, one.place), Laid(0 * other.channel, other.place)
                for steps in product(_STEPS, repeat=axes):
                    number = _numbered(*places, steps)
                    share = np.bincount(number.ravel(), mask.ravel()) / np.maximum(np.bincount(number.ravel()), 1)
                    if not ((share > 0) & (share < _FILLED)).any():
                        yield one, other
                        break


def _numbered(rows: Laid, columns: Laid, steps: Sequence[int]) -> Index:
    """A number for each cell: the same for those between two channels that are as many places apart."""
    apart = columns.place - (rows.place * steps)[:, None]
    apart -= apart.min((0, 1))
    sizes = [int(rows.channel.max()) + 1, int(columns.channel.max()) + 1, *(apart.max((0, 1)) + 1).tolist()]
    channels = np.broadcast_arrays(rows.channel[:, None], columns.channel)
    return np.ravel_multi_index((*channels, *np.moveaxis(apart, -1, 0)), sizes)


def deviation(noise: Values) -> float:
    """The standard deviation of normal numbers around 0 that may have some others among them: median |x| / 0.6745."""
    return float(np.median(np.abs(noise))) / 0.6745 if noise.size else 0.0


def _spread(values: Values, number: Index) -> float:
    """max |Δ| between values and the mean of those of the same number."""
    number, values = number.ravel(), values.ravel()
    mean = np.bincount(number, values) / np.maximum(np.bincount(number), 1)
    return float(np.abs(values - mean[number]).max())


# Which units use the same weights.


def _alike(values: Values, mask: Mask, near: float) -> tuple[Index, list[Values]]:
    """The group of each row, of rows that have the same values, and the values of each group, the longest first."""
    count = mask.sum(1)
    of, profiles = np.empty(len(values), dtype=np.int64), list[Values]()
    for k in np.unique(count)[::-1].tolist():
        lines = np.flatnonzero(count == k)
        own = np.sort(values[lines][mask[lines]].reshape(len(lines), k), axis=1)
        n, label = connected_components(cdist(own, own) <= near * np.sqrt(k), directed=False)
        of[lines] = len(profiles) + label
        profiles += [own[label == number].mean(0) for number in range(n)]
    return of, profiles


def _strands(profiles: list[Values], near: float) -> Index:
    """The strand of each group: those that have some of the values of another one are of its strand."""
    whole: list[Values] = []
    strand = []
    for profile in profiles:  # those of most values first
        best = near, len(whole)
        for number, other in enumerate(whole):
            if len(other) > len(profile):
                apart = (profile[:, None] - other) ** 2
                best = min(best, (float(np.sqrt(apart[linear_sum_assignment(apart)].mean())), number))
        strand.append(best[1])
        if best[1] == len(whole):
            whole.append(profile)
    return np.array(strand)


# Where units are.


def _embedded(mask: Mask) -> Iterator[tuple[Values, Values]]:
    """Coordinates of rows and columns along one axis or two, by correspondence analysis."""
    counts = mask.sum(1), mask.sum(0)
    row, _, column = np.linalg.svd(mask / np.sqrt(np.outer(*counts)), full_matrices=False)
    places = row[:, 1:] / np.sqrt(counts[0])[:, None], column[1:].T / np.sqrt(counts[1])[:, None]
    for axes in _AXES:
        if axes[-1] < places[0].shape[1]:
            yield _upright(places[0][:, axes], places[1][:, axes])


def _upright(rows: Values, columns: Values) -> tuple[Values, Values]:
    """The same points, turned so that the sides of the rectangle that the rows fill run along the axes.

    Of axes that are as long as each other, correspondence analysis gives any two mixtures.
    """
    if rows.shape[1] == 1:
        return rows, columns
    corner = rows[np.argmax(((rows - rows.mean(0)) ** 2).sum(1))]
    opposite = rows[np.argmax(((rows - corner) ** 2).sum(1))]
    x, y = opposite - corner
    third = rows[np.argmax(np.abs((rows - corner) @ (-y, x)))]
    x, y = (third - corner) / max(float(np.linalg.norm(third - corner)), _EXACT)
    turn = np.array([[x, -y], [y, x]])
    return rows @ turn, columns @ turn


def _places(values: Values, mask: Mask, strands: tuple[Index, Index], near: float) -> Iterator[tuple[Values, Values]]:
    """Coordinates of rows and columns, of windows that share units or of such that do not."""
    of = parts_of(mask)
    if of[0].max() == 0:
        yield from _embedded(mask)
        return
    apart = _parts_apart(of[1], strands[1])
    if apart is None:
        return
    yield apart[of[0]], apart[of[1]]
    if apart.shape[1] == 1 and (along := _along_parts(values, mask, of, strands, near)):
        yield np.column_stack([apart[of[0]], along[0]]), np.column_stack([apart[of[1]], along[1]])


def _parts_apart(part: Index, strand: Index) -> Values | None:
    """Coordinates of parts, shape (parts, 1 or 2): those at an edge, which lack some strands, first or last.

    All others are as good as each other.
    """
    n = int(part.max()) + 1
    kinds = [frozenset(strand[part == number].tolist()) for number in range(n)]
    whole = max(kinds, key=len)
    axes = _sides(kinds, whole)
    if not axes:
        return np.arange(float(n))[:, None]
    if len(axes) > 2 or any(not kind <= whole for kind in kinds):
        return None
    # At the first side of an axis (-1), at its last one (1), or between.
    at = np.array([[(kind <= last) - (kind <= first) for first, last in axes] for kind in kinds])
    across = (at == -1).sum(0).tolist()  # as many parts as the other axis is long
    sizes = [across[1], across[0]] if len(axes) == 2 else [n // across[0], across[0]]
    if prod(sizes) != n:
        return None
    cells = np.array(list(product(*map(range, sizes))))
    ends = [(cells[:, axis] == size - 1) * bool(axes[axis][1]) for axis, size in enumerate(sizes[: len(axes)])]
    wanted = np.column_stack(ends).astype(np.int64) - (cells[:, : len(axes)] == 0)
    ours, theirs = np.lexsort(at.T), np.lexsort(wanted.T)
    if not np.array_equal(at[ours], wanted[theirs]):
        return None
    apart = np.empty(cells.shape)
    apart[ours] = cells[theirs]
    return apart[:, :1] if sizes[1] == 1 else apart


def _sides(kinds: list[frozenset[int]], whole: frozenset[int]) -> list[tuple[frozenset[int], frozenset[int]]]:
    """For each axis along which parts lie, the strands of those at its first side, and at its last one if it has one.

    The two sides of an axis have no strand in common.
    """
    lesser = set(kinds) - {whole}
    left = sorted((one for one in lesser if not any(one < other for other in lesser)), key=sorted)
    axes = []
    while left:
        first = left.pop(0)
        last = next((side for side in left if not side & first), frozenset[int]())
        left = [side for side in left if side != last]
        axes.append((first, last))
    return axes


def _along_parts(
    values: Values, mask: Mask, of: tuple[Index, Index], strands: tuple[Index, Index], near: float
) -> tuple[Values, Values] | None:
    """Coordinates within each part, by correspondence analysis, turned so that all parts have the same ties."""
    along = np.zeros(len(of[0])), np.zeros(len(of[1]))
    known: dict[tuple[int, int, int], float] = {}  # of a strand of rows and one of columns, how many places apart
    for number in np.argsort(-np.bincount(of[0], weights=mask.sum(1)), kind="stable").tolist():
        units = np.flatnonzero(of[0] == number), np.flatnonzero(of[1] == number)
        part = mask[np.ix_(*units)]
        if min(part.shape) < 2:
            return None
        places = [place[:, 0] for place in next(_embedded(part))]
        scale = np.abs(places[0]).max()
        row, column = np.nonzero(part)
        weights = values[np.ix_(*units)][row, column].tolist()
        best = -1, places, [(0, 0, 0)]
        for turned in (places, [-place for place in places]):
            rank = [_ranks(place, strand[some]) for place, strand, some in zip(turned, strands, units, strict=True)]
            step = rank[1][column] - rank[0][row]
            keys = np.column_stack([strands[0][units[0]][row], strands[1][units[1]][column], step]).tolist()
            ties = [(int(a), int(b), int(c)) for a, b, c in keys]
            agree = sum(abs(known.get(tie, np.inf) - w) <= 2 * near for tie, w in zip(ties, weights, strict=True))
            best = max(best, (agree, turned, ties), key=lambda one: one[0])
        known = dict(zip(best[2], weights, strict=True)) | known
        for place, some, found in zip(along, units, best[1], strict=True):
            place[some] = found / scale
    return along


def _ranks(place: Values, strand: Index) -> Index:
    """The rank of each place among those of its strand, equal ones alike."""
    rank = np.empty(len(place), dtype=np.int64)
    for number in np.unique(strand):
        some = strand == number
        rank[some] = np.unique(place[some].round(7), return_inverse=True)[1]
    return rank


# From strands and coordinates to channels and positions.


def _by_strands(strand: Index, places: Values, steps: Sequence[int]) -> Laid | None:
    """Units whose strands are the channels at each step of a stride; None if they do not fill a grid."""
    n, axes = int(strand.max()) + 1, places.shape[1]
    if n % prod(steps):
        return None
    grid, middles = np.zeros(places.shape, dtype=np.int64), []
    for number in range(n):
        units = np.flatnonzero(strand == number)
        levels = [level for x in places[units].T if (level := _even_levels(x)) is not None]
        if len(levels) < axes or prod(int(level.max()) + 1 for level in levels) != len(units):
            return None
        grid[units] = np.column_stack(levels)
        along = zip(levels, places[units].T, strict=True)
        middles.append([np.bincount(level, x) / np.bincount(level) for level, x in along])
    residue = np.zeros((n, axes), dtype=np.int64)
    for axis, step in enumerate(steps):
        lengths = [len(middle[axis]) for middle in middles]
        if max(lengths) > min(lengths) + (step > 1):
            return None
        middle = [float(middle[axis][: min(lengths)].mean()) for middle in middles]
        residue[np.argsort(np.round(middle, 9), kind="stable"), axis] = np.repeat(np.arange(step), n // step)
    phase = np.ravel_multi_index(residue.T, steps)
    if len(set(np.bincount(phase, minlength=prod(steps)).tolist())) > 1:
        return None
    channel = np.empty(n, dtype=np.int64)
    channel[np.argsort(phase, kind="stable")] = np.tile(np.arange(n // prod(steps)), prod(steps))
    return Laid(channel[strand], grid * steps + residue[strand])


def _even_levels(x: Values) -> Index | None:
    """The number of the level of each coordinate, if equally many lie on each of two or more clear levels."""
    order, best = np.argsort(x, kind="stable"), (_EVEN, 0)
    for n in divisors(len(x))[1:]:
        level = x[order].reshape(n, -1)
        between, within = (level[1:, 0] - level[:-1, -1]).min(), (level[:, -1] - level[:, 0]).max()
        best = max(best, (float(between / (within + 0.02 * np.ptp(x) / n + _EXACT)), n))
    if best[1] == 0:
        return None
    numbers = np.empty(len(x), dtype=np.int64)
    numbers[order] = np.arange(len(x)) // (len(x) // best[1])
    return numbers


def _by_places(places: Values) -> Iterator[Laid]:
    """Units of which those at one place are as good as each other, for each number of channels."""
    n, axes = places.shape
    levels = [_clear_levels(x) for x in places.T]
    counts = [np.bincount(level) for level in levels]
    cell = np.ravel_multi_index(levels, [len(count) for count in counts])
    in_cell = np.bincount(cell, minlength=prod(len(count) for count in counts))
    for channels in reversed(divisors(int(np.gcd.reduce(in_cell)))):
        for height in divisors(n // channels):
            sizes = [height, n // channels // height][-axes:]
            if axes == 1 and height > 1:
                break
            # How many positions have the connections of this level: at an edge, a stride leaves some alike.
            alike = [count * size // n for count, size in zip(counts, sizes, strict=True)]
            if np.array_equal(channels * reduce(np.multiply.outer, alike).ravel(), in_cell):
                yield _filled(cell, alike, sizes, channels)


def _filled(cell: Index, alike: Sequence[Index], sizes: Sequence[int], channels: int) -> Laid:
    """Units that fill the positions of their cells, each with all channels."""
    starts = [np.cumsum(some) - some for some in alike]
    position, channel = np.empty(len(cell), dtype=np.int64), np.empty(len(cell), dtype=np.int64)
    for number in np.unique(cell).tolist():
        at = np.unravel_index(number, [len(some) for some in alike])
        axes = (np.arange(start[k], start[k] + some[k]) for start, some, k in zip(starts, alike, at, strict=True))
        inside = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), sizes).ravel()
        position[cell == number] = np.tile(inside, channels)
        channel[cell == number] = np.repeat(np.arange(channels), len(inside))
    return Laid(channel, np.column_stack(np.unravel_index(position, sizes)))


def _clear_levels(x: Values) -> Index:
    """The number of the level of each coordinate, where gaps between levels are clearly wider than those within."""
    order = np.argsort(x)
    gaps = np.diff(x[order])
    widest = np.sort(gaps)[::-1]
    ratio = widest[:-1] / (widest[1:] + 1e-6 * np.ptp(x))
    k = int(np.argmax(ratio)) if len(ratio) else 0
    least = widest[k] / 2 if len(ratio) and ratio[k] > _CLEAR else 0.0
    levels = np.empty(len(x), dtype=np.int64)
    levels[order] = np.cumsum(np.append(0, gaps > least))
    return levels
