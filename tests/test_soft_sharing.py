"""Soft weight sharing: the prior is its formula, weights end in groups, and runs in the same codebooks however cut."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal
from training_runs import cut_run, dropout_net

from commonweight import count, data, load, nets, tie
from commonweight.compress import share, shared_weights
from commonweight.errors import CompressError, TrainError
from commonweight.measure import report
from commonweight.train import loop
from commonweight.train.loop import fit, resume
from commonweight.train.run import WEIGHTS, Run
from commonweight.train.soft_sharing import NARROWEST, Mixture, is_shared, soft_share


@pytest.fixture(scope="module")
def iris():
    return data.load("iris")


@pytest.fixture(scope="module")
def fitted(iris):
    return fit(nets.build("mlp", (4,), 3), iris, epochs=40, optimizer="adam", out=None, progress=False).model


def mixture_of(weight, k):
    layer = nn.Linear(*weight.T.shape)
    layer.weight = nn.Parameter(weight.clone())
    share(layer, k, "tensor")
    return Mixture(weight, layer.shared)


def test_the_prior_is_a_mixture_of_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    weight = 3 * torch.randn(20, 30, generator=generator)
    mixture = mixture_of(weight, 4)
    with torch.no_grad():
        mixture.log_deviations += torch.tensor([0.1, -0.4, 0.3, -20.0])
    deviations = mixture.log_deviations.exp().clamp(min=NARROWEST) * mixture.unit
    parts = Normal(mixture.means * mixture.unit, deviations)
    expected = MixtureSameFamily(Categorical(logits=mixture.logits), parts).log_prob(weight)
    in_units = expected + torch.log(weight.std(correction=0))  # the density of θ / unit
    torch.testing.assert_close(mixture(weight), -in_units.sum())


def test_it_begins_at_the_nearest_codebook():
    weight = torch.tensor([[-1.0, -1.1, -0.9, 2.0], [2.1, 1.9, 2.0, 2.0]] * 8)
    mixture = mixture_of(weight, 2)
    unit = float(weight.std(correction=0))
    torch.testing.assert_close(mixture.means.detach() * unit, torch.tensor([-1.0, 2.0]))
    torch.testing.assert_close(mixture.logits.softmax(0), torch.tensor([3 / 8, 5 / 8]))


def test_weights_come_together_and_the_net_still_answers(iris, fitted):
    """Groups are far narrower than the net's weights were around the nearest codebook, and that before the codebook."""
    model = nets.build("mlp", (4,), 3)
    model.load_state_dict(fitted.state_dict())
    report = soft_share(model, iris, 6, epochs=60)
    plain = nets.build("mlp", (4,), 3)
    plain.load_state_dict(fitted.state_dict())
    for grouped, before in zip(report.lines, share(plain, 6, "tensor").lines, strict=True):
        assert grouped.left == before.left
        assert grouped.error <= 0.5 * before.error
    shared = shared_weights(model)
    assert set(shared) == {"hidden1.weight", "hidden2.weight", "output.weight"}
    assert all(len(weight().unique()) <= 6 for weight in shared.values())
    right = model(iris.normalisation.apply(iris.x[iris.test])).argmax(1) == iris.y[iris.test]
    assert right.double().mean() > 0.8


def test_the_same_seed_gives_the_same_codebooks(iris, fitted):
    states = []
    for _ in range(2):
        model = nets.build("mlp", (4,), 3)
        model.load_state_dict(fitted.state_dict())
        soft_share(model, iris, 4, epochs=2, seed=3)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())


def test_a_tied_weight_is_in_one_mixture_and_one_codebook(iris):
    model = nn.Sequential(
        nn.Linear(4, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 30), nn.Linear(30, 3)
    )
    tie(model, "4.weight = 2.weight", keep="source")
    soft_share(model, iris, 4, epochs=2)
    assert model[2].shared is model[4].shared
    assert set(shared_weights(model)) == {"0.weight", "2.weight", "5.weight"}


