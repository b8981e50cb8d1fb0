"""Rules that take all samples at each step: against what they must find, with ties, through `fit`, and refused."""

import math
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.optimize import minimize
from sklearn.linear_model import BayesianRidge
from test_genetic import seeded, tied_net
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from training_runs import cut_run

from commonweight import data, nets
from commonweight.errors import DivergedError, TrainError
from commonweight.measure.report.page import OPTIONS
from commonweight.train import choice, levenberg_marquardt, line_search
from commonweight.train import curvature as curvatures
from commonweight.train.choice import WHOLE_BATCH, WITHOUT_RATE, choose_optimizer
from commonweight.train.curvature import Dual, Primal, solve
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.jacobian import Jacobian
from commonweight.train.levenberg_marquardt import gauss_newton
from commonweight.train.line_search import CURVATURE, DECREASE, wolfe
from commonweight.train.loop import fit, resume
from commonweight.train.muon import Muon, orthogonalise
from commonweight.train.newton import kept_bytes, newton_direction
from commonweight.train.objective import part_of
from commonweight.train.optimise import RULES
from commonweight.train.run import RECORDS, WEIGHTS

DESCENDING = ("descent", "lbfgs", "newton", "lm")


@pytest.fixture(scope="module")
def iris():
    return data.load("iris")


def small(n_in, n_out, hidden=5, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(n_in, hidden), nn.Tanh(), nn.Linear(hidden, n_out)).double()


def problem(model, kind, n=12, n_in=6, seed=0):
    """Random samples for a net in float64, with the loss of that kind."""
    x = torch.randn(n, n_in, generator=seeded(seed), dtype=torch.float64)
    if kind == "softmax":
        return Objective(FlatNet(model), x, torch.arange(n) % 3, cross_entropy, kind)
    y = torch.randn(n, model(x).shape[1], generator=seeded(seed + 1), dtype=torch.float64)
    return Objective(FlatNet(model), x, y, mse_loss, kind)


def run_rule(name, model, objective, steps):
    rule = RULES[name](model.parameters())
    values = [objective.value(objective.net.read())]
    for _ in range(steps):
        rule.step(objective)
        values.append(objective.value(objective.net.read()))
    return values, rule


# --- Muon ---


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (8, 2, 2), (5,), (4, 1), ()])
def test_steps_of_muon_are_those_of_its_formula(shape):
    weight = nn.Parameter(torch.randn(shape, generator=seeded()))
    rule = Muon([weight], lr=0.1, momentum=0.8, weight_decay=0.5)
    expected, mean = weight.detach().clone(), torch.zeros(shape)
    for seed in (1, 2):
        gradient = torch.randn(shape, generator=seeded(seed))
        weight.grad = gradient.clone()
        rule.step()
        mean = 0.8 * mean + 0.2 * gradient
        ahead = 0.2 * gradient + 0.8 * mean
        if len(shape) < 2:
            expected = expected - 0.1 * ahead / ahead.norm()
            continue
        matrix = ahead.flatten(1)
        update = orthogonalise(matrix) if min(matrix.shape) > 1 else matrix / matrix.norm()
        faster = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        expected = (1 - 0.1 * 0.5) * expected - 0.1 * faster * update.view(shape)
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("shape", [(40, 10), (10, 40)])
def test_an_orthogonalised_matrix_turns_and_hardly_stretches(shape):
    matrix = torch.randn(shape, generator=seeded())
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    singular = torch.linalg.diagonal(u.T @ orthogonalise(matrix) @ v.T, dim1=0, dim2=1)
    assert float((singular - 1).abs().max()) < 0.35
    torch.testing.assert_close(u * singular @ v, orthogonalise(matrix), atol=1e-3, rtol=1e-3)


# --- the line search ---


def test_each_line_search_begins_with_twice_the_last_step(monkeypatch):
    tried = []
    monkeypatch.setattr(line_search, "wolfe", lambda *given: tried.append(given[-1]) or 0.25)
    model = nn.Linear(6, 1).double()
    rule, objective = line_search.Descent(model.parameters(), lr=0.7), problem(model, "squares")
    for _ in range(3):
        rule.step(objective)
    assert tried == [0.7, 0.5, 0.5]


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_a_step_meets_the_conditions_of_wolfe(seed, first):
    objective = problem(small(6, 2, seed=seed), "squares", seed=seed)
    theta = objective.net.read()
    value, slope = objective.gradient(theta)
    step = wolfe(objective, theta, -slope, value, slope, first)
    new_value, new_slope = objective.gradient(theta - step * slope)
    assert step > 0
    assert new_value <= value - DECREASE * step * float(slope @ slope)
    assert float(new_slope @ slope) <= CURVATURE * float(slope @ slope)


