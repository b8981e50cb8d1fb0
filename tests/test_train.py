"""Training: goals and settings are checked, records and results are right, and no interruption changes the outcome."""

import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import r2_score
from torch import nn
from training_runs import cut_run, dropout_net

from commonweight import data, nets
from commonweight.equations import tie
from commonweight.errors import FileError, TrainError
from commonweight.files import load
from commonweight.measure.layers import observe
from commonweight.train import loop
from commonweight.train.checkpoint import load_checkpoint
from commonweight.train.goal import Goal
from commonweight.train.loop import Trainer, fit, resume
from commonweight.train.objective import Part, evaluate, loss_function
from commonweight.train.optimise import WARM_UP_EPOCHS, make_optimizer, rate_at
from commonweight.train.order import Order
from commonweight.train.run import CHECKPOINT, RECORDS, WEIGHTS, Run
from commonweight.train.settings import OPTIMIZERS, choose_settings
from commonweight.train.start import start_run

GIVEN = {"epochs": None, "goal": None, "optimizer": "auto", "lr": None, "batch_size": None}
GIVEN |= {"precision": "auto", "device": "cpu", "seed": 0}


@pytest.fixture(scope="module")
def iris():
    return data.load("iris")


# --- goals and settings ---


@pytest.mark.parametrize(
    ("text", "scores", "reached"),
    [
        # 100 samples: the standard error of 0.95 is 0.0218, two of them 0.0436
        ("accuracy>=0.90", {"accuracy": 0.95}, True),
        ("accuracy >= 0.91", {"accuracy": 0.95}, False),
        ("accuracy>=0.99", {"accuracy": 1.0}, True),
        ("loss<=1e-1", {"loss": 0.09}, True),
        ("loss<=1e-1", {"loss": 0.11}, False),
    ],
)
def test_a_goal_compares_one_score(text, scores, reached):
    assert Goal.parse(text, "classification").reached(scores, 100) is reached


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("accurate", "A goal is one of accuracy, loss, then >= or <="),
        ("rmse<=2", "A goal is one of accuracy, loss"),
        ("accuracy>=1.2.3", "A goal ends in a number"),
        ("accuracy<=0.9", "write accuracy>=0.9"),
        ("loss>=0.1", "write loss<=0.1"),
        ("accuracy>=1.5", "The accuracy is at most 1, so that no net reaches 'accuracy>=1.5'"),
        ("loss<=-1", "The loss is at least 0, so that no net reaches 'loss<=-1'"),
    ],
)
def test_a_goal_that_cannot_be_meant_is_one_sentence(text, says):
    with pytest.raises(TrainError, match=says):
        Goal.parse(text, "classification")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, "epochs is a whole number from 1 to 1,000,000,000; got 0"),
        ({"lr": 0.0}, "lr is a number above 0"),
        ({"lr": math.inf}, "lr is a number above 0"),
        ({"lr": 1e300}, r"lr is a number above 0, at most 1e\+30; got 1e\+300"),
        ({"batch_size": 1000}, "batch_size is a whole number from 1 to 106, the size of the training part; got 1000"),
        ({"seed": -1}, "seed is a whole number"),
        ({"optimizer": "magic"}, "The optimizer is auto or one of muon, .*; got 'magic'"),
        ({"precision": "int4"}, "The precision is auto, float32 or bfloat16"),
        ({"device": "tpu"}, "The device is auto, cpu, or cuda"),
        ({"goal": "beauty>=1"}, "A goal is one of"),
    ],
)
def test_settings_that_cannot_be_met_are_one_sentence(iris, change, says):
    with pytest.raises(TrainError, match=says):
        choose_settings(nn.Linear(4, 3), iris, **GIVEN | change)


def test_the_rate_rises_and_falls_once(iris):
    settings = choose_settings(nn.Linear(4, 3), iris, **GIVEN | {"lr": 0.1})
    rates = [rate_at(step, settings, 40) for step in range(40 * settings.epochs)]
    top = rates.index(max(rates))
    assert top + 1 == 40 * WARM_UP_EPOCHS
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0
    assert max(rates) == pytest.approx(0.1, rel=0.02)


# --- scores ---


def test_scores_of_a_classifier_by_hand(iris):
    part = Part(torch.eye(3), torch.tensor([0, 1, 1]))
    scores = evaluate(nn.Identity(), part, loss_function(nn.Identity(), iris, 0.0), iris, torch.no_grad)
    right, wrong = -math.log(math.e / (math.e + 2)), -math.log(1 / (math.e + 2))
    assert scores == {"loss": pytest.approx((2 * right + wrong) / 3), "accuracy": pytest.approx(2 / 3)}


