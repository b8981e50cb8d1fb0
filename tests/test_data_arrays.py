"""NPZ files: shapes, scales and parts, and no trust in what a header claims."""

import io
import zipfile

import numpy as np
import pytest
import torch

from commonweight import data
from commonweight.errors import DataError

RNG = np.random.default_rng(0)
Y = np.arange(30) % 3


def saved(tmp_path, **arrays):
    path = tmp_path / "arrays.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("key", ["x", "X"])
def test_a_table_comes_back(tmp_path, key):
    x = RNG.normal(size=(30, 4))
    loaded = data.load(saved(tmp_path, **{key: x, "y": Y}), seed=0)
    assert loaded.task == "classification"
    assert loaded.features == ()
    assert torch.equal(loaded.x, torch.from_numpy(x).float())
    assert loaded.y.tolist() == Y.tolist()


def test_compressed_and_fortran_ordered_arrays_come_back(tmp_path):
    x = RNG.normal(size=(30, 4))
    np.savez_compressed(tmp_path / "arrays.npz", x=np.asfortranarray(x), y=Y)
    assert torch.equal(data.load(tmp_path / "arrays.npz").x, torch.from_numpy(x).float())


def test_one_axis_is_one_feature(tmp_path):
    assert data.load(saved(tmp_path, x=RNG.normal(size=30), y=Y)).x.shape == (30, 1)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((30, 7, 5), (1, 7, 5)),
        ((30, 3, 7, 5), (3, 7, 5)),
        ((30, 7, 5, 3), (3, 7, 5)),
        ((30, 3, 7, 3), (3, 7, 3)),
        ((30, 2, 7, 5), (2, 7, 5)),
    ],
)
def test_axes_of_images(tmp_path, shape, expected):
    x = RNG.random(shape, dtype=np.float32)
    loaded = data.load(saved(tmp_path, x=x, y=Y))
    assert loaded.in_shape == expected
    assert loaded.is_image
    moved = np.moveaxis(x, -1, 1) if expected != shape[1:] and len(shape) == 4 else x.reshape(30, *expected)
    assert np.array_equal(loaded.x.numpy(), moved)


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_whole_numbers_of_images_are_scaled(tmp_path, dtype, full):
    x = RNG.integers(0, full + 1, (30, 6, 6)).astype(dtype)
    loaded = data.load(saved(tmp_path, x=x, y=Y))
    np.testing.assert_allclose(loaded.x[:, 0], x / full, rtol=1e-6)


def test_a_published_test_part_stays_one(tmp_path):
    x = RNG.normal(size=(30, 4))
    loaded = data.load(saved(tmp_path, x_train=x, y_train=Y, x_test=x[:12], y_test=Y[:12]), seed=0)
    assert loaded.test.tolist() == list(range(30, 42))
    assert torch.equal(loaded.x[30:], loaded.x[:12])


