"""CSV and Parquet: the same cells that other readers see, and one sentence for what cannot be learned from."""

import csv
import io
import math
import sys

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from commonweight import data
from commonweight.data import reading, tables
from commonweight.errors import DataError

ROWS = "".join(f"{n},{n / 4},{'yes' if n % 2 else 'no'}\n" for n in range(20))


def written(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr) | st.integers(-999, 999).map(str)
rows = st.integers(2, 5).flatmap(lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1))


@given(rows=rows, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), delimiter=st.sampled_from(",;\t"))
def test_cells_are_those_of_the_csv_module(tmp_path_factory, rows, quoting, delimiter):
    names = [f"it's {delimiter} number {index}" for index in range(len(rows[0]))]
    text = io.StringIO()
    csv.writer(text, quoting=quoting, delimiter=delimiter).writerows([names, *rows])
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    table = tables.read_csv(path)
    with path.open(newline="") as file:
        first, *others = csv.reader(file, delimiter=delimiter)
    assert list(table.names) == first
    assert table.numbers.tolist() == [[float(cell) for cell in row] for row in others]
    assert list(table.lines) == list(range(2, len(rows) + 2))
    assert table.text == {}


def test_a_table_as_pandas_reads_it(tmp_path):
    path = written(tmp_path, "width,height,kind\n" + ROWS)
    loaded, frame = data.load(path, seed=0), pandas.read_csv(path)
    assert loaded.name == "table.csv"
    assert (loaded.features, loaded.target, loaded.classes) == (("width", "height"), "kind", ("no", "yes"))
    np.testing.assert_array_equal(loaded.x, frame[["width", "height"]].to_numpy(np.float32))
    assert [loaded.classes[index] for index in loaded.y] == frame["kind"].tolist()


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("a,b\n1,2\n", ("a", "b"), [1, 2]),
        ("1,2\n3,4\n", ("column 1", "column 2"), [1, 2]),
        ("a,2\n3,4\n", ("a", "2"), [3, 4]),
        ("0,1,2,kind\n1,2,3,red\n", ("0", "1", "2", "kind"), [1, 2, 3, math.nan]),
        ("0,1,2\n3,4,5\n", ("0", "1", "2"), [3, 4, 5]),
        ("0,1,a\n1,2,b\n", ("column 1", "column 2", "column 3"), [0, 1, math.nan]),
        ("0,1,3,a\n1,2,3,b\n", ("column 1", "column 2", "column 3", "column 4"), [0, 1, 3, math.nan]),
        ("1.5,0\n2.5,a\n", ("column 1", "column 2"), [1.5, 0]),
        ("1.5,a\n2.5,1\n3.5,b\n", ("column 1", "column 2"), [1.5, math.nan]),
        ("1.5,a\n2.5,?\n", ("column 1", "column 2"), [1.5, math.nan]),
        ("\ufeffa;b\n1;2\n", ("a", "b"), [1, 2]),
        ("a\tb\r\n\r\n1\t2\r\n", ("a", "b"), [1, 2]),
        ('"a, or", b\n1, 2\n', ("a, or", "b"), [1, 2]),
        (" a , b \n 1 , 2 \n", ("a", "b"), [1, 2]),
        ("a,b,,\n1,2,,\n", ("a", "b"), [1, 2]),
        ("1,2,\n3,4,\n", ("column 1", "column 2"), [1, 2]),
        ("größe\tb\n1\t2\n".encode("utf-16"), ("größe", "b"), [1, 2]),
        (b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be"), ("a", "b"), [1, 2]),
    ],
)
def test_headers_and_separators_are_found(tmp_path, text, names, first):
    table = tables.read_csv(written(tmp_path, text))
    assert table.names == names
    np.testing.assert_array_equal(table.numbers[0], first)


def test_a_table_without_header_and_with_text_in_the_target(tmp_path):
    loaded = data.load(written(tmp_path, ROWS), seed=0)
    assert len(loaded) == 20
    assert (loaded.features, loaded.target, loaded.classes) == (("column 1", "column 2"), "column 3", ("no", "yes"))


