"""The view Map: its steps are those of the rules, its pictures those of the net, and the shown code is true."""

import contextlib
import io
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch

from commonweight.errors import LabError
from commonweight.lab.sessions import open_session

SMALL = {"data": "iris", "rows": 4, "columns": 5, "radius": 2, "passes": 6}


@pytest.fixture
def session(tmp_path):
    session = open_session("map", tmp_path)
    session.change(SMALL)
    return session


@pytest.mark.parametrize("learning", ["batch", "online"])
@pytest.mark.parametrize(
    ("start", "grid", "edges"),
    [("random", "hexagons", "planar"), ("components", "squares", "torus"), ("random", "hexagons", "torus")],
)
def test_the_code_takes_the_same_steps(session, learning, start, grid, edges):
    session.change({"learning": learning, "start": start, "grid": grid, "edges": edges, "seed": 3})
    for _ in range(5):
        session.advance()
    said = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    (shown,) = re.findall(r"quantisation error (\S+), topographic error (\S+)", said.getvalue())
    assert shown == tuple(f"{error:.4f}" for error in session._errors())


@pytest.mark.parametrize("learning", ["batch", "online"])
def test_a_map_unfolds_and_ends(session, learning):
    session.change({"learning": learning})
    first = session.live().values["error"]
    steps = 0
    while session.advance():
        steps += 1
    assert session.step == session.steps == steps + 1
    assert session.advance() is False
    live = session.live()
    assert live.values["error"] < first / 2
    assert live.values["radius"] == pytest.approx(0.5)
    assert session.curves.table()[-1, 0] > 0


def test_votes_count_the_samples_that_each_unit_wins(session):
    for _ in range(6):
        session.advance()
    votes = session.live().arrays["votes"]
    distances = np.linalg.norm(session.x.numpy()[:, None] - session.net.weight.detach().numpy(), axis=2)
    expected = np.zeros((20, 3))
    np.add.at(expected, (distances.argmin(1), session.labels.numpy()), 1)
    assert np.array_equal(votes, expected)


def test_the_sample_lands_on_the_nearest_unit(session):
    session.act("sample", {"sample": 7})
    live = session.live()
    test = session.data.x[session.data.test][7].numpy()
    distances = np.linalg.norm(session.net.weight.detach().numpy() - test, axis=1)
    assert live.values["winner"] == distances.argmin()
    assert live.values["distance"] == pytest.approx(distances.min(), rel=1e-5)
    assert live.values["label"] == int(session.data.y[session.data.test][7])


def test_the_plane_shows_points_of_the_plane_as_they_are(session):
    session.change({"data": "spirals"})
    assert np.array_equal(session.structure().arrays["points"], session.x.numpy())
    session.change({"data": "digits"})
    x = session.x.numpy()
    centred = x - x.mean(0)
    points = session.structure().arrays["points"]
    variance = np.linalg.eigvalsh(np.cov(centred.T))[-2:].sum()
    assert points.var(0, ddof=1).sum() == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize(("grid", "edges"), [("squares", 4 * 4 + 3 * 5), ("hexagons", 4 * 4 + 3 * 9)])
def test_the_net_of_the_grid(session, grid, edges):
    session.change({"grid": grid})
    structure = session.structure()
    assert structure.arrays["edges"].shape == (edges, 2)
    assert structure.arrays["positions"].shape == (20, 2)


def test_another_set_is_looked_at_anew(session):
    session.act("sample", {"sample": 7})
    session.change({"seed": 1})
    assert session.live().values["sample"] == 7
    assert session.live().values["feature"] == 2  # the length of petals varies most
    session.change({"data": "moons"})
    assert session.live().values["sample"] == 0


def test_planes_and_units_are_those_of_the_net(session):
    session.act("feature", {"feature": 2})
    session.act("unit", {"unit": 19})
    live = session.live()
    assert np.array_equal(live.arrays["plane"].flatten(), session.net.weight.detach().numpy()[:, 2])
    assert np.array_equal(live.arrays["chosen"], session.net.weight.detach().numpy()[19])
    assert live.arrays["sheet"].size == 0
    session.change({"data": "digits"})
    assert session.live().arrays["sheet"].shape == (20, 64)
    assert session.facts()["image"] == [8, 8]
    assert session.facts()["features"] is None  # the page names pixels in its language


@pytest.mark.parametrize(
    ("action", "given", "sentence"),
    [
        ("unit", {"unit": 20}, "unit is a whole number from 0 to 19; got 20"),
        ("sample", {}, "sample is a whole number from 0 to 21; got None"),
        ("feature", {"feature": 4}, "feature is a whole number from 0 to 3; got 4"),
        ("dance", {}, "Here one can do restart, unit, sample, feature; got 'dance'"),
    ],
)
def test_choices_that_are_none(session, action, given, sentence):
    with pytest.raises(LabError, match=re.escape(sentence)):
        session.act(action, given)


def test_another_map_begins_anew_and_choices_stay_inside(session):
    session.advance()
    session.act("unit", {"unit": 19})
    session.change({"rows": 4})
    assert session.step == 1
    session.change({"rows": 2})
    assert (session.step, session.live().values["unit"]) == (0, 9)
    session.advance()
    session.act("restart", {})
    assert session.step == 0


def test_a_torus_joins_the_edges(session):
    """Of 4 × 5 squares 31 pairs lie side by side on a plane, and 40 on a torus, 2 for each of the 20 units."""
    session.change({"grid": "squares"})
    assert len(session.structure().arrays["edges"]) == 4 * 4 + 3 * 5
    session.change({"edges": "torus"})
    edges = {tuple(edge) for edge in session.structure().arrays["edges"].tolist()}
    assert len(edges) == 40
    assert {(0, 4), (0, 15)} <= edges
    session.change({"grid": "hexagons"})
    assert len(session.structure().arrays["edges"]) == 60
    with pytest.raises(LabError, match="Hexagons close to a torus in an even number of rows; got 5"):
        session.change({"rows": 5})
    assert session.settings.rows == 4


def test_what_is_looked_at_is_a_setting(session, tmp_path):
    session.advance()
    session.act("unit", {"unit": 7})
    session.act("sample", {"sample": 3})
    session.act("feature", {"feature": 1})
    assert session.step == 1
    other = open_session("map", tmp_path)
    other.change(asdict(session.settings))
    other.advance()
    assert other.live().encode() == session.live().encode()
    session.change({"data": "moons", "rows": 2, "columns": 2, "unit": 99})
    assert [session.live().values[name] for name in ("unit", "sample")] == [3, 0]
