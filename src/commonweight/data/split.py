"""Three parts of a data set, drawn by a seed: one to learn from, one to choose by, one to be judged on."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

VALIDATION_FRACTION = 0.15
TEST_FRACTION = 0.15
OFFICIAL_VALIDATION = 5_000
"""At most so many samples of an official training part are set aside for validation."""


class Split(NamedTuple):
    """Ascending int64 indices of the three parts: disjoint, and together every sample."""

    train: Tensor
    validation: Tensor
    test: Tensor


def three_parts(strata: NDArray[np.int64], seed: int, official_test: int = 0) -> Split:
    """Draw 70 % for training, 15 % for validation and 15 % for the test, each class in proportion.

    With an official test part (the last `official_test` samples) that part stays the test; validation is the smaller of
    5,000 samples and 15 % of the others. A class of three samples or more has one in every part that is drawn.

    Args:
        strata: shape (N,), the class index of each sample; all zero for regression, which makes the draw uniform.
        seed: of the draw; the same seed gives the same parts.
        official_test: number of last samples that are the published test part, 0 for none.

    >>> [len(part) for part in three_parts(np.repeat([0, 1], [60, 40]), seed=0)]
    [70, 15, 15]
    """
    strata_open = strata[: len(strata) - official_test]
    sizes = np.bincount(strata_open)
    n_validation = round(VALIDATION_FRACTION * len(strata_open))
    if official_test:
        test_sizes = np.zeros_like(sizes)
        n_validation = min(OFFICIAL_VALIDATION, n_validation)
    else:
        test_sizes = apportion(sizes, round(TEST_FRACTION * len(strata_open)))
    validation_sizes = apportion(sizes - test_sizes, n_validation)

    rank = _rank_in_class(strata_open, seed)
    is_test = rank < test_sizes[strata_open]
    is_validation = ~is_test & (rank < (test_sizes + validation_sizes)[strata_open])
    is_test = np.concatenate([is_test, np.ones(official_test, dtype=bool)])
    is_validation = np.concatenate([is_validation, np.zeros(official_test, dtype=bool)])
    parts = (~is_test & ~is_validation, is_validation, is_test)
    return Split(*(torch.from_numpy(np.flatnonzero(part)) for part in parts))


def apportion(sizes: NDArray[np.int64], seats: int) -> NDArray[np.int64]:
    """Take `seats` samples from classes of the given sizes, in proportion: Hamilton's method of largest remainders.

    Each class, of two samples or more, gives its share rounded down or up, but at least one; that minimum alone can
    make the sum exceed `seats`.

    >>> apportion(np.array([50, 30, 20]), 15).tolist()
    [8, 4, 3]
    """
    quota = sizes * (seats / sizes.sum())
    shares = np.floor(quota).astype(np.int64)
    largest_first = np.argsort(shares - quota, kind="stable")
    shares[largest_first[: seats - shares.sum()]] += 1
    at_least_one: NDArray[np.int64] = np.maximum(shares, 1)
    return at_least_one


def _rank_in_class(strata: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The place of each sample in a random order of its class, shape (N,): 0 to the size of the class - 1."""
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    grouped = shuffled[np.argsort(strata[shuffled], kind="stable")]
    sizes = np.bincount(strata)
    rank = np.empty(len(strata), dtype=np.int64)
    rank[grouped] = np.arange(len(strata)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank
