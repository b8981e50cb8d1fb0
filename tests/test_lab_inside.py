"""The view Look inside: each value is the sum that is written out, sizes follow the formula, the shown code is true."""

import contextlib
import io
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from commonweight.errors import LabError
from commonweight.lab.sessions import open_session
from commonweight.lab.sessions.inside_net import STAGES

DRAWING = "d" + "".join(
    "0" if not 28 <= k < 168 else "f" if k % 14 in (6, 7) else "3" if k % 14 == 8 else "0" for k in range(196)
)


@pytest.fixture
def session(tmp_path):
    return open_session("inside", tmp_path)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(5, 1, 2), (3, 2, 3), (5, 3, 0), (1, 1, 0), (2, 3, 1)])
def test_every_value_is_the_sum_that_is_written_out(session, pooling, kernel, stride, padding):
    session.change({"pooling": pooling, "kernel": kernel, "stride": stride, "padding": padding, "drawing": DRAWING})
    for place, stage in enumerate(STAGES):
        shape = session.live().arrays[stage].shape
        for number, row, column in {(0, 0, 0), tuple(size - 1 for size in shape), tuple(size // 2 for size in shape)}:
            session.act("choose", {"stage": place, "map": number, "row": row, "column": column})
            live = session.live()
            total = (live.arrays["seen"] * live.arrays["weights"]).sum() + live.values["bias"]
            assert total == pytest.approx(live.values["value"], abs=1e-5)
            assert live.values["value"] == pytest.approx(live.arrays[stage][number, row, column])


def test_the_window_lies_where_it_is_told(session):
    session.change({"kernel": 3, "stride": 2, "padding": 1, "drawing": DRAWING})
    session.act("choose", {"stage": 0, "map": 1, "row": 3, "column": 4})
    live = session.live()
    assert live.values["origin"] == [0, 5, 7]
    assert np.array_equal(live.arrays["seen"][0], live.arrays["image"][5:8, 7:10])
    session.act("choose", {"stage": 0, "map": 1, "row": 0, "column": 0})
    live = session.live()
    assert live.values["origin"] == [0, -1, -1]
    assert not live.arrays["seen"][0, 0].any()


@pytest.mark.parametrize("kernel", [1, 4, 5])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("padding", [0, 3])
def test_the_sizes_are_those_of_the_formula_and_of_the_maps(session, kernel, stride, padding):
    session.change({"kernel": kernel, "stride": stride, "padding": padding})
    layers, live = session.facts()["layers"], session.live()
    assert [layer["out"] for layer in layers] == [live.arrays[stage].shape[1] for stage in STAGES[:3]]
    expected = F.conv2d(torch.zeros(1, 1, 14, 14), torch.zeros(1, 1, kernel, kernel), stride=stride, padding=padding)
    assert layers[0]["out"] == expected.shape[-1]


def test_both_poolings_of_a_map(session):
    session.act("choose", {"stage": 0, "map": 2, "row": 0, "column": 0})
    live = session.live()
    windows = np.maximum(live.arrays["first"][2], 0).reshape(7, 2, 7, 2)
    assert np.allclose(live.arrays["largest"], windows.max((1, 3)))
    assert np.allclose(live.arrays["mean"], windows.mean((1, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "stage"),
    [({"pooling": "average", "rule": "momentum"}, 0), ({"drawing": DRAWING, "stride": 2}, 2), ({"seed": 4}, 3)],
)
def test_the_code_takes_the_same_steps(session, change, stage):
    session.change(change)
    session.act("choose", {"stage": stage, "map": 3, "row": 0, "column": 0})
    for _ in range(12):
        session.advance()
    said = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    ((accuracy, value),) = re.findall(r"validation accuracy (\S+), the value (\S+)", said.getvalue())
    assert float(accuracy) == pytest.approx(session._accuracy(), abs=6e-5)
    assert float(value) == pytest.approx(session.live().values["value"], abs=1e-5)


def test_the_net_learns_and_a_drawing_leaves_it_as_it_is(session):
    for _ in range(100):
        session.advance()
    assert session.live().values["accuracy"] > 0.8
    session.change({"drawing": DRAWING})
    live = session.live()
    assert (session.step, live.values["label"]) == (100, -1)
    assert live.arrays["image"][5, 8] == pytest.approx(0.2)
    assert live.arrays["probabilities"].argmax() == 1  # a thick stroke from top to bottom
    session.act("sample", {"sample": 3})
    assert session.settings.drawing == ""
    assert session.live().values["label"] >= 0
    session.change({"rate": 0.001})
    assert session.step == 100
    session.act("restart", {})
    assert session.step == 0


def test_a_choice_outside_of_a_smaller_map_moves_inside(session):
    session.act("choose", {"stage": 0, "map": 5, "row": 13, "column": 13})
    session.change({"stride": 3})
    assert session.live().values["chosen"] == [0, 5, 4, 4]


@pytest.mark.parametrize(
    ("action", "given", "sentence"),
    [
        ("choose", {"stage": 4}, "stage is a whole number from 0 to 3; got 4"),
        ("choose", {"stage": 1, "map": 6}, "map is a whole number from 0 to 5; got 6"),
        ("choose", {"stage": 3, "map": 9, "row": 1}, "row is a whole number from 0 to 0; got 1"),
        ("sample", {"sample": 750}, "sample is a whole number from 0 to 749; got 750"),
        ("dance", {}, "Here one can do restart, sample, choose; got 'dance'"),
    ],
)
def test_choices_that_are_none(session, action, given, sentence):
    with pytest.raises(LabError, match=re.escape(sentence)):
        session.act(action, given)


@pytest.mark.parametrize("drawing", ["d12", "f" * 197, "d" + "g" * 196])
def test_what_is_no_drawing(session, drawing):
    with pytest.raises(LabError, match="A drawing is the letter d and 196 hexadecimal digits"):
        session.change({"drawing": drawing})
    assert session.settings.drawing == ""


def test_what_is_looked_at_is_a_setting(session, tmp_path):
    session.advance()
    session.act("sample", {"sample": 9})
    session.act("choose", {"stage": 2, "map": 7, "row": 3, "column": 1})
    assert session.step == 1
    other = open_session("inside", tmp_path)
    other.change(asdict(session.settings))
    other.advance()
    assert other.live().encode() == session.live().encode()
    session.change({"stage": 3, "map": 9, "row": 6})
    assert session.live().values["chosen"] == [3, 9, 0, 0]
