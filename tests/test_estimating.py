"""Families with a rule of their own in `commonweight train`: scores, run folders, and what is refused."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.metrics import r2_score
from sklearn.svm import SVC

from commonweight import data, nets
from commonweight.errors import FileError, NetError, TrainError
from commonweight.measure.records import read_records
from commonweight.nets.boltzmann_estimators import RBM
from commonweight.nets.comparators import Fitted
from commonweight.nets.neuron import PerceptronClassifier
from commonweight.nets.rbf import RBFRegressor
from commonweight.nets.som_estimators import SOM
from commonweight.nets.twin_estimators import TwinClassifier
from commonweight.train.run import Run
from commonweight.train.start import resume_run, start_run

AUTO = {"epochs": None, "goal": None, "optimizer": "auto", "lr": None, "batch_size": None, "precision": "auto"}


def started(name, net, folder, **settings):
    return start_run(name, net=net, target=None, task=None, seed=0, out=folder, **(AUTO | settings))


def test_the_svm_is_the_one_of_scikit_learn(tmp_path):
    run, iris = started("iris", "svm", tmp_path / "run"), data.load("iris", seed=0)
    x = iris.normalisation.apply(iris.x).numpy()
    svm = SVC(random_state=0).fit(x[iris.train], iris.y[iris.train])
    assert run.results["test"]["accuracy"] == pytest.approx(svm.score(x[iris.test], iris.y[iris.test]))
    assert (run.results["weights"], run.results["stopped"]) == (0, "rule")
    assert "learned in" in run.summary()
    assert "<h2>" in (tmp_path / "run" / "report.html").read_text()
    (record,) = read_records(tmp_path / "run" / "records.jsonl")
    assert record.metric == pytest.approx(svm.score(x[iris.train], iris.y[iris.train]))


def test_support_vectors_answer_as_scikit_learn_does_where_votes_and_margins_disagree():
    digits = data.load("digits", seed=2)
    x = digits.normalisation.apply(digits.x).flatten(1)
    svm = SVC().fit(x[digits.train].numpy(), digits.y[digits.train])
    margins = svm.decision_function(x[digits.test].numpy())
    predicted = svm.predict(x[digits.test].numpy())
    assert (margins.argmax(1) != predicted).any()
    answers = Fitted(svm)(x[digits.test])
    assert answers.argmax(1).tolist() == predicted.tolist()
    assert float(abs(answers - torch.from_numpy(margins)).max()) < 0.1


@pytest.mark.parametrize("net", ["logistic", "naive_bayes", "svm", "tree"])
def test_every_comparator_tells_irises_apart(net):
    assert started("iris", net, None).results["test"]["accuracy"] > 0.8


@pytest.mark.parametrize("turn", ["backwards", "read-only"])
def test_rows_are_taken_however_they_lie_in_memory(turn):
    x, y = load_iris(return_X_y=True)
    rows = x.astype(np.float32)[:: -1 if turn == "backwards" else 1]
    rows.setflags(write=turn == "backwards")
    plain, labels = rows.copy(), y[:: -1 if turn == "backwards" else 1]
    twins = TwinClassifier(max_iter=1, random_state=0).fit(plain, labels)
    assert np.array_equal(twins.enrol(rows, labels).transform(rows), twins.transform(plain))
    perceptron = [PerceptronClassifier().partial_fit(given, labels, classes=[0, 1, 2]) for given in (rows, plain)]
    assert np.array_equal(*(learned.decision_function(plain) for learned in perceptron))
    assert np.array_equal(*(RBM(4, random_state=0).fit(given).transform(given) for given in (rows, plain)))
    assert np.array_equal(*(SOM(3, 3, random_state=0).fit(given).labels_ for given in (rows, plain)))
    assert np.array_equal(*(RBFRegressor(random_state=0).fit(given, labels).predict(given) for given in (rows, plain)))


@pytest.mark.parametrize("net", ["ridge", "svm", "tree"])
def test_every_comparator_of_values_is_scored_in_units_of_the_target(net):
    run, patients = started("diabetes", net, None), data.load("diabetes", seed=0)
    values = run.outputs(patients.x[patients.test])
    assert run.results["test"]["r2"] == pytest.approx(r2_score(patients.y[patients.test], values), abs=1e-4)


def test_settings_without_a_use_are_refused(tmp_path):
    with pytest.raises(TrainError, match="svm learns by a rule of its own, which has no use for --goal, --lr: leave"):
        started("iris", "svm", tmp_path / "run", lr=0.1, goal="accuracy>=0.9")
    assert not (tmp_path / "run").exists()


def test_parameters_of_an_estimator_are_structure(tmp_path):
    run = started("iris", "svm", None, structure={"C": 0.5})
    assert run.description["settings"]["C"] == 0.5
    with pytest.raises(TrainError, match="svm has no parameter 'D': it has C, "):
        started("iris", "svm", tmp_path / "run", structure={"D": 0.5})
    with pytest.raises(TrainError, match="epochs is a whole number from 1 to 1,000,000,000; got 0"):
        started("iris", "rbm", tmp_path / "run", epochs=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("net", "structure", "sentence"),
    [
        ("rbm", {"batch_size": 0}, "batch_size is a whole number of at least 1; got 0"),
        ("rbm", {"hidden": 1.5}, "hidden is a whole number of at least 1; got 1.5"),
        ("dbn", {"sleep_iter": -1}, "sleep_iter is a whole number of at least 0; got -1"),
        ("autoencoder", {"layer_iter": -1}, "layer_iter is a whole number of at least 0; got -1"),
        ("twin", {"n_features": "many"}, "n_features is a whole number of at least 1; got 'many'"),
        ("som", {"tuning_iter": 0.5}, "tuning_iter is a whole number of at least 0; got 0.5"),
        ("dbn", {"hidden": 3}, "dbn cannot learn with {'hidden': 3}: 'int' object is not iterable"),
    ],
)
def test_parameters_that_cannot_be_are_refused_in_one_sentence(net, structure, sentence):
    with pytest.raises(TrainError, match=sentence):
        started("iris", net, None, structure=structure)


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, x, y):
        raise KeyboardInterrupt

    monkeypatch.setattr(SVC, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt, match="svm learns in one piece, so nothing was written: train it anew"):
        started("iris", "svm", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_epochs_are_the_most_iterations_of_those_that_iterate():
    assert started("iris", "logistic", None, epochs=500).description["settings"]["max_iter"] == 500


def test_what_cannot_be_read_again_says_so(tmp_path):
    started("iris", "tree", tmp_path / "run")
    with pytest.raises(TrainError, match="was learned in one piece by the rule of tree: train it anew"):
        resume_run(tmp_path / "run", name=None, net=None)
    with pytest.raises(NetError, match="Models of scikit-learn have no weights to count before they are fitted"):
        Run.load(tmp_path / "run")


def test_a_task_that_a_comparator_does_not_learn_is_refused():
    with pytest.raises(NetError, match="ridge learns regression, not classification: use "):
        nets.estimator("ridge", (4,), task="classification", seed=0)


@pytest.mark.parametrize(
    ("structure", "error", "sentence"),
    [
        ({"width": 3}, NetError, "rbm has no argument 'width': it has "),
        ([1, 2], NetError, "A net's structure is a dict of its arguments, or None; got list"),
        ({"hidden": 10**12}, FileError, "describes a net of .* bytes, far more than the .* bytes of its weights"),
        ({"hidden": "many"}, NetError, "rbm cannot be built with {'hidden': 'many'}"),
    ],
)
def test_a_hostile_structure_is_refused_before_memory_is_taken(tmp_path, structure, error, sentence):
    folder = started("iris", "rbm", tmp_path / "run", epochs=1).folder
    description = json.loads((folder / "run.json").read_text())
    description["structure"] = structure
    (folder / "run.json").write_text(json.dumps(description))
    with pytest.raises(error, match=sentence):
        Run.load(folder)