def test_uphill_there_is_no_step():
    objective = problem(small(6, 2), "squares")
    theta = objective.net.read()
    value, slope = objective.gradient(theta)
    assert wolfe(objective, theta, slope, value, slope, 1.0) == pytest.approx(0.0, abs=1e-9)


# --- curvature ---


def test_a_product_with_the_hessian_is_that_of_autograd():
    objective = problem(small(6, 3), "softmax")
    theta = objective.net.read()
    v = torch.randn(len(theta), generator=seeded(5), dtype=torch.float64)

    def loss(theta):
        return objective.loss(objective.net.outputs(theta, objective.inputs), objective.targets)

    hessian = torch.autograd.functional.hessian(loss, theta)
    product = objective.hessian(theta)
    assert torch.allclose(product(v), hessian @ v)
    assert torch.allclose(product(2 * v), 2 * hessian @ v)


@given(st.integers(0, 10**6))
def test_newtons_direction_solves_where_curvature_is_positive_and_leads_downhill_where_not(seed):
    root = torch.randn(6, 6, generator=seeded(seed), dtype=torch.float64)
    g = torch.randn(6, generator=seeded(seed + 1), dtype=torch.float64)
    positive = root @ root.T + torch.eye(6, dtype=torch.float64)
    tiny = 1e-16 * g  # near the minimum, where all of the accuracy is asked for
    assert torch.allclose(newton_direction(positive.mv, tiny) * 1e16, torch.linalg.solve(positive, -g), atol=1e-5)
    indefinite = (root + root.T).mv
    assert float(newton_direction(indefinite, g) @ g) < 0


def matrix_of(curvature):
    return curvature.rows.T @ curvature.rows if isinstance(curvature, Dual) else curvature.matrix


@pytest.mark.parametrize("kind", ["squares", "softmax"])
def test_the_gauss_newton_matrix_is_the_sum_over_samples_written_out(kind):
    objective = problem(small(6, 3), kind, n=7)
    net, theta = objective.net, objective.net.read()
    curvature, slope, value = gauss_newton(objective, Jacobian(objective.net), theta)
    expected = torch.zeros_like(matrix_of(curvature))
    for x in objective.inputs:
        jacobian = torch.autograd.functional.jacobian(lambda theta, x=x: net.outputs(theta, x[None])[0], theta)
        z = net.outputs(theta, x[None])[0]
        p = z.softmax(0)
        middle = torch.diag(p) - torch.outer(p, p) if kind == "softmax" else torch.eye(3) * 2 / 3
        expected += jacobian.T @ middle.double() @ jacobian / 7
    assert torch.allclose(matrix_of(curvature), expected)
    assert value == pytest.approx(objective.gradient(theta)[0])
    assert torch.allclose(slope, objective.gradient(theta)[1])


class Twice(nn.Module):
    """A layer that is used twice, or along two axes."""

    def __init__(self, deep):
        super().__init__()
        self.layer, self.deep = nn.Linear(3, 3), deep

    def forward(self, x):
        y = self.layer(x.unflatten(1, (2, 3))).sum(1) if self.deep else self.layer(x[:, :3])
        return y if self.deep else self.layer(y.tanh())


def test_the_jacobian_by_layers_is_the_traced_one_and_is_left_where_layers_are_shared():
    x = torch.randn(5, 6, generator=seeded(), dtype=torch.float64)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3, bias=False), nn.LogSoftmax(1))
    for model, by_layers in ((plain, True), (Twice(False), False), (Twice(True), False), (tied_net(), False)):
        net = FlatNet(model.double())
        jacobian, traced = Jacobian(net), Jacobian(net)
        traced.layers = []
        found, expected = jacobian(net.read(), x), traced(net.read(), x)
        assert torch.allclose(found[0], expected[0])
        assert torch.allclose(found[1], expected[1])
        assert bool(jacobian.traced) is not by_layers


