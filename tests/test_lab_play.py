"""The session of a network that one plays with: what it shows is what the net computes, and its code is true."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch

from commonweight.errors import DataError, LabError
from commonweight.lab.sessions import open_session
from commonweight.lab.sessions.play_look import BOUNDARY, PICTURE, square


@pytest.fixture
def session(tmp_path):
    return open_session("play", tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data": "xor", "rule": "nesterov", "decay": 0.01, "hidden": [3], "activation": "relu"},
        {"data": "circles", "rule": "rmsprop", "hidden": []},
        {"data": "painted", "rule": "sgd", "rate": 0.5},
        {"data": "digits", "net": "cnn", "rule": "momentum", "batch": 100},
        {"data": "moons", "seed": 4, "batch": 1},
    ],
    ids=str,
)
def test_the_code_takes_the_same_steps(session, given):
    session.change(given)
    for _ in range(45):
        session.advance()
    said = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    loss = float(re.search(r"loss of the last batch: (\d+\.\d+)", said.getvalue())[1])
    assert loss == pytest.approx(session.loss, abs=1e-5)


def test_the_pictures_are_what_the_net_and_its_units_answer(session):
    for _ in range(3):
        session.advance()
    arrays = session.live().arrays
    net, reach = session.net.eval(), session.structure().values["reach"]
    with torch.no_grad():
        shares = net(square(BOUNDARY, reach)).softmax(1)[:, 1]
        first = torch.tanh(net.hidden1(square(PICTURE, reach)))
    assert np.allclose(arrays["boundary"].ravel(), shares, atol=1e-6)
    assert np.allclose(arrays["hidden1.picture"], first.T, atol=1e-6)
    assert np.array_equal(arrays["hidden2.weight"], net.hidden2.weight.detach())
    corner = square(3, 2.0)
    assert corner[0].tolist() == [-2, 2]
    assert corner[-1].tolist() == [2, -2]


def test_the_bent_space_keeps_the_distances_of_the_plane_it_is_drawn_in(session):
    """A turn of axes between frames changes no distance, and two hidden units are shown as they are."""
    session.change({"hidden": [5, 2]})
    session.live()
    for _ in range(5):
        session.advance()
    live = session.live()
    with torch.no_grad():
        seen = session.test[:400]
        for layer in list(session.net)[:-1]:
            seen = layer(seen)
    shown = torch.from_numpy(live.arrays["space"])
    assert torch.allclose(torch.pdist(seen), torch.pdist(shown), atol=1e-4)
    assert live.values["share"] == pytest.approx(1, abs=1e-5)


def test_rewinding_leads_to_the_same_weights(session):
    for _ in range(7):
        session.advance()
    weights = [weight.detach().clone() for weight in session.net.parameters()]
    for _ in range(5):
        session.advance()
    session.act("rewind", {"step": 7})
    assert session.step == 7
    assert all(torch.equal(a, b) for a, b in zip(weights, session.net.parameters(), strict=True))


def test_what_goes_on_and_what_begins_anew(session):
    session.advance()
    session.change({"rate": 0.5, "rule": "sgd", "batch": 8, "decay": 0.1})
    assert session.step == 1
    session.change({"hidden": [4]})
    assert session.step == 0
    session.change({"data": "painted"})
    session.advance()
    session.change({"points": [*session.facts()["points"], [0.5, 0.5, 1]]})
    assert session.step == 1
    assert len(session.data) == 25


def test_settings_that_cannot_be_learned_change_nothing(session):
    with pytest.raises(DataError, match="needs at least 10"):
        session.change({"data": "painted", "points": [[0, 0, 1]] * 3})
    assert session.settings.data == "spirals"
    session.advance()
    with pytest.raises(LabError, match="one can restart, rewind, or choose a sample; got 'jump'"):
        session.act("jump", {})
    with pytest.raises(LabError, match="step is a whole number from 0 to 1; got 5"):
        session.act("rewind", {"step": 5})


def test_a_loss_that_is_no_number_is_said(session):
    session.change({"rule": "sgd", "rate": 10.0, "activation": "relu", "decay": 1.0})
    with pytest.raises(LabError, match=r"The loss became .* lower the learning rate"):
        train(session, 500)


def train(session, steps):
    for _ in range(steps):
        session.advance()


def test_a_file_of_ones_own(tmp_path):
    rows = ["a,b,c,kind", *(f"{k % 7},{k % 5},{k % 3},{'xy'[k % 2]}" for k in range(60))]
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    session = open_session("play", tmp_path, "own.csv")
    session.advance()
    assert session.facts()["kind"] == "table"
    assert session.live().arrays["confusion"].shape == (2, 2)
    with pytest.raises(LabError, match=r"'\.\./own\.csv' is not in the folder"):
        open_session("play", tmp_path / "sub", "../own.csv")
    (tmp_path / "values.csv").write_text("a,b\n" + "".join(f"{k},{k / 7}\n" for k in range(40)))
    with pytest.raises(LabError, match="has values to predict"):
        open_session("play", tmp_path, "values.csv")
