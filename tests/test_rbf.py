"""Radial basis function networks: the formula by hand, the solved layer against other programs, and what is refused."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.utils.estimator_checks import parametrize_with_checks

import commonweight as cw
from commonweight import data
from commonweight.errors import NetError
from commonweight.nets import rbf
from commonweight.nets.rbf import RBF, GaussianUnits, RBFClassifier, RBFRegressor, squared_distances, typical_distance
from commonweight.train.run import Run
from commonweight.train.start import start_run

AUTO = {"goal": None, "optimizer": "auto", "lr": None, "batch_size": None, "precision": "auto", "device": "auto"}


@parametrize_with_checks([RBFClassifier(), RBFRegressor(), RBFClassifier(max_iter=2), RBFRegressor(max_iter=2)])
def test_conventions_of_scikit_learn(estimator, check):
    if check.func.__name__ == "check_methods_sample_order_invariance":
        pytest.skip("In float32 a product of matrices rounds a row by its place; the check asks for seven digits.")
    check(estimator)


def test_the_network_is_its_formula():
    net = RBF((2, 3), 4, n_centres=5).double()
    x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centres, width = net.hidden.centres.detach().numpy(), float(net.hidden.log_width.detach().exp())
    phi = [[np.exp(-(np.linalg.norm(row - c) ** 2) / (2 * width**2)) for c in centres] for row in x.flatten(1).numpy()]
    expected = np.array(phi) @ net.output.weight.detach().numpy().T + net.output.bias.detach().numpy()
    np.testing.assert_allclose(net(x).detach(), expected, atol=1e-12)


def test_distances_far_from_zero_keep_their_digits():
    generator = torch.Generator().manual_seed(0)
    x, centres = (1e4 + torch.randn(n, 3, generator=generator) for n in (50, 7))
    centres.requires_grad_()
    found = squared_distances(x, centres)
    expected = torch.cdist(x.double(), centres.double()).square()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn(50, 7, generator=generator)
    (gradient,) = torch.autograd.grad((found * weights).sum(), centres)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), centres)
    torch.testing.assert_close(gradient, wanted, atol=1e-4, rtol=1e-4)


def test_units_as_wide_as_their_inputs_are_far():
    units = GaussianUnits(1, 1)
    with torch.no_grad():
        units.centres.zero_()
        units.log_width.fill_(50.0)
    answer = units(torch.tensor([[np.exp(50.0)]], dtype=torch.float32))
    assert answer.item() == pytest.approx(np.exp(-0.5), rel=1e-5)


def test_fitting_leaves_the_global_generator_alone():
    x, y = load_iris(return_X_y=True)
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    RBFClassifier(n_centres=5, random_state=1).fit(x, y)
    assert torch.rand(3).tolist() == wanted.tolist()


def test_all_units_share_one_width():
    census = cw.count(RBF((6,), 2, n_centres=5), torch.zeros(1, 6))
    hidden, output = census.layers
    assert (hidden.weights, hidden.connections) == (5 * 6 + 1, 5 * 6 + 5)
    assert (output.weights, output.connections) == (2 * 6, 2 * 6)


@pytest.mark.parametrize("n_centres", [12, 60])
def test_the_output_layer_is_the_ridge_that_predicts_best_what_is_left_out(n_centres):
    """Against scikit-learn: ridge regression fitted anew for each sample that is left out."""
    x, y = load_diabetes(return_X_y=True)
    x, y = x[:60] / x.std(0), (y[:60] - y.mean()) / y.std()
    found = RBFRegressor(n_centres=n_centres, random_state=0).fit(x, y).module_
    centres = found.hidden.centres.detach()
    errors = {}
    for factor in rbf.WIDTHS:
        found_units = rbf.GaussianUnits(10, n_centres)
        found_units.place(centres, factor * typical_distance(centres))
        phi = found_units(torch.from_numpy(x).float()).detach().double().numpy()
        for ridge in rbf.RIDGES:
            answers = cross_val_predict(Ridge(alpha=ridge, solver="svd"), phi, y, cv=LeaveOneOut())
            errors[factor, ridge] = np.mean((answers - y) ** 2), phi
    (factor, ridge), (_, phi) = min(errors.items(), key=lambda item: item[1][0])
    width = float(found.hidden.log_width.detach().exp())
    assert width == pytest.approx(factor * typical_distance(centres), rel=1e-5)
    expected = Ridge(alpha=ridge, solver="svd").fit(phi, y)
    np.testing.assert_allclose(found(torch.from_numpy(x).float()).detach()[:, 0], expected.predict(phi), atol=2e-3)


def test_as_many_centres_as_samples_are_the_samples():
    x, y = load_iris(return_X_y=True)
    x, places = np.unique(x, axis=0, return_index=True)
    centres = RBFClassifier(n_centres=len(x), random_state=0).fit(x, y[places]).module_.hidden.centres.detach()
    np.testing.assert_allclose(np.unique(centres.numpy(), axis=0), x, atol=1e-5)


def test_gradients_move_all_weights_and_lower_the_loss():
    x, y = load_digits(return_X_y=True)
    x = x / 16
    solved, moved = (RBFClassifier(n_centres=30, max_iter=n, random_state=0).fit(x, y) for n in (0, 10))
    for one, other in zip(solved.module_.parameters(), moved.module_.parameters(), strict=True):
        assert not torch.equal(one, other)
    losses = [-np.log(rule.predict_proba(x)[np.arange(len(y)), y]).mean() for rule in (solved, moved)]
    assert losses[1] < losses[0] / 1.5
    assert moved.score(x, y) > solved.score(x, y)
    assert moved.n_iter_ == solved.n_iter_ + 10


def test_the_scores_are_solved_for_nine_tenths():
    x, y = load_digits(return_X_y=True)
    rule = RBFClassifier(n_centres=600, random_state=0).fit(x / 16, y)
    assert np.median(rule.predict_proba(x / 16)[np.arange(len(y)), y]) == pytest.approx(rbf.SURE, abs=0.02)


def test_constant_features_and_equal_samples_do_no_harm():
    x, y = load_iris(return_X_y=True)
    plain = RBFClassifier(n_centres=10, random_state=0).fit(x, y)
    padded = RBFClassifier(n_centres=10, random_state=0).fit(np.pad(x, ((0, 0), (0, 3))), y)
    assert np.array_equal(plain.predict(x), padded.predict(np.pad(x, ((0, 0), (0, 3)))))
    same = RBFRegressor(random_state=0).fit(np.ones((20, 3)), np.arange(20.0))
    np.testing.assert_allclose(same.predict(np.ones((2, 3))), 9.5, atol=1e-4)


@pytest.mark.parametrize("n_centres", [0, 4])
def test_other_numbers_of_centres_are_refused(n_centres):
    sentence = f"from 1 centre to as many as there are distinct samples, here 3; got n_centres={n_centres}"
    with pytest.raises(ValueError, match=sentence):
        RBFRegressor(n_centres=n_centres).fit([[0.0], [1.0], [2.0], [2.0]], [0.0, 1.0, 2.0, 3.0])


def test_fewer_passes_than_none_are_refused():
    with pytest.raises(ValueError, match="max_iter is a whole number of at least 0; got -1"):
        RBFRegressor(max_iter=-1).fit([[0.0], [1.0]], [0.0, 1.0])


def test_a_network_without_centres_is_refused():
    with pytest.raises(NetError, match="at least 1 centre; got 0"):
        RBF((4,), 2, n_centres=0)


@pytest.mark.parametrize(("name", "metric", "least"), [("digits", "accuracy", 0.96), ("diabetes", "r2", 0.35)])
def test_it_is_trained_stored_and_read_again_as_any_other_net(name, metric, least, tmp_path):
    run = start_run(name, net="rbf", target=None, task=None, seed=0, out=tmp_path / "run", epochs=None, **AUTO)
    assert run.results["test"][metric] > least
    x = data.load(name, seed=0).x[:5]
    torch.testing.assert_close(Run.load(tmp_path / "run").outputs(x), run.outputs(x))
    assert "the one width that all share" in (tmp_path / "run" / "report.html").read_text()


def test_the_largest_come_first_in_the_view():
    net = RBF((1, 8, 8), 3, n_centres=4)
    with torch.no_grad():
        net.output.weight.copy_(torch.tensor([1.0, 4.0, 2.0, 3.0]))
        (view,) = net.views(torch.zeros(1, 1, 8, 8), torch.zeros(1))
        assert torch.equal(view.images, net.hidden.centres[[1, 3, 2, 0]].reshape(4, 8, 8))
        (rows,) = RBF((5,), 3, n_centres=4).views(torch.zeros(1, 5), torch.zeros(1))
    assert rows.images.shape == (4, 1, 5)
