"""Loading by name or path, the checks before the split, and the fingerprint."""

import os
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from commonweight import data
from commonweight.data import tables
from commonweight.data.dataset import Samples, prepare
from commonweight.data.finite import require_finite
from commonweight.errors import DataError

ROWS = "x,y\n" + "".join(f"{n},{n % 2}\n" for n in range(20))


def samples(y, **changes):
    y = torch.as_tensor(y)
    generator = torch.Generator().manual_seed(0)
    classes = tuple(f"class {index}" for index in range(int(y.max()) + 1)) if not y.is_floating_point() else ()
    return replace(
        Samples(
            name="made",
            task="classification" if classes else "regression",
            x=torch.rand(len(y), 3, generator=generator),
            y=y,
            classes=classes,
        ),
        **changes,
    )


def test_properties_of_tables_and_images():
    diabetes, digits = data.load("diabetes"), data.load("digits")
    assert (diabetes.in_shape, diabetes.n_outputs, diabetes.is_image, len(diabetes)) == ((10,), 1, False, 442)
    assert (digits.in_shape, digits.n_outputs, digits.is_image, len(digits)) == ((1, 8, 8), 10, True, 1797)
    assert repr(diabetes) == "diabetes: regression, 442 rows of 10 features, 1 target; split 310 / 66 / 66"
    with pytest.raises(FrozenInstanceError):
        digits.name = "letters"


def test_the_fingerprint_knows_every_bit_and_the_split():
    iris = data.load("iris", seed=0)
    assert iris.fingerprint() == data.load("iris", seed=0).fingerprint()
    assert len(iris.fingerprint()) == 64
    x, y = iris.x.clone(), iris.y.clone()
    x[149, 3] = torch.nextafter(x[149, 3], torch.tensor(9.0))
    y[0] = 1
    others = [
        replace(iris, x=x),
        replace(iris, y=y),
        replace(iris, x=iris.x.reshape(150, 2, 2)),
        replace(iris, y=iris.y.int()),
        replace(iris, train=iris.validation, validation=iris.train),
        data.load("iris", seed=1),
    ]
    assert len({iris.fingerprint(), *(other.fingerprint() for other in others)}) == 7


def test_the_fingerprint_does_not_depend_on_how_memory_lies():
    iris = data.load("iris", seed=0)
    assert replace(iris, x=iris.x.T.contiguous().T).fingerprint() == iris.fingerprint()


@pytest.mark.parametrize("name", ["digits", "xor", "diabetes"])
def test_what_is_stored_of_a_run_loads_the_same_data(name, tmp_path):
    first = data.load(name, seed=5)
    assert data.load(name, target=first.target or None, seed=5).fingerprint() == first.fingerprint()
    (tmp_path / "table.csv").write_text(ROWS)
    table = data.load(tmp_path / "table.csv", seed=5)
    assert data.load(tmp_path / "table.csv", target=table.target, seed=5).fingerprint() == table.fingerprint()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("digts", r"data 'digts' is unknown: neither a name nor a path; did you mean 'digits' or 'diabetes'\?"),
        ("qqqqqq", "data 'qqqqqq' is unknown: neither a name nor a path; give one of digits, iris, .*, or a path"),
        ("nowhere/table.csv", "'nowhere/table.csv' does not exist; check the path"),
    ],
)
def test_what_does_not_exist(source, sentence):
    with pytest.raises(DataError, match=sentence):
        data.load(source)


def test_a_missing_path_gets_its_neighbours(tmp_path):
    (tmp_path / "table.csv").write_text(ROWS)
    with pytest.raises(DataError, match=r"tabel.csv' does not exist; did you mean 'table.csv'\?"):
        data.load(tmp_path / "tabel.csv")


def test_a_name_wins_over_a_folder_unless_it_is_written_as_a_path(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(data.load("digits")) == 1797
    with pytest.raises(DataError, match=r"'digits' has no subfolders"):
        data.load("./digits")
    with pytest.raises(DataError, match=r"'digits' has no subfolders"):
        data.load(Path("digits"))


@pytest.mark.parametrize("name", ["table.xlsx", "table", "images.png"])
def test_other_kinds_of_files_are_refused(tmp_path, name):
    (tmp_path / name).write_text(ROWS)
    with pytest.raises(
        DataError, match=rf"{name}' is of a kind that cannot be read; expected .csv, .tsv, .parquet, .npz"
    ):
        data.load(tmp_path / name)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "table.npz", "a-images-idx3-ubyte", "table.xlsx"])
