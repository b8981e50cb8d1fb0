"""The loss around a net: many points at once are each one, and directions and paths are what they say they are."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from commonweight import data, nets, tie
from commonweight.compress import share
from commonweight.errors import DataError, TrainError
from commonweight.measure import surface as measured
from commonweight.measure.figures.surface import draw_surfaces
from commonweight.train.loop import fit
from commonweight.train.paths import path, surface_of_paths, surface_of_run
from commonweight.train.settings import choose_settings
from commonweight.train.start import start_run


def tied_net():
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.Linear(4, 3))
    tie(net, "2.weight = 0.weight.T", keep="source")
    return net


def with_one_module_twice():
    twice = nn.Linear(4, 4)
    return nn.Sequential(twice, nn.Tanh(), twice, nn.Linear(4, 3))


def normed():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))


@pytest.mark.parametrize("make", [tied_net, with_one_module_twice, normed, lambda: nets.build("mlp", (4,), 3)])
@pytest.mark.parametrize("at_once", [1, 1000, 20_000, 1 << 20])
def test_many_points_at_once_are_each_one(make, at_once, monkeypatch):
    monkeypatch.setattr(measured, "AT_ONCE", at_once)
    monkeypatch.setattr(measured, "PRODUCTS", 1 << 30)
    net = make()
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 3
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    given = (net, F.cross_entropy, x, y, measured.weight_row(net), measured.random_directions(net, seed=3))
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-0.5, 2.0]])
    many, each = measured.evaluate(*given, points), measured.evaluate_one_by_one(*given, points)
    torch.testing.assert_close(many, each)
    assert float(many[0]) == pytest.approx(float(F.cross_entropy(net.eval()(x), y).detach()), rel=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(("net", "shape"), [("mlp", (4,)), ("cnn", (1, 8, 8))])
def test_compressed_nets_are_evaluated_one_by_one(net, shape, capfd):
    """`vmap` went through their products only with a warning of torch, and not at all through their convolutions."""
    model, x = nets.build(net, shape, 3), torch.randn(20, *shape, generator=torch.Generator().manual_seed(0))
    share(model, k=4)
    given = (model.eval(), F.cross_entropy, x, torch.arange(20) % 3)
    directions, axis = measured.random_directions(model), torch.tensor([-1.0, 0.0])
    found = measured.surface(*given, directions, axis, axis)
    assert float(found.loss[1, 1]) == pytest.approx(float(F.cross_entropy(model(x), given[3]).detach()), rel=1e-5)
    assert found.loss[0, 1] != found.loss[1, 1]
    assert capfd.readouterr() == ("", "")


def test_large_nets_are_evaluated_one_by_one(monkeypatch):
    monkeypatch.setattr(measured, "PRODUCTS", 0)
    monkeypatch.setattr(measured, "vmap", None)
    net, x, y = nn.Linear(2, 1), torch.ones(3, 2), torch.ones(3, 1)
    axis = torch.linspace(-1, 1, 3)
    found = measured.surface(net, F.mse_loss, x, y, measured.random_directions(net), axis, axis)
    assert found.loss.shape == (3, 3)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_recurrent_nets_are_evaluated_one_by_one(cell):
    net, x, y = nets.build(cell, (1, 5), 2, structure={"units": 3}), torch.ones(4, 1, 5), torch.arange(4) % 2
    axis = torch.linspace(-1, 1, 3)
    found = measured.surface(net, F.cross_entropy, x, y, measured.random_directions(net), axis, axis)
    assert float(found.loss[1, 1]) == pytest.approx(float(F.cross_entropy(net(x), y).detach()))


def test_random_directions_are_as_long_as_each_filter():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 4, bias=False))
    one, two = measured.random_directions(net, seed=1)
    assert not torch.equal(one, two)
    assert torch.equal(one, measured.random_directions(net, seed=1)[0])
    kernel = one[:54].reshape(3, 18)
    torch.testing.assert_close(kernel.norm(dim=1), net[0].weight.flatten(1).norm(dim=1))
    assert float(one[54 : 54 + 9].abs().max()) == 0  # bias, and scale and shift of the normalisation
    torch.testing.assert_close(one[63:].reshape(4, 3).norm(dim=1), net[2].weight.norm(dim=1))


def test_the_plane_of_paths_is_that_of_numpy():
    generator = torch.Generator().manual_seed(0)
    centre, paths = torch.randn(30, generator=generator), [torch.randn(4, 30, generator=generator) for _ in range(2)]
    directions, shares = measured.path_directions(centre, paths)
    away = (torch.cat(paths) - centre).double().numpy()
    _, sizes, axes = np.linalg.svd(away, full_matrices=False)
    np.testing.assert_allclose(np.abs((directions.double().numpy() * axes[:2]).sum(1)), [1, 1], rtol=1e-4)
    np.testing.assert_allclose(shares, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-5)
    np.testing.assert_allclose(
        measured.on_plane(paths[0], centre, directions), away[:4] @ directions.numpy().T, atol=1e-4
    )


def test_points_on_a_plane_of_any_directions_are_found_again():
    directions = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    centre = torch.tensor([5.0, 5.0, 5.0])
    points = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    torch.testing.assert_close(measured.on_plane(centre + points @ directions, centre, directions), points)


def test_one_point_makes_no_plane():
    with pytest.raises(DataError, match="A plane needs at least two points beside its centre"):
        measured.path_directions(torch.zeros(3), [torch.zeros(2, 3), torch.ones(1, 3)])


def test_a_path_is_the_training_that_fit_does():
    iris = data.load("iris")
    nets_ = [nets.build("mlp", (4,), 3, structure={"hidden": [5]}) for _ in range(2)]
    start = measured.weight_row(nets_[0])
    settings = {"epochs": 10, "goal": None, "optimizer": "sgd", "lr": None, "batch_size": None, "seed": 3}
    settings |= {"precision": "float32", "device": "cpu"}
    run = fit(nets_[0], iris, out=None, progress=False, **settings)
    rows = path(nets_[1], iris, choose_settings(nets_[1], iris, **settings))
    assert torch.equal(rows[0], start)
    assert len(rows) == len(run.records) + 1


def test_surfaces_of_a_run(tmp_path):
    run = start_run("iris", net="mlp", target=None, task=None, seed=0, out=tmp_path / "run", epochs=20)
    iris = data.load("iris")
    around = surface_of_run(run, iris, side=5, samples=40)
    assert around.surface.loss.shape == (5, 5)
    paths = surface_of_paths(run, iris, ["adam", "sgd"], side=5, samples=40)
    first = [points[0] for points in paths.paths.values()]
    torch.testing.assert_close(*first)  # both began at the same weights
    for points in paths.paths.values():
        assert float(paths.surface.along[0]) < float(points[:, 0].min())
        assert float(points[:, 1].max()) < float(paths.surface.up[-1])
    draw_surfaces([around, paths], tmp_path / "surface.png", "Loss")
    assert (tmp_path / "surface.png").stat().st_size > 1000


def test_paths_begin_where_the_run_began(tmp_path):
    settings = {"epochs": 5, "optimizer": "adam", "init": "orthogonal"}
    run = start_run("iris", net="mlp", target=None, task=None, seed=0, out=tmp_path / "run", **settings)
    found = surface_of_paths(run, data.load("iris"), ["adam"], side=5, samples=10)
    first, *_, last = found.paths["adam"].norm(dim=1)
    assert last < 0.2 * first  # the run itself, but for the average over its last weights


def test_nets_with_a_rule_of_their_own_have_no_path(tmp_path):
    run = start_run("iris", net="rbf", target=None, task=None, seed=0, out=tmp_path / "run")
    with pytest.raises(TrainError, match="iris-rbf was learned in one piece by a rule of its own"):
        surface_of_paths(run, data.load("iris"), ["adam"], side=5, samples=10)