def test_text_names_the_classes_and_several_columns_are_regression(tmp_path):
    x = RNG.normal(size=(30, 4))
    named = data.load(saved(tmp_path, x=x, y=np.array(["cat", "ant", "bee"] * 10)))
    assert named.classes == ("ant", "bee", "cat")
    assert named.y[:3].tolist() == [2, 0, 1]
    flags = data.load(saved(tmp_path, x=x, y=(Y > 0)[:, None]))
    assert flags.classes == ("False", "True")
    several = data.load(saved(tmp_path, x=x, y=np.stack([Y, Y], 1)))
    assert (several.task, several.y.shape, several.n_outputs) == ("regression", (30, 2), 2)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"a": Y, "b": Y}, "holds the arrays 'a', 'b', expected x and y, or x_train"),
        ({"x": Y}, "holds the arrays 'x', expected x and y"),
        ({"x": Y[:20], "y": Y}, r"x of shape \(20,\) and y of shape \(30,\); the first axes"),
        ({"x": np.float64(3), "y": Y}, r"x of shape \(\) and y of shape \(30,\)"),
        ({"x": Y, "y": np.zeros((30, 2, 2))}, r"targets of shape \(30, 2, 2\), expected \(N,\) or \(N, T\)"),
        ({"x": np.zeros((30, 2, 2, 2, 2)), "y": Y}, r"x of shape \(30, 2, 2, 2, 2\), expected \(N, F\) for a table"),
        ({"x": np.zeros((0, 4, 4)), "y": Y[:0]}, "has 0 samples, a split into three parts needs at least 10"),
        ({"x": np.zeros((30, 0)), "y": Y}, r"x of shape \(30, 0\), expected"),
        ({"x": np.array(["a", "b", "c"] * 10), "y": Y}, "holds text in x, such as 'a'; write it as numbers"),
        ({"x": Y, "y": Y + 1j}, "'y.npy' of type complex128, expected numbers or text"),
        ({"x": np.full((30, 4, 4), 7.0), "y": Y}, "images of float64 from 7 to 7, expected values from 0 to 1"),
        ({"x": np.full((30, 4, 4), -1), "y": Y}, "images of int64 from -1 to -1, expected values from 0 to 1"),
        ({"x": np.ones(30), "y": np.where(Y, np.nan, 1)}, r"the target of .* holds nan in sample 1 \(counted from 0\)"),
        ({"x": np.where(Y, 1, np.inf), "y": Y}, r"holds inf in sample 0 \(counted from 0\), position 0, expected"),
        ({"x": np.full((30, 2, 2), np.nan), "y": Y}, "holds nan in sample 0 .counted from 0., position 0, 0, 0"),
        ({"x": np.full(30, 1e300), "y": Y}, "holds inf in sample 0"),
        (
            {"x_train": np.zeros((30, 4)), "y_train": Y, "x_test": np.zeros((9, 5)), "y_test": Y[:9]},
            r"training array of shape \(30, 4\), float64, and a test array of shape \(9, 5\)",
        ),
        (
            {"x_train": np.zeros((30, 4)), "y_train": Y, "x_test": np.zeros((9, 4)), "y_test": Y[:8]},
            r"x of shape \(9, 4\) and y of shape \(8,\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, sentence):
    with pytest.raises(DataError, match=sentence):
        data.load(saved(tmp_path, **arrays))


def test_several_columns_are_no_class(tmp_path):
    path = saved(tmp_path, x=Y, y=np.stack([Y, Y], 1))
    with pytest.raises(DataError, match=r"the target of .* has 2 columns, but a class is one value a sample"):
        data.load(path, task="classification")


def test_python_objects_are_refused(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, x=np.array([{}] * 30), y=Y)
    with pytest.raises(DataError, match=r"'x.npy' of type object, expected numbers or text"):
        data.load(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_cut_is_noticed(tmp_path, save):
    content = io.BytesIO()
    save(content, x=RNG.normal(size=(30, 4)), y=Y)
    path = tmp_path / "cut.npz"
    for length in range(0, len(content.getvalue()), 41):
        path.write_bytes(content.getvalue()[:length])
        with pytest.raises(DataError, match=r"is a truncated or damaged NPZ file|is empty"):
            data.load(path)


def npz_with_header(path, header, body=b"", compression=zipfile.ZIP_STORED):
    """An NPZ whose x has a header of our own making."""
    text = header.encode().ljust(117) + b"\n"
    y = io.BytesIO()
    np.save(y, Y)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body)
        archive.writestr("y.npy", y.getvalue())


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ("(30, 1000000)", "its header announces 240,000,000 bytes of data, 8 are there"),
        ("(30, 10**9)", "truncated or damaged NPZ file"),
        ("(30, 1000000000000)", r"asks for 240,000,000,000,000 bytes \('x.npy' of shape"),
        ("(-30, 2)", "negative size in the shape"),
        ("()", "x of shape"),
    ],
)
def test_sizes_beyond_the_file_take_no_memory(tmp_path, shape, sentence):
    path = tmp_path / "claims.npz"
    npz_with_header(path, f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}", bytes(8))
    with pytest.raises(DataError, match=sentence):
        data.load(path)


def test_a_zip_bomb_is_read_only_as_far_as_its_header_says(tmp_path):
    path = tmp_path / "bomb.npz"
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"
    npz_with_header(path, header, bytes(50_000_000), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="holds more than the 8 bytes of data that its header announces"):
        data.load(path)


def test_other_compression_is_refused(tmp_path):
    path = tmp_path / "lzma.npz"
    npz_with_header(path, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", bytes(8), zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="is compressed by method 14; save it again with numpy"):
        data.load(path)
