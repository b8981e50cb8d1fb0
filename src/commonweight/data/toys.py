"""Small problems in the plane, drawn by a seed, on which one can see what a network does."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from commonweight.data.dataset import Samples

N_SAMPLES = 1_000

Points = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Coordinates of shape (N, 2) and class indices of shape (N,)."""


def read(name: str, seed: int) -> Samples:
    """Draw one of `TOYS`, 1,000 points of two classes with the coordinates x1 and x2.

    >>> sample = read("spirals", seed=0)
    >>> tuple(sample.x.shape), sample.classes
    ((1000, 2), ('0', '1'))
    """
    x, y = TOYS[name](seed)
    return Samples(
        name=name,
        task="classification",
        x=torch.from_numpy(x.astype(np.float32)),
        y=torch.from_numpy(y.astype(np.int64)),
        classes=("0", "1"),
        features=("x1", "x2"),
    )


def xor(seed: int) -> Points:
    """Four normal clusters (standard deviation 0.3) at (±1, ±1); class 1 where the signs of the centre differ."""
    generator = np.random.default_rng(seed)
    sides = np.tile([[-1, -1], [-1, 1], [1, -1], [1, 1]], (N_SAMPLES // 4, 1))
    x = sides + generator.normal(scale=0.3, size=sides.shape)
    return x, (sides[:, 0] != sides[:, 1]).astype(np.int64)


def spirals(seed: int) -> Points:
    """Two arms of one and three quarter turns, radius from 0.1 to 1, the second arm turned by 180°; noise 0.02.

    After Lang and Witbrock (1988), "Learning to tell two spirals apart", with random instead of even spacing.
    """
    generator = np.random.default_rng(seed)
    y = np.tile([0, 1], N_SAMPLES // 2)
    along = np.sqrt(generator.uniform(size=N_SAMPLES))
    angle = 3.5 * np.pi * along + np.pi * y
    arm = (0.1 + 0.9 * along)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return arm + generator.normal(scale=0.02, size=arm.shape), y


def circles(seed: int) -> Points:
    """A circle inside another of twice its radius, noise 0.1 (scikit-learn's `make_circles`)."""
    from sklearn.datasets import make_circles

    x, y = make_circles(N_SAMPLES, noise=0.1, factor=0.5, random_state=seed)
    return x, y


def moons(seed: int) -> Points:
    """Two half circles that reach into each other, noise 0.15 (scikit-learn's `make_moons`)."""
    from sklearn.datasets import make_moons

    x, y = make_moons(N_SAMPLES, noise=0.15, random_state=seed)
    return x, y


TOYS: dict[str, Callable[[int], Points]] = {"xor": xor, "circles": circles, "spirals": spirals, "moons": moons}