def test_rows_of_empty_cells_are_skipped(tmp_path):
    assert len(data.load(written(tmp_path, "a,b,c\n" + ROWS + ",,\n\n"))) == 20


def test_cells_are_the_same_across_blocks_of_rows(tmp_path, monkeypatch):
    """Text that begins only in a later block is found at its row."""
    text = "a;b\n" + "".join(f"{n},5;{'NA' if n % 5 else 'x_' if n == 15 else n}\n" for n in range(20))
    whole = tables.read_csv(written(tmp_path, text))
    monkeypatch.setattr(tables, "_BLOCK", 3)
    parts = tables.read_csv(written(tmp_path, text))
    np.testing.assert_array_equal(parts.numbers, whole.numbers)
    assert parts.text == whole.text == {1: {15: "x_"}}
    assert parts.numbers[:, 0].tolist() == [n + 0.5 for n in range(20)]


def test_known_names_make_a_header_of_numbers(tmp_path):
    path = written(tmp_path, "1,0\n5,6\n")
    assert tables.read_csv(path).names == ("column 1", "column 2")
    assert tables.read_csv(path, known=("0", "1")).names == ("1", "0")


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["0", "1"] * 10, "classification", ("0", "1")),
        (["10", "9.0"] * 10, "classification", ("9", "10")),
        (["a", "1"] * 10, "classification", ("1", "a")),
        (["1_0", "1_1"] * 10, "classification", ("1_0", "1_1")),
        ([str(n % 20) for n in range(60)], "classification", tuple(map(str, range(20)))),
        ([str(n % 21) for n in range(63)], "regression", ()),
        ([str(n % 10) for n in range(29)], "regression", ()),
        (["0.5", "1"] * 10, "regression", ()),
    ],
)
def test_the_task_follows_the_rule(tmp_path, values, task, classes):
    path = written(tmp_path, "x,y\n" + "".join(f"{n}.5,{value}\n" for n, value in enumerate(values)))
    loaded = data.load(path, seed=0)
    assert (loaded.task, loaded.classes) == (task, classes)
    if task == "regression":
        assert loaded.y.dtype == torch.float32
        assert loaded.y[:, 0].tolist() == [float(value) for value in values]


def test_the_rule_can_be_overruled(tmp_path):
    path = written(tmp_path, "x,y\n" + "".join(f"{n},{n % 2 + 0.5}\n" for n in range(20)))
    assert data.load(path, task="classification").classes == ("0.5", "1.5")
    path = written(tmp_path, "x,y\n" + "".join(f"{n},{n % 2}\n" for n in range(20)))
    assert data.load(path, task="regression").y.shape == (20, 1)


def test_the_target_may_be_any_column(tmp_path):
    loaded = data.load(
        written(tmp_path, "x,price,z\n" + "".join(f"{n},{n * 1.5},{-n}\n" for n in range(20))), target="price"
    )
    assert (loaded.target, loaded.features) == ("price", ("x", "z"))
    assert loaded.y[:, 0].tolist() == [n * 1.5 for n in range(20)]