def test_scores_of_a_regression_are_in_units_of_the_target():
    diabetes = data.load("diabetes")
    y = diabetes.y[diabetes.test]
    part = Part(torch.zeros(len(y), 1), diabetes.normalisation.apply_target(y))
    scores = evaluate(nn.Identity(), part, loss_function(nn.Identity(), diabetes, 0.0), diabetes, torch.no_grad)
    errors = y - diabetes.y[diabetes.train].mean()
    assert scores["rmse"] == pytest.approx(float((errors**2).mean()) ** 0.5, rel=1e-4)
    assert scores["r2"] == pytest.approx(1 - float((errors**2).sum() / ((y - y.mean()) ** 2).sum()), abs=1e-4)


@pytest.mark.parametrize("answer", [0.5, 0.0])
def test_r2_of_targets_that_are_all_the_same_is_that_of_scikit_learn(answer):
    diabetes = data.load("diabetes")
    part = Part(torch.full((7, 1), answer), torch.full((7, 1), 0.5))
    scores = evaluate(nn.Identity(), part, loss_function(nn.Identity(), diabetes, 0.0), diabetes, torch.no_grad)
    assert scores["r2"] == r2_score(part.targets, part.inputs)


def test_a_net_may_prescribe_its_loss(iris):
    class Own(nn.Linear):
        def loss(self, outputs, targets):
            return outputs.sum() * 0 + 7.0

    assert float(loss_function(Own(4, 3), iris, 0.1)(torch.ones(2, 3), torch.tensor([0, 1]))) == 7.0


# --- the update of each step ---


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_rule_learns(iris, name):
    net = nets.build("mlp", (4,), 3, structure={"hidden": (16,)})
    run = fit(net, iris, optimizer=name, epochs=100, out=None, progress=False)
    assert run.results["test"]["accuracy"] > 0.75


def test_a_weight_with_two_names_is_updated_once(iris):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    model[1].weight = model[0].weight
    optimizer = make_optimizer(model, choose_settings(model, iris, **GIVEN))
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert len(weights) == len({id(weight) for weight in weights}) == 5


def test_the_average_follows_the_formula(iris):
    model = nn.Linear(4, 3)
    settings = choose_settings(model, iris, **GIVEN | {"epochs": 2, "optimizer": "muon"})
    trainer = Trainer(model, iris, settings, Run(model, {}, [], None))
    expected = model.weight.detach().clone()
    for step in range(12):
        trainer._step(step)
        share = 1 / max(1.0, (step + 1) / 8)
        expected += share * (model.weight.detach() - expected)
    assert torch.allclose(trainer.average.weight, expected)


def test_each_epoch_takes_every_sample_once_in_another_order():
    order = Order(12, batch_size=4, seed=0)
    orders = [order.batches(3 * epoch, 3 * epoch + 3).flatten() for epoch in range(2)]
    assert not torch.equal(*orders)
    assert all(sorted(numbers.tolist()) == list(range(12)) for numbers in orders)
    assert torch.equal(Order(12, batch_size=4, seed=0).batches(2, 5).flatten(), torch.cat(orders)[8:20])
    assert Order(14, batch_size=4, seed=0).per_epoch == 3, "two samples wait for the next shuffle"


def test_layer_statistics_by_hand():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with observe(model) as seen:
        model(torch.tensor([[3.0, 4.0]])).sum().backward()
        optimizer.step()
    (layer,) = seen.layers()
    # outputs (3, -4); only the first passes the ReLU, so dL/dW = [[3, 4], [0, 0]] and the step is -0.5 of it
    assert layer.gradient_norm == pytest.approx(5.0)
    assert layer.update_ratio == pytest.approx(2.5 / 2**0.5)
    assert (layer.activation_mean, layer.activation_std) == (pytest.approx(-0.5), pytest.approx(3.5))
    assert layer.weight_max == pytest.approx(2.0)
    # the weights are now -2, -1, -0.5, 0; halfway between the middle two is the median
    assert layer.weight_quantiles == pytest.approx((-1.85, -1.25, -0.75, -0.375, -0.075))
    assert not model[0]._forward_hooks


