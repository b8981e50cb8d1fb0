"""The parts of the lab that need no process: frames, messages, settings, pace, curves, viewers."""

import asyncio
import io
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import LabError
from commonweight.lab import channel
from commonweight.lab.curves import MOST_POINTS, Curves
from commonweight.lab.frames import Frame, decode
from commonweight.lab.opening import opening
from commonweight.lab.pace import SHARE, Pace
from commonweight.lab.settings import changed, choice, described, points, real, sizes, text, whole
from commonweight.lab.viewer import BURST, MESSAGES, RATE, Viewer


@given(st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), max_size=5), st.integers(0, 10**9))
def test_a_frame_comes_back_as_it_was(rows, step):
    array = np.array(rows, dtype=np.float32).reshape(-1, 2)
    frame = Frame(
        "live", step, {"loss": float("nan"), "word": "共享\ud800", "list": [1.5]}, {"rows": array, "one": 2.0}
    )
    back = decode(frame.encode())
    assert (back.kind, back.step) == ("live", step)
    assert back.values == {"loss": None, "word": "共享\ud800", "list": [1.5]}
    assert np.array_equal(back.arrays["rows"], array, equal_nan=True)
    assert back.arrays["one"] == 2.0


def test_the_numbers_of_a_frame_begin_at_a_multiple_of_four():
    for letters in range(8):
        data = Frame("live", 0, {"a": "x" * letters}, {"n": [1.0]}).encode()
        assert len(data) % 4 == 0


@given(st.binary(max_size=200))
def test_no_bytes_but_those_of_a_frame_are_one(data):
    with pytest.raises(LabError, match=r"These \d+ bytes are no frame of version CWF1"):
        decode(b"XXXX" + data)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_frame_that_is_cut_off_is_refused(cut):
    data = Frame("live", 0, {}, {"n": [1.0, 2.0]}).encode()
    with pytest.raises(LabError, match="are no frame"):
        decode(data[:-cut])


def test_messages_in_a_pipe_come_back_one_by_one():
    first, second = channel.pack_json(b"C", {"do": "run"}), channel.pack_frame(Frame("live", 1))
    stream = io.BytesIO(first + second + b"\x09")
    assert channel.receive(stream) == (b"C", b'{"do": "run"}')
    assert channel.receive(stream)[0] == channel.LIVE
    assert channel.receive(stream) is None


def test_a_message_that_is_too_long_is_refused():
    with pytest.raises(LabError, match=r"at most 33,554,432 bytes; got one of 4,294,967,295"):
        channel.unpack_head(b"\xff\xff\xff\xffF")


@dataclass(frozen=True)
class Some:
    kind: str = choice("a", ("a", "b"))
    kernel: int = whole(5, 3, 7, step=2)
    dropout: float = real(0.0, 0.0, 0.9, step=0.1)
    rate: float = real(0.1, 0.0, 1.0)
    hidden: tuple = sizes((4,), 1, 8, 3)
    drawn: tuple = points(2)
    name: str = text(5)


def test_settings_are_changed_and_described():
    some = changed(Some(), {"kind": "b", "hidden": [2, 3], "drawn": [[0, 1.5, 1]], "rate": 1, "name": "x"})
    assert some == Some(kind="b", hidden=(2, 3), drawn=((0.0, 1.5, 1),), rate=1.0, name="x")
    assert described(Some)[1] == {"name": "kernel", "default": 5, "kind": "whole", "low": 3, "high": 7, "step": 2}


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ([], r"Settings are an object with a value for each name; got \[\]"),
        ({"size": 1}, "There is no setting 'size' here: there are kind, kernel, dropout, rate, hidden, drawn, name"),
        ({"kind": "c"}, "kind is one of a, b; got 'c'"),
        ({"kernel": 4}, "kernel is a whole number from 3 to 7 in steps of 2; got 4"),
        ({"kernel": True}, "kernel is a whole number"),
        ({"rate": float("nan")}, "rate is a number from 0.0 to 1.0; got nan"),
        ({"dropout": 1}, "dropout is a number from 0.0 to 0.9; got 1"),
        ({"hidden": [9]}, "hidden is at most 3 whole numbers from 1 to 8; got"),
        ({"hidden": [1, 1, 1, 1]}, "hidden is at most 3 whole numbers"),
        ({"drawn": [[0, 3, 1]]}, "drawn is at most 2 points"),
        ({"name": "longer"}, "name is a text of at most 5 letters"),
    ],
)
def test_settings_that_cannot_be_are_refused(given_, sentence):
    with pytest.raises(LabError, match=sentence):
        changed(Some(), given_)


