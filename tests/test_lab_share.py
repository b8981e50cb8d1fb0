"""The session of shared weights: gradients are sums over users, the twin starts equal, the shown code is true."""

import contextlib
import copy
import io
import re
from dataclasses import asdict

import numpy as np
import pytest
import torch

from commonweight import data
from commonweight.errors import LabError
from commonweight.lab.sessions import open_session, share_graphs
from commonweight.lab.sessions.share_net import PATTERNS
from commonweight.lab.sessions.share_uses import each_use


@pytest.fixture
def session(tmp_path):
    return open_session("share", tmp_path)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_the_users_ask_for_adds_up_to_the_gradient_that_autograd_finds(session, pattern):
    session.change({"pattern": pattern, "maps": 2})
    session.advance()
    tiemap = session.nets[0].tiemap
    for weight in np.random.default_rng(0).choice(tiemap.n_weights, min(tiemap.n_weights, 5), replace=False):
        session.act("weight", {"weight": int(weight)})
        values = session.live().values
        assert values["weight"] == weight
        assert values["n_users"] == len(tiemap.users(weight))
        assert values["sum"] == pytest.approx(values["gradient"], abs=1e-5)


def test_the_gradient_of_a_user_is_that_of_its_own_weight_in_the_untied_twin(session):
    """At the start both nets are the same function, so each user asks for what the twin's own weight asks for."""
    live = session.live()
    users, asks = live.arrays["users"].astype(int), live.arrays["asks"]
    twin = session.nets[1]
    own = twin.tiemap.expand(twin.layer.weight.grad.flatten()).numpy()
    assert np.allclose(asks, own[users[:, 0], users[:, 1]], atol=1e-6)
    assert np.allclose(live.arrays["matrix"], live.arrays["control"])


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("head", ["largest", "all"])
def test_the_code_takes_the_same_steps(session, pattern, head):
    session.change({"pattern": pattern, "maps": 2, "head": head, "batch": 100, "seed": 3, "rule": "momentum"})
    for _ in range(20):
        session.advance()
    session._check()
    said = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    shown = re.findall(r"tied (0\.\d+), untied (0\.\d+)", said.getvalue())
    assert [float(number) for number in shown[0]] == pytest.approx(session.accuracies, abs=6e-5)


def test_ties_made_and_unmade_at_the_present_weights(session):
    for _ in range(5):
        session.advance()
    kernel = session.nets[0].matrix()
    session.change({"pattern": "local"})
    assert session.step == 5
    assert torch.allclose(session.nets[0].matrix(), kernel)
    for _ in range(5):
        session.advance()
    wandered = session.nets[0].matrix()
    session.change({"pattern": "conv"})
    tiemap = session.nets[0].tiemap
    assert torch.allclose(session.nets[0].layer.weight.flatten(), tiemap.project(wandered))


def test_shared_weights_know_the_digit_at_every_place(session):
    session.change({"rate": 0.02, "maps": 6})
    for _ in range(200):
        session.advance()
    session.structure()
    tied, untied = session.live().arrays["shift"].reshape(2, 25)
    away = np.arange(25) != 12
    assert tied[away].mean() > 0.7
    assert untied[away].mean() < 0.4
    assert untied[12] > 0.9


def test_the_ladder_of_facts(session):
    facts = session.facts()
    assert facts["notation"] == "conv2d((1, 12, 12), 8, kernel=5, padding=2)"
    # 12·12·12·12·8 full; a window of 5 has 54 of 60 connections along an axis of 12, padding left out: 8·54·54.
    assert (facts["full"], facts["connections"], facts["weights"]) == (165_888, 23_328, 200)


def test_what_is_changed_on_the_way_stays_as_it_was_when_it_is_refused(session):
    session.advance()
    with pytest.raises(LabError, match="values is a whole number from 2 to 64; got 1000"):
        session.change({"pattern": "codebook", "values": 1000})
    assert session.settings.pattern == "conv"