def test_the_signal_is_the_deviation_between_samples_and_0_where_they_are_all_answered_alike():
    model = nn.Sequential(nn.Linear(3, 4), nn.Hardtanh(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.fill_(100.0)  # each unit saturates: the next layer is handed the same ones for each sample
        x = torch.rand(30, 3) + 1
        with observe(model) as seen:
            outputs = model[0](x)
            model(x)
    (data, first), (fed, second) = seen.signals()
    assert data == fed == 0.0  # unknown, and really 0
    assert first == pytest.approx(float(outputs.var(0, correction=0).mean().sqrt()), rel=1e-5)
    assert second == 0.0


# --- a run and its folder ---


def test_the_same_seed_gives_the_same_weights_and_another_does_not(iris):
    runs = [fit(dropout_net(), iris, epochs=5, seed=seed, out=None, progress=False) for seed in (0, 0, 1)]
    a, b, c = (run.model[0].weight for run in runs)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_training_leaves_the_global_random_state_alone(iris):
    before = torch.get_rng_state()
    fit(dropout_net(), iris, epochs=2, out=None, progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_the_folder_holds_the_whole_run(iris, tmp_path):
    model = nets.build("mlp", iris.in_shape, iris.n_outputs)
    run = fit(model, iris, epochs=5, out=tmp_path / "run", progress=False)
    loaded = Run.load(tmp_path / "run")
    assert loaded.description == run.description
    assert loaded.records == run.records
    x = iris.x[iris.test]
    assert torch.equal(loaded.outputs(x), run.outputs(x))
    accuracy = (loaded.outputs(x).argmax(1) == iris.y[iris.test]).float().mean()
    assert run.results["test"]["accuracy"] == pytest.approx(float(accuracy))
    assert set(run.to_json()) == {
        *("run", "net", "data", "epochs", "train_seconds", "goal_seconds", "test", "weights", "connections", "seed")
    }
    assert not list((tmp_path / "run").glob(".*"))


def test_the_weights_kept_are_those_of_the_best_check(iris, tmp_path):
    run = fit(dropout_net(), iris, epochs=30, out=tmp_path / "run", progress=False)
    best = max(run.records, key=lambda r: (r.validation_metric, -r.validation_loss))
    assert run.results["best_epoch"] == pytest.approx(best.epoch)
    x = iris.normalisation.apply(iris.x[iris.validation])
    with torch.no_grad():
        accuracy = float((run.model(x).argmax(1) == iris.y[iris.validation]).float().mean())
    assert accuracy == pytest.approx(best.validation_metric)


def test_a_goal_stops_training_at_the_check_that_reaches_it(iris):
    run = fit(dropout_net(), iris, epochs=200, goal="loss<=0.23", out=None, progress=False, label_smoothing=0.0)
    assert run.results["stopped"] == "goal"
    assert run.records[-1].validation_loss <= 0.23 < min(r.validation_loss for r in run.records[:-1])
    assert run.results["goal_seconds"] == run.records[-1].seconds


def test_the_loss_of_the_test_part_and_of_a_goal_takes_labels_as_they_are(iris):
    """With a tenth of each label given to all of three classes, no answer has a smoothed loss below 0.29."""
    run = fit(dropout_net(), iris, epochs=200, goal="loss<=0.28", out=None, progress=False)
    assert run.results["stopped"] == "goal"
    assert run.records[-1].validation_loss > 0.29
    with torch.no_grad():
        answers = {part: run.outputs(iris.x[getattr(iris, part)]) for part in ("validation", "test")}
    plain = nn.functional.cross_entropy(answers["test"], iris.y[iris.test])
    assert run.results["test"]["loss"] == pytest.approx(float(plain), rel=1e-5)
    assert list(run.results["test"]) == ["loss", "accuracy"]
    smoothed = nn.functional.cross_entropy(answers["validation"], iris.y[iris.validation], label_smoothing=0.1)
    best = max(run.records, key=lambda r: (r.validation_metric, -r.validation_loss))
    assert best.validation_loss == pytest.approx(float(smoothed), rel=1e-5)


def test_patience_stops_training_that_gets_no_better(iris, monkeypatch):
    model = nn.Linear(4, 3)
    settings = replace(choose_settings(model, iris, **GIVEN | {"epochs": 100}), patience=10)
    monkeypatch.setattr(loop, "rate_at", lambda step, settings, per_epoch: 0.0 if step > 0 else 1e-3)
    monkeypatch.setattr(loop, "choose_settings", lambda *args, **kwargs: settings)
    run = fit(model, iris, out=None, progress=False)
    assert run.results["stopped"] == "patience"
    assert run.results["epochs"] < 100


def test_a_loss_that_explodes_is_one_sentence(iris):
    with pytest.raises(TrainError, match=r"The training loss became (nan|inf) before step .*lower the learning rate"):
        fit(dropout_net(), iris, lr=1e30, optimizer="sgd", epochs=5, out=None, progress=False)


def test_a_folder_that_holds_a_run_is_not_overwritten(iris, tmp_path):
    fit(dropout_net(), iris, epochs=1, out=tmp_path / "run", progress=False)
    with pytest.raises(FileError, match="holds a run already"):
        fit(dropout_net(), iris, epochs=1, out=tmp_path / "run", progress=False)


def test_a_folder_without_a_name_is_refused(iris, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="The run folder has no name: give a path"):
        fit(dropout_net(), iris, epochs=1, out="", progress=False)
    assert not list(tmp_path.iterdir())


def test_automatic_folders_are_numbered(iris, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [fit(dropout_net(), iris, epochs=1, progress=False).folder for _ in range(2)]
    assert [str(folder) for folder in folders] == ["runs/iris-sequential-1", "runs/iris-sequential-2"]


def test_a_net_without_a_name_cannot_be_loaded(iris, tmp_path):
    fit(dropout_net(), iris, epochs=1, out=tmp_path / "run", progress=False)
    with pytest.raises(FileError, match="was not made by name, or was changed by a repair: name one like it, as --net"):
        Run.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not the description of a run"),
        ("[]", "is not the description of a run"),
        ("{}", "is not the description of a run"),
        ('{"format": 1, "net": 1}', "it has no data nor normalisation nor settings nor results nor seed"),
        ('{"format": 99, "net": 1}', "has format 99; this version reads format 1"),
    ],
)
def test_a_damaged_description_is_one_sentence(tmp_path, content, says):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(FileError, match=rf"run\.json {says}|run\.json is not the description of a run: {says}"):
        Run.load(tmp_path)


def test_no_run_is_one_sentence(tmp_path):
    with pytest.raises(FileError, match=r"There is no run in .*start one with `commonweight train`"):
        Run.load(tmp_path / "none")


def test_a_run_that_is_misnamed_or_taken_for_data_is_one_sentence(iris, tmp_path):
    folder = tmp_path / "iris-mlp-1"
    fit(dropout_net(), iris, epochs=1, out=folder, progress=False)
    with pytest.raises(FileError, match=r"run\.json is missing; did you mean .*iris-mlp-1\?"):
        Run.load(tmp_path / "iris-mlp")
    with pytest.raises(TrainError, match=r"iris-mlp-1 is a run, not data: go on with it by `commonweight train --resu"):
        start_run(str(folder), net=None, target=None, task=None, seed=0)


def test_images_too_small_for_the_usual_net_are_learned_without_a_setting(tmp_path):
    np.savez(tmp_path / "small.npz", x=np.random.default_rng(0).random((60, 6, 9)), y=np.arange(60) % 2)
    run = start_run(str(tmp_path / "small.npz"), net=None, target=None, task=None, seed=0, epochs=1, out=None)
    assert run.description["net"] == "mlp"


def test_a_run_in_bfloat16_ends_with_its_scores():
    digits = data.load("digits")
    model = nets.build("cnn", digits.in_shape, digits.n_outputs)
    run = fit(model, digits, epochs=2, precision="bfloat16", out=None, progress=False)
    assert run.results["test"]["accuracy"] > 0.5


# --- interruptions ---


def whole_run(folder, iris):
    fit(dropout_net(), iris, epochs=12, out=folder, progress=False)
    return load_file(folder / WEIGHTS)


def test_an_interrupted_run_ends_in_the_same_weights(iris, tmp_path):
    expected = whole_run(tmp_path / "whole", iris)
    cut_run(tmp_path / "cut", iris, epochs=12, progress=False)
    run = resume(tmp_path / "cut", dropout_net(), iris, progress=False)
    assert_same(load_file(tmp_path / "cut" / WEIGHTS), expected)
    whole = [replace(r, seconds=0.0) for r in loop.read_records(tmp_path / "whole" / RECORDS)]
    assert [replace(r, seconds=0.0) for r in run.records] == whole


def test_the_run_folder_of_a_tied_net_keeps_its_ties(iris, tmp_path):
    def tied():
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4), nn.Linear(4, 3))
        tie(model, "2.weight = 0.weight.T", keep="source")
        return model

    cut_run(tmp_path / "run", iris, model=tied(), epochs=12, progress=False)
    run = resume(tmp_path / "run", tied(), iris, progress=False)
    assert "2.weight" not in load_file(tmp_path / "run" / WEIGHTS)
    state = load(tmp_path / "run" / WEIGHTS)
    assert torch.equal(state["2.weight"], state["0.weight"].T)
    assert_same(dict(run.model.state_dict()), state)


