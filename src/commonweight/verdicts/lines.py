"""Rows and columns of many tensors, each with a number that equal or close ones have in common.

One pass over a tensor gives each line (a row, of whatever axes behind the first, or a column of a matrix) a hash,
linear in its bits so that rows and columns come out of the same blocks, and its projections on a few random directions
of signs. Equal lines have equal hashes. Lines that are close have close projections, which a tree finds; the lines
themselves are then compared. So the cost is near-linear in the elements, and n log n in the lines.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commonweight.verdicts.bits import EVIDENCE, Bits, Values, Weights, blocks

Index = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Points = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LONGEST = 1 << 20  # elements of a line that is looked at
_MOST = 1 << 21  # lines of a tensor that are looked at
_BLOCK = 1 << 18
_DIRECTIONS = 12
_SEARCHED = 8  # of them, how many the tree searches by
_REACH = 2.0  # how far a projection of a line that is close may be off, in tolerances: a sum of signs is near-normal
_ROUNDS = 3
_PAIRS = 1 << 22  # elements of pairs of lines that are compared together


class Bundle(NamedTuple):
    """All rows (axis 0) or all columns (axis 1) of a tensor."""

    name: str
    axis: int


@dataclass(frozen=True)
class Lines:
    """The lines of one length and type, those of one side after another.

    Attributes:
        sides: with the place of the first line of each, and one place more at the end.
        constant: all elements of the line are equal.
        evident: they are not, and enough of them are not zero for the line to be known by them.
        projections: of each line, its point.
        labels: equal for lines that are equal or close, filled by `labelled`.
    """

    sides: list[Bundle]
    starts: Index
    constant: Mask
    evident: Mask
    projections: Points
    labels: Index

    @cached_property
    def of_side(self) -> Index:
        """The number of the side of each line."""
        return np.repeat(np.arange(len(self.sides)), np.diff(self.starts))

    def part(self, side: int) -> slice:
        return slice(int(self.starts[side]), int(self.starts[side + 1]))


def lines(weights: Weights, names: Iterable[str]) -> list[Lines]:
    """The lines of these tensors, grouped by what can be equal, labelled; one side alone in its group is there too."""
    found: defaultdict[tuple[Any, ...], list[tuple[Bundle, _Told]]] = defaultdict(list)
    for name in sorted(names, key=weights.rank):
        shape, dtype = weights.shapes[name], weights.dtypes[name]
        bits = weights[name]
        told = _tell(bits)
        keys = [(dtype, shape[1:] if len(shape) > 1 else shape), (dtype, shape[:1])]
        for axis, side in told.items():
            found[keys[axis]].append((Bundle(name, axis), side))
    return [_labelled(weights, group) for group in found.values()]


class _Told(NamedTuple):
    hashes: Hashes
    constant: Mask
    evident: Mask
    projections: Points


def _tell(bits: Bits) -> dict[int, _Told]:
    """What one pass over a tensor says of its rows and, if it is a matrix, of its columns."""
    matrix = bits.matrix()
    sizes = matrix.shape
    fits = [EVIDENCE <= sizes[1 - axis] <= _LONGEST and sizes[axis] <= _MOST for axis in (0, 1)]
    axes = [axis for axis in (0, 1) if fits[axis] and (axis == 0 or len(bits.shape) == 2)]
    if not axes:
        return {}
    longest = max(sizes[1 - axis] for axis in axes)
    factors, signs = _random(longest)
    hashes = {axis: np.zeros(sizes[axis], dtype=np.uint64) for axis in axes}
    nonzero = {axis: np.zeros(sizes[axis], dtype=np.int64) for axis in axes}
    projections = {axis: np.zeros((sizes[axis], _DIRECTIONS), dtype=np.float32) for axis in axes}
    for block in blocks(sizes, _BLOCK):
        part = (*block, slice(None), slice(None))[:2]
        raw = matrix[part]
        numbers, values = raw.astype(np.uint64), bits.decode(raw).astype(np.float32)
        for axis in axes:
            along = part[1 - axis]
            factor = factors[: sizes[1 - axis]][along]
            factor = factor[:, None] if axis else factor
            hashes[axis][part[axis]] += (numbers * factor).sum(1 - axis, dtype=np.uint64)
            nonzero[axis][part[axis]] += np.count_nonzero(values, axis=1 - axis)
            with np.errstate(over="ignore", invalid="ignore"):  # infinite ones are left out of the search
                projections[axis][part[axis]] += (values.T if axis else values) @ signs[: sizes[1 - axis]][along]
    told = {}
    for axis in axes:
        first = (matrix[0] if axis else matrix[:, 0]).astype(np.uint64)
        constant = hashes[axis] == first * factors[: sizes[1 - axis]].sum(dtype=np.uint64)
        evident = ~constant & (nonzero[axis] >= EVIDENCE)
        told[axis] = _Told(hashes[axis], constant, evident, projections[axis] / sizes[1 - axis] ** 0.5)
    return told


def _random(length: int) -> tuple[Hashes, Points]:
    """Odd factors for the hash, and signs for the projections; those of a shorter line are the first of a longer."""
    factors = np.random.default_rng(1).integers(1 << 63, size=length, dtype=np.uint64)
    signs = np.random.default_rng(2).integers(2, size=(length, _DIRECTIONS), dtype=np.int8)
    return factors * np.uint64(2) + np.uint64(1), (signs * 2 - 1).astype(np.float32)


def _labelled(weights: Weights, group: list[tuple[Bundle, _Told]]) -> Lines:
    sides = [side for side, _ in group]
    hashes, constant, evident, projections = (
        np.concatenate(parts) for parts in zip(*(told for _, told in group), strict=True)
    )
    counts = [len(told.hashes) for _, told in group]
    _, first, labels = np.unique(hashes, return_index=True, return_inverse=True)
    table = Lines(sides, np.cumsum([0, *counts]), constant, evident, projections, labels.astype(np.int64))
    reach = np.repeat([weights.tolerance(side.name) for side in sides], counts)
    usable = evident[first] & np.isfinite(table.projections[first]).all(1) & (reach[first] > 0)
    places = np.flatnonzero(usable)  # labels, each for its first line
    merged = np.arange(len(first))
    for _ in range(_ROUNDS):
        pairs = _near(table.projections[first[places]], reach[first[places]])
        pairs = places[pairs]
        pairs = pairs[_are_close(weights, table, first[pairs], reach)]
        if not len(pairs):
            break
        merged = _joined(merged, pairs)
        places = places[merged[places] == places]
    table.labels[:] = merged[table.labels]
    return table


def _near(points: Points, tolerance: Values) -> Index:
    """Pairs of points, each with the nearest one, that are near enough to be compared."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return np.empty((0, 2), dtype=np.int64)
    reach = _REACH * tolerance
    tree = cKDTree(points[:, :_SEARCHED], balanced_tree=False)  # a balanced one is slow to build on equal coordinates
    nearest = np.full(len(points), len(points))
    octave = np.floor(np.log2(reach))
    for band in np.unique(octave):  # a wide reach among lines of a small scale would find them all
        some = np.flatnonzero(octave == band)
        bound = float(reach[some].max())
        found = tree.query(points[some, :_SEARCHED], [1, 2], p=np.inf, distance_upper_bound=bound)[1]
        nearest[some] = np.where(found[:, 0] == some, found[:, 1], found[:, 0])  # but not the point itself
    one = np.flatnonzero(nearest < len(points))
    other = nearest[one]
    near = (np.abs(points[one] - points[other]) <= reach[one][:, None]).all(1)
    return np.unique(np.sort(np.stack([one[near], other[near]], 1), axis=1), axis=0)


