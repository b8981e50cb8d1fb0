"""Single neurons: what fixed weights compute, what no weights can, and Rosenblatt's rule against itself written out."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.utils.estimator_checks import parametrize_with_checks

import commonweight as cw
from commonweight.errors import NetError
from commonweight.nets.neuron import (
    McCullochPitts,
    PerceptronClassifier,
    conjunction,
    disjunction,
    exclusive_or,
    negation,
    novikoff_bound,
)
from commonweight.train.run import Run
from commonweight.train.start import start_run

CORNERS = np.array(list(product([0, 1], repeat=2)))


# McCulloch and Pitts


@pytest.mark.parametrize("n_inputs", [1, 2, 4])
def test_gates_of_any_width(n_inputs):
    x = torch.tensor(list(product([0.0, 1.0], repeat=n_inputs)))
    assert torch.equal(conjunction(n_inputs)(x)[:, 0], x.amin(1))
    assert torch.equal(disjunction(n_inputs)(x)[:, 0], x.amax(1))
    assert torch.equal(negation()(x[:, :1]), 1 - x[:, :1])


def test_two_layers_do_what_no_neuron_does():
    x = torch.from_numpy(CORNERS).float()
    assert torch.equal(exclusive_or()(x)[:, 0], (x[:, 0] != x[:, 1]).float())


def test_of_the_sixteen_functions_of_two_inputs_a_neuron_does_all_but_two():
    """By linear programming: are there w_1, w_2, θ with w·x - θ ≥ 1 where it fires and ≤ -1 where not?"""
    impossible = []
    for outputs in product([0, 1], repeat=4):
        sides = np.where(outputs, 1, -1)[:, None] * np.column_stack([CORNERS, -np.ones(4)])
        answer = linprog(np.zeros(3), A_ub=-sides, b_ub=-np.ones(4), bounds=(None, None))
        assert answer.status in (0, 2)
        if answer.status == 2:
            impossible.append(outputs)
        else:
            neuron = McCullochPitts([answer.x[:2].tolist()], answer.x[2:].tolist())
            assert neuron(torch.from_numpy(CORNERS).float())[:, 0].tolist() == list(outputs)
    assert impossible == [(0, 1, 1, 0), (1, 0, 0, 1)]


def test_fixed_weights_are_connections_without_weights():
    census = cw.count(exclusive_or(), torch.zeros(1, 2))
    assert (census.weights, census.connections) == (0, 4 + 2 + 2 + 1)


def test_a_threshold_for_each_neuron_is_asked_for():
    with pytest.raises(NetError, match=r"a threshold for each neuron; got shapes \(1, 2\) and \(2,\)"):
        McCullochPitts([[1, 1]], [1, 2])


# The perceptron


@parametrize_with_checks([PerceptronClassifier(max_iter=10), PerceptronClassifier(average=False, max_iter=10)])
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def written_out(x, y, n_classes):
    """The rule sample by sample: the last weights, the mean of the weights after each sample, and the mistakes."""
    weights, total, mistakes = np.zeros((n_classes, x.shape[1] + 1)), 0.0, 0
    for sample, true in zip(np.column_stack([x, np.ones(len(x))]).astype(float), y, strict=True):
        scores = weights @ sample
        others = [k for k in range(n_classes) if k != true]
        rival = max(others, key=lambda k: scores[k])
        if scores[true] <= scores[rival]:
            weights[true] += sample
            weights[rival] -= sample
            mistakes += 1
        total = total + weights
    return weights, total / len(x), mistakes


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 4), n=st.integers(5, 200))
def test_a_pass_is_the_rule_sample_by_sample(seed, n_classes, n):
    generator = np.random.default_rng(seed)
    x, y = generator.integers(-3, 4, size=(n, 3)).astype(np.float32), generator.integers(n_classes, size=n)
    last, mean, mistakes = written_out(x, y, n_classes)
    for average, expected in ((False, last), (True, mean)):
        rule = PerceptronClassifier(average=average).partial_fit(x, y, classes=range(n_classes))
        output = rule.module_.output
        np.testing.assert_allclose(output.weight.detach(), expected[:, :-1], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(output.bias.detach(), expected[:, -1], rtol=1e-5, atol=1e-5)
        assert rule.mistakes_ == [mistakes]


def test_with_two_classes_it_is_the_rule_as_published():
    x, y = load_digits(return_X_y=True)
    x, sign = x[y < 2], np.where(y[y < 2] == 1, 1, -1)
    weights = np.zeros(65)
    for sample, side in zip(np.column_stack([x, np.ones(len(x))]), sign, strict=True):
        if side * (weights @ sample) <= 0:
            weights += side * sample
    output = PerceptronClassifier(average=False).partial_fit(x, sign, classes=[-1, 1]).module_.output
    np.testing.assert_allclose(output.weight[1].detach(), weights[:-1])
    np.testing.assert_allclose(output.weight[0].detach(), -weights[:-1])


def test_it_ends_where_classes_can_be_parted_and_goes_on_where_not():
    iris, species = load_iris(return_X_y=True)
    ended = PerceptronClassifier(average=False, random_state=0).fit(iris, species == 0)
    assert ended.mistakes_[-1] == 0
    assert ended.score(iris, species == 0) == 1
    endless = PerceptronClassifier(max_iter=30, random_state=0).fit(CORNERS, [0, 1, 1, 0])
    assert endless.n_iter_ == 30
    assert min(endless.mistakes_) > 0
    assert endless.score(CORNERS, [0, 1, 1, 0]) <= 0.75


def test_passes_may_be_made_one_by_one():
    x, y = load_wine(return_X_y=True)
    names = np.array(["barbera", "barolo", "grignolino"])[y]
    rule = PerceptronClassifier(random_state=0)
    for _ in range(3):
        rule.partial_fit(x[:50], names[:50], classes=np.unique(names)).partial_fit(x[50:], names[50:])
    assert len(rule.mistakes_) == rule.n_iter_ == 6
    assert set(rule.predict(x)) <= set(names)


@pytest.mark.parametrize(
    ("y", "classes", "sentence"),
    [
        ([0, 1, 2], None, r"The label 2 is none of the classes \[0, 1\]"),
        ([0, 1, 1], [0, 1, 2], r"The classes are \[0, 1\] since the first call"),
    ],
)
def test_labels_that_come_too_late(y, classes, sentence):
    rule = PerceptronClassifier().partial_fit([[0], [1]], [0, 1], classes=[0, 1])
    with pytest.raises(ValueError, match=sentence):
        rule.partial_fit([[0], [1], [2]], y, classes=classes)


def test_the_first_call_needs_all_classes():
    with pytest.raises(ValueError, match="must say all classes that will come: give classes"):
        PerceptronClassifier().partial_fit([[0], [1]], [0, 1])


def test_no_pass_is_refused():
    with pytest.raises(ValueError, match="max_iter is a whole number of at least 1; got 0"):
        PerceptronClassifier(max_iter=0).fit([[0], [1]], [0, 1])


# Novikoff's bound


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_bound_is_that_of_the_largest_margin(n_classes):
    """Against the margin that linear programming finds for the same vectors by the direction of the dual."""
    x, y = load_wine(return_X_y=True)
    x, y = (x[y < n_classes] - x.mean(0)) / x.std(0), y[y < n_classes]
    bound = novikoff_bound(x, y)
    radius = np.sqrt((np.square(x).sum(1) + 1).max()) * (1 if n_classes == 2 else np.sqrt(2))
    margin = radius / np.sqrt(bound)
    assert lower_bound_of_margin(x, y, n_classes) <= margin * (1 + 1e-6)
    assert lower_bound_of_margin(x, y, n_classes) >= margin * 0.98


def lower_bound_of_margin(x, y, n_classes):
    """The margin of a direction found by another rule: scikit-learn's support vectors without a free bias."""
    from sklearn.svm import LinearSVC

    rows = np.column_stack([x, np.ones(len(x))])
    loss = {2: {"loss": "hinge"}, 3: {"multi_class": "crammer_singer"}}[n_classes]
    machine = LinearSVC(C=1e3, fit_intercept=False, max_iter=1_000_000, tol=1e-6, **loss).fit(rows, y)
    scores = rows @ machine.coef_.T
    if n_classes == 2:
        return float((np.where(y == 1, 1, -1) * scores[:, 0]).min() / np.linalg.norm(machine.coef_))
    own = scores[np.arange(len(y)), y]
    scores[np.arange(len(y)), y] = -np.inf
    return float((own - scores.max(1)).min() / np.linalg.norm(machine.coef_))