def test_frames_take_at_most_their_share_of_the_time():
    """Twelve hours on a clock of its own: steps of 1 ms, frames of 20 ms."""
    pace, now, framing = Pace(0.0), 0.0, 0.0
    for _ in range(200_000):
        now += 0.001
        if pace.frame_due(now):
            began, now = now, now + 0.02
            framing += 0.02
            pace.framed(began, 0.02)
    assert 0.5 * SHARE < framing / now <= SHARE


@pytest.mark.parametrize("step_seconds", [0.0005, 0.003, 0.011])
def test_quick_frames_come_as_often_as_is_seen_and_no_more(step_seconds):
    pace, now, frames = Pace(0.0), 0.0, 0
    while now < 10:
        now += step_seconds
        if pace.frame_due(now):
            frames += 1
            pace.framed(now, 0.0001)
    assert 315 <= frames <= 322


def test_steps_are_held_back_to_what_was_asked_for():
    pace, now, steps = Pace(0.0), 0.0, 0
    pace.steps_per_second = 5
    while now < 10:
        if pace.rest(now) == 0:
            pace.stepped(now)
            steps += 1
        now += 0.001
    assert 49 <= steps <= 52


def test_curves_of_twelve_hours_stay_short():
    curves = Curves(2, every=10)
    for step in range(0, 3_000_000, 10):
        if curves.due(step):
            curves.add(step, [step, -step])
    table = curves.table()
    assert MOST_POINTS / 2 <= len(table) <= MOST_POINTS
    assert table[0, 0] == 0
    assert table[-1, 0] > 2_990_000
    assert len(set(np.diff(table[:, 0]))) == 1
    assert np.array_equal(table[:, 0], table[:, 1])


def test_a_slow_viewer_keeps_only_the_newest():
    viewer = Viewer(1)
    for k in range(1000):
        viewer.put(channel.LIVE, b"%d" % k)
        viewer.put(channel.STATE, b"s%d" % k)
        viewer.say(b"m%d" % k)
    waiting = asyncio.run(viewer.next())
    assert waiting == [*(f"m{k}" for k in range(1000 - MESSAGES, 1000)), "s999", b"999"]


def test_a_viewer_may_not_ask_without_end():
    viewer = Viewer(1)
    assert sum(viewer.may_ask(5.0) for _ in range(1000)) == BURST
    assert sum(viewer.may_ask(6.0) for _ in range(1000)) <= RATE


def test_what_the_lab_opens_with(tmp_path):
    run = tmp_path / "digits & more"
    run.mkdir()
    (run / "run.json").write_text("{}")
    assert opening(run) == (tmp_path, "#run?subject=digits%20%26%20more")
    assert opening(tmp_path) == (tmp_path, "#run")
    model = tmp_path / "a model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert opening(model) == (tmp_path, "#audit?file=a%20model")
    assert opening(model / "config.json") == (model, "#audit?file=config.json")
    assert opening(None)[1] == ""
    (tmp_path / "own.csv").touch()
    assert opening(tmp_path / "own.csv") == (tmp_path, "#play?data=own&file=own.csv")
    for name in ("cats", "dogs"):
        (tmp_path / "my pictures" / name).mkdir(parents=True)
        (tmp_path / "my pictures" / name / "1.png").touch()
    assert opening(tmp_path / "my pictures") == (tmp_path, "#play?data=own&file=my%20pictures")
    with pytest.raises(LabError, match=r"nowhere is neither a run folder, .* table .*, nor a checkpoint"):
        opening(tmp_path / "nowhere")