def test_the_jacobian_of_layers_whose_outputs_hooks_change():
    x = torch.randn(5, 6, generator=seeded(), dtype=torch.float64)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    model[0].register_forward_hook(lambda layer, given, y: 2 * y)
    net = FlatNet(model)
    jacobian, traced = Jacobian(net), Jacobian(net)
    traced.layers = []
    assert torch.allclose(jacobian(net.read(), x)[0], traced(net.read(), x)[0])
    assert not jacobian.traced


CHAINS = {
    "one layer": nn.Sequential(nn.Linear(6, 3)),
    "no bias": nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)),
    "three layers": nn.Sequential(
        nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3, bias=False)
    ),
}


@pytest.mark.parametrize("kind", ["squares", "softmax"])
@pytest.mark.parametrize("name", CHAINS)
def test_every_form_of_the_curvature_is_the_same(kind, name, monkeypatch):
    """From pairs of units, from the Jacobian as a matrix, and by its rows: matrix, solutions, determined weights."""
    objective = problem(deepcopy(CHAINS[name]).double(), kind, n=23)
    theta, n = objective.net.read(), objective.net.n
    monkeypatch.setattr(curvatures, "PAIR_VALUES", 64)
    found = []
    for dual, layers in ((1e9, True), (1e9, False), (0, True)):
        monkeypatch.setattr(curvatures, "DUAL", dual)
        jacobian = Jacobian(objective.net)
        jacobian.layers = jacobian.layers if layers else []
        found.append(gauss_newton(objective, jacobian, theta))
    assert [type(each[0]) for each in found] == [Primal, Primal, Dual]
    right = torch.randn(n, generator=seeded(), dtype=torch.float64)
    for curvature, slope, value in found[1:]:
        assert torch.allclose(matrix_of(curvature), matrix_of(found[0][0]))
        assert torch.allclose(slope, found[0][1])
        assert value == pytest.approx(found[0][2])
        assert curvature.largest() == pytest.approx(found[0][0].largest())
        for damping in (1e-6, 1e-2, 10.0):
            damped = matrix_of(found[0][0]) + damping * torch.eye(n, dtype=torch.float64)
            expected = torch.linalg.solve(damped, right)
            assert (curvature.solve(damping, right) - expected).norm() < 1e-7 * expected.norm()
            assert curvature.determined(damping) == pytest.approx(found[0][0].determined(damping), abs=1e-6)


def test_fewer_rows_than_weights_are_learned_from_by_rows(iris):
    """The rule with both forms takes the same steps."""
    ends = []
    for dual in (0, 1e9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(curvatures, "DUAL", dual)
            model = small(6, 3)
            objective = problem(model, "softmax", n=9)
            ends.append(run_rule("lm-bayes", model, objective, 12)[0])
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_of_a_linear_net_it_is_the_hessian():
    objective = problem(nn.Linear(6, 3).double(), "softmax")
    curvature, _, _ = gauss_newton(objective, Jacobian(objective.net), objective.net.read())
    product = objective.hessian(objective.net.read())
    assert torch.allclose(
        torch.stack([product(unit) for unit in torch.eye(21, dtype=torch.float64)]), matrix_of(curvature)
    )


def test_blocks_of_samples_change_nothing(monkeypatch):
    objective = problem(small(6, 3), "softmax")
    whole = gauss_newton(objective, Jacobian(objective.net), objective.net.read())
    monkeypatch.setattr(levenberg_marquardt, "JACOBIAN_BYTES", 16 * 53 * 3 * 5)  # five samples
    jacobian = Jacobian(objective.net)
    jacobian.layers = []
    parts = gauss_newton(objective, jacobian, objective.net.read())
    assert {shape[0] for shape in jacobian.traced} == {5, 2}
    assert torch.allclose(matrix_of(parts[0]), matrix_of(whole[0]))
    assert torch.allclose(parts[1], whole[1])
    assert parts[2] == pytest.approx(whole[2])


def test_ties_are_the_chain_rule_over_an_untied_reference():
    """θ of the untied net is C θ of the tied one, so that gradients are Cᵀ g and curvatures Cᵀ G C."""
    model = tied_net().double()
    objective = problem(model, "squares")
    theta = objective.net.read()
    untied = nn.Sequential(*(module if isinstance(module, nn.Tanh) else nn.Linear(6, 6) for module in model)).double()

    def uses():
        """Every weight at every place, in the order of the untied net."""
        first = model[0].pattern.tiemap().expand(model[0].weight.detach().flatten())
        layers = [(first, model[0].bias), *((model[i].weight, model[i].bias) for i in (2, 4, 5))]
        return torch.cat([part.detach().flatten() for pair in layers for part in pair])

    loose = Objective(FlatNet(untied), objective.inputs, objective.targets, mse_loss, "squares")
    theta_untied = uses()
    columns = []
    for unit in torch.eye(len(theta), dtype=torch.float64):
        objective.net.write(unit)
        columns.append(uses())
    spread = torch.stack(columns, 1)
    objective.net.write(theta)
    assert torch.allclose(spread @ theta, theta_untied)
    curvature, slope, value = gauss_newton(objective, Jacobian(objective.net), theta)
    curvature_untied, slope_untied, value_untied = gauss_newton(loose, Jacobian(loose.net), theta_untied)
    assert value == pytest.approx(value_untied)
    assert torch.allclose(slope, spread.T @ slope_untied)
    assert torch.allclose(matrix_of(curvature), spread.T @ matrix_of(curvature_untied) @ spread)
    v = torch.randn(len(theta), generator=seeded(3), dtype=torch.float64)
    assert torch.allclose(objective.hessian(theta)(v), spread.T @ loose.hessian(theta_untied)(spread @ v))


# --- what they find ---


@pytest.mark.parametrize("name", DESCENDING)
def test_every_rule_finds_the_minimum_of_a_convex_loss(name):
    model = nn.Linear(2, 3).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x = torch.randn(60, 2, generator=seeded(1), dtype=torch.float64)
    y = torch.randint(3, (60,), generator=seeded(2))
    objective = Objective(FlatNet(model), x, y, cross_entropy, "softmax")

    def loss(theta):
        scores = x.numpy() @ theta[:6].reshape(3, 2).T + theta[6:]
        return (np.log(np.exp(scores).sum(1)) - scores[np.arange(60), y.numpy()]).mean()

    values, _ = run_rule(name, model, objective, {"descent": 600, "lbfgs": 10}.get(name, 12))
    assert values[-1] == pytest.approx(minimize(loss, np.zeros(9), tol=1e-12).fun, rel=1e-9)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("name", [*DESCENDING, "genetic"])
def test_no_step_leads_uphill_and_ties_stay(name):
    model = tied_net().double()
    values, _ = run_rule(name, model, problem(model, "squares"), 15)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9 * values[0]
    assert torch.equal(model[4].weight, model[2].weight)
    assert torch.equal(model[5].weight, model[2].weight.T)


def test_levenberg_marquardt_recovers_the_net_that_made_the_data():
    teacher, model = small(2, 1, hidden=3, seed=1), small(2, 1, hidden=3, seed=2)
    x = torch.randn(200, 2, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight *= 3
        targets = teacher(x)
    values, _ = run_rule("lm", model, Objective(FlatNet(model), x, targets, mse_loss, "squares"), 80)
    assert values[-1] < 1e-20


def test_levenberg_marquardt_of_a_linear_net_is_least_squares():
    model = nn.Linear(6, 2, bias=False).double()
    objective = problem(model, "squares", n=30)
    run_rule("lm", model, objective, 30)
    expected = np.linalg.lstsq(objective.inputs.numpy(), objective.targets.numpy(), rcond=None)[0]
    assert np.allclose(model.weight.detach().numpy().T, expected)


def test_a_rank_deficient_jacobian_is_damped():
    model = small(6, 1, hidden=4)
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = model[0].weight[0], model[0].bias[0]  # one unit copies another
        model[2].weight[0, 1] = model[2].weight[0, 0]
    objective = problem(model, "squares", n=5)  # and 33 weights meet 5 samples
    curvature, _, _ = gauss_newton(objective, Jacobian(objective.net), objective.net.read())
    assert int(torch.linalg.matrix_rank(matrix_of(curvature), hermitian=True)) <= 5
    values, _ = run_rule("lm", model, objective, 60)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-12


def test_what_rounding_has_spoilt_is_not_solved():
    spoilt = -torch.eye(2, dtype=torch.float64)
    assert solve(spoilt, 0.5, torch.ones(2, dtype=torch.float64)).tolist() == [0.0, 0.0]
    assert solve(spoilt, 1.5, torch.ones(2, dtype=torch.float64)).tolist() == pytest.approx([2.0, 2.0])


def test_a_step_that_leads_up_is_damped_by_factors_that_double(monkeypatch):
    damped, solved = [], Primal.solve
    monkeypatch.setattr(Primal, "solve", lambda self, mu, slope: damped.append(mu) or solved(self, mu, slope))
    monkeypatch.setattr(Objective, "value", lambda *_: math.inf)
    model = nn.Linear(6, 1).double()
    before = model.weight.detach().clone()
    RULES["lm"](model.parameters()).step(problem(model, "squares"))
    factors = [later / earlier for earlier, later in pairwise(damped)]
    assert factors == pytest.approx([2, 4, 8, 16, 32, 64, 128])
    assert torch.equal(model.weight, before)


def test_at_a_minimum_it_stays_and_can_go_on():
    model = nn.Linear(6, 1).double()
    objective = problem(model, "squares")
    _, rule = run_rule("lm", model, objective, 40)
    before = model.weight.detach().clone()
    rule.step(objective)
    assert torch.allclose(model.weight, before, atol=1e-8)
    assert np.isfinite(rule.state[model.weight]["damping"])


def test_a_fall_that_is_rounding_alone_breaks_nothing(monkeypatch):
    """Where rounding spoils the equations, the step is 0, and so is the fall that the model foresees."""
    model = nn.Linear(6, 1).double()
    objective = problem(model, "squares")
    rule, before = RULES["lm"](model.parameters()), model.weight.detach().clone()
    monkeypatch.setattr(curvatures, "solve", lambda matrix, damping, right: torch.zeros_like(right))
    monkeypatch.setattr(objective, "value", lambda theta: Objective.value(objective, theta) - 1e-9)
    rule.step(objective)
    assert torch.equal(model.weight, before)
    assert rule.state[model.weight]["damping"] > 0


def test_bayesian_regularisation_of_a_linear_net_is_bayesian_ridge():
    model = nn.Linear(6, 1, bias=False).double()
    x = torch.randn(40, 6, generator=seeded(), dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.0, 0.0, 0.5, 0.0]).double() + torch.randn(40, generator=seeded(1)).double()
    objective = Objective(FlatNet(model), x, y[:, None], mse_loss, "squares")
    _, rule = run_rule("lm-bayes", model, objective, 300)
    ridge = BayesianRidge(fit_intercept=False, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, tol=1e-10, max_iter=5000)
    ridge.fit(x.numpy(), y.numpy())
    assert np.allclose(model.weight.detach().numpy()[0], ridge.coef_, atol=1e-4)
    # ½ α ‖r‖² + ½ λ ‖θ‖² is ½ α N times ‖r‖²/N + λ/(α N) ‖θ‖².
    assert rule.state[model.weight]["decay"] == pytest.approx(2 * ridge.lambda_ / (ridge.alpha_ * 40), rel=1e-3)


def classes(model, learnable):
    objective = problem(model, "softmax", n=60)
    if learnable:
        objective.targets = objective.inputs[:, :3].argmax(1)
        objective.targets[::6] = 0
    return objective


def test_bayesian_regularisation_keeps_a_classifier_from_certainty():
    model, loose = small(6, 3), small(6, 3)
    _, rule = run_rule("lm-bayes", model, classes(model, True), 60)
    run_rule("lm", loose, classes(loose, True), 60)
    sizes = [sum((weight**2).sum().item() for weight in one.parameters()) for one in (model, loose)]
    assert sizes[0] < sizes[1] / 10
    state = rule.state[model[0].weight]
    assert 5 < state["determined"] < 53
    assert state["decay"] == pytest.approx(state["determined"] / (60 * sizes[0]), rel=0.01)


def test_of_noise_bayesian_regularisation_makes_nothing():
    model = small(6, 3)
    values, rule = run_rule("lm-bayes", model, classes(model, False), 60)
    assert values[-1] == pytest.approx(np.log(3), rel=1e-3)
    assert np.isfinite(rule.state[model[0].weight]["decay"])


# --- through fit ---


@pytest.mark.parametrize("name", WHOLE_BATCH)
def test_an_interrupted_run_ends_in_the_same_weights(iris, tmp_path, name):
    def make():
        return nets.build("mlp", iris.in_shape, iris.n_outputs, structure={"hidden": (6,)})

    whole = fit(make(), iris, optimizer=name, epochs=6, out=tmp_path / "whole", progress=False)
    cut_run(tmp_path / "cut", iris, model=make(), optimizer=name, epochs=6, progress=False)
    again = resume(tmp_path / "cut", make(), iris, progress=False)
    expected, found = (load_file(tmp_path / folder / WEIGHTS) for folder in ("whole", "cut"))
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert [replace(r, seconds=0) for r in again.records] == [replace(r, seconds=0) for r in whole.records]
    assert (tmp_path / "cut" / RECORDS).exists()


def test_the_records_are_of_the_whole_training_part(iris):
    model = nets.build("mlp", iris.in_shape, iris.n_outputs, structure={"hidden": (6,)})
    run = fit(model, iris, optimizer="lm", epochs=4, out=None, progress=False)
    assert [record.epoch for record in run.records] == [1, 2, 3, 4]
    last = run.records[-1]
    assert last.rate == 1.0
    assert all(layer.gradient_norm > 0 and layer.update_ratio > 0 for layer in last.layers)
    once = fit(model, iris, optimizer="lm", epochs=1, out=None, progress=False)
    x = iris.normalisation.apply(iris.x[iris.train])
    right = (once.model(x).argmax(1) == iris.y[iris.train]).float().mean()
    assert once.records[0].metric == pytest.approx(float(right))


@pytest.mark.parametrize("name", ["newton", "lm"])
def test_images_are_learned_too(name):
    digits = data.load("digits")
    few = replace(digits, train=digits.train[:100])
    net = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 10))
    run = fit(net, few, optimizer=name, epochs=8, out=None, progress=False)
    assert run.records[0].metric < run.records[-1].metric > 0.9