GOOD = "x,y,kind\n" + ROWS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"'.*table.csv' is empty \(0 bytes\)"),
        ("\n\n", "has no rows of data"),
        ("a,b\n", "has no rows of data"),
        ("a,b\n1,2\n3\n", "has 1 cells in line 3, but 2 in line 1; give every row the same number"),
        ("a,b\n1,2\n3,4,5\n", "has 3 cells in line 3, but 2 in line 1"),
        ("a\n1\n2\n", "has only the column 'a'; expected features and a target"),
        ("a|b\n1|2\n", "has only the column 'a[|]b'; .* with commas, semicolons or tabs between them"),
        ("a,b,\n1,2,\n3,4,5\n", "has no name for column 3"),
        ("a,b\n1,2\n".encode("utf-16-le"), r"is not text in UTF-8 \(zero bytes\); save it"),
        (b"\xff\xfea,b", r"is not text in UTF-8 \(truncated data\); save it"),
        (",b\n1,2\n", "has no name for column 1; name it, or remove it if it only counts rows"),
        ("a,b,a\n1,2,3\n", "has the column 'a' more than once"),
        (
            GOOD.replace("\n3,", "\nred,"),
            r"text in column 'x' \(line 5: 'red'\), where the others are numbers; write a",
        ),
        (
            "u,v,y\n" + "".join(f"a{n},,{n}\n" for n in range(20)),
            "'v' is left out: it is empty; add columns of numbers",
        ),
        (GOOD.replace("x,y", "x,x is missing").replace("\n3,", "\n,"), "as a feature made of another one is called"),
        (GOOD.replace("\n3,", "\ninf,"), "holds inf in line 5, column 'x'"),
        (GOOD.replace("\n3,", "\n1e39,"), "holds inf in line 5, column 'x'"),
        (GOOD.replace("0.75,yes", "0.75,NA"), "has no target in line 5, column 'kind'; fill in the class or remove"),
        ("x,y\n" + "1,1\n" * 12 + "1,\n", "the target of .* holds nan in line 14, column 'y'"),
        ("x,y\n" + "1,1.5\n" * 12 + "1,1e39\n", "the target of .* holds inf in line 14, column 'y'"),
        (b"a,b\n\xff\xfe,1\n", r"is not text in UTF-8 \(invalid start byte\); save it"),
        ('a,b\n"1,2\n', "is not a readable CSV file .unexpected end of data in line 2.; check its quotes"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, sentence):
    with pytest.raises(DataError, match=sentence):
        data.load(written(tmp_path, text))


def test_a_wrong_target_gets_the_nearest_names(tmp_path):
    path = written(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"has no column 'kinds'; did you mean 'kind'\?"):
        data.load(path, target="kinds")
    with pytest.raises(DataError, match=r"has no column 'weight'; it has 'x', 'y', 'kind'"):
        data.load(path, target="weight")


def test_text_is_no_quantity(tmp_path):
    with pytest.raises(DataError, match=r"the target of .* holds text such as 'no', but regression needs numbers"):
        data.load(written(tmp_path, GOOD), task="regression")


def test_a_file_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_TEXT", 100)
    with pytest.raises(DataError, match="bytes, more than the 100 that are read; use Parquet"):
        data.load(written(tmp_path, GOOD))


def test_parquet_gives_what_csv_gives(tmp_path):
    frame = pandas.read_csv(written(tmp_path, GOOD))
    frame["kind"] = frame["kind"].astype("category")
    frame.to_parquet(tmp_path / "table.parquet", index=False)
    one, other = data.load(tmp_path / "table.csv", seed=1), data.load(tmp_path / "table.parquet", seed=1)
    assert one.fingerprint() == other.fingerprint()
    assert (one.features, one.classes, one.target) == (other.features, other.classes, other.target)


@pytest.mark.parametrize("gap", ["NA", "n/a", "?", "NaN", "null", " ", None])
def test_a_text_that_says_that_a_value_is_missing_is_a_gap_in_parquet_as_in_csv(tmp_path, gap):
    city, y = ["Rome", "Oslo", gap] * 4, ["a", "b"] * 6
    one = data.load(write_parquet(tmp_path, city=city, x=np.arange(12.0) ** 2, y=y))
    rows = [f"{place or ''},{n * n},{label}" for n, (place, label) in enumerate(zip(city, y, strict=True))]
    other = data.load(written(tmp_path, "\n".join(["city,x,y", *rows])))
    assert one.features == other.features == ("city=Oslo", "city=Rome", "x")
    assert torch.equal(one.x, other.x)


def test_a_text_that_says_a_number_is_one_in_parquet_as_in_csv(tmp_path):
    sizes, y = ["2.5", " 7", "-1e3", "NA"] * 3, ["3", "10", "3", "10"] * 3
    one = data.load(write_parquet(tmp_path, size=sizes, code=["1_0", "2", "1_0"] * 4, y=y))
    rows = map(",".join, zip(sizes, ["1_0", "2", "1_0"] * 4, y, strict=True))
    other = data.load(written(tmp_path, "\n".join(["size,code,y", *rows])))
    assert one.features == other.features == ("size", "size is missing", "code=1_0", "code=2")
    assert one.classes == other.classes == ("3", "10")
    assert torch.equal(one.x, other.x)