@pytest.mark.parametrize("seed", range(5))
def test_no_order_makes_more_mistakes_than_the_bound(seed):
    x, y = load_wine(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    rule = PerceptronClassifier(average=False, max_iter=1000, random_state=seed).fit(x, y)
    assert rule.mistakes_[-1] == 0
    assert 0 < sum(rule.mistakes_) <= novikoff_bound(x, y)


def test_there_is_no_bound_for_what_cannot_be_parted():
    with pytest.raises(ValueError, match="These 4 samples are not linearly separable"):
        novikoff_bound(CORNERS, [0, 1, 1, 0])


def test_the_bound_is_for_two_classes_of_finite_samples():
    with pytest.raises(ValueError, match="two classes at least, but y has only left"):
        novikoff_bound(CORNERS, ["left"] * 4)
    with pytest.raises(ValueError, match="NaN"):
        novikoff_bound([[0.0], [float("nan")]], [0, 1])


def test_fitting_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    PerceptronClassifier(random_state=1).fit(CORNERS, [0, 0, 0, 1])
    assert torch.rand(3).tolist() == wanted.tolist()


# In `commonweight train`


def test_it_is_trained_stored_and_read_again_as_any_other_net(tmp_path):
    auto = {"goal": None, "optimizer": "auto", "lr": None, "batch_size": None, "precision": "auto", "device": "auto"}
    run = start_run("digits", net="perceptron", target=None, task=None, seed=0, out=tmp_path / "run", epochs=5, **auto)
    assert run.results["test"]["accuracy"] > 0.9
    assert run.results["weights"] == run.results["connections"] == 10 * 65
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Run.load(tmp_path / "run").outputs(x), run.outputs(x))