def test_a_goal_that_is_not_reached_is_said(iris):
    run = fit(nn.Linear(4, 3), iris, optimizer="newton", epochs=2, goal="accuracy>=0.999", out=None, progress=False)
    assert run.results["stopped"] == "epochs"
    assert "2 epochs in" in run.summary()
    assert "(all epochs done; the goal accuracy>=0.999 was not reached)" in run.summary()


# --- what does not fit ---


class OwnLoss(nn.Linear):
    def loss(self, outputs, targets):
        return cross_entropy(outputs, targets)


class Undecided(nn.Linear):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


@pytest.mark.parametrize(
    ("name", "model", "options", "says"),
    [
        ("lbfgs", nn.Linear(4, 3), {"batch_size": 20}, "lbfgs takes all 106 samples at each step: leave --batch-size"),
        ("newton", nn.Linear(4, 3), {"precision": "bfloat16"}, "newton compares losses that differ by less"),
        ("lm", nn.Linear(4, 3), {"l2": 0.1}, "lm makes the loss of all samples small and nothing else: leave --l2 out"),
        ("lm", nn.Linear(4, 3), {"lr": 0.1}, "lm finds by itself how far to go: leave --lr out"),
        ("lm-bayes", nn.Linear(4, 3), {"lr": 1.0}, "lm-bayes finds by itself how far to go: leave --lr out"),
        ("genetic", nn.Linear(4, 3), {"lr": 0.1}, "genetic finds by itself how far to go: leave --lr out"),
        (
            "descent",
            nn.Sequential(nn.Linear(4, 3), nn.Dropout()),
            {},
            "descent needs a loss that is the same each time",
        ),
        ("genetic", nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), {}, "genetic takes samples one by one, and"),
        ("lm", OwnLoss(4, 3), {}, "lm needs the mean squared error or the cross entropy, and OwnLoss has a loss of"),
        ("lm", Undecided(4, 3), {}, r"derivatives of each sample by itself, .* for Undecided \(.*\): use lbfgs"),
    ],
)
def test_a_rule_that_does_not_fit_is_one_sentence(iris, tmp_path, name, model, options, says):
    with pytest.raises(TrainError, match=says) as caught:
        fit(model, iris, optimizer=name, out=tmp_path / "run", progress=False, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", WITHOUT_RATE)
def test_a_loss_that_is_no_number_asks_a_rule_without_a_rate_for_no_lower_one(iris, name):
    net = nn.Linear(4, 3)
    nn.init.constant_(net.weight, math.nan)
    with pytest.raises(DivergedError, match="not finite is weight: begin with other weights, by --init, or choose"):
        fit(net, iris, optimizer=name, out=None, progress=False)


@pytest.mark.parametrize("name", WHOLE_BATCH)
def test_the_settings_of_a_run_begin_it_again(iris, name):
    """Its page says them all, so that it can be repeated; a rule without a rate has none to say."""
    first = fit(nn.Linear(4, 3), iris, optimizer=name, epochs=1, out=None, progress=False)
    told = {key: first.description["settings"][key] for key in OPTIONS}
    again = fit(nn.Linear(4, 3), iris, **told, out=None, progress=False)
    assert again.description["settings"] == first.description["settings"]


def test_a_loss_that_torch_differentiates_only_once_is_refused_by_newton(iris):
    class Distances(nn.Linear):
        def forward(self, x):
            return -torch.cdist(x, self.weight, p=1.5)

    with pytest.raises(TrainError, match=r"newton needs second derivatives of the loss \(.*_cdist.*\): use lbfgs"):
        fit(Distances(4, 3, bias=False), iris, optimizer="newton", out=None, progress=False)


@pytest.mark.parametrize("name", WHOLE_BATCH)
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_recurrent_nets_are_learned_or_refused(cell, name):
    series = data.load("gunpoint")
    few = replace(series, x=series.x[..., :5])
    net = nets.build(cell, (1, 5), 2, structure={"units": 3})
    if name in ("genetic", "lm", "lm-bayes"):
        with pytest.raises(TrainError, match=f"{name} runs many nets or samples as one batch, which no"):
            fit(net, few, optimizer=name, epochs=1, out=None, progress=False)
    else:
        run = fit(net, few, optimizer=name, epochs=3, out=None, progress=False)
        assert run.records[-1].loss < run.records[0].loss


def test_a_jacobian_too_large_for_memory_says_how_large_and_what_instead(iris, monkeypatch):
    monkeypatch.setattr(choice, "memory_bytes", lambda: 2**31)
    digits = data.load("digits")
    wide, many = nn.Sequential(nn.Linear(4, 60_000), nn.Linear(60_000, 3)), nets.build("mlp", digits.in_shape, 10)
    says = r"lm holds a Jacobian of 318 × 480,003, outputs by weights: 1\.1 GiB, .* is 1\.0 GiB: use lbfgs"
    with pytest.raises(TrainError, match=says):
        fit(wide, iris, optimizer="lm", out=None, progress=False)
    says = r"lm holds 7 matrices of 17,226 × 17,226, one row for each weight: 15\.5 GiB, .* is 1\.0 GiB: use lbfgs"
    with pytest.raises(TrainError, match=says):
        fit(many, digits, optimizer="lm", out=None, progress=False)


def test_newton_is_refused_where_what_the_layers_give_would_not_fit(monkeypatch):
    digits, net = (
        data.load("digits"),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 50_000), nn.Tanh(), nn.Linear(50_000, 10)),
    )
    monkeypatch.setattr(choice, "memory_bytes", lambda: 2**29)
    says = r"newton holds what all layers give for 1,257 samples: \d\.\d GiB, .* is 0\.2 GiB: use lbfgs, or a smaller"
    with pytest.raises(TrainError, match=says):
        fit(net, digits, optimizer="newton", out=None, progress=False)
    monkeypatch.setattr(choice, "memory_bytes", lambda: 2**34)
    choice.require_fitting("newton", net, digits, PLAIN)


