"""What units answer to, how choosy they are, and how layers bend space: beside formulas and brute force."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from commonweight import compress, data, fit, nets
from commonweight.errors import DataError
from commonweight.measure.features import answers, favourites, handed, layers, middle, receptive_field, strongest
from commonweight.measure.figures.features import draw_filters, draw_maps, draw_units
from commonweight.measure.figures.sheet import tiled
from commonweight.measure.figures.space import draw_space
from commonweight.measure.selectivity import class_selectivity, gratings, orientation
from commonweight.measure.space import bent, plane, readable, regions


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def cnn(digits):
    return nets.build("cnn", digits.in_shape, digits.n_outputs, structure={"width": 3}).eval()


@pytest.fixture(scope="module")
def moons():
    loaded = data.load("moons")
    model = nets.build("mlp", (2,), 2, structure={"hidden": [8]})
    return fit(model, loaded, epochs=8, out=None, progress=False).model, loaded


def test_layers_are_those_with_weights_in_the_order_of_computation(digits, cnn):
    assert layers(cnn, digits) == ["conv1", "conv2", "conv3", "output"]
    lenet = nets.build("lenet5", digits.in_shape, 10)
    assert layers(lenet, digits) == ["c1", "s2", "c3", "s4", "c5", "f6"]
    packed = nets.build("mlp", (1, 8, 8), 10)
    compress.share(packed, 4)
    assert layers(packed, digits) == ["hidden1", "hidden2", "output"]
    with pytest.raises(DataError, match=r"Samples of shape \(4,\) do not fit this net \("):
        layers(cnn, data.load("iris"))


def test_answers_and_what_a_layer_is_handed(digits, cnn):
    x = digits.normalisation.apply(digits.x[:3])
    torch.testing.assert_close(answers(cnn, "conv1", x), cnn.conv1(x))
    relu = cnn.conv1_state(cnn.conv1_norm(cnn.conv1_pool(cnn.conv1(x))))
    torch.testing.assert_close(handed(cnn, "conv2", x), relu)
    assert not cnn.conv1._forward_hooks
    assert not cnn.conv2._forward_pre_hooks
    torch.testing.assert_close(middle(relu), relu[:, :, 2, 2])


def test_the_strongest_samples_are_those_of_brute_force(digits, cnn):
    found = strongest(cnn, digits, "conv2", top=4)
    with torch.no_grad():
        seen = answers(cnn, "conv2", digits.normalisation.apply(digits.x[digits.test]))
    assert len(found) == seen.shape[1] == 6
    for one in found:
        best = seen[:, one.unit].amax((1, 2))
        order = best.argsort(descending=True)[:4]
        torch.testing.assert_close(one.values, best[order])
        torch.testing.assert_close(best[torch.searchsorted(digits.test, one.samples)], best[order])


@pytest.mark.parametrize(
    ("net", "layer", "place", "window"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3)), "2", 7 * 12 + 3, ((7, 12), (3, 8))),
        (nn.Sequential(nn.Conv2d(1, 2, 5, stride=2, padding=2)), "0", 0, ((0, 3), (0, 3))),
        (nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2)), "0", 12 * 1 + 2, ((1, 6), (2, 7))),
        (nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), "1", 0, ((0, 16), (0, 16))),
    ],
)
def test_the_window_of_a_unit_is_that_of_the_formula(net, layer, place, window):
    """Of a stack of convolutions: size 1 + Σ (k - 1) · dilation · strides before, from place · stride on."""
    found = receptive_field(net, layer, (1, 16, 16), place)
    assert [(side.start, side.stop) for side in found] == list(window)


def test_windows_of_series_have_one_side_and_those_of_tables_none():
    assert receptive_field(nn.Sequential(nn.Conv1d(2, 3, 5)), "0", (2, 20), 4) == (slice(4, 9),)
    assert receptive_field(nn.Sequential(nn.Linear(4, 3)), "0", (4,), 0) == ()


@pytest.mark.parametrize(
    ("in_shape", "says"),
    [
        ((5,), r"Samples of shape \(5,\) do not fit this net \("),
        ((4.0,), r"A size of in_shape is a whole number from 1; got float: 4\.0"),
        ((0,), "A size of in_shape is a whole number from 1; got int: 0"),
    ],
)
def test_a_shape_that_does_not_fit_has_no_windows(in_shape, says):
    with pytest.raises(DataError, match=says):
        receptive_field(nn.Sequential(nn.Linear(4, 3)), "0", in_shape, 0)


def test_the_favourite_of_a_linear_unit_is_its_weight(digits):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    size = digits.normalisation.apply(digits.x[digits.train[:1000]]).flatten(1).norm(dim=1).mean()
    found = favourites(net, digits, "1", [4, 0])
    rows = net[1].weight[[4, 0]].detach()
    torch.testing.assert_close(found.flatten(1), size * rows / rows.norm(dim=1, keepdim=True), rtol=1e-3, atol=1e-3)


def test_an_edge_detector_chooses_a_direction_and_a_blob_does_not():
    net = nn.Sequential(nn.Conv2d(1, 3, 7, bias=False))
    y, x = torch.meshgrid(torch.arange(-3.0, 4), torch.arange(-3.0, 4), indexing="ij")
    bell = (-(x**2 + y**2) / 4).exp()
    with torch.no_grad():
        net[0].weight.copy_(torch.stack([bell * (2 * x).sin(), bell * (2 * y).sin(), bell])[:, None])
    across, up, blob = orientation(net, "0", (1, 24, 24)).tolist()
    assert min(across, up) > 0.6
    assert blob < 0.05


def test_gratings_are_waves_of_mean_0_and_deviation_1():
    waves = gratings((2, 12, 10))
    assert waves.shape == (12, 40, 2, 12, 10)
    torch.testing.assert_close(waves.mean((2, 3, 4)), torch.zeros(12, 40), atol=1e-5, rtol=0)
    torch.testing.assert_close(waves[0, 0, 0, 0], waves[0, 0, 0, 5])  # at 0° nothing changes from row to row


def test_class_selectivity_by_hand():
    """Units that answer one class, all classes alike, and none."""
    iris = data.load("iris")
    net = nn.Linear(4, 3)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    assert class_selectivity(nn.Sequential(net), iris, "0").tolist() == [0.0, 0.0, 0.0]
    with torch.no_grad():
        net.weight[0, 2] = 1.0  # the length of the petals: below the mean for setosa only, mostly
    means = [
        answers(nn.Sequential(net), "0", iris.normalisation.apply(iris.x[iris.test[iris.y[iris.test] == label]]))[:, 0]
        for label in range(3)
    ]
    low, middling, high = (float(one.detach().relu().mean()) for one in means)
    wanted = (high - (low + middling) / 2) / (high + (low + middling) / 2)
    assert float(class_selectivity(nn.Sequential(net), iris, "0")[0]) == pytest.approx(wanted)


def test_selectivity_needs_images_and_classes():
    with pytest.raises(DataError, match=r"Only images have edges.*got samples of \(4,\)"):
        orientation(nn.Sequential(nn.Linear(4, 3)), "0", (4,))
    with pytest.raises(DataError, match=r"diabetes has no classes"):
        class_selectivity(nn.Sequential(nn.Linear(10, 3)), data.load("diabetes"), "0")


def test_the_plane_of_two_features_is_their_own_and_of_more_that_of_scikit_learn(digits, moons):
    _, loaded = moons
    own = plane(loaded)
    torch.testing.assert_close(own.points, loaded.normalisation.apply(loaded.x[loaded.test]))
    assert own.share == 1.0
    flat = plane(digits)
    x = digits.normalisation.apply(digits.x[digits.test]).flatten(1).numpy()
    fitted = PCA(2).fit(x)
    assert flat.share == pytest.approx(fitted.explained_variance_ratio_.sum(), rel=1e-4)
    np.testing.assert_allclose(flat.points.abs().numpy(), np.abs(fitted.transform(x)), atol=1e-3)
    grid = flat.grid(5)
    assert grid.shape == (5, 5, 2)
    torch.testing.assert_close((flat.inputs(grid) - flat.origin) @ flat.axes.T, grid, atol=1e-4, rtol=0)


def test_a_grid_reaches_a_little_beyond_all_points(moons):
    flat = plane(moons[1])
    low, high = flat.points.amin(0), flat.points.amax(0)
    grid = flat.grid(5)
    torch.testing.assert_close(grid[0, 0], low - 0.08 * (high - low))
    torch.testing.assert_close(grid[-1, -1], high + 0.08 * (high - low))
    assert grid[0, 1, 1] == grid[0, 0, 1]  # the first index goes along the second axis
    assert grid[0, 1, 0] > grid[0, 0, 0]


def test_regions_are_the_answers_of_the_net(moons):
    model, loaded = moons
    coordinates, answer, sure = regions(model, loaded, side=9)
    with torch.no_grad():
        probability = model(coordinates.reshape(81, 2)).softmax(1)
    torch.testing.assert_close(answer.flatten(), probability.argmax(1))
    torch.testing.assert_close(sure.flatten(), probability.amax(1))


def test_a_hidden_layer_bends_the_plane_so_that_a_line_parts_the_classes(moons):
    model, loaded = moons
    one = bent(model, loaded, "output", side=7)
    assert one.grid.shape == (7, 7, 2)
    assert one.linear > readable(loaded) + 0.05
    flat = bent(nn.Sequential(nn.Identity(), nn.Linear(2, 2)), loaded, "1", side=7)
    corners, wanted = flat.grid[[0, 0, -1], [0, -1, 0]], plane(loaded).grid(7)[[0, 0, -1], [0, -1, 0]]
    torch.testing.assert_close(torch.pdist(corners), torch.pdist(wanted))  # nothing before it: turned, not bent


def test_regions_and_reading_of_a_quantity():
    diabetes = data.load("diabetes")
    model = nets.build("mlp", (10,), 1, task="regression").eval()
    _, values, sure = regions(model, diabetes, side=4)
    assert values.shape == (4, 4)
    assert 50 < float(values.mean()) < 250  # in units of the target
    assert float(sure.min()) == 1.0
    assert 0.3 < readable(diabetes) < 0.7


def test_a_layer_of_one_unit_has_a_plane_too(moons):
    _, loaded = moons
    net = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 2)).eval()
    one = bent(net, loaded, "1", side=4)
    assert one.points.shape[1] == 2
    assert one.share == pytest.approx(1.0)


def test_tiles():
    canvas = tiled(torch.arange(3.0)[:, None, None].expand(3, 1, 2), 2)
    nan = float("nan")
    wanted = [[0.0, 0.0, nan, 1.0, 1.0], [nan] * 5, [2.0, 2.0, nan, nan, nan]]
    torch.testing.assert_close(canvas, torch.tensor(wanted), equal_nan=True)


@pytest.mark.parametrize("name", ["digits", "gunpoint", "diabetes", "moons"])
def test_every_kind_of_data_is_drawn(name, tmp_path):
    loaded = data.load(name)
    net = "cnn" if len(loaded.in_shape) > 1 else "mlp"
    structure = {"width": 2} if net == "cnn" else {"hidden": [3]}
    model = nets.build(net, loaded.in_shape, loaded.n_outputs, task=loaded.task, structure=structure).eval()
    names = layers(model, loaded)
    drawn = draw_filters(model, loaded, tmp_path / "filters.png", "Filters")
    assert drawn == (name == "digits")
    draw_maps(model, loaded, int(loaded.test[0]), tmp_path / "maps.png", "Maps")
    answered = {layer: strongest(model, loaded, layer) for layer in names[-2:]}
    draw_units(model, loaded, answered, tmp_path / "units.png", "Units")
    draw_space(model, loaded, [bent(model, loaded, names[-1])], tmp_path / "space.png", "Space")
    assert all(path.stat().st_size > 1000 for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.glob("*.png"))) == 3 + drawn
