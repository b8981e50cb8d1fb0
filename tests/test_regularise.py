"""What holds a net back: each formula against its own words, ties counted as said, interruptions without a trace."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from training_runs import cut_run, dropout_net

from commonweight import Tied, data, nets, patterns, tie
from commonweight.codebook import codebook
from commonweight.data.dataset import Samples, prepare
from commonweight.errors import TrainError
from commonweight.train.loop import fit, resume
from commonweight.train.regularise import Regulariser, weights_of
from commonweight.train.settings import choose_settings

GIVEN = {"epochs": None, "goal": None, "optimizer": "auto", "lr": None, "batch_size": None}
GIVEN |= {"precision": "auto", "device": "cpu", "seed": 0}


@pytest.fixture(scope="module")
def iris():
    return data.load("iris")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def regulariser(model, loaded, steps=100, **settings):
    """What holds `model` back, with settings as a net that fits the data takes them."""
    return Regulariser(model, choose_settings(nn.Linear(4, 3), loaded, **GIVEN | settings), steps)


# --- penalties ---


def test_the_penalty_is_its_formula_and_its_gradient_is_added(iris):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    held = regulariser(model, iris, l1=0.3, l2=0.7)
    first, last = model[0].weight, model[2].weight
    by_hand = sum(0.3 * abs(v) + 0.35 * v * v for w in (first, last) for v in w.flatten().tolist())
    assert float(held.penalty().detach()) == pytest.approx(by_hand, rel=1e-5)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    held.pull()
    torch.testing.assert_close(first.grad, 1 + 0.3 * first.sign() + 0.7 * first)
    assert torch.equal(model[0].bias.grad, torch.ones(5))
    assert torch.equal(model[1].weight.grad, torch.ones(5))


def test_a_shared_weight_is_penalised_once(iris):
    """However many connections use it: one number, one belief."""
    conv = Tied(patterns.conv1d((1, 9), 2, kernel=3))
    vector = Tied(patterns.circulant(4))
    encoder = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False))
    tie(encoder, "1.weight = 0.weight.T", keep="source")
    for model in (conv, vector, encoder):
        (weight,) = weights_of(model)
        assert regulariser(model, iris, l2=2.0).penalty().item() == pytest.approx(weight.square().sum().item())


def test_no_penalty_leaves_gradients_as_they_are(iris):
    model = nn.Linear(4, 3)
    regulariser(model, iris).pull()
    assert model.weight.grad is None


def test_frozen_weights_are_left_alone(iris):
    model = nn.Sequential(nn.Linear(4, 3).requires_grad_(False), nn.Linear(3, 3))
    before = model[0].weight.clone()
    held = regulariser(model, iris, l2=1.0, max_norm=0.01, sparsity=0.5)
    held.pull()
    held.project(99)
    assert torch.equal(model[0].weight, before)
    assert largest_norm(model[1].weight) <= 0.01 + 1e-6


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_a_penalty_makes_weights_small(iris, name):
    def size(**settings):
        model = nets.build("mlp", (4,), 3)
        fit(model, iris, epochs=20, optimizer="adam", out=None, progress=False, **settings)
        return sum(weight.abs().sum().item() for weight in weights_of(model))

    assert size(**{name: 0.01}) < 0.6 * size()


# --- the norm of a unit ---


def largest_norm(rows):
    return rows.flatten(1).norm(dim=1).max().item()


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(4, 3), nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last), nn.LSTM(4, 5), nn.Embedding(6, 4)],
    ids=lambda layer: type(layer).__name__,
)
def test_no_row_is_longer_than_max_norm(iris, layer):
    before = {name: weight.detach().clone() for name, weight in layer.named_parameters() if weight.ndim > 1}
    bound = 0.8 * min(float(weight.flatten(1).norm(dim=1).max()) for weight in before.values())
    regulariser(layer, iris, max_norm=bound).project(0)
    for name, old in before.items():
        rows, new = old.flatten(1), layer.get_parameter(name).flatten(1)
        for row, changed in zip(rows, new, strict=True):
            torch.testing.assert_close(changed, row * min(1.0, bound / float(row.norm())))


@pytest.mark.parametrize(
    "pattern",
    [
        patterns.conv2d((2, 5, 5), 3, kernel=3, padding=1),
        patterns.circulant(6),
        patterns.symmetric(5),
        patterns.single(4, 7),
        codebook([[0, 1, 1, 2], [2, 2, 0, 1], [0, 0, 1, 2]], 3, rows=2),
        patterns.local((1, 6, 6), 2, kernel=3),
    ],
    ids=lambda pattern: str(pattern).partition("(")[0],
)
def test_no_unit_of_a_pattern_is_longer_than_max_norm(iris, pattern):
    layer = Tied(pattern, generator=torch.Generator().manual_seed(0))
    matrix = pattern.tiemap().expand(layer.weight.detach().flatten())
    bound = 0.7 * largest_norm(matrix)
    regulariser(layer, iris, max_norm=bound).project(0)
    bounded = pattern.tiemap().expand(layer.weight.detach().flatten())
    assert largest_norm(bounded) <= bound * (1 + 1e-5)
    assert float(bounded.abs().sum()) > 0.5 * float(matrix.abs().sum())
    regulariser(layer, iris, max_norm=bound * 1.01).project(0)
    assert torch.equal(bounded, pattern.tiemap().expand(layer.weight.detach().flatten()))


def test_units_on_both_sides_of_a_tie_are_bounded(iris):
    model = nn.Sequential(nn.Linear(4, 30), nn.Linear(30, 4))
    tie(model, "1.weight = 0.weight.T", keep="source")
    assert largest_norm(model[1].weight) > 1.2
    regulariser(model, iris, max_norm=1.2).project(0)
    assert largest_norm(model[0].weight) <= 1.2 + 1e-5
    assert largest_norm(model[1].weight) == pytest.approx(1.2, abs=1e-5)
    assert torch.equal(model[1].weight, model[0].weight.T)


@pytest.mark.parametrize("groups", [1, 2])
def test_units_of_a_transposed_convolution_are_its_outputs(iris, groups):
    layer = nn.ConvTranspose1d(4, 6, 3, groups=groups)
    regulariser(layer, iris, max_norm=0.3).project(0)
    impulses = torch.eye(4).view(4, 4, 1)  # one input at a time: the output is what leads to each output from there
    kernels = (layer(impulses) - layer.bias.view(-1, 1)).permute(1, 0, 2)
    assert largest_norm(kernels) == pytest.approx(0.3, abs=1e-5)


# --- sparsity ---


def test_weights_become_zero_by_and_by_the_smallest_first(iris):
    model = nn.Linear(10, 10)
    before = model.weight.detach().clone()
    held = regulariser(model, iris, steps=100, sparsity=0.9)
    for step, share in ((0, 0.9 * (1 - 0.98**3)), (24, 0.9 * (1 - 0.5**3)), (49, 0.9), (99, 0.9)):
        held.project(step)
        zero = model.weight == 0
        assert int(zero.sum()) == int(share * 100)
        assert float(before[zero].abs().max()) <= float(before[~zero].abs().min())
        assert torch.equal(model.weight[~zero], before[~zero])


def test_what_is_kept_is_as_sparse_as_asked_for(iris):
    model = nets.build("mlp", (4,), 3)
    run = fit(model, iris, epochs=20, sparsity=0.8, out=None, progress=False)
    for weight in weights_of(run.model):
        assert int((weight == 0).sum()) == int(0.8 * weight.numel())
    assert run.results["best_epoch"] >= run.results["epochs"] / 2
    assert run.results["test"]["accuracy"] > 0.7


def test_a_goal_counts_once_weights_are_zero(iris):
    run = fit(nets.build("mlp", (4,), 3), iris, epochs=20, goal="loss<=10", sparsity=0.5, out=None, progress=False)
    assert run.results["stopped"] == "goal"
    assert 10 <= run.results["epochs"] < 15


# --- noise and labels ---


def test_noise_has_the_deviation_asked_for(iris):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inputs = torch.full((200, 50), 3.0)
        noisy = regulariser(nn.Linear(4, 3), iris, noise=0.4).disturb(inputs)
    assert float(noisy.mean()) == pytest.approx(3.0, abs=0.02)
    assert float(noisy.std()) == pytest.approx(0.4, rel=0.03)
    assert regulariser(nn.Linear(4, 3), iris).disturb(inputs) is inputs


def test_label_smoothing_is_a_setting(iris):
    assert choose_settings(nn.Linear(4, 3), iris, **GIVEN).label_smoothing == 0.1
    assert choose_settings(nn.Linear(4, 3), iris, **GIVEN, label_smoothing=0.0).label_smoothing == 0.0


def test_patience_ends_a_run_that_no_longer_gets_better(iris):
    options = {"epochs": 60, "lr": 1e-12, "out": None, "progress": False}
    run = fit(dropout_net(), iris, patience=3.0, optimizer="sgd", **options)
    assert run.results["stopped"] == "patience"
    assert 3 < run.results["epochs"] - run.results["best_epoch"] <= 8


# --- interruptions, bad input ---

EVERYTHING = {"l1": 1e-4, "l2": 1e-3, "max_norm": 1.0, "noise": 0.1, "sparsity": 0.5, "label_smoothing": 0.05}


def test_an_interrupted_run_ends_in_the_same_weights(iris, tmp_path):
    options = {"epochs": 12, "progress": False, **EVERYTHING}
    whole = fit(dropout_net(), iris, out=tmp_path / "whole", **options).model.state_dict()
    cut_run(tmp_path / "cut", iris, **options)
    run = resume(tmp_path / "cut", dropout_net(), iris, progress=False)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in run.model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"l1": -0.1}, "l1 is a number from 0; got -0.1"),
        ({"l2": math.nan}, "l2 is a number from 0; got nan"),
        ({"noise": -1.0}, "noise is a number from 0; got -1.0"),
        ({"max_norm": 0.0}, "max_norm is a number above 0; got 0.0"),
        ({"sparsity": 1.0}, "sparsity is the share of weights that are 0, from 0 to below 1; got 1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing is a number from 0 to below 1; got 1.0"),
        ({"patience": 0.0}, "patience is a number of epochs above 0; got 0.0"),
        ({"augment": ["shift"]}, "Only images can be shifted, turned and mirrored; iris: classification"),
        ({"augment": ["zoom"]}, "Images are augmented by shift, rotate, flip; got 'zoom'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(iris, change, says):
    with pytest.raises(TrainError, match=says):
        choose_settings(nn.Linear(4, 3), iris, **GIVEN | change)


def test_one_sample_cannot_be_normalised(iris, digits, tmp_path):
    mlp = nets.build("mlp", (4,), 3, structure={"batch_norm": True})
    for model, loaded in ((mlp, iris), (nets.build("cnn", digits.in_shape, 10), digits)):
        with pytest.raises(TrainError, match=r"cannot learn from batches of 1, .*: take a larger --batch-size"):
            fit(model, loaded, batch_size=1, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_images_of_one_pixel_cannot_be_moved():
    samples = Samples(
        name="thin", task="classification", x=torch.rand(60, 1, 1, 5), y=torch.tensor([0, 1] * 30), classes=("a", "b")
    )
    loaded = prepare(samples, seed=0)
    with pytest.raises(TrainError, match="Images of 1x5 have no other side to be moved to"):
        choose_settings(nn.Linear(4, 3), loaded, **GIVEN, augment=["rotate"])


def test_label_smoothing_needs_the_cross_entropy():
    with pytest.raises(TrainError, match="but diabetes has values to predict, not classes: leave it out"):
        choose_settings(nn.Linear(10, 1), data.load("diabetes"), **GIVEN, label_smoothing=0.1)
    lenet = nets.build("lenet5", (1, 8, 8), 10)
    with pytest.raises(TrainError, match="but this net prescribes its own loss"):
        choose_settings(lenet, data.load("digits"), **GIVEN, label_smoothing=0.1)


def test_the_command_line_hands_everything_over(say):
    words = "--l1 1e-4 --l2 1e-3 --max-norm 2 --noise 0.1 --sparsity 0.5 --augment shift,rotate --label-smoothing 0"
    words = words.split()
    code, _, err = say("train", "digits", "--net", "mlp", "--epochs", 1, "--patience", 7, "--out", "run", *words)
    assert code == 0, err
    settings = json.loads(Path("run/run.json").read_text())["settings"]
    expected = {"l1": 1e-4, "l2": 1e-3, "max_norm": 2.0, "noise": 0.1, "sparsity": 0.5, "patience": 7.0}
    expected |= {"augment": ["shift", "rotate"], "label_smoothing": 0.0}
    assert {name: settings[name] for name in expected} == expected


def test_an_estimator_has_no_use_for_them(say):
    code, _, err = say("train", "digits", "--net", "tree", "--l2", 0.1)
    assert code == 2
    assert "learns by a rule of its own, which has no use for --l2" in err