@pytest.mark.parametrize("net", ["cnn", "mlp"])
def test_what_newton_keeps_is_found_by_a_few_samples(net, monkeypatch):
    digits = data.load("digits")
    model, told = nets.build(net, digits.in_shape, 10), []
    monkeypatch.setattr(choice, "_require_memory", lambda name, needed, what: told.append(needed))
    choice.require_fitting("newton", model, digits, PLAIN)
    part = part_of(digits, digits.train)
    whole = kept_bytes(Objective(FlatNet(model), part.inputs, part.targets, cross_entropy))
    assert told == [pytest.approx(whole, rel=0.2)]


def test_a_rule_that_would_take_too_long_says_so(monkeypatch):
    monkeypatch.setattr(choice, "memory_bytes", lambda: 2**40)
    digits = data.load("digits")
    says = "lm would take roughly 136 s for each step, for 17,226 weights and 12,570 outputs of all samples: use lbfgs"
    with pytest.raises(TrainError, match=says):
        fit(nets.build("mlp", digits.in_shape, 10), digits, optimizer="lm", out=None, progress=False)
    model = nets.build("mlp", digits.in_shape, 10, structure={"hidden": (20,)})
    assert choice.expected("lm", model, digits) == "roughly 1 s for each step, for 1,510 weights"
    assert choice.expected("lbfgs", model, digits) == ""