def test_empty_files_are_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=rf"{name}' is empty \(0 bytes\); give a file with data in it"):
        data.load(tmp_path / name)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe.csv' is not a regular file"):
        data.load(tmp_path / "pipe.csv")


def test_a_file_without_rights_is_named(tmp_path, monkeypatch):
    (tmp_path / "table.csv").write_text(ROWS)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tables, "require_file", refuse)
    with pytest.raises(
        DataError, match=r"table.csv' cannot be read \(Permission denied\); check the path and its rights"
    ):
        data.load(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("iris", {"target": "species"}, "'iris' takes no target, but target='species' was given"),
        ("iris", {"task": "regression"}, "'iris' takes no task, but task='regression' was given"),
        ("iris", {"task": "clustering"}, "task 'clustering' is unknown; give 'classification' or 'regression'"),
        ("iris", {"seed": -1}, "seed is a whole number from 0 to 4,294,967,295; got int: -1."),
        ("iris", {"seed": 2**32}, "seed is a whole number from 0 to 4,294,967,295; got int: 4294967296."),
        ("iris", {"seed": 1.5}, "seed is a whole number from 0 to 4,294,967,295; got float: 1.5."),
        (".", {"target": "species"}, "takes no target"),
        ("arrays.npz", {"target": "y"}, "takes no target"),
        ("a-images-idx3-ubyte", {"task": "regression"}, "takes no task"),
    ],
)
def test_options_that_do_not_apply_are_refused(tmp_path, source, options, sentence):
    (tmp_path / "arrays.npz").write_bytes(b"0")
    (tmp_path / "a-images-idx3-ubyte").write_bytes(b"0")
    with pytest.raises(DataError, match=sentence):
        data.load(source if source == "iris" else tmp_path / source, **options)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (samples([0, 1] * 4), "made has 8 samples, a split into three parts needs at least 10; add samples"),
        (samples([0.5]), "made has 1 sample, a split"),
        (samples([0] * 20), "made has only one class, 'class 0'; to tell classes apart, give at least two"),
        (
            samples([0] * 20 + [1, 1]),
            "every class in made needs at least 3 samples, .* but 'class 1' has 2; add samples",
        ),
        (samples([0] * 20 + [1, 1, 3]), "but 'class 1' has 2, 'class 2' has 0, 'class 3' has 1; add"),
        (samples(list(range(20))), "'class 4' has 1 and 15 more have too few; add samples, merge classes, or say task"),
        (samples([0, 1] * 10 + [2], official_test=1), "every class in the training part of made needs at least 2"),
        (
            samples([0, 1] * 10, x=torch.full((20, 1), torch.nan), features=("a",)),
            "made holds nan in sample 0 .*, column 'a'",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(made, sentence):
    with pytest.raises(DataError, match=sentence):
        prepare(made, seed=0)


def test_an_official_test_part_may_lack_a_class():
    loaded = prepare(samples([0, 1, 2] * 10 + [0] * 5, official_test=5), seed=0)
    assert loaded.y[loaded.test].tolist() == [0] * 5


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    place=st.randoms(use_true_random=False),
)
def test_the_first_value_that_is_not_finite_is_found(shape, bad, place):
    values = torch.zeros(shape)
    require_finite(values, "zeros")
    index = tuple(place.randrange(size) for size in shape)
    values[index] = bad
    position = f", position {', '.join(map(str, index[1:]))}" if len(shape) > 1 else ""
    with pytest.raises(DataError) as caught:
        require_finite(values, "zeros")
    assert f"zeros holds {float(bad)} in sample {index[0]} (counted from 0){position}, expected" in str(caught.value)


def test_a_sum_that_overflows_is_no_value_that_does():
    require_finite(torch.full((4, 2), 3e38), "large numbers")
