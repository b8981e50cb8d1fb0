"""Normalisation: the statistics of the training part, exact on paper and on disk."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.preprocessing import StandardScaler

from commonweight import data
from commonweight.data import Normalisation
from commonweight.errors import FileError

floats = st.floats(-1e6, 1e6, width=32)


@given(x=arrays.arrays(np.float32, st.tuples(st.integers(2, 40), st.integers(1, 6)), elements=floats))
def test_features_agree_with_the_standard_scaler(x):
    train = torch.arange(0, len(x), 2)
    normalisation = Normalisation.fit(torch.from_numpy(x), torch.zeros(len(x), dtype=torch.int64), train)
    scaler = StandardScaler().fit(x[::2].astype(np.float64))
    varies = x[::2].max(0) > x[::2].min(0)
    spread = np.abs(x[::2]).max(0) + 1
    np.testing.assert_allclose(normalisation.mean, scaler.mean_, rtol=1e-6, atol=1e-6)
    # Where values differ in their last digits only, scikit-learn calls a feature constant.
    told_apart = varies & (np.sqrt(scaler.var_) > 1e-6 * spread)
    np.testing.assert_allclose(normalisation.scale.numpy()[told_apart], scaler.scale_[told_apart], rtol=1e-5)
    assert np.all(normalisation.scale.numpy()[~varies] == 1)


def test_channels_of_images_have_one_mean_and_scale_each():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(700, 3, 13, 17, generator=generator) * torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    train = torch.arange(100, 600)
    normalisation = Normalisation.fit(x, torch.zeros(700, dtype=torch.int64), train)
    columns = x[train].double().permute(0, 2, 3, 1).reshape(-1, 3)
    scaler = StandardScaler().fit(columns.numpy())
    assert normalisation.mean.shape == normalisation.scale.shape == (3, 1, 1)
    np.testing.assert_allclose(normalisation.mean.flatten(), scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(normalisation.scale.flatten(), scaler.scale_, rtol=1e-6)
    normal = normalisation.apply(x[train])
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_a_small_deviation_on_a_large_mean_is_not_lost():
    x = torch.tensor([[2.0**23], [2.0**23 + 1], [2.0**23 + 2]]).repeat(100_000, 1)
    normalisation = Normalisation.fit(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)))
    assert normalisation.mean.item() == 2**23 + 1
    assert normalisation.scale.item() == pytest.approx((2 / 3) ** 0.5, rel=1e-7)


def test_the_other_parts_have_no_say():
    iris = data.load("iris", seed=0)
    others = torch.cat([iris.validation, iris.test])
    changed = iris.x.clone()
    changed[others] += 1000
    refitted = Normalisation.fit(changed, iris.y, iris.train)
    assert torch.equal(refitted.mean, iris.normalisation.mean)
    assert torch.equal(refitted.scale, iris.normalisation.scale)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e30, 1e-42])
def test_what_is_constant_becomes_zero(value):
    x = torch.full((300, 1), value)
    normalisation = Normalisation.fit(x, torch.zeros(300, dtype=torch.int64), torch.arange(300))
    assert normalisation.scale.item() == 1
    assert torch.equal(normalisation.apply(x), torch.zeros(300, 1))


def test_a_deviation_too_small_to_divide_by_counts_as_none():
    x = torch.tensor([[0.0], [1e-44]])
    normalisation = Normalisation.fit(x, torch.tensor([0, 1]), torch.arange(2))
    assert normalisation.scale.item() == 1


def test_regression_targets_are_normalised_and_restored():
    diabetes = data.load("diabetes", seed=0)
    normal = diabetes.normalisation.apply_target(diabetes.y)
    scaler = StandardScaler().fit(diabetes.y[diabetes.train].double().numpy())
    np.testing.assert_allclose(normal, scaler.transform(diabetes.y.double().numpy()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(diabetes.normalisation.restore_target(normal), diabetes.y)


def test_class_indices_stay_as_they_are():
    iris = data.load("iris", seed=0)
    assert iris.normalisation.apply_target(iris.y) is iris.y
    assert iris.normalisation.restore_target(iris.y) is iris.y


def test_dtype_follows_the_input():
    iris = data.load("iris", seed=0)
    assert iris.normalisation.apply(iris.x.bfloat16()).dtype == torch.bfloat16
    assert iris.normalisation.apply(iris.x[0]).shape == (4,)


@given(
    values=arrays.arrays(
        np.float32,
        st.tuples(st.just(4), st.integers(1, 5)),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    ),
    image=st.booleans(),
    regression=st.booleans(),
)
def test_json_gives_back_every_bit(values, image, regression):
    rows = torch.from_numpy(values)
    rows[1::2] = rows[1::2].abs().clamp(min=torch.finfo(torch.float32).tiny)
    mean, scale = (row.reshape(-1, 1, 1) if image else row for row in rows[:2])
    stored = Normalisation(mean, scale, *(rows[2:] if regression else ()))
    loaded = Normalisation.from_json(json.loads(json.dumps(stored.to_json())))
    for name in ("mean", "scale", "target_mean", "target_scale"):
        before, after = getattr(stored, name), getattr(loaded, name)
        if before is None:
            assert after is None
        else:
            assert after.dtype == torch.float32
            assert after.shape == before.shape
            assert after.numpy().tobytes() == before.numpy().tobytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"shape": None}, "has shape None, expected a list of positive whole numbers"),
        ({"shape": [0]}, r"has shape \[0\], expected a list"),
        ({"mean": [1.0]}, "no list of 2 finite numbers under 'mean'"),
        ({"mean": [1.0, 10**400]}, "no list of 2 finite numbers under 'mean'"),
        ({"mean": [1e39, 1.0]}, "no list of 2 finite numbers under 'mean'"),
        ({"scale": [1.0, float("nan")]}, "no list of 2 finite numbers above 0 under 'scale'"),
        ({"scale": "12"}, "no list of 2 finite numbers above 0 under 'scale'"),
        ({"scale": [1.0, 0.0]}, "no list of 2 finite numbers above 0 under 'scale'"),
        ({"target_mean": []}, "no list of finite numbers under 'target_mean'"),
        ({"target_mean": [1.0], "target_scale": None}, "no list of 1 finite numbers above 0 under 'target_scale'"),
    ],
)
def test_a_damaged_record_is_refused(change, sentence):
    record = Normalisation(torch.zeros(2), torch.ones(2)).to_json() | change
    with pytest.raises(FileError, match=sentence):
        Normalisation.from_json(record)


def test_whole_numbers_are_normalised_as_floats():
    x, y = torch.tensor([[0.0, 200.0], [3.0, 7.0]]), torch.tensor([[1.0], [4.0]])
    normalisation = Normalisation.fit(x, y, train=torch.arange(2))
    assert normalisation.apply(x.to(torch.uint8)).equal(normalisation.apply(x))
    assert normalisation.apply_target(y.long()).equal(normalisation.apply_target(y))