def test_several_processes_are_refused(iris, monkeypatch):
    monkeypatch.setattr(choice.Team, "current", staticmethod(lambda: choice.Team(0, 2)))
    with pytest.raises(TrainError, match="lbfgs runs in one process"):
        fit(nn.Linear(4, 3), iris, optimizer="lbfgs", out=None, progress=False)


# --- chosen by size ---

PLAIN = dict.fromkeys(("batch_size", "lr", "precision", *choice.RESTRAINTS))


def chosen(name, model=None, n=None, **given):
    loaded = data.load(name)
    if n is not None:
        loaded = replace(loaded, train=loaded.train[:n])
    return choose_optimizer(model or nn.Linear(4, 3), loaded, PLAIN | given)


def test_the_rule_follows_from_the_size_of_the_data_and_of_the_net():
    few, many = nn.Linear(10, 1), nets.build("mlp", (10,), 1)
    assert chosen("diabetes", few) == (
        "lm-bayes",
        "the Jacobian of all samples, for values to predict by only 11 weights",
    )
    assert chosen("diabetes", many) == ("lbfgs", "all samples at each step, for there are only 310")
    assert chosen("abelone", many) == ("muon", "batches, for 1,775 samples and 9,729 weights")
    assert chosen("iris")[0] == "lbfgs"
    assert chosen("moons", nn.Linear(2, 2))[0] == "muon"
    monster = nn.Linear(10, 1)
    monster.loss = mse_loss
    assert chosen("diabetes", monster)[0] == "muon"


