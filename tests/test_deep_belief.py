"""The deep belief net: its update written out in numpy, tied and untied directions, what it makes and fills in."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

import commonweight as cw
from commonweight import nets
from commonweight.errors import NetError
from commonweight.nets.boltzmann import ContrastiveDivergence, sample
from commonweight.nets.deep_belief import DeepBeliefNet, learn_greedily, wake_and_sleep
from commonweight.nets.deep_belief_estimator import DBNClassifier
from commonweight.nets.estimators import batches

X, Y = load_digits(return_X_y=True)
ROWS = torch.from_numpy(X / 16).float()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def arrays(layer):
    return [parameter.detach().numpy().copy() for parameter in (layer.weight, layer.bias)]


def test_one_update_is_what_its_formula_says():
    net = DeepBeliefNet((6,), 3, hidden=(5, 4, 7)).double()
    v, index = sample(torch.full((8, 6), 0.5, dtype=torch.float64), seeded()), torch.arange(8) % 3
    mean = net.top.join(torch.full((1, 4), 0.5, dtype=torch.float64), index[:1])[0]
    rule = ContrastiveDivergence(net.top, mean, rate=0.1, chains=9, generator=seeded())
    twin = torch.Generator()
    twin.set_state(rule.generator.get_state())
    up, down = [arrays(layer) for layer in net.recognition], [arrays(layer) for layer in net.generation]
    awake = [v]
    for weight, bias in up:
        p = expit(awake[-1].numpy() @ weight.T + bias)
        awake.append(sample(torch.from_numpy(p), twin))
    dreamt = net.top.sample_visible(rule.chains, twin)[:, :4].detach()
    sample(torch.zeros(9, 7), twin)  # the chains' next states
    asleep = [dreamt]
    for weight, bias in reversed(down):
        p = expit(asleep[0].numpy() @ weight.T + bias)
        asleep.insert(0, sample(torch.from_numpy(p), twin))
    wake_and_sleep(net, rule, v, index, rate=0.3, generator=rule.generator)
    for layers, olds, pairs in (
        (net.generation, down, list(zip(awake[1:], awake, strict=False))),
        (net.recognition, up, list(pairwise(asleep))),
    ):
        for layer, (weight, bias), (given, wanted) in zip(layers, olds, pairs, strict=True):
            given, wanted = given.numpy(), wanted.numpy()
            error = wanted - expit(given @ weight.T + bias)
            np.testing.assert_allclose(layer.weight.detach(), weight + 0.3 * error.T @ given / len(given))
            np.testing.assert_allclose(layer.bias.detach(), bias + 0.3 * error.mean(0))


def test_directions_are_one_matrix_until_they_are_untied():
    net = DeepBeliefNet((64,), 10, hidden=(32, 48))
    net.tie_directions()
    tied = sum(parameter.numel() for parameter in net.parameters())
    before = [float(net.label(ROWS).log_softmax(1)[range(len(Y)), Y].detach().mean())]
    generator = seeded()
    order = batches(len(ROWS), 10, 10, generator)
    learn_greedily(net, ROWS, torch.from_numpy(Y), order, rate=0.1, momentum=0.5, generator=generator)
    assert torch.equal(net.generation[0].weight, net.recognition[0].weight.T)
    assert float(net.label(ROWS).log_softmax(1)[range(len(Y)), Y].detach().mean()) > before[0] + 0.2
    net.untie_directions()
    assert sum(parameter.numel() for parameter in net.parameters()) == tied + 32 * 64
    assert [str(tie).split("  ")[1] for tie in cw.ties(net)] == ["(untied: equal up to a transform)"]


@pytest.fixture(scope="module")
def fitted():
    estimator = DBNClassifier((64, 96), max_iter=40, sleep_iter=20, tuning_iter=0, random_state=0)
    return estimator.fit(X[:1200], Y[:1200])


def test_labels_come_out_at_the_top_without_backpropagation(fitted):
    assert fitted.score(X[1200:], Y[1200:]) > 0.7
    net = fitted.module_
    assert not torch.equal(net.generation[0].weight, net.recognition[0].weight.T)


def test_samples_are_nearest_to_images_of_their_class(fitted):
    index = torch.arange(10).repeat(10)
    made = fitted.module_.generate(index, seeded(), steps=200)
    means = torch.stack([torch.from_numpy(X[digit == Y]).float().mean(0) for digit in range(10)])
    nearest = torch.cdist(made, means).argmin(1)
    assert float((nearest == index).double().mean()) > 0.5


def test_missing_halves_are_filled_in_better_than_by_the_mean(fitted):
    x, known = torch.from_numpy(X[1200:1400]).float(), torch.arange(64) < 32
    damaged = torch.where(known, x, 99.0)
    filled = fitted.module_.complete(damaged, known, seeded())
    assert torch.equal(filled[:, known], x[:, known])
    mean = torch.from_numpy(X[:1200]).float().mean(0)
    errors = [float(((guess - x)[:, ~known] ** 2).mean()) for guess in (filled, mean.expand_as(x))]
    assert errors[0] < 0.9 * errors[1]


def test_views_show_filters_samples_and_completions(fitted):
    x = torch.from_numpy(X[:30]).float()
    views = fitted.module_.views(x.view(30, 1, 8, 8), torch.from_numpy(Y[:30]))
    assert [view.title for view in views] == ["Filters", "Samples", "Missing halves"]
    assert [tuple(view.images.shape[1:]) for view in views] == [(8, 8)] * 3
    assert len(fitted.module_.views(x, torch.from_numpy(Y[:30]))) == 2


def test_a_fitted_net_is_stored_and_built_again(fitted, tmp_path):
    cw.save(fitted.module_, tmp_path / "net.safetensors")
    again = cw.load(tmp_path / "net.safetensors", nets.build("dbn", (1, 8, 8), 10, structure=fitted.structure_))
    rows = torch.from_numpy(X[:5]).float()
    torch.testing.assert_close(again(rows.view(5, 1, 8, 8)), fitted.module_(rows))


def not_applicable(estimator):
    return {"check_methods_subset_invariance": "float32 rounds sums over a batch and over a row in different orders"}


@parametrize_with_checks(
    [DBNClassifier((32,), max_iter=5, sleep_iter=2, tuning_iter=60, tuning_rate=0.02, random_state=0)],
    expected_failed_checks=not_applicable,
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("hidden", [(), (4, 0)])
def test_a_net_without_units_is_refused(hidden):
    with pytest.raises(NetError, match=r"one hidden layer or more, of at least 1 unit; got \("):
        DeepBeliefNet((4,), 2, hidden=hidden)


def test_backpropagation_leaves_what_makes_samples_alone():
    x, y = np.random.default_rng(0).random((60, 6)), np.arange(60) % 3
    fitted = [DBNClassifier(hidden=(5, 7), max_iter=1, sleep_iter=1, tuning_iter=n, random_state=0) for n in (0, 3)]
    plain, tuned = (one.fit(x, y).module_ for one in fitted)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, tuned.state_dict()[name]) != name.startswith("classifier"), name
    rows = torch.from_numpy(x).float()
    assert torch.equal(plain(rows), plain.label(plain.interval(rows)))
