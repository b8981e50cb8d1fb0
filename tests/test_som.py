"""Self-organising maps: both rules written out, the grids, missing values, the errors of a map, the estimators."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from sklearn.utils.estimator_checks import parametrize_with_checks

import commonweight as cw
from commonweight import nets
from commonweight.errors import NetError
from commonweight.nets.som import Grid, SelfOrganisingMap, winners
from commonweight.nets.som_estimators import SOM, SOMClassifier
from commonweight.nets.som_learning import (
    learn_batch,
    learn_online,
    learn_vector_quantisation,
    principal_start,
    shrinking,
)
from commonweight.train.run import Run
from commonweight.train.start import start_run

GRIDS = [Grid(4, 5, hexagonal, torus) for hexagonal in (False, True) for torus in (False, True)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)
NAN = float("nan")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def digits(n=300):
    x, y = load_digits(return_X_y=True)
    return x[:n] / 16, y[:n]


def distance_by_hand(grid, a, b):
    """Between two units on the grid: the shortest to any of nine copies of b side by side on a torus, one otherwise."""
    height = math.sqrt(3) / 2 if grid.hexagonal else 1.0

    def place(unit):
        row, column = divmod(unit, grid.columns)
        return row * height, column + (row % 2) / 2 * grid.hexagonal

    shifts = (-1, 0, 1) if grid.torus else (0,)
    (down, right), (down_b, right_b) = place(a), place(b)
    return min(
        math.hypot(down - down_b + i * grid.rows * height, right - right_b + j * grid.columns)
        for i in shifts
        for j in shifts
    )


# Grids


@grids
def test_distances_on_the_grid_by_hand(grid):
    units = range(grid.units)
    expected = [[distance_by_hand(grid, a, b) ** 2 for b in units] for a in units]
    torch.testing.assert_close(grid.squared_distances(torch.arange(grid.units)), torch.tensor(expected))


@pytest.mark.parametrize(("hexagonal", "near"), [(True, [1.0] * 6), (False, [1.0] * 4 + [2.0] * 4)])
def test_a_unit_away_from_the_edge_touches_six_or_eight(hexagonal, near):
    grid = Grid(6, 6, hexagonal, torus=True)
    squared, touch = grid.squared_distances(torch.arange(36)), grid.neighbours()
    for unit in range(36):
        torch.testing.assert_close(squared[unit][touch[unit]].sort().values, torch.tensor(near))


@given(st.integers(0, 47), st.integers(0, 47), st.integers(0, 5), st.integers(0, 7))
def test_a_torus_has_no_middle(a, b, down, right):
    """Moving both units around the torus leaves their distance as it is."""
    grid = Grid(6, 8, hexagonal=False, torus=True)

    def moved(unit):
        return (unit // 8 + down) % 6 * 8 + (unit % 8 + right) % 8

    squared = grid.squared_distances(torch.arange(48))
    assert squared[a, b] == squared[moved(a), moved(b)] == squared[b, a]


@grids
def test_smoothing_is_the_sum_over_all_units(grid):
    values, radius = drawn(grid.units, 3), 1.3
    h = torch.exp(-grid.squared_distances(torch.arange(grid.units)) / (2 * radius**2))
    torch.testing.assert_close(grid.smooth(values, radius), h @ values)


# The rules, written out sample by sample


def bell(grid, winner, radius):
    return np.array([math.exp(-(distance_by_hand(grid, winner, k) ** 2) / (2 * radius**2)) for k in range(grid.units)])


@grids
def test_batch_rule_written_out(grid):
    x, weight, radii = drawn(30, 4), drawn(grid.units, 4, seed=1), [2.0, 0.9]
    expected = weight.double().numpy()
    for radius in radii:
        above, below = np.zeros_like(expected), np.zeros(grid.units)
        for sample in x.double().numpy():
            winner = int(((sample - expected) ** 2).sum(1).argmin())
            above += bell(grid, winner, radius)[:, None] * sample
            below += bell(grid, winner, radius)
        expected = above / below[:, None]
    learned = learn_batch(weight, x, grid, radii)
    np.testing.assert_allclose(learned.numpy(), expected, atol=1e-5)


@grids
def test_online_rule_written_out(grid):
    x, weight = drawn(30, 4), drawn(grid.units, 4, seed=1)
    radii, rates = torch.linspace(2.0, 0.5, 30), torch.linspace(0.5, 0.1, 30)
    expected = weight.double().numpy()
    for sample, radius, rate in zip(x.double().numpy(), radii.tolist(), rates.tolist(), strict=True):
        winner = int(((sample - expected) ** 2).sum(1).argmin())
        expected = expected + rate * bell(grid, winner, radius)[:, None] * (sample - expected)
    learned = learn_online(weight, x, grid, radii, rates)
    np.testing.assert_allclose(learned.numpy(), expected, atol=1e-5)


def test_a_unit_that_nothing_pulls_at_stays():
    weight = torch.tensor([[0.0], [5.0]])
    learned = learn_batch(weight, torch.tensor([[1.0], [2.0]]), Grid(1, 2, False, False), [0.01])
    torch.testing.assert_close(learned, torch.tensor([[1.5], [5.0]]))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_winners_are_the_nearest_also_far_from_zero(offset):
    x, weight = drawn(200, 6) + offset, drawn(40, 6, seed=1) + offset
    expected = pairwise_distances(x.double(), weight.double()).argmin(1)
    assert winners(x, weight).tolist() == expected.tolist()


# The start


def test_the_start_spans_two_deviations_of_the_principal_components():
    x = torch.tensor(load_iris().data).float()
    weight = principal_start(x, Grid(3, 5, False, False), 0).reshape(3, 5, 4).double().numpy()
    pca = PCA(2).fit(x.double().numpy())
    along = pca.transform(weight.reshape(15, 4)).reshape(3, 5, 2)
    deviations = np.sqrt(pca.explained_variance_ * 149 / 150)
    np.testing.assert_allclose(np.abs(along[0, :, 0]), deviations[0] * np.array([2, 1, 0, 1, 2]), atol=1e-4)
    np.testing.assert_allclose(np.abs(along[:, 0, 1]), deviations[1] * np.array([2, 0, 2]), atol=1e-4)
    np.testing.assert_allclose(along[0, :, 0], along[2, :, 0], atol=1e-4)
    tall = principal_start(x, Grid(5, 3, False, False), 0).reshape(5, 3, 4)
    torch.testing.assert_close(tall.transpose(0, 1).double().numpy(), weight, check_dtype=False)


def test_the_start_of_a_torus_has_no_edge():
    """All units are at the same distance from the next ones, across the edge too."""
    weight = principal_start(drawn(200, 6), Grid(6, 8, False, True), 0).reshape(6, 8, 6)
    for axis in (0, 1):
        steps = (weight - weight.roll(1, axis)).norm(dim=2)
        torch.testing.assert_close(steps.amax(axis), steps.amin(axis), rtol=0.5, atol=0.2)


def test_samples_of_one_feature_and_one_sample_are_a_start_too():
    assert principal_start(drawn(9, 1), Grid(3, 3, False, True), 0).isfinite().all()
    torch.testing.assert_close(principal_start(torch.ones(1, 4), Grid(2, 3, False, False), 0), torch.ones(6, 4))


# Missing values


def test_a_missing_feature_counts_as_if_it_were_dropped():
    x, weight, grid = drawn(25, 5), drawn(12, 5, seed=1), Grid(3, 4, False, False)
    gone = x.clone()
    gone[:, 2] = NAN
    kept = [0, 1, 3, 4]
    net, smaller = SelfOrganisingMap((5,), 2, rows=3, columns=4), SelfOrganisingMap((4,), 2, rows=3, columns=4)
    net.weight.data, smaller.weight.data = weight, weight[:, kept]
    assert torch.equal(net.winners(gone), smaller.winners(x[:, kept]))
    torch.testing.assert_close(net.squared_distances(gone), smaller.squared_distances(x[:, kept]))
    assert net.quantisation_error(gone) == pytest.approx(smaller.quantisation_error(x[:, kept]))
    radii, rates = torch.full((25,), 1.0), torch.full((25,), 0.3)
    for learned, expected in (
        (learn_batch(weight, gone, grid, [1.5, 1.0]), learn_batch(weight[:, kept], x[:, kept], grid, [1.5, 1.0])),
        (
            learn_online(weight, gone, grid, radii, rates),
            learn_online(weight[:, kept], x[:, kept], grid, radii, rates),
        ),
    ):
        torch.testing.assert_close(learned[:, kept], expected)
        torch.testing.assert_close(learned[:, 2], weight[:, 2])


def test_batch_rule_with_gaps_written_out():
    """Each feature is the mean over the samples that have it."""
    x = torch.tensor([[1.0, NAN], [3.0, 4.0]])
    learned = learn_batch(torch.zeros(1, 2), x, Grid(1, 1, False, False), [1.0])
    assert learned.tolist() == [[2.0, 4.0]]


def test_a_map_of_samples_with_gaps_is_of_use():
    x, y = digits(600)
    gaps = np.where(np.random.default_rng(0).random(x.shape) < 0.2, NAN, x)
    accuracy = SOMClassifier(12, 12, random_state=0).fit(gaps[:400], y[:400]).score(gaps[400:], y[400:])
    assert accuracy > 0.65
    assert not np.isnan(SOM(5, 5, random_state=0).fit(gaps).transform(gaps)).any()


# The errors of a map, and what is seen of it


def line_of_three():
    net = SelfOrganisingMap((1,), 2, rows=1, columns=3)
    net.weight.data = torch.tensor([[0.0], [4.0], [1.0]])
    net.answers = torch.tensor([0, 0, 1])
    return net


def test_errors_by_hand():
    """Of 0.25, the two nearest units are the first and the last, which do not touch."""
    x = torch.tensor([[0.25], [3.0]])
    assert line_of_three().quantisation_error(x) == pytest.approx((0.25 + 1.0) / 2)
    assert line_of_three().topographic_error(x) == 0.5
    assert line_of_three().hit_map(torch.tensor([[0.25], [3.0], [9.0]])).tolist() == [[1, 2, 0]]
    assert line_of_three().u_matrix().tolist() == [[4.0, 3.5, 3.0]]
    assert line_of_three().component_planes().tolist() == [[[0.0, 4.0, 1.0]]]


def test_scores_are_minus_the_distance_to_the_nearest_unit_of_a_class():
    assert line_of_three()(torch.tensor([[0.25], [3.0]])).tolist() == [[-0.0625, -0.5625], [-1.0, -4.0]]
    net = line_of_three()
    net.answers = torch.tensor([0, 0, 0])
    assert net(torch.tensor([[3.0]])).tolist() == [[-1.0, -9.0]]


def test_one_unit_has_no_topographic_error():
    with pytest.raises(NetError, match="about the two nearest units; the map has only 1"):
        SelfOrganisingMap((2,), 2, rows=1, columns=1).topographic_error(torch.zeros(1, 2))


def test_every_weight_has_one_connection():
    census = cw.count(nets.build("som", (1, 8, 8), 10), torch.zeros(1, 1, 8, 8))
    assert (census.weights, census.connections) == (400 * 64, 400 * 64)


def test_views_of_images_show_the_units_in_their_places():
    net = SelfOrganisingMap((1, 2, 3), 4, rows=3, columns=5)
    views = {view.title: view for view in net.views(drawn(20, 1, 2, 3), torch.zeros(20).long())}
    assert list(views) == ["U-matrix", "Hits", "Answers", "Units"]
    assert views["Hits"].images[0, ::16, ::16].sum() == 20
    assert views["Answers"].images.sum(0).eq(1).all()
    (mosaic,) = views["Units"].images
    assert torch.equal(mosaic[2:4, 9:12], net.weight[5 + 3].reshape(2, 3))
    large = SelfOrganisingMap((3, 32, 32), 4, rows=7, columns=60).views(drawn(2, 3, 32, 32), torch.zeros(2).long())
    assert large[-1].images.shape == (1, 64, 480)
    assert "one unit in 4 along each side" in large[-1].caption


def test_views_of_tables_show_component_planes():
    net = SelfOrganisingMap((4,), 3, rows=3, columns=5)
    planes = net.views(drawn(20, 4), torch.zeros(20).long())[-1]
    torch.testing.assert_close(planes.images[2, ::16, ::16], net.weight[:, 2].reshape(3, 5).detach())


# The estimators


@parametrize_with_checks(
    [
        SOM(1, 3, random_state=0),  # a clusterer is asked for one unit for each cluster
        SOM(4, 5, rule="online", max_iter=2, random_state=0),
        SOMClassifier(5, 6, random_state=0),
        SOMClassifier(5, 6, hexagonal=True, rule="online", max_iter=4, random_state=0),
    ],
    expected_failed_checks=lambda estimator: (
        {"check_clustering": "it wants every cluster hit; a map has units that win nothing"}
        if getattr(estimator, "rows", 0) == 4
        else {}
    ),
)
def test_the_estimators_keep_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_map_without_labels():
    x, _ = digits()
    som = SOM(6, 7, random_state=0).fit(x)
    far = pairwise_distances(x, som.module_.weight.detach().double())
    np.testing.assert_allclose(som.transform(x), far, atol=1e-5)
    assert som.labels_.tolist() == som.predict(x).tolist() == far.argmin(1).tolist()
    assert som.score(x) == pytest.approx(-far.min(1).mean(), rel=1e-5)
    assert som.get_feature_names_out()[41] == "som41"
    assert torch.equal(som.module_(torch.tensor(x).float()).argmax(1), torch.from_numpy(som.labels_))


@pytest.mark.parametrize("settings", [{}, {"rule": "online", "max_iter": 5}, {"hexagonal": True, "torus": True}])
def test_learning_brings_units_near_and_keeps_them_in_order(settings):
    x, _ = digits(600)
    start, som = principal_start(torch.tensor(x).float(), Grid(10, 10, False, False), 0), SOM(10, 10, random_state=0)
    som.set_params(**settings).fit(x)
    nearest = pairwise_distances(x, start.numpy()).min(1).mean()
    assert -som.score(x) < 0.8 * nearest
    assert som.module_.topographic_error(torch.tensor(x).float()) < 0.25


def test_units_answer_with_the_majority_or_with_the_nearest_unit_that_won_something():
    x, y = digits()
    som = SOMClassifier(8, 9, tuning_iter=0, random_state=0).fit(x, y)
    won = som.module_.winners(torch.tensor(x).float()).numpy()
    weight = som.module_.weight.detach().double().numpy()
    for unit, answer in enumerate(som.module_.answers.tolist()):
        nearest = unit if (won == unit).any() else min(set(won), key=lambda k: ((weight[k] - weight[unit]) ** 2).sum())
        assert answer == np.bincount(y[won == nearest]).argmax()
    assert som.predict(x).tolist() == som.module_.answers[won].tolist()


def test_partial_fit_learns_from_parts():
    x, y = digits(900)
    som, classifier = SOM(10, 10, random_state=0), SOMClassifier(10, 10, random_state=0)
    first = None
    for part in np.array_split(np.arange(700), 7):
        som.partial_fit(x[part])
        classifier.partial_fit(x[part], y[part], classes=range(10))
        first = som.score(x[700:]) if first is None else first
    assert som.score(x[700:]) > 0.9 * first
    assert som.n_samples_seen_ == classifier.votes_.sum() == 700
    assert classifier.score(x[700:], y[700:]) > 0.7


def test_partial_fit_is_the_online_rule_with_falling_rates():
    x, _ = digits(40)
    samples = torch.tensor(x).float()
    som = SOM(3, 4, final_radius=0.8, random_state=0).partial_fit(x[:30])
    before = som.module_.weight.detach().clone()
    som.partial_fit(x[30:])
    rates = 0.5 / (1 + torch.arange(30, 40) / 12)
    expected = learn_online(before, samples[30:], som.module_.grid, torch.full((10,), 0.8), rates)
    torch.testing.assert_close(som.module_.weight.detach(), expected)


def test_a_seed_makes_the_same_map_and_leaves_the_random_state_alone():
    x, _ = digits()
    before = torch.get_rng_state()
    one, same, other = (SOM(4, 4, rule="online", max_iter=1, random_state=seed).fit(x) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.module_.weight, same.module_.weight)
    assert not torch.equal(one.module_.weight, other.module_.weight)


def test_radii_shrink_by_the_same_factor():
    assert shrinking(8.0, 1.0, 4) == pytest.approx([8, 4, 2, 1])
    assert shrinking(8.0, 1.0, 1) == [1.0]


def test_a_run_is_stored_and_read_again(tmp_path):
    settings = {"epochs": 3, "goal": None, "optimizer": "auto", "lr": None, "batch_size": None, "precision": "auto"}
    given = {"net": "som", "target": None, "task": None, "seed": 0, "out": tmp_path / "run"}
    run = start_run("digits", **given, **settings)
    assert run.results["test"]["accuracy"] > 0.9
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Run.load(tmp_path / "run").outputs(x), run.outputs(x))
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(title in page for title in ("U-matrix", "Hits", "Answers", "Units"))


# What is refused


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rule": "offline"}, "rule is batch or online; got 'offline'"),
        ({"max_iter": 0}, "max_iter is a whole number of at least 1; got 0"),
        ({"learning_rate": 1.5}, "learning_rate is above 0 and at most 1; got 1.5"),
        ({"final_radius": 0.0}, "shrinks to a final_radius above 0; got None and 0.0"),
        ({"radius": 0.2}, "shrinks to a final_radius above 0; got 0.2 and 0.5: raise radius or lower final_radius"),
        ({"rows": 0}, "at least 1 row and 1 column of units; got 0 × 20"),
        ({"rows": 3, "hexagonal": True, "torus": True}, "close to a torus in an even number of rows; got 3: add one"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        SOM(**settings).fit(drawn(9, 2).numpy())


def test_samples_that_cannot_be_learned_from_are_refused():
    empty = np.array([[1.0, 2.0], [NAN, NAN], [NAN, NAN]])
    with pytest.raises(ValueError, match="2 of 3 samples lack every feature, first in row 1: drop them"):
        SOM(2, 2).fit(empty)
    with pytest.raises(ValueError, match="2 of 3 samples lack every feature"):
        SOM(2, 2).partial_fit(empty[:1]).partial_fit(empty)
    with pytest.raises(ValueError, match="infinity"):
        SOM(2, 2).fit([[1.0], [float("inf")]])
    with pytest.raises(ValueError, match="The first partial_fit needs all labels that will ever come: give classes"):
        SOMClassifier(2, 2).partial_fit([[1.0], [2.0]], [0, 1])
    classifier = SOMClassifier(2, 2).partial_fit([[1.0], [2.0]], [0, 1], classes=[0, 1])
    with pytest.raises(ValueError, match="The label 7 is none of the classes of the first partial_fit"):
        classifier.partial_fit([[1.0]], [7])


def test_vector_quantisation_pulls_winners_towards_samples_they_answer_rightly_and_away_from_others():
    weight = torch.tensor([[0.0, 0.0], [4.0, 4.0]])
    x, index, order = torch.tensor([[1.0, 0.0], [3.0, 4.0], [float("nan"), 1.0]]), torch.tensor([0, 0, 0]), torch.eye(3)
    found = learn_vector_quantisation(
        weight, torch.tensor([0, 1]), x, index, [row.argmax()[None] for row in order], 0.3
    )
    first = torch.tensor([0.3, 0.0])  # rate 0.3, then 0.2 away from the second sample, then 0.1 towards what is there
    torch.testing.assert_close(found, torch.stack([first + torch.tensor([0.0, 0.1]), torch.tensor([4.2, 4.0])]))
    assert torch.equal(weight[1], torch.tensor([4.0, 4.0]))


def test_vector_quantisation_tells_digits_apart_better_than_the_map_alone():
    x, y = load_digits(return_X_y=True)
    maps = [SOMClassifier(8, 8, tuning_iter=n, random_state=0).fit(x[:1200], y[:1200]) for n in (0, 10)]
    plain, tuned = (one.score(x[1200:], y[1200:]) for one in maps)
    assert tuned > plain
