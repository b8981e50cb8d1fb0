"""The genetic algorithm, and nets as functions of one vector."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, mse_loss

from commonweight import Tied, patterns, tie
from commonweight.errors import TrainError
from commonweight.train import flat
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.genetic import BLEND, ELITE, RIVALS, evolve, first_population, offspring, ranked


def seeded(number=0):
    return Generator().manual_seed(number)


def tied_net():
    """Weights shared in all three ways: by a pattern, by one Parameter of two names, and by a transform."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            Tied(patterns.circulant(6)), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 6)
        )
    tie(model, "4.weight = 2.weight", "5.weight = 2.weight.T", keep="source")
    return model


def squares(model, n=7, seed=0):
    inputs, targets = torch.randn(2, n, 6, generator=seeded(seed))
    return Objective(FlatNet(model), inputs, targets, mse_loss)


# --- the net as a function of one vector ---


def test_each_weight_stands_once_in_the_vector():
    model = tied_net()
    net = FlatNet(model)
    assert net.n == sum(weight.numel() for weight in model.parameters()) == 6 + 6 + 36 + 6 + 6 + 6
    assert torch.equal(net.read(), torch.cat([weight.flatten() for weight in model.parameters()]))


def test_writing_what_was_read_changes_nothing_and_other_values_reach_every_alias():
    model = tied_net()
    net = FlatNet(model)
    theta = torch.randn(net.n, generator=seeded())
    x = torch.randn(5, 6, generator=seeded(1))
    before = model(x)
    net.write(net.read())
    assert torch.equal(model(x), before)
    outputs = net.outputs(theta, x)
    net.write(theta)
    assert torch.allclose(model(x), outputs)
    assert torch.equal(model[4].weight, model[2].weight)
    assert torch.equal(model[5].weight, model[2].weight.T)


