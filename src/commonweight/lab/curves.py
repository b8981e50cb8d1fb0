"""Curves of any length in bounded memory: when they are full, every second point goes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 256


class Curves:
    """Several numbers over the steps, at most `MOST_POINTS` points of them, evenly spread over the whole training.

    Args:
        n: numbers at each point.
        every: steps between two points, at first.

    >>> curves = Curves(1, every=10)
    >>> for step in range(100_000):
    ...     if curves.due(step):
    ...         curves.add(step, [0.0])
    >>> table = curves.table()
    >>> len(table) <= MOST_POINTS, bool(table[-1, 0] > 99_000)
    (True, True)
    """

    def __init__(self, n: int, every: int) -> None:
        self.n, self.every, self.count = n, every, 0
        self.points = np.empty((MOST_POINTS, 1 + n), dtype=np.float32)

    def add(self, step: int, values: Sequence[float]) -> None:
        """The point at a step that is due."""
        self.points[self.count] = step, *values
        self.count += 1
        if self.count == MOST_POINTS:
            self.count //= 2
            self.points[: self.count] = self.points[::2].copy()
            self.every *= 2

    def due(self, step: int) -> bool:
        """Whether a point is wanted at this step: 0 is the first."""
        return step % self.every == 0

    def table(self) -> NDArray[np.float32]:
        """Shape (points, 1 + n): the step, then the numbers."""
        return self.points[: self.count].copy()
