"""Every update rule moves tied weights as it moves one set of weights by the summed gradients of an untied net."""

import pytest
import torch
from test_genetic import seeded, tied_net
from torch import nn
from torch.func import jacrev
from torch.nn.functional import mse_loss

from commonweight.train import levenberg_marquardt
from commonweight.train.choice import WHOLE_BATCH
from commonweight.train.curvature import Primal
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.optimise import RULES

N, STEPS = 30, 5


class OneSet(nn.Module):
    """The weights of `tied_net`, each once and in the same order, and nothing that uses them."""

    def __init__(self, model):
        super().__init__()
        for name, weight in model.named_parameters():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(weight.detach().clone()))


def spread():
    """C, of zeros and ones: the weights of four untied layers are C θ, where θ is those of `tied_net`, by hand."""
    row, bias, matrix, *biases = torch.arange(66).split([6, 6, 36, 6, 6, 6])
    i, square = torch.arange(6), matrix.view(6, 6)
    layers = [(row[(i[:, None] - i) % 6], bias), *zip((square, square, square.T), biases, strict=True)]
    places = torch.cat([part.flatten() for layer in layers for part in layer])
    return nn.functional.one_hot(places, 66).double()


class Summed(Objective):
    """The loss of an untied net as a function of one set of weights: gradients Cᵀ g, curvatures Cᵀ G C."""

    def __init__(self, weights, inputs, targets):
        super().__init__(FlatNet(weights), inputs, targets, mse_loss, "squares")
        untied = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 6))
        self.loose, self.spread = Objective(FlatNet(untied.double()), inputs, targets, mse_loss), spread()

    def value(self, theta):
        return self.loose.value(self.spread @ theta)

    def gradient(self, theta):
        value, slope = self.loose.gradient(self.spread @ theta)
        return value, self.spread.T @ slope

    def hessian(self, theta):
        product = self.loose.hessian(self.spread @ theta)
        return lambda v: self.spread.T @ product(self.spread @ v)

    def values(self, thetas):
        return torch.tensor([self.value(theta) for theta in thetas], dtype=thetas.dtype)

    @torch.enable_grad()
    def gauss_newton(self, theta):
        def outputs(loose):
            return self.loose.net.outputs(loose, self.inputs).flatten()

        jacobian = jacrev(outputs)(self.spread @ theta) @ self.spread
        value, slope = self.gradient(theta)
        return Primal(2 / len(jacobian) * jacobian.T @ jacobian), slope, value


def moved(name, model, objective, gradients):
    """The weights after a few steps of a rule, by gradients where it takes batches; draws are the same each time."""
    rule = RULES[name](model.parameters(), **({} if name in WHOLE_BATCH else {"lr": 0.01}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(STEPS):
            if name in WHOLE_BATCH:
                rule.step(objective)
            else:
                rule.zero_grad()
                gradients()
                rule.step()
    return objective.net.read()


@pytest.mark.parametrize("name", RULES)
def test_tied_weights_move_by_the_summed_gradients_of_an_untied_net(name, monkeypatch):
    model = tied_net().double()
    weights = OneSet(model)
    inputs, targets = torch.randn(2, N, 6, generator=seeded(), dtype=torch.float64)
    tied, summed = Objective(FlatNet(model), inputs, targets, mse_loss, "squares"), Summed(weights, inputs, targets)
    start = tied.net.read()
    found = moved(name, model, tied, lambda: mse_loss(model(inputs), targets).backward())

    def by_hand():
        _, slope = summed.gradient(summed.net.read())
        for weight, part in zip(summed.net.weights, slope.split(summed.net.sizes), strict=True):
            weight.grad = part.view(weight.shape)

    monkeypatch.setattr(levenberg_marquardt, "gauss_newton", lambda objective, _, theta: summed.gauss_newton(theta))
    monkeypatch.setattr(levenberg_marquardt, "Jacobian", lambda net: None)
    expected = moved(name, weights, summed, by_hand)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert (found - start).abs().max() > 1e-3
    assert torch.equal(model[4].weight, model[2].weight)
    assert torch.equal(model[5].weight, model[2].weight.T)
