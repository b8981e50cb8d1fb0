"""What a diagnosis is told beside the records: facts of data, net and loss, measured before the first step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diagnosis_cases import linear, net
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import data, nets
from commonweight.measure.diagnosis.data_facts import data_facts
from commonweight.measure.diagnosis.flow import Flow
from commonweight.measure.diagnosis.model_facts import look, loss_facts, model_facts
from commonweight.measure.layers import _states

# -- statistics of units --


def test_exact_zeros_are_dead_and_not_saturated_and_one_sample_tells_nothing():
    fed = np.array([[0.0, 0.5, 1.0], [0.0, 0.4, 0.0]], np.float32)
    assert _states(nn.Linear(3, 1), fed) == pytest.approx((1 / 3, 1 / 6))
    assert _states(nn.Linear(3, 1), fed[:1]) == (0.0, 0.0)


# -- facts of the data --


def test_data_facts_of_a_good_set():
    facts = data_facts(data.load("digits"))
    assert facts.leaked == 0
    assert facts.constant == ()
    assert sum(facts.counts) == facts.n_train == 1257
    assert facts.reference > 0.95
    assert facts.neighbours > 0.9


def test_leaked_samples_are_counted_exactly():
    wine = data.load("wine")
    x = wine.x.clone()
    x[wine.validation[:9]] = x[wine.train[:9]]
    y = wine.y.clone()
    y[wine.validation[:9]] = y[wine.train[:9]]
    assert data_facts(replace(wine, x=x, y=y)).leaked == pytest.approx(9 / len(wine.validation))


def test_samples_that_differ_in_their_target_are_no_duplicates():
    """As in a table of one coarse column, where the same value comes often."""
    diabetes = data.load("diabetes")
    coarse = replace(diabetes, x=diabetes.x.round(), y=torch.arange(442.0)[:, None])
    assert data_facts(coarse).leaked == 0
    coarse.y[diabetes.validation[:9]], coarse.x[diabetes.validation[:9]] = 5000.0, 7.0
    coarse.y[diabetes.train[:300]], coarse.x[diabetes.train[:300]] = torch.arange(4701.0, 5001.0)[:, None], 7.0
    assert data_facts(coarse).leaked == pytest.approx(9 / len(diabetes.validation))


def test_constant_and_unnormalised_columns_are_seen():
    wine = data.load("wine")
    x = wine.x.clone()
    x[:, 2] = 5.0
    plain = replace(wine.normalisation, mean=torch.zeros(13), scale=torch.ones(13))
    facts = data_facts(replace(wine, x=x, normalisation=plain))
    assert facts.constant == (wine.features[2],)
    assert facts.spread > 100


def test_neighbours_tell_noise_from_shuffled_labels():
    digits = data.load("digits")
    generator = torch.Generator().manual_seed(0)
    for share, low, high in ((0.3, 0.6, 0.8), (1.0, 0.05, 0.2)):
        y = digits.y.clone()
        chosen = torch.randperm(len(y), generator=generator)[: int(share * len(y))]
        y[chosen] = torch.randint(0, 10, (len(chosen),), generator=generator)
        facts = data_facts(replace(digits, y=y))
        assert low < facts.neighbours < high
        assert facts.neighbours >= facts.nearest


def test_the_reference_of_a_regression_is_r2():
    facts = data_facts(data.load("diabetes"))
    assert 0.2 < facts.reference < 0.7
    y = data.load("diabetes").y[data.load("diabetes").validation]
    assert facts.validation_deviation == pytest.approx(float(y.std(correction=0)), rel=1e-5)


# -- facts of net and loss --


def test_frozen_zero_and_alike_layers_are_told():
    model = net(linear(3, 4), nn.ReLU, linear(4, 4), nn.ReLU, linear(4, 2))
    model[0].requires_grad_(False)
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[4].weight, 0.1)
    facts = model_facts(model)
    assert (facts.frozen, facts.zero, facts.alike) == (("0",), ("2",), ("4",))


def test_a_weight_that_the_optimizer_does_not_hold_is_frozen():
    model = net(linear(3, 4), nn.ReLU, linear(4, 2))
    assert model_facts(model, [id(p) for p in model[2].parameters()]).frozen == ("0",)


def test_a_broken_tie_is_told():
    model = net(linear(3, 3), nn.ReLU, linear(3, 3))
    cw.tie(model, "2.weight = 0.weight", keep="source")
    assert model_facts(model).broken_ties == ()
    model[2].weight = nn.Parameter(torch.zeros(3, 3))
    assert model_facts(model).broken_ties == ("2.weight = 0.weight",)


@pytest.mark.parametrize(
    ("between", "straight"),
    [
        ([nn.ReLU], ()),
        ([], ("0 -> 1",)),
        ([lambda: nn.ReLU(inplace=True)], ()),
        ([nn.Identity], ("0 -> 2",)),
        ([lambda: nn.BatchNorm1d(4), nn.Dropout], ("0 -> 3",)),
        ([nn.Dropout, nn.Tanh], ()),
    ],
)
def test_layers_without_an_activation_between_are_seen(between, straight):
    model = net(linear(3, 4), *between, linear(4, 2))
    with Flow(model) as flow:
        model(torch.randn(5, 3))
    assert flow.straight() == straight
    assert not any(module._forward_hooks for module in model.modules())


LOGITS = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(16) % 3


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        (F.cross_entropy, LOGITS, {"probabilities": False, "shift_invariant": True, "linear": False}),
        (F.cross_entropy, LOGITS.softmax(1), {"probabilities": True, "shift_invariant": True, "linear": False}),
        (F.nll_loss, LOGITS, {"probabilities": False, "linear": True, "log_probabilities": False}),
        (F.nll_loss, LOGITS.log_softmax(1), {"linear": True, "log_probabilities": True}),
        (F.cross_entropy, LOGITS * 1e4, {"linear": False}),
    ],
)
def test_losses_are_told_apart(loss, outputs, expected):
    facts = loss_facts(loss, outputs, TARGETS)
    assert {name: getattr(facts, name) for name in expected} == expected


def test_a_loss_that_does_not_pull_to_the_targets_is_told():
    assert loss_facts(F.cross_entropy, LOGITS, TARGETS).pull > 0.99
    assert loss_facts(lambda o, t: F.mse_loss(o.mean(1), t.float()), LOGITS, TARGETS).pull < 0.2
    assert loss_facts(lambda o, t: -F.cross_entropy(o, t), LOGITS, TARGETS).pull < -0.9
    values = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
    assert loss_facts(F.mse_loss, LOGITS[:, :2], values).pull == pytest.approx(1.0)
    assert loss_facts(F.l1_loss, LOGITS[:, :2], values).pull == pytest.approx(1.0)
    assert loss_facts(F.binary_cross_entropy_with_logits, LOGITS[:, :2], values).pull < 0.3
    assert loss_facts(lambda o, t: o.detach().sum(), LOGITS, TARGETS).pull == 0


def test_looking_changes_nothing():
    model = nets.build("cnn", (1, 8, 8), 10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    evidence = look(
        model, torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8), F.cross_entropy
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert evidence.start.layers[0].name == "conv1"