def test_the_labels_of_rows_that_pandas_writes_are_no_column(tmp_path):
    frame = pandas.DataFrame({"x": np.arange(12.0), "y": [0, 1] * 6}, index=[f"row {n}" for n in range(12)])
    frame.to_parquet(tmp_path / "table.parquet")
    assert "__index_level_0__" in parquet.read_schema(tmp_path / "table.parquet").names
    loaded = data.load(tmp_path / "table.parquet")
    assert (loaded.features, loaded.target, loaded.classes) == (("x",), "y", ("0", "1"))


def write_parquet(tmp_path, **columns):
    parquet.write_table(pyarrow.table(columns), tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_types_of_parquet(tmp_path):
    path = write_parquet(
        tmp_path,
        flag=[True, False] * 6,
        half=np.arange(12).astype(np.float16),
        money=pyarrow.array(range(12)).cast(pyarrow.decimal128(38, 2)),
        code=pyarrow.array([7, 8] * 6).dictionary_encode(),
        y=["b", "a"] * 6,
    )
    loaded = data.load(path)
    assert loaded.x[:2].tolist() == [[1, 0, 0, 7], [0, 1, 1, 8]]
    assert loaded.classes == ("a", "b")


def test_a_long_text_in_many_rows_is_held_once(tmp_path):
    path = write_parquet(tmp_path, x=np.arange(2000.0), y=["long " * 20_000, "other"] * 1000)
    table = tables.read_parquet(path)
    assert len({id(cell) for cell in table.text[1].values()}) <= 4


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"x": [1.0, math.inf] * 6, "y": [0, 1] * 6}, r"holds inf in sample 1 \(counted from 0\), column 'x'"),
        ({"x": [1.0] * 12, "y": ["a", None] * 6}, r"has no target in sample 1 \(counted from 0\), column 'y'"),
        ({"x": [1.0] * 12, "y": ["a", " "] * 6}, "has no target in sample 1"),
        ({"x": [f"a{n}" for n in range(12)], "y": [0, 1] * 6}, "column 'x' is left out: it holds 12 different texts"),
        ({"x": [None] * 12, "y": [0, 1] * 6}, "column 'x' is left out: it is empty"),
        ({"x": [b"a"] * 12, "y": [0, 1] * 6}, "has the column 'x' of type binary, expected numbers or text"),
        ({"x": [[1]] * 12, "y": [0, 1] * 6}, "has the column 'x' of type list<.*>, expected numbers or text"),
        ({"x": pyarrow.array([None] * 12, pyarrow.string()), "y": [0, 1] * 6}, "column 'x' is left out: it is empty"),
        ({"x": pyarrow.array([], pyarrow.float32())}, "has no rows of data"),
        ({"__index_level_0__": ["a", "b"]}, "has no columns of data"),
    ],
)
def test_bad_parquet_is_refused(tmp_path, columns, sentence):
    with pytest.raises(DataError, match=sentence):
        data.load(write_parquet(tmp_path, **columns))


def test_every_cut_of_parquet_is_noticed(tmp_path):
    path = write_parquet(tmp_path, x=np.arange(12.0), y=["a", "b"] * 6)
    whole = path.read_bytes()
    for length in range(1, len(whole), 31):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="is a truncated or damaged Parquet file"):
            data.load(path)


def test_parquet_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    path = write_parquet(tmp_path, x=np.arange(12.0), y=["a", "b"] * 6)
    monkeypatch.setattr(reading, "MAX_BYTES", 191)
    with pytest.raises(DataError, match=r"asks for 192 bytes \(12 rows of 2 columns\), more than the 191"):
        data.load(path)


def test_without_pyarrow_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    path = write_parquet(tmp_path, x=np.arange(12.0), y=["a", "b"] * 6)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow to be read; pip install pyarrow"):
        data.load(path)
