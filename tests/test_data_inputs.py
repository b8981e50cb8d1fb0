"""What a trained network is asked about: pictures and rows, in the shape that it learned from."""

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from commonweight import data
from commonweight.data import images, tables
from commonweight.errors import DataError

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def rows(tmp_path):
    def write(text, name="new.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_become_a_batch(picture, tmp_path, channels):
    Image.fromarray(np.stack([GREY, GREY.T, GREY], 2)).save(tmp_path / "b.bmp")
    names, x = data.read_inputs([str(picture), tmp_path / "b.bmp"], like=(channels, 8, 8))
    assert names == [str(picture), str(tmp_path / "b.bmp")]
    assert x.dtype == torch.float32
    assert torch.equal(x[0], torch.from_numpy(GREY / np.float32(255)).expand(channels, 8, 8))
    assert torch.equal(x[1], torch.from_numpy(images.read_image(tmp_path / "b.bmp", channels)))


def test_a_picture_is_read_as_it_was_in_training(picture, tmp_path):
    folder = tmp_path / "classes"
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for index in range(5):
            (folder / name / f"{index}.png").write_bytes(picture.read_bytes())
    loaded = data.load(folder)
    _, x = data.read_inputs([picture], like=loaded.in_shape)
    assert torch.equal(x[0], loaded.x[0])


def test_a_folder_stands_for_its_pictures(picture, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.PNG").write_bytes(picture.read_bytes())
    (tmp_path / "more" / "notes.txt").write_text("no picture")
    names, x = data.read_inputs([tmp_path], like=(1, 8, 8))
    assert names == [str(picture), str(tmp_path / "more" / "b.PNG")]
    assert x.shape == (2, 1, 8, 8)
    picture.unlink()
    (tmp_path / "more" / "b.PNG").unlink()
    with pytest.raises(DataError, match=r"is a folder without pictures \(.bmp"):
        data.read_inputs([tmp_path], like=(1, 8, 8))


def test_a_picture_of_another_size_is_scaled(picture):
    _, x = data.read_inputs([picture], like=(1, 4, 4))
    scaled = Image.fromarray(GREY).resize((4, 4), Image.Resampling.BILINEAR)
    assert torch.equal(x[0, 0], torch.from_numpy(np.asarray(scaled) / np.float32(255)))


@pytest.mark.parametrize(
    ("like", "sentence"),
    [
        ((2, 8, 8), "takes images of 2 channels, but pictures have 1 or 3"),
        ((4,), r"a.png' is no table, but the network takes rows of 4 numbers; give .csv"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(picture, like, sentence):
    with pytest.raises(DataError, match=sentence):
        data.read_inputs([picture], like=like)


def test_no_files_are_refused():
    with pytest.raises(DataError, match="there is nothing to predict: no files were given"):
        data.read_inputs([], like=(1, 8, 8))


def test_too_many_pictures_are_refused(picture):
    with pytest.raises(DataError, match=r"asks for 1,024,000,000,000 bytes \(1 pictures"):
        data.read_inputs([picture], like=(1, 500_000, 512_000))


def test_a_table_is_no_picture(rows):
    with pytest.raises(DataError, match="is a table, but the network takes pictures of 8 x 8 pixels"):
        data.read_inputs([rows("a,b\n1,2\n")], like=(1, 8, 8))


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("a,b\n1,2\n3,4\n", ("a", "b"), [[1, 2], [3, 4]]),
        ("b,a\n1,2\n3,4\n", ("a", "b"), [[2, 1], [4, 3]]),
        ("id,b,kind,a\nx,1,red,2\ny,3,blue,4\n", ("a", "b"), [[2, 1], [4, 3]]),
        ("a,b\n1,2\n3,4\n", (), [[1, 2], [3, 4]]),
        ("a,kind,b\n1,red,2\n3,?,4\n", (), [[1, 2], [3, 4]]),
        ("1,2\n3,4\n", ("0", "1"), [[1, 2], [3, 4]]),
        ("1,0\n2,1\n4,3\n", ("0", "1"), [[1, 2], [3, 4]]),
        ("1,2,7\n3,4,7\n", ("column 1", "column 2"), [[1, 2], [3, 4]]),
    ],
)
def test_columns_are_matched_by_name_where_there_are_names(rows, text, names, expected):
    path = rows(text)
    found, x = data.read_inputs([path], like=(2,), features=names, target="kind")
    assert x.tolist() == expected
    lines = text.count("\n")
    assert found == [f"{path}:{line}" for line in range(lines - 1, lines + 1)]


def test_names_count_lines_of_each_file(rows):
    first, second = rows("a,b\n\n1,2\n", "new.csv"), rows("3,4\n", "more.tsv")
    names, x = data.read_inputs([first, second], like=(2,))
    assert names == [f"{first}:3", f"{second}:1"]
    assert x.tolist() == [[1, 2], [3, 4]]


def test_parquet_counts_rows(tmp_path):
    path = tmp_path / "new.parquet"
    parquet.write_table(pyarrow.table({"b": [1.0, 3.0], "a": [2.0, 4.0]}), path)
    names, x = data.read_inputs([path], like=(2,), features=("a", "b"))
    assert names == [f"{path}:1", f"{path}:2"]
    assert x.tolist() == [[2, 1], [4, 3]]


@pytest.mark.parametrize(
    ("text", "names", "sentence"),
    [
        ("a,c\n1,2\n", ("a", "b"), "has no column 'b'; it has 'a', 'c'"),
        ("length,widht\n1,2\n", ("length", "width"), r"has no column 'width'; did you mean 'widht'\?"),
        ("1,2,3\n", ("a", "b"), "has 3 columns without the target, but the network takes 2: a, b; give these columns"),
        ("a,b,c\n1,2,3\n", (), "has 3 columns without the target, but the network takes 2; give"),
        ("a,b\n1,red\n", ("a", "b"), r"text in column 'b' \(line 2: 'red'\)"),
        ("a,b\n1,2\n1,\n", ("a", "b"), "holds nan in line 3, column 'b'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, text, names, sentence):
    with pytest.raises(DataError, match=sentence):
        data.read_inputs([rows(text)], like=(2,), features=names, target="kind")


def test_a_missing_file_is_named_with_its_neighbours(rows):
    path = rows("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"nwe.csv' does not exist; did you mean 'new.csv'\?"):
        data.read_inputs([path.with_name("nwe.csv")], like=(2,))


def test_a_file_without_rights_is_named(rows, monkeypatch):
    path = rows("a,b\n1,2\n")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tables, "require_file", refuse)
    with pytest.raises(DataError, match=r"new.csv' cannot be read \(Permission denied\)"):
        data.read_inputs([path], like=(2,))
