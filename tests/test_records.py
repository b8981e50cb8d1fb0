"""Records survive the way to the file and back; what is no record is refused with one sentence."""

import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import FileError
from commonweight.measure import records
from commonweight.measure.records import LayerStatistics, Record, read_records, to_lines

numbers = st.floats(allow_nan=True, allow_infinity=True)
layer_statistics = st.builds(
    LayerStatistics, st.text(max_size=8), *[numbers] * 8, st.lists(numbers, max_size=5).map(tuple)
)
any_record = st.builds(
    Record, st.integers(0, 10**12), *[numbers] * 7, layers=st.lists(layer_statistics, max_size=3).map(tuple)
)
RECORD = Record(
    7, 0.5, 1.25, 1e-3, 0.3, 0.9, 0.4, 0.8, (LayerStatistics("1.conv", 0.0, 1.0, 3.0, 0.1, 1e-3, 0.2, 0.9, 0.5),)
)


def told(record: Record) -> str:
    """A record as text, in which NaN equals NaN."""
    return repr(record)


@given(any_record)
def test_a_record_read_back_is_the_record(record):
    again = Record.from_line(record.to_line())
    assert told(again) == told(record)
    assert all(type(getattr(again, f.name)) is type(getattr(record, f.name)) for f in fields(Record))


@given(any_record)
def test_a_line_is_plain_json_without_line_ends(record):
    line = record.to_line()
    assert "\n" not in line
    json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_numbers_that_json_has_no_word_for_are_strings():
    record = replace(RECORD, loss=math.nan, metric=math.inf, rate=-math.inf)
    values = json.loads(record.to_line())
    assert (values["loss"], values["metric"], values["rate"]) == ("nan", "inf", "-inf")
    again = Record.from_line(record.to_line())
    assert math.isnan(again.loss)
    assert (again.metric, again.rate) == (math.inf, -math.inf)


def test_whole_numbers_in_the_place_of_floats_become_floats():
    values = json.loads(RECORD.to_line()) | {"loss": 2}
    assert type(Record.from_line(json.dumps(values)).loss) is float


@given(st.lists(any_record, max_size=4))
def test_a_file_holds_the_records_in_order(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("run") / "records.jsonl"
    path.write_text(to_lines(some), encoding="utf-8")
    assert list(map(told, read_records(path))) == list(map(told, some))


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_last_line_cut_off_by_a_crash_is_left_out(tmp_path, kept):
    path = tmp_path / "records.jsonl"
    path.write_text(to_lines([RECORD, RECORD]) + RECORD.to_line()[:kept], encoding="utf-8")
    assert read_records(path) == [RECORD, RECORD]


def test_a_whole_last_line_without_its_end_is_left_out_too(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(to_lines([RECORD]) + RECORD.to_line(), encoding="utf-8")
    assert read_records(path) == [RECORD]


def changed(**values) -> str:
    return json.dumps(json.loads(RECORD.to_line()) | values)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        '"a record"',
        "{}",
        '{"layers": []}',
        changed(more=1),
        changed(loss=None),
        changed(loss="much"),
        changed(loss=[1.0]),
        changed(loss=10**400),
        changed(step="seven"),
        changed(step=7.5),
        changed(layers=None),
        changed(layers=3),
        changed(layers=[3]),
        changed(layers=[{}]),
        changed(layers=[{"name": "1"}]),
        changed(layers=[json.loads(RECORD.to_line())["layers"][0] | {"name": 1}]),
        changed(layers={"name": "1"}),
        "[" * 100_000,
        "\x00",
    ],
)
def test_a_line_that_is_no_record_is_refused(tmp_path, line):
    with pytest.raises(FileError, match=r"Not a training record: .*; expected a line of records.jsonl"):
        Record.from_line(line)
    path = tmp_path / "records.jsonl"
    path.write_text(to_lines([RECORD]) + line + "\n" + to_lines([RECORD]), encoding="utf-8")
    with pytest.raises(FileError, match="Not a training record"):
        read_records(path)


@given(st.text())
def test_any_text_is_a_record_or_one_sentence(line):
    with pytest.raises(FileError, match="Not a training record"):
        Record.from_line(line)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileError, match=r"Cannot read the records .*records.jsonl: .*No such file"):
        read_records(tmp_path / "records.jsonl")


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"Cannot read the records .*records.jsonl: .*codec can't decode"):
        read_records(path)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_BYTES", 10)
    path = tmp_path / "records.jsonl"
    path.write_text(to_lines([RECORD]), encoding="utf-8")
    with pytest.raises(
        FileError, match=r"records.jsonl is larger than 10 bytes; a records.jsonl of a run is far smaller"
    ):
        read_records(path)


def test_records_without_quantiles_of_an_earlier_version_are_read():
    values = json.loads(RECORD.to_line())
    del values["layers"][0]["weight_quantiles"]
    assert Record.from_line(json.dumps(values)) == RECORD