def assert_same(tensors, expected):
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name


def test_other_data_and_another_net_are_refused(iris, tmp_path):
    cut_run(tmp_path / "cut", iris, epochs=12, progress=False)
    with pytest.raises(TrainError, match="was begun with other data"):
        resume(tmp_path / "cut", dropout_net(), data.load("iris", seed=1), progress=False)
    with pytest.raises(FileError, match="belongs to another net"):
        resume(tmp_path / "cut", nn.Linear(4, 3), iris, progress=False)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda told: told["settings"].pop("epochs"), r"run\.json does not hold the settings of a run \('epochs'\)"),
        (lambda told: told["settings"].update(more=1), "does not hold the settings of a run .*'more'"),
        (lambda told: told["settings"].update(batch_size=-3), "batch_size is a whole number from 1 to 106.*got -3"),
        (lambda told: told["settings"].update(lr="fast"), r"lr is a number above 0, at most 1e\+30; got 'fast'"),
        (lambda told: told["data"].pop("fingerprint"), r"run\.json is not .*: it has no fingerprint of its data\."),
    ],
)
def test_damaged_settings_are_one_sentence(iris, tmp_path, damage, says):
    cut_run(tmp_path / "run", iris, epochs=12, progress=False)
    path = tmp_path / "run" / "run.json"
    told = json.loads(path.read_text())
    damage(told)
    path.write_text(json.dumps(told))
    with pytest.raises((FileError, TrainError), match=says):
        resume(tmp_path / "run", dropout_net(), iris, progress=False)