def test_a_run_is_stored_with_its_codebooks(iris, tmp_path):
    model = nets.build("mlp", (4,), 3)
    run = fit(model, iris, epochs=20, optimizer="adam", soft_sharing=4, out=tmp_path / "run", progress=False)
    assert run.description["shared"] == {"codebook": 4, "per": "tensor", "ties": []}
    assert is_shared(tmp_path / "run" / WEIGHTS)
    assert len(load(tmp_path / "run" / WEIGHTS)["hidden2.weight"].unique()) <= 4
    loaded = Run.load(tmp_path / "run")
    x = iris.x[iris.test]
    torch.testing.assert_close(loaded.outputs(x), run.outputs(x), rtol=1e-4, atol=1e-4)
    right = (loaded.outputs(x).argmax(1) == iris.y[iris.test]).double().mean()
    assert float(right) == pytest.approx(run.results["test"]["accuracy"])
    assert shared_weights(loaded.model).keys() == shared_weights(run.model).keys()
    assert run.results["weights"] == count(run.model, torch.zeros(1, 4)).weights < 500


def same(first, second):
    first, second = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_ends_in_the_same_codebooks(iris, tmp_path, monkeypatch):
    """Cut while it learns; after that, before the codebooks; and between the codebooks and the results."""
    options = {"epochs": 8, "soft_sharing": 4, "optimizer": "adam", "progress": False}
    fit(dropout_net(), iris, out=tmp_path / "whole", **options)
    cut_run(tmp_path / "learning", iris, **options)

    def dying(*args, **given):
        raise KeyboardInterrupt

    for name, module, place in (("before", loop, "soft_share"), ("after", report, "write_report")):
        with monkeypatch.context() as patch:
            patch.setattr(module, place, dying)
            with pytest.raises(KeyboardInterrupt):
                fit(dropout_net(), iris, out=tmp_path / name, **options)
    assert not is_shared(tmp_path / "before" / WEIGHTS)
    assert is_shared(tmp_path / "after" / WEIGHTS)
    for name in ("learning", "before", "after"):
        run = resume(tmp_path / name, dropout_net(), iris, progress=False)
        assert same(tmp_path / name, tmp_path / "whole")
        assert shared_weights(run.model)
        assert json.loads((tmp_path / name / "run.json").read_text())["results"]["test"] == run.results["test"]


@pytest.mark.parametrize(
    ("k", "says"),
    [
        (0, "soft_sharing is a whole number from 1 to 256; got 0"),
        (257, "soft_sharing is a whole number from 1 to 256; got 257"),
        (
            30,
            "more weights than values, but the largest tensor of this net has 12: take fewer than 30",
        ),
    ],
)
def test_more_values_than_weights_are_refused(iris, k, says):
    with pytest.raises(TrainError, match=says):
        fit(nn.Linear(4, 3), iris, soft_sharing=k, out=None, progress=False)


def test_what_would_not_become_smaller_is_one_sentence(iris):
    with pytest.raises(TrainError, match="by 11 values a tensor would make no weight of this net smaller"):
        soft_share(nn.Linear(4, 3), iris, 11, epochs=1)
    with pytest.raises(CompressError, match="A codebook has 1 to 256 values; got 0"):
        soft_share(nn.Linear(4, 3), iris, 0, epochs=1)


def test_a_loss_that_is_not_finite_is_one_sentence(iris, fitted):
    model = nets.build("mlp", (4,), 3)
    model.load_state_dict(fitted.state_dict())
    with pytest.raises(TrainError, match=r"The loss became (nan|inf) in step \d+ of \d+: lower lr from 1e\+30"):
        soft_share(model, iris, 4, epochs=5, lr=1e30)


def test_the_command_line_shares_softly(say):
    words = ["train", "iris", "--optimizer", "adam", "--epochs", 4, "--soft-sharing", 4, "--out", "run"]
    code, out, err = say(*words)
    assert code == 0, err
    assert "hidden1" in out
    assert is_shared(Path("run") / WEIGHTS)
    Path("row.csv").write_text("a,b,c,d\n5.1,3.5,1.4,0.2\n")
    assert say("train", "iris", "--soft-sharing", 0)[0] == 2
