"""Restricted Boltzmann machines against exact enumeration, a step written out in numpy, and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM
from sklearn.utils.estimator_checks import parametrize_with_checks

import commonweight as cw
from commonweight import nets
from commonweight.errors import NetError
from commonweight.nets.boltzmann import (
    ContrastiveDivergence,
    LabelledBoltzmannMachine,
    LabelledNet,
    RestrictedBoltzmannMachine,
    sample,
)
from commonweight.nets.boltzmann_estimators import RBM, RBMClassifier
from commonweight.nets.boltzmann_likelihood import annealed_log_z, exact_log_z, states
from commonweight.nets.estimators import learn_labels

SMALL = {"n_components": 4, "max_iter": 2, "random_state": 0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_machine(n_visible, n_hidden, kind="bernoulli", scale=1.0):
    machine = RestrictedBoltzmannMachine(n_visible, n_hidden, visible=kind).double()
    generator = seeded(1)
    for parameter in machine.parameters():
        parameter.data.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return machine


def energies(machine, v, h):
    """-b·v - c·h - h·W v for all pairs of states: (A, V), (B, H) -> (A, B)."""
    weight, b, c = (p.detach() for p in machine.parameters())
    return -(v @ b)[:, None] - h @ c - v @ weight.T @ h.T


# Against all states


def test_free_energy_and_log_z_are_sums_over_all_states():
    machine = random_machine(4, 3)
    v, h = states(4), states(3)
    table = -energies(machine, v, h)
    torch.testing.assert_close(machine.free_energy(v).detach(), -table.logsumexp(1))
    assert exact_log_z(machine) == pytest.approx(float(table.logsumexp((0, 1))))
    torch.testing.assert_close(machine.hidden(v).detach(), table.softmax(1) @ h)
    torch.testing.assert_close(machine.visible(h).detach(), table.T.softmax(1) @ v)


@pytest.mark.parametrize(("n_visible", "n_hidden"), [(3, 5), (5, 3)])
def test_log_z_takes_the_smaller_side(n_visible, n_hidden):
    machine = random_machine(n_visible, n_hidden)
    table = -energies(machine, states(n_visible), states(n_hidden))
    assert exact_log_z(machine) == pytest.approx(float(table.logsumexp((0, 1))))


def test_the_gaussian_machine_is_a_density():
    machine = random_machine(1, 3, "gaussian")
    v = torch.linspace(-30, 30, 20_001, dtype=torch.float64)[:, None]
    density = (-machine.free_energy(v) - exact_log_z(machine)).exp().detach()
    assert float(torch.trapezoid(density, v[:, 0])) == pytest.approx(1)


def test_positive_minus_negative_phase_is_the_gradient_of_the_log_likelihood():
    machine = random_machine(4, 3)
    v = states(4)[torch.tensor([3, 5, 5, 12])]
    everything = states(4)
    p = (-machine.free_energy(everything) - exact_log_z(machine)).exp().detach()
    assert float(p.sum()) == pytest.approx(1)
    positive = machine.hidden(v).T @ v / len(v)
    negative = (machine.hidden(everything) * p[:, None]).T @ everything
    likelihood = -machine.free_energy(v).mean() - (-machine.free_energy(everything)).logsumexp(0)
    (gradient,) = torch.autograd.grad(likelihood, machine.weight)
    torch.testing.assert_close(gradient, (positive - negative).detach())


def test_annealed_importance_sampling_agrees_with_enumeration():
    machine = random_machine(10, 8).float()
    for mean in (None, torch.full((10,), 0.3)):
        estimate = annealed_log_z(machine, seeded(), mean=mean)
        assert estimate.low < exact_log_z(machine) < estimate.high
        assert estimate.high - estimate.low < 0.5


def test_the_error_of_annealed_importance_sampling_is_that_of_many_estimates():
    machine, generator = random_machine(4, 3).float(), seeded()
    estimates = [annealed_log_z(machine, generator, chains=50, temperatures=5) for _ in range(400)]
    z = np.exp([estimate.log_z - exact_log_z(machine) for estimate in estimates])
    ends = np.exp([(estimate.low - estimate.log_z, estimate.high - estimate.log_z) for estimate in estimates])
    np.testing.assert_allclose(ends.sum(1), 2)
    assert (ends[:, 1] - 1).mean() == pytest.approx(3 * z.std(), rel=0.15)


def test_gibbs_sampling_draws_from_the_exact_distribution():
    machine = random_machine(3, 2)
    p = (-machine.free_energy(states(3)) - exact_log_z(machine)).exp().detach()
    v = machine.gibbs(torch.zeros(20_000, 3, dtype=torch.float64), seeded(), steps=60)
    index = (v @ torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)).long()
    frequencies = torch.bincount(index, minlength=8) / len(v)
    torch.testing.assert_close(frequencies.double(), p, atol=0.015, rtol=0)


def test_samples_have_their_probabilities_and_the_ends_are_certain():
    drawn = sample(torch.tensor([0.0, 0.25, 0.9, 1.0]).repeat(40_000, 1), seeded())
    assert drawn.mean(0).tolist() == pytest.approx([0, 0.25, 0.9, 1], abs=0.01)
    assert drawn[:, 0].max() == 0
    assert drawn[:, 3].min() == 1


def test_pseudo_likelihood_is_in_the_mean_that_of_all_units():
    machine = random_machine(3, 2)
    v = states(3)[5:6].repeat(30_000, 1)
    every = 0.0
    for i in range(3):
        flipped = v[:1].clone()
        flipped[0, i] = 1 - flipped[0, i]
        both = -machine.free_energy(torch.cat([v[:1], flipped]))
        every += float(both.detach().log_softmax(0)[0])
    assert float(machine.pseudo_likelihood(v, seeded()).mean()) == pytest.approx(every, abs=0.02)


# The rule


def by_numpy(weight, b, c, batch, model, means, rate, momentum, velocity, decay, centred):
    """One step of contrastive divergence, given the sample of the model."""
    mu, lam = means
    h, model_h = expit(batch @ weight.T + c), expit(model @ weight.T + c)
    if centred:
        lam = 0.99 * lam + 0.01 * h.mean(0)
    mu, lam = mu * centred, lam * centred
    d_w = (h - lam).T @ (batch - mu) / len(batch) - (model_h - lam).T @ (model - mu) / len(model)
    d_b = batch.mean(0) - model.mean(0) - lam @ d_w
    d_c = h.mean(0) - model_h.mean(0) - d_w @ mu
    steps = [rate * (d_w - decay * weight), rate * d_b, rate * d_c]
    velocity = [momentum * old + new for old, new in zip(velocity, steps, strict=True)]
    return [value + change for value, change in zip((weight, b, c), velocity, strict=True)], velocity, lam


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("chains", [0, 5])
def test_a_step_is_what_its_formula_says(centred, chains):
    machine = random_machine(4, 3)
    data = states(4)[torch.tensor([3, 5, 9, 12, 14, 15])]
    rule = ContrastiveDivergence(
        machine, data.mean(0), rate=0.2, momentum=0.6, decay=0.01, steps=2, chains=chains, centred=centred,
        generator=seeded(),
    )  # fmt: skip
    numbers = [p.detach().numpy().copy() for p in machine.parameters()]
    np.testing.assert_allclose(expit(numbers[1]), data.mean(0).clamp(1e-3, 1 - 1e-3))
    velocity, lam = [0.0, 0.0, 0.0], np.full(3, 0.5)
    for _ in range(3):
        twin = torch.Generator()
        twin.set_state(rule.generator.get_state())
        state = sample(machine.hidden(data), twin) if rule.chains is None else rule.chains
        for _ in range(2):
            model = machine.sample_visible(state, twin)
            state = sample(machine.hidden(model), twin)
        means = (data.mean(0).numpy(), lam)
        numbers, velocity, lam = by_numpy(
            *numbers, data.numpy(), model.detach().numpy(), means, 0.2, 0.6, velocity, 0.01, centred
        )
        rule.step(data)
        for parameter, expected in zip(machine.parameters(), numbers, strict=True):
            np.testing.assert_allclose(parameter.detach(), expected, atol=1e-12)
        if chains:
            torch.testing.assert_close(rule.chains, state)


@pytest.mark.parametrize("settings", [{}, {"persistent": True}, {"steps": 3}])
def test_learning_raises_the_exact_likelihood(settings):
    rows = states(4)[torch.tensor([0, 15, 15, 3, 12])].float().repeat(20, 1)
    rbm = RBM(n_components=6, max_iter=150, random_state=0, **settings).fit(rows)
    likelihood = float(-rbm.module_.free_energy(rows).detach().mean()) - exact_log_z(rbm.module_)
    independent = float((rows.mean(0) * torch.logit(rows.mean(0))).sum() + torch.log(1 - rows.mean(0)).sum())
    assert likelihood > independent + 0.4
    assert likelihood < math.log(0.4)


def test_gaussian_units_learn_the_mean_and_more():
    generator = np.random.default_rng(0)
    signs = generator.choice([-1.0, 1.0], size=(500, 1))
    X = 3 + 2 * signs + 0.5 * generator.normal(size=(500, 4))
    rbm = RBM(n_components=8, visible="gaussian", learning_rate=0.01, max_iter=30, random_state=0).fit(X)
    x = torch.from_numpy(X).float()
    assert float(((rbm.module_(x).detach() - x) ** 2).mean()) < 0.5 * X.var(0).mean()


# How it shares


def test_one_matrix_leads_up_and_down():
    census = cw.count(RestrictedBoltzmannMachine(6, 4), torch.rand(2, 6))
    assert (census.weights, census.connections) == (24 + 6 + 4, 2 * 24 + 6 + 4)


# Labels


def test_the_label_is_inferred_exactly():
    machine = LabelledBoltzmannMachine(4, 3, 5)
    machine.weight.data.normal_(generator=seeded())
    machine.visible_bias.data.normal_(generator=seeded(1))
    v = states(4).float()
    joined = [-machine.free_energy(machine.join(v, torch.full((len(v),), y))) for y in range(3)]
    torch.testing.assert_close(machine(v).log_softmax(1), torch.stack(joined, 1).log_softmax(1))
    drawn = machine.sample_visible(torch.zeros(50, 5), seeded())
    assert torch.equal(drawn[:, 4:].sum(1), torch.ones(50))


def test_what_is_made_for_a_label_belongs_to_it():
    rows, index = states(4).float()[torch.tensor([3, 12])].repeat(50, 1), torch.arange(2).repeat(50)
    machine = LabelledBoltzmannMachine(4, 2, 8)
    rule = ContrastiveDivergence(machine, machine.join(rows, index).mean(0), rate=0.1, generator=seeded())
    for _ in range(400):
        rule.step(machine.join(rows, index))
    made = machine.imagine(index, seeded(), steps=200)  # the chains forget where they began
    assert float(((made > 0.5) == rows.bool()).double().mean()) > 0.9


def test_the_net_shows_its_filters_and_samples():
    x, y = torch.rand(12, 2, 4, 3), torch.arange(12) % 3
    filters, samples = LabelledNet((2, 4, 3), 3, hidden=5).views(x, y)
    assert (filters.images.shape, filters.signed, len(samples.labels)) == ((5, 4, 3), True, len(samples.images))


# Estimators


def not_applicable(estimator):
    """Checks that compare to 1e-7, and why an estimator does not meet them."""
    if isinstance(estimator, RBM):
        why = "score_samples draws a random unit for each row, as that of BernoulliRBM does"
        return dict.fromkeys(("check_methods_subset_invariance", "check_methods_sample_order_invariance"), why)
    return {"check_methods_subset_invariance": "float32 rounds sums over a batch and over a row in different orders"}


ESTIMATORS = [RBM(**SMALL), RBMClassifier(64, max_iter=5, tuning_iter=40, tuning_rate=0.02, random_state=0)]


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=not_applicable)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def test_rbm_is_the_machine_of_scikit_learn():
    digits = load_digits().data.astype(np.float32) / 16
    ours = RBM(n_components=32, max_iter=10, random_state=0).fit(digits)
    theirs = BernoulliRBM(32, random_state=0)
    theirs.components_, theirs.intercept_hidden_ = ours.components_, ours.intercept_hidden_
    theirs.intercept_visible_, theirs.n_features_in_ = ours.intercept_visible_, 64
    np.testing.assert_allclose(ours.transform(digits), theirs.transform(digits), rtol=1e-4, atol=1e-5)
    free_energy = ours.module_.free_energy(torch.from_numpy(digits)).detach().numpy()
    np.testing.assert_allclose(free_energy, theirs._free_energy(digits), rtol=1e-4)
    assert ours.score_samples(digits).mean() == pytest.approx(theirs.score_samples(digits).mean(), abs=1)
    assert set(np.unique(ours.gibbs(digits))) == {0, 1}


def test_partial_fit_goes_on():
    digits = load_digits().data / 16
    rbm = RBM(n_components=16, random_state=0)
    for _ in range(15):
        rbm.partial_fit(digits[:500])
    before = rbm.score_samples(digits[:500]).mean()
    for _ in range(60):
        rbm.partial_fit(digits[:500])
    assert rbm.score_samples(digits[:500]).mean() > before


def test_tuning_may_be_left_out():
    x, y = load_digits(return_X_y=True)
    untuned = RBMClassifier(hidden=16, max_iter=2, tuning_iter=0, random_state=0).fit(x[:300], y[:300])
    tuned = RBMClassifier(hidden=16, max_iter=2, tuning_iter=1, random_state=0).fit(x[:300], y[:300])
    assert (untuned.n_iter_, tuned.n_iter_) == (2, 3)
    assert not torch.equal(untuned.module_.machine.weight, tuned.module_.machine.weight)


def test_the_classifier_learns_digits_and_is_built_again():
    x, y = load_digits(return_X_y=True)
    estimator = RBMClassifier(hidden=64, max_iter=10, tuning_iter=10, random_state=0).fit(x[:1200], y[:1200])
    assert estimator.score(x[1200:], y[1200:]) > 0.85
    again = nets.build("rbm", (1, 8, 8), 10, structure=estimator.structure_)
    again.load_state_dict(estimator.module_.state_dict())
    rows = torch.from_numpy(x[:5]).float()
    torch.testing.assert_close(again(rows.view(5, 1, 8, 8)), estimator.module_(rows))


# What is refused


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: RestrictedBoltzmannMachine(0, 3), NetError, r"at least 1 unit on each side; got 0 and 3"),
        (
            lambda: RestrictedBoltzmannMachine(2, 3, visible="real"),
            NetError,
            r"Visible units are bernoulli or gaussian; got 'real'",
        ),
        (lambda: exact_log_z(RestrictedBoltzmannMachine(30, 21)), NetError, r"30 visible .* too many states"),
        (
            lambda: annealed_log_z(RestrictedBoltzmannMachine(2, 2, visible="gaussian"), seeded()),
            NetError,
            r"written for Bernoulli units; this machine has Gaussian",
        ),
        (
            lambda: RestrictedBoltzmannMachine(2, 2, visible="gaussian").pseudo_likelihood(torch.ones(1, 2), seeded()),
            NetError,
            r"flips units from 0 to 1, which Gaussian units do not",
        ),
        (lambda: RBM(visible="real").fit(np.ones((3, 2))), ValueError, r"visible is bernoulli or gaussian; got 'real'"),
        (lambda: RBM(steps=0).fit(np.ones((3, 2))), ValueError, r"steps is a whole number of at least 1; got 0"),
    ],
)
def test_what_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_the_rate_of_tuning_falls_to_0_by_a_straight_line():
    """Adam's steps are as long as the rate while the gradient stays: 4 + 3 + 2 + 1 quarters of it."""
    net = torch.nn.Linear(1, 2, bias=False)
    before = net.weight.detach().clone()
    learn_labels(net, torch.ones(1, 1), torch.tensor([0]), [torch.tensor([0])] * 4, rate=1e-4)
    moved = net.weight.detach() - before
    torch.testing.assert_close(moved[:, 0], torch.tensor([2.5e-4, -2.5e-4]), rtol=1e-2, atol=0)