def test_the_gradient_is_autograds_and_that_of_a_shared_weight_is_the_sum_over_an_untied_reference():
    model = tied_net()
    objective = squares(model)
    value, slope = objective.gradient(objective.net.read())
    loss = mse_loss(model(objective.inputs), objective.targets)
    loss.backward()
    assert value == pytest.approx(loss.item())
    assert torch.allclose(slope, torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    # The same net with every use written out as a matrix of its own.
    uses = {
        "0": nn.functional.linear(torch.eye(6), model[0].pattern.tiemap().expand(model[0].weight)).T,
        **{name: model.get_submodule(name).weight for name in ("2", "4", "5")},
    }
    untied = nn.Sequential(*(module if isinstance(module, nn.Tanh) else nn.Linear(6, 6) for module in model))
    weights = {f"{name}.weight": use.detach().clone().requires_grad_() for name, use in uses.items()}
    biases = {f"{name}.bias": model.get_submodule(name).bias.detach() for name in uses}
    mse_loss(functional_call(untied, weights | biases, (objective.inputs,)), objective.targets).backward()
    shared = sum(weights[f"{name}.weight"].grad for name in "24") + weights["5.weight"].grad.T
    assert torch.allclose(model[2].weight.grad, shared, atol=1e-6)
    summed = model[0].pattern.tiemap().adjoint(weights["0.weight"].grad)
    assert torch.allclose(model[0].weight.grad.flatten(), summed.flatten(), atol=1e-6)


def test_blocks_change_nothing(monkeypatch):
    objective = squares(tied_net())
    theta = objective.net.read()
    thetas = torch.stack([theta, theta / 2])
    whole = objective.value(theta), objective.gradient(theta), objective.values(thetas)
    monkeypatch.setattr(flat.Objective.blocks, "__defaults__", (3,))
    monkeypatch.setattr(flat, "POPULATION_VALUES", 1)
    assert objective.value(theta) == pytest.approx(whole[0])
    assert objective.gradient(theta)[0] == pytest.approx(whole[1][0])
    assert torch.allclose(objective.gradient(theta)[1], whole[1][1], atol=1e-6)
    assert torch.allclose(objective.values(thetas), whole[2])


def test_a_population_is_the_nets_one_by_one():
    objective = squares(tied_net())
    thetas = torch.randn(5, objective.net.n, generator=seeded(2))
    assert objective.values(thetas).tolist() == pytest.approx([objective.value(theta) for theta in thetas], rel=1e-5)


# --- the algorithm ---


def sphere(population):
    return (population**2).sum(1)


@given(st.integers(0, 10**6))
def test_the_best_cost_never_rises_and_the_best_stands_first(seed):
    generator = seeded(seed)
    population = torch.randn(12, 4, generator=generator)
    best = float(sphere(population).min())
    for _ in range(5):
        population, costs = evolve(sphere, population, generations=1, generator=generator)
        assert float(costs[0]) <= best
        assert costs.tolist() == sorted(sphere(population).tolist())
        best = float(costs[0])


@given(st.integers(0, 10**6))
def test_without_mutation_children_lie_in_the_widened_box_of_their_parents(seed):
    population = torch.rand(30, 5, generator=seeded(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("commonweight.train.genetic.MUTATED", 0.0)
        children = offspring(population, seeded(seed))
    assert children.shape == (30 - ELITE, 5)
    low, high = population.amin(0), population.amax(0)
    assert bool((children >= low - BLEND * (high - low) - 1e-6).all())
    assert bool((children <= high + BLEND * (high - low) + 1e-6).all())


def test_parents_are_the_best_of_so_many_rivals(monkeypatch):
    monkeypatch.setattr("commonweight.train.genetic.MUTATED", 0.0)
    monkeypatch.setattr("commonweight.train.genetic.BLEND", 0.0)
    population = torch.arange(1000.0)[:, None].expand(-1, 2)  # the best has the lowest genes
    children = torch.cat([offspring(population, seeded(seed)) for seed in range(20)])
    # The least of k uniform ranks out of 1000 is 1000 / (k + 1) at the mean; a child lies between two such.
    assert float(children.mean()) == pytest.approx(1000 / (RIVALS + 1), rel=0.03)


def test_mutation_moves_a_share_of_genes_by_the_spread_of_the_population(monkeypatch):
    monkeypatch.setattr("commonweight.train.genetic.BLEND", 0.0)
    population = torch.ones(10_000, 2)
    population[:, 1] += torch.randn(10_000, generator=seeded())
    children = offspring(population, seeded(1))
    assert torch.equal(children[:, 0], torch.ones(10_000 - ELITE))  # no spread, no mutation
    monkeypatch.setattr("commonweight.train.genetic.MUTATED", 0.0)
    same = offspring(population, seeded(1))
    moved = (children - same)[:, 1]
    assert float((moved != 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(moved[moved != 0].std()) == pytest.approx(float(population[:, 1].std()), rel=0.1)


def test_a_cost_that_is_no_number_is_the_worst():
    population, costs = ranked(torch.arange(3.0)[:, None], torch.tensor([torch.nan, 2.0, 1.0]))
    assert population.flatten().tolist() == [2.0, 1.0, 0.0]
    assert costs.tolist() == [1.0, 2.0, torch.inf]


def test_the_first_population_holds_the_net_and_keeps_to_its_ranges():
    first = torch.tensor([0.5, -2.0, 0.0, 0.0, 0.1])
    population = first_population(first, [2, 2, 1], 2000, seeded())
    assert torch.equal(population[0], first)
    assert population[1:].abs().amax(0).tolist() == pytest.approx([2.0, 2.0, 2.0, 2.0, 0.1], rel=0.01)


def test_the_same_generator_evolves_the_same_population():
    a, b = (evolve(sphere, torch.ones(8, 3), generations=5, generator=seeded(7))[0] for _ in range(2))
    assert torch.equal(a, b)


def test_it_learns_exclusive_or():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = FlatNet(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)))
    objective = Objective(net, x, torch.tensor([0, 1, 1, 0]), cross_entropy)
    first = first_population(net.read(), net.sizes, 64, seeded())
    last, _ = evolve(objective.values, first, generations=60, generator=seeded(1))
    assert net.outputs(last[0], x).argmax(1).tolist() == [0, 1, 1, 0]


def test_too_small_a_population_is_one_sentence():
    with pytest.raises(TrainError, match="A population has at least 4 members; got 3"):
        evolve(sphere, torch.ones(3, 2), generations=1)
