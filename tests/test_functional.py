"""A model called with other weights answers as one that has them, and keeps its own."""

import pytest
import torch
from torch import nn

from commonweight import tie
from commonweight.functional import call

SEEDED = torch.Generator().manual_seed(0)


def one_module_twice():
    twice = nn.Linear(3, 3)
    return nn.Sequential(twice, nn.Tanh(), twice, nn.BatchNorm1d(3))


def one_weight_in_two_modules():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    return net


def transposed():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    tie(net, "2.weight = 0.weight.T", keep="source")
    return net


@pytest.mark.parametrize("make", [one_module_twice, one_weight_in_two_modules, transposed])
def test_other_weights_are_used_wherever_the_model_uses_them(make):
    net, x = make().eval(), torch.randn(5, 3, generator=SEEDED)
    own = dict(net.named_parameters())
    kept = {name: weight.detach().clone() for name, weight in own.items()}
    others = {name: torch.randn(weight.shape, generator=SEEDED).requires_grad_() for name, weight in own.items()}
    found = call(net, others, x)
    gradients = torch.autograd.grad(found.square().sum(), others.values())
    assert all(weight is own[name] and weight.equal(kept[name]) for name, weight in net.named_parameters())

    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(others[name])
    expected = net(x)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.square().sum(), own.values())
    torch.testing.assert_close(gradients, wanted)


def test_weights_that_are_not_named_stay_the_models_own():
    net, x = one_module_twice().eval(), torch.randn(5, 3, generator=SEEDED)
    bias = torch.ones(3)
    found = call(net, {"0.bias": bias}, x)
    with torch.no_grad():
        net[0].bias.copy_(bias)
    torch.testing.assert_close(found, net(x))