def test_a_damaged_checkpoint_is_one_sentence(iris, tmp_path):
    fit(dropout_net(), iris, epochs=1, out=tmp_path / "run", progress=False)
    model = dropout_net()
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(FileError, match="is not a checkpoint of a run"):
        load_checkpoint(tmp_path / "run" / WEIGHTS, {"model": model}, optimizer)
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"\0" * 100)
    with pytest.raises(FileError, match="Cannot read the tensors"):
        resume(tmp_path / "run", model, iris, progress=False)


def train_in_child(folder):
    """What a killed process runs: begin the run, or take it up."""
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = 0.0
    iris = data.load("iris")
    if (folder / "run.json").exists():
        resume(folder, dropout_net(), iris, progress=False)
    else:
        fit(dropout_net(), iris, epochs=60, out=folder, progress=False)


@pytest.mark.slow
def test_killed_at_thirty_random_points_it_ends_in_the_same_weights(tmp_path):
    """kill -9 at any moment: of the first run, and of runs that were themselves taken up again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["commonweight.train.loop", "sklearn.datasets"])
    started = time.perf_counter()
    run_child(context, tmp_path / "whole")
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    run_child(context, tmp_path / "again")
    seconds = min(seconds, time.perf_counter() - started)
    expected = load_file(tmp_path / "whole" / WEIGHTS)
    generator = random.Random(0)
    for point in range(30):
        folder = tmp_path / f"killed-{point}"
        while not run_child(context, folder, kill_after=generator.uniform(0, seconds)):
            shutil.rmtree(folder)  # it was done before: the machine has less to do than when it was timed
            seconds *= 0.8
        if point % 2:
            run_child(context, folder, kill_after=generator.uniform(0, seconds / 2))
        run_child(context, folder)
        assert_same(load_file(folder / WEIGHTS), expected)
        assert json.loads((folder / "run.json").read_text())["results"]["stopped"]


def run_child(context, folder, kill_after=None):
    """Train in another process; kill it after so many seconds. Returns whether it was killed."""
    child = context.Process(target=train_in_child, args=(folder,))
    child.start()
    child.join(kill_after)
    alive = child.is_alive()
    if alive:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    else:
        assert child.exitcode == 0
    return alive


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            nn.Linear(3, 3),
            r"cannot take samples of iris, which have shape \(4,\) \(RuntimeError: mat1 and mat2 .*for that",
        ),
        (nn.Linear(4, 2), r"iris needs 3 outputs for a sample, .* of shape \(2, 3\) for 2, but the net gives \(2, 2\)"),
        (nn.Linear(4, 7), r"the net gives \(2, 7\): build it with so many"),
        (nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), r"the net gives \(2, 3, 1\)"),
        (nn.LSTM(4, 3), "the net gives tuple"),
    ],
)
def test_a_net_that_does_not_fit_the_data_is_refused_before_a_folder_is_made(iris, tmp_path, model, says):
    with pytest.raises(TrainError, match=says):
        fit(model, iris, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_one_output_is_said_as_one(tmp_path):
    with pytest.raises(TrainError, match=r"diabetes needs 1 output for a sample, .* the net gives \(2, 2\)"):
        fit(nn.Linear(10, 2), data.load("diabetes"), out=tmp_path / "run", progress=False)
