"""Verification and one-shot recognition, against counting by hand."""

import numpy as np
import pytest
import torch

from commonweight.measure.verification import one_shot_accuracy, verification_auc


def case(seed=0, n_classes=6, n_each=4):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n_classes).repeat_interleave(n_each)
    return torch.rand(len(y), len(y), generator=generator), y


def test_the_area_is_the_share_of_pairs_in_order():
    distance, y = case()
    distance = (8 * distance).round()  # some are tied
    off = [(i, j) for i in range(len(y)) for j in range(len(y)) if i != j]
    same = np.array([distance[i, j] for i, j in off if y[i] == y[j]])
    other = np.array([distance[i, j] for i, j in off if y[i] != y[j]])
    by_hand = np.mean((same[:, None] < other) + 0.5 * (same[:, None] == other))
    assert verification_auc(distance, y) == pytest.approx(by_hand)


@pytest.mark.parametrize("ways", [2, 5])
def test_meaningless_distances_are_right_by_chance_and_good_ones_always(ways):
    distance, y = case(n_classes=20, n_each=10)
    assert one_shot_accuracy(distance, y, ways=ways, trials=4000) == pytest.approx(1 / ways, abs=0.03)
    assert one_shot_accuracy((y[:, None] != y).float(), y, ways=ways) == 1
    assert one_shot_accuracy((y[:, None] == y).float(), y, ways=ways) == 0


def test_a_seed_draws_the_same_trials():
    distance, y = case()
    one, same, other = (one_shot_accuracy(distance, y, trials=50, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
