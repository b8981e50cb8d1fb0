"""The split: disjoint, complete, in proportion, and the same for the same seed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from commonweight import data
from commonweight.data.split import apportion, three_parts

sizes = st.lists(st.integers(3, 200), min_size=1, max_size=12).filter(lambda found: sum(found) >= 10)
seeds = st.integers(0, 2**32 - 1)


def shuffled_classes(sizes, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


@given(sizes=sizes, seed=seeds, official=st.integers(0, 60))
def test_parts_are_disjoint_complete_ascending_and_show_every_class(sizes, seed, official):
    strata = np.concatenate([shuffled_classes(sizes), np.zeros(official, dtype=np.int64)])
    parts = three_parts(strata, seed, official)
    joined = torch.cat(list(parts))
    assert torch.equal(joined.sort().values, torch.arange(len(strata)))
    for part in parts:
        assert part.dtype == torch.int64
        assert bool((part.diff() > 0).all())
    for part in parts[: 2 if official else 3]:
        assert set(strata[part]) == set(range(len(sizes)))


@given(sizes=sizes, seed=seeds)
def test_each_class_is_in_proportion_to_within_two_samples(sizes, seed):
    strata = shuffled_classes(sizes)
    train, validation, test = (np.bincount(strata[part], minlength=len(sizes)) for part in three_parts(strata, seed))
    assert np.all(np.abs(train - 0.7 * np.array(sizes)) <= 2)
    assert np.all(np.abs(validation - 0.15 * np.array(sizes)) <= 2)
    assert np.all(np.abs(test - 0.15 * np.array(sizes)) <= 1)


@given(sizes=sizes, seats=st.integers(1, 30))
def test_apportioned_seats_are_the_share_rounded_down_or_up_or_the_minimum_of_one(sizes, seats):
    counts = apportion(np.array(sizes), seats)
    quota = np.array(sizes) * seats / sum(sizes)
    assert np.all((counts == 1) | ((counts >= np.floor(quota - 1e-9)) & (counts <= np.ceil(quota + 1e-9))))
    assert counts.min() >= 1
    if quota.min() >= 1:
        assert counts.sum() == seats


def test_parts_counted_by_hand():
    # 40 people with 10 pictures: 15 % of 400 are 60. The test takes 2 of the first twenty people, 1 of the others,
    # validation the other way round, so that 7 of each are left.
    strata = np.repeat(np.arange(40), 10)
    train, validation, test = (np.bincount(strata[part]).tolist() for part in three_parts(strata, seed=3))
    assert train == [7] * 40
    assert validation == [1] * 20 + [2] * 20
    assert test == [2] * 20 + [1] * 20


def test_the_smallest_class_gives_one_sample_to_each_part():
    strata = np.repeat([0, 1], [3, 40])
    assert [(strata[part] == 0).sum() for part in three_parts(strata, seed=0)] == [1, 1, 1]


def test_the_seed_alone_decides():
    strata = shuffled_classes([50, 60])
    first, again, other = (three_parts(strata, seed) for seed in (7, 7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.test, other.test)


def test_the_global_generators_are_left_alone():
    torch.manual_seed(0)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    data.load("moons", seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize(("n_open", "n_validation"), [(100, 15), (33_333, 5_000), (40_000, 5_000)])
def test_validation_beside_an_official_test_part_is_capped_at_5000(n_open, n_validation):
    strata = np.arange(n_open + 50) % 2
    train, validation, test = three_parts(strata, seed=0, official_test=50)
    assert (len(train), len(validation)) == (n_open - n_validation, n_validation)
    assert torch.equal(test, torch.arange(n_open, n_open + 50))


def test_regression_draws_uniformly():
    parts = [three_parts(np.zeros(20, dtype=np.int64), seed).test for seed in range(400)]
    hits = torch.bincount(torch.cat(parts), minlength=20)
    assert hits.sum() == 400 * 3
    # Each sample is drawn with probability 3/20: 60 times, standard deviation sqrt(400 · 0.15 · 0.85) = 7.1.
    assert hits.min() > 60 - 5 * 7.1
    assert hits.max() < 60 + 5 * 7.1