def _are_close(weights: Weights, table: Lines, pairs: Index, tolerance: Values) -> Mask:
    """Which pairs of lines have no element that differs by more than is close."""
    close = np.zeros(len(pairs), dtype=bool)
    sides = table.of_side[pairs]
    for combination in np.unique(sides, axis=0):
        chosen = np.flatnonzero((sides == combination).all(1))
        numbers = pairs[chosen] - table.starts[combination]
        one, other = (table.sides[side] for side in combination)
        errors = line_errors(weights, one, numbers[:, 0], other, numbers[:, 1])
        close[chosen] = errors <= np.minimum(tolerance[pairs[chosen, 0]], tolerance[pairs[chosen, 1]])
    return close


def line_errors(weights: Weights, one: Bundle, numbers: Index, other: Bundle, others: Index) -> Values:
    """max |Δ| between lines of one side and lines of another (or the same), pair by pair."""
    pair = [(weights[side.name], side.axis) for side in (one, other)]
    views = [(bits, bits.array.T if axis else bits.matrix()) for bits, axis in pair]
    errors = np.zeros(len(numbers))
    step = max(1, _PAIRS // prod(views[0][1].shape[1:]))
    for start in range(0, len(numbers), step):
        some = slice(start, start + step)
        values = [bits.decode(view[n[some]]) for (bits, view), n in zip(views, (numbers, others), strict=True)]
        errors[some] = np.abs(values[0] - values[1]).max(1)
    return errors


def _joined(merged: Index, pairs: Index) -> Index:
    """Labels after these pairs of labels became one; the smallest of each set stays."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(len(merged),) * 2)
    part = connected_components(graph, directed=False)[1]
    smallest = np.full(int(part.max()) + 1, len(merged))
    np.minimum.at(smallest, part, np.arange(len(merged)))
    return np.asarray(smallest[part][merged], dtype=np.int64)
