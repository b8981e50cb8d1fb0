"""The view Descend: the surface is the loss, the rules are those of torch on the same batches, the code is true."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch

from commonweight.errors import LabError
from commonweight.lab.sessions import open_session
from commonweight.lab.sessions.descend_problems import PROBLEMS, RULES


@pytest.fixture
def session(tmp_path):
    return open_session("descend", tmp_path)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_surface_is_the_loss(session, problem):
    session.change({"problem": problem})
    structure, facts = session.structure(), session.facts()
    x, y = session.x.numpy(), session.y.numpy()
    for row, column in ((0, 0), (17, 60), (80, 3)):
        a = facts["middle"][0] + float(structure.arrays["along"][column])
        b = facts["middle"][1] + float(structure.arrays["up"][row])
        answer = {
            "line": lambda a=a, b=b: a * x + b,
            "chain": lambda a=a, b=b: b * np.tanh(a * x),
            "neuron": lambda a=a, b=b: 1 / (1 + np.exp(-a * x[:, 0] - b * x[:, 1])),
        }[problem]()
        assert structure.arrays["surface"][row, column] == pytest.approx(((answer - y) ** 2).mean(), rel=1e-4)


@pytest.mark.parametrize(
    "change", [{"batch": 1000, "momentum": 0.5}, {"problem": "chain"}, {"problem": "neuron"}, {"rate": 0.5}]
)
def test_the_code_takes_the_same_steps(session, change):
    session.change(change)
    for _ in range(30):
        session.advance()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    shown = re.findall(r"(\w+): a = (\S+), b = (\S+), loss (\S+)", said.getvalue())
    assert tuple(name for name, *_ in shown) == RULES
    live = session.live()
    gone = [name for name, diverged in zip(RULES, live.values["diverged"], strict=True) if diverged]
    assert re.findall(r"(\w+) diverged at step \d+", said.getvalue()) == gone
    assert np.allclose([[float(a), float(b)] for _, a, b, _ in shown], live.arrays["places"], atol=2e-5)
    assert np.allclose([float(loss) for *_, loss in shown], live.values["losses"], atol=2e-5)


def test_descent_by_hand(session):
    session.change({"batch": 1000})
    start = session.live().arrays["places"][0]
    x, y = session.x.double(), session.y.double()
    residual = start[0] * x + start[1] - y
    gradient = torch.stack([2 * (residual * x).mean(), 2 * residual.mean()]).numpy()
    session.advance()
    assert np.allclose(session.live().arrays["places"][0], start - 0.02 * gradient, atol=1e-5)


def test_all_begin_at_the_start_and_leave_a_path(session):
    session.change({"start_a": 0.5, "start_b": -1.0})
    assert np.allclose(session.live().arrays["places"], [1.1, -4.0])
    for _ in range(7):
        session.advance()
    live = session.live()
    assert live.arrays["paths"].shape == (5, 8, 2)
    assert np.allclose(live.arrays["paths"][:, -1], live.arrays["places"])
    assert np.allclose(live.arrays["paths"][:, 0], [1.1, -4.0])
    session.act("restart", {})
    assert session.step == 0
    assert session.live().arrays["paths"].shape == (5, 1, 2)


@pytest.mark.parametrize(("steps", "taken"), [(7, 7), (120, 100)])
def test_under_a_slider_the_last_steps_are_taken_again(session, tmp_path, steps, taken):
    for _ in range(steps):
        session.advance()
    other = open_session("descend", tmp_path)
    for one in (other, session):
        one.change({"rate": 0.005, "momentum": 0.5, "batch": 8})
    for _ in range(taken):
        other.advance()
    assert session.step == other.step == taken
    assert np.array_equal(session.live().arrays["paths"], other.live().arrays["paths"])
    session.change({"start_a": 0.1})
    assert session.step == 0


def test_a_rule_that_diverges_rests_where_it_was_last(session):
    session.change({"rate": 10.0, "batch": 1000})
    for _ in range(20):
        session.advance()
    live = session.live()
    assert live.values["diverged"][:3] == [1, 1, 1]
    assert live.values["diverged"][4] == 0
    assert np.isfinite(live.arrays["places"]).all()


def test_paths_of_any_length_are_bounded(session):
    for _ in range(1100):
        session.advance()
    assert session.live().arrays["paths"].shape[1] <= 512
    assert session.live().values["losses"][1] < 0.1


def test_without_momentum_three_rules_are_one(session):
    session.change({"momentum": 0.0})
    for _ in range(5):
        session.advance()
    places = session.live().arrays["places"]
    assert np.allclose(places[0], places[1])
    assert np.allclose(places[0], places[2])
    assert "nesterov=False" in session.code()


def test_an_action_that_is_none(session):
    with pytest.raises(LabError, match="Here one can do restart; got 'dance'"):
        session.act("dance", {})
