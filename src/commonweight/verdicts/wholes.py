"""Whole tensors that are equal or close, up to transpose, flips and sign.

Equal bits have equal hashes. For the others, some elements of each tensor, at places drawn once for each shape, are a
point in space, and so are those of its transpose, its reversed and its negative. Tensors that are close are close
there, and a tree finds the nearest points, so that never all pairs are compared; what it finds is then compared whole.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from commonweight.notation import Equation
from commonweight.transforms import Flip, Minus, Transform, Transpose
from commonweight.verdicts.bits import Values, Weights, difference

_PLACES = 32  # elements that make a tensor's point
_NEAREST = 8  # neighbours of a point that are looked at
_TRIES = 4  # of them, how many are compared whole
_FLIPPED = 5  # axes of a tensor that is sought reversed, at most: there are as many reversals as subsets of them
_ROUNDS = 4  # more than `_NEAREST` close tensors find each other in several

Key = tuple[torch.dtype, tuple[int, ...]]
Turn = tuple[Transform, ...]


@dataclass(frozen=True)
class Found:
    """An equation that gives a tensor as a whole, and max |Δ| between its two sides."""

    equation: Equation
    error: float


def equal_wholes(weights: Weights) -> list[Found]:
    """Every tensor that is another one of a lower rank: its equal, or the nearest by the fewest transforms."""
    names = sorted(weights.varied, key=weights.rank)
    first: dict[str, str] = {}
    found = []
    for name in names:
        owner = first.setdefault(weights.contents[name].sha256, name)
        if owner != name:
            found.append(Found(Equation(name, owner), 0.0))
    owners = list(first.values())
    for _ in range(_ROUNDS):
        new = list(_close(weights, owners))
        if not new:
            break
        found += new
        aliases = {one.equation.alias for one in new}
        owners = [name for name in owners if name not in aliases]
    return to_last_owner(weights, found)


def to_last_owner(weights: Weights, found: list[Found]) -> list[Found]:
    """The same, but no source is an alias itself; one that is further off than close is left out."""
    of_alias = {one.equation.alias: one for one in found}
    whole = []
    for one in found:
        equation, steps = one.equation, 0
        while equation.source in of_alias:
            equation, steps = equation.after(of_alias[equation.source].equation), steps + 1
        error = one.error if not steps else compare(weights, equation)
        if error is not None:
            whole.append(Found(equation, error))
    return whole


def compare(weights: Weights, equation: Equation) -> float | None:
    """max |Δ| between the sides of an equation, None if that is more than close."""
    alias, source = weights[equation.alias], weights[equation.source].turned(equation.transforms)
    return difference(alias, source, Minus() in equation.transforms, weights.tolerance(equation.alias))


def _close(weights: Weights, owners: list[str]) -> Iterator[Found]:
    alike: defaultdict[Key, list[str]] = defaultdict(list)
    for name in owners:
        alike[weights.dtypes[name], weights.shapes[name]].append(name)
    spaces = {key: _Space(weights, names, key[1]) for key, names in alike.items()}
    aliases: set[str] = set()
    for (dtype, shape), names in alike.items():
        targets = dict.fromkeys((shape, shape[::-1])) if len(shape) == 2 else {shape: None}
        near = [space for target in targets if (space := spaces.get((dtype, target)))]
        if sum(len(space.names) for space in near) < 2:
            continue
        for name in names:
            tried = 0
            for source, turn in sorted(_neighbours(weights, name, near), key=lambda pair: len(pair[1])):
                if source in aliases or weights.rank(source) >= weights.rank(name):
                    continue
                equation = Equation(name, source, turn)
                error = compare(weights, equation)
                tried += 1
                if error is not None:
                    aliases.add(name)
                    yield Found(equation, error)
                if error is not None or tried == _TRIES:
                    break


class _Space:
    """Tensors of one shape as points, to be searched by the nearest."""

    def __init__(self, weights: Weights, names: list[str], shape: tuple[int, ...]) -> None:
        from scipy.spatial import cKDTree

        self.names, self.shape = names, shape
        draw = np.random.default_rng(0)
        self.places = tuple(draw.integers(size, size=_PLACES) for size in shape)
        self.tree = cKDTree(np.stack([weights[name].values(self.places) for name in names]))

    def nearest(self, points: Values, reach: float) -> list[list[str]]:
        """For each point the nearest tensors that have no element further off."""
        count = min(_NEAREST + 1, len(self.names))
        bound = np.nextafter(reach, np.inf)
        found: NDArray[Any] = self.tree.query(points, range(1, count + 1), p=np.inf, distance_upper_bound=bound)[1]
        return [[self.names[place] for place in places if place < len(self.names)] for places in found.tolist()]


def _neighbours(weights: Weights, name: str, spaces: Iterable[_Space]) -> Iterator[tuple[str, Turn]]:
    """Tensors that could be the source of this one, and by which transforms, judged by the points alone."""
    alias = weights[name]
    for space in spaces:
        turns, points = [], []
        for turn in _turns(alias.shape):
            source = alias.turned(turn[::-1])  # each transform is its own inverse
            if source.shape == space.shape:
                values = source.values(space.places)
                turns.append(turn)
                points.append(-values if Minus() in turn else values)
        if points:
            for turn, sources in zip(turns, space.nearest(np.stack(points), weights.tolerance(name)), strict=True):
                yield from ((source, turn) for source in sources if source != name)


def _turns(shape: tuple[int, ...]) -> list[Turn]:
    """The transforms that may lead to a tensor of this shape."""
    transposes: list[Turn] = [(), (Transpose(),)] if len(shape) == 2 else [()]
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    axes = axes if len(axes) <= _FLIPPED else []
    flips: list[Turn] = [(Flip(some),) for count in range(1, len(axes) + 1) for some in combinations(axes, count)]
    signs: list[Turn] = [(), (Minus(),)]
    return [(*a, *b, *c) for a, b, c in product(transposes, [(), *flips], signs)]