@pytest.mark.parametrize(
    ("action", "given", "sentence"),
    [
        ("map", {"map": 8}, "map is a whole number from 0 to 7; got 8"),
        ("weight", {"weight": True}, "weight is a whole number from 0 to 199; got True"),
        ("connection", {"out": 0, "inp": 143}, "No connection leads from input 143 to output 0"),
        ("sample", {}, "sample is a whole number from 0 to 269; got None"),
        ("dance", {}, "Here one can do restart, map, weight, connection, sample; got 'dance'"),
    ],
)
def test_choices_that_are_none(session, action, given, sentence):
    with pytest.raises(LabError, match=re.escape(sentence)):
        session.act(action, given)


def test_each_setting_restarts_or_goes_on(session):
    session.advance()
    for change in ({"rate": 0.1}, {"batch": 32}, {"rule": "rmsprop"}, {"rate": 0.1}):
        session.change(change)
        assert session.step == 1
    session.act("map", {"map": 5})
    session.change({"maps": 3})
    assert session.step == 0
    assert session.live().values["map"] == 2


def test_nets_that_share_between_layers_are_graphs_of_real_passes(session):
    """Uses as the architecture says: both branches, both directions, every time step, three of four layers."""
    shared = {
        graph["name"]: {m["name"]: sum(calls for _, calls in m["uses"]) for m in graph["matrices"]}
        for graph in session.facts()["graphs"]
    }
    assert shared["siamese"] == {"left.0.weight": 2, "left.2.weight": 2}
    assert shared["autoencoder"] == {"encoder.weight": 2}
    assert shared["recurrent"] == {"cell.weight_ih_l0": 5, "cell.weight_hh_l0": 5, "output.weight": 1}
    assert shared["deep"] == {"hidden1.weight": 1, "hidden2.weight": 3, "output.weight": 1}
    assert "decoder.weight = encoder.weight.T" in session.facts()["graphs"][1]["equations"][0]


def test_what_each_use_adds_is_the_gradient_of_an_untied_copy_of_its_own():
    """Of the deep net: the same pass with three matrices that are not tied, by autograd alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, _, loss = share_graphs._nets()["deep"]
    adds = each_use(net.hidden2.weight, loss)
    own = copy.deepcopy(net)
    for name in ("hidden3", "hidden4"):
        setattr(own, name, copy.deepcopy(torch.nn.Linear(16, 16)))
        getattr(own, name).load_state_dict({k: v.clone() for k, v in own.hidden2.state_dict().items()})
    digits = data.load("digits", seed=0)
    first = digits.train[: share_graphs.SAMPLES]
    torch.nn.functional.cross_entropy(own(digits.x[first].flatten(1)), digits.y[first]).backward()
    expected = torch.stack([own.hidden2.weight.grad, own.hidden3.weight.grad, own.hidden4.weight.grad])
    assert torch.allclose(adds, expected, atol=1e-7)


def test_the_uses_of_each_graph_add_up_and_are_as_many_as_drawn(session):
    for graph in session.facts()["graphs"]:
        for matrix in graph["matrices"]:
            users = sum(calls for _, calls in matrix["uses"])
            assert len(matrix["pulled"]) == (8 if users > 1 else 0)
            for weight in matrix["pulled"]:
                assert len(weight["adds"]) == users
                assert weight["sum"] == pytest.approx(sum(weight["adds"]), abs=1e-7)
    net, rows, _ = share_graphs._nets()["recurrent"]
    assert torch.allclose(share_graphs.step_by_step(net, rows), net(rows), atol=1e-6)


def test_what_is_looked_at_is_a_setting(session, tmp_path):
    session.change({"maps": 3, "kernel": 3})
    session.act("connection", {"out": 200, "inp": 56})
    session.act("map", {"map": 2})
    session.act("sample", {"sample": 11})
    for _ in range(3):
        session.advance()
    other = open_session("share", tmp_path)
    other.change(asdict(session.settings))
    for _ in range(3):
        other.advance()
    session.structure(), other.structure()
    assert other.live().encode() == session.live().encode()
    session.change({"pattern": "local"})
    assert (session.settings.map, session.settings.sample) == (2, 11)
    session.change({"out": 0, "inp": 143})
    assert session.settings.inp != 143, "there is no such connection: another one is shown"