def test_images_and_series_are_learned_in_batches():
    assert chosen("digits", n=100)[0] == chosen("gunpoint")[0] == "muon"
    lenet = nets.build("lenet5", (1, 8, 8), 10)
    assert chosen("digits", lenet) == ("muon", "batches, for 1,257 samples and 60,000 weights")


def test_large_matrices_are_left_to_adamw():
    wide = nn.Linear(1000, 2000)  # 5 rounds of 1000² · (2 · 2000 + 1000) products at 4e10 a second
    assert choice.muon_seconds(wide) == 0.625
    addition = ", and muon would take 0.6 s for each step"
    assert chosen("digits", wide, n=400) == ("adamw", f"batches, for 400 samples and 2,002,000 weights{addition}")
    assert chosen("iris", wide, lr=0.1) == ("adamw", f"batches, as lr asks for{addition}")


@pytest.mark.parametrize("given", [{"batch_size": 10}, {"lr": 0.1}, {"l2": 0.1}, {"max_norm": 1.0}])
def test_what_asks_for_batches_gets_them(given):
    (name,) = given
    assert chosen("iris", **given) == ("muon", f"batches, as {name.replace('_', ' ')} asks for")


def test_a_net_that_cannot_take_all_samples_at_once_gets_batches():
    says = ("muon", "batches, for a net that cannot take all samples at once or one by one")
    assert chosen("iris", nn.Sequential(nn.Linear(4, 3), nn.Dropout())) == says
    assert chosen("diabetes", nn.Sequential(nn.Linear(10, 1), nn.BatchNorm1d(1))) == says


def test_the_choice_and_its_reason_are_printed_and_kept(iris, capsys):
    run = fit(nets.build("mlp", (4,), 3), iris, epochs=2, out=None)
    assert "optimizer lbfgs: all samples at each step, for there are only 106\n" in capsys.readouterr().err
    assert run.description["settings"]["optimizer"] == "lbfgs"
    assert run.description["settings"]["reason"] == "all samples at each step, for there are only 106"
