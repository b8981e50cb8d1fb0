"""Weights as values, spectra and principal components: beside numpy and scikit-learn, and each weight once."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from commonweight import Tied, data, fit, nets, patterns, tie
from commonweight.errors import DataError, FileError
from commonweight.measure.components import cost_of_dropping, score, spectra, truncated
from commonweight.measure.figures.weights import draw_components, draw_distributions
from commonweight.measure.weights import values, write_values


def odd():
    """A net with a tied weight, a pattern, a buffer, and values that are not finite or need all their digits."""
    net = nn.ModuleDict({"encoder": nn.Linear(3, 2), "decoder": nn.Linear(2, 3), "norm": nn.BatchNorm1d(2)})
    net["ring"] = Tied(patterns.circulant(4), bias="none")
    tie(net, "decoder.weight = encoder.weight.T", keep="source")
    with torch.no_grad():
        net["encoder"].weight.copy_(torch.tensor([[1 / 3, 1e-30, -2.0], [0.1, float("nan"), float("inf")]]))
    return net


def test_each_weight_is_told_once():
    shapes = {name: tuple(weight.shape) for name, weight in values(odd()).items()}
    assert shapes == {
        "encoder.weight": (2, 3),
        "encoder.bias": (2,),
        "decoder.bias": (3,),
        "norm.weight": (2,),
        "norm.bias": (2,),
        "ring.weight": (4,),
    }


def read_csv(path):
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield row["tensor"], tuple(map(int, row["index"].split(";"))), float(row["value"])


def test_every_format_holds_the_same_float32(tmp_path):
    net = odd()
    for ending in ("csv", "npz", "json"):
        write_values(net, tmp_path / f"values.{ending}")
    told = {(name, index): value for name, index, value in read_csv(tmp_path / "values.csv")}
    whole = np.load(tmp_path / "values.npz", allow_pickle=False)
    lists = json.loads((tmp_path / "values.json").read_text())
    for name, weight in values(net).items():
        np.testing.assert_array_equal(whole[name], weight.numpy())
        assert lists[name]["shape"] == list(weight.shape)
        np.testing.assert_array_equal(np.float32(lists[name]["values"]), weight.flatten().numpy())
        for index in np.ndindex(*weight.shape):
            np.testing.assert_equal(np.float32(told[name, index]), weight[index].item())
    assert len(told) == sum(weight.numel() for weight in values(net).values())


def test_double_and_short_floats_are_written_whole(tmp_path):
    net = nn.ParameterDict({'a,"b': nn.Parameter(torch.tensor([1 / 3], dtype=torch.float64))})
    net["short"] = nn.Parameter(torch.tensor([0.1], dtype=torch.bfloat16))
    write_values(net, tmp_path / "values.csv")
    double, short = (value for *_, value in read_csv(tmp_path / "values.csv"))
    assert (double, torch.tensor(short).bfloat16()) == (1 / 3, torch.tensor(0.1).bfloat16())
    assert 'a,"b' in [name for name, *_ in read_csv(tmp_path / "values.csv")]
    write_values(net, tmp_path / "values.npz")
    assert np.load(tmp_path / "values.npz")["short"].dtype == np.float32


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"Weights are written as \.csv, \.npz, \.json; got .*values\.xlsx"):
        write_values(odd(), tmp_path / "values.xlsx")


def test_spectra_are_those_of_numpy_and_scikit_learn():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(20, 5), nn.Linear(4, 1))
    found = spectra(net)
    assert [(one.name, one.shape) for one in found] == [("0.weight", (8, 27)), ("2.weight", (5, 20))]
    for one, weight in zip(found, (net[0].weight, net[2].weight), strict=True):
        rows = weight.detach().double().flatten(1).numpy()
        singular = np.linalg.svd(rows, compute_uv=False)
        np.testing.assert_allclose(one.singular, singular, rtol=1e-9)
        assert one.stable_rank == pytest.approx((rows**2).sum() / singular[0] ** 2)
        fitted = PCA().fit(rows)
        np.testing.assert_allclose(one.variance, fitted.explained_variance_ratio_, atol=1e-9)
        for kept in (1, 3):
            again = PCA(kept).fit(rows)
            wanted = again.inverse_transform(again.transform(rows))
            np.testing.assert_allclose(truncated(weight.detach(), kept).flatten(1), wanted, atol=1e-5)
            share = fitted.explained_variance_ratio_[:kept].sum()
            assert one.components_for(share) == kept
            assert one.components_for(share + 1e-6) == kept + 1


def test_no_component_leaves_the_mean_and_all_leave_the_weights():
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(truncated(weight, 0), weight.mean(0).expand(6, 4))
    torch.testing.assert_close(truncated(weight, 4), weight)


def test_weights_of_zero_have_no_rank():
    layer = nn.Linear(3, 3, bias=False)
    nn.init.zeros_(layer.weight)
    (only,) = spectra(layer)
    assert (only.stable_rank, only.variance.tolist(), only.components_for(0.5)) == (0.0, [0.0, 0.0, 0.0], 0)


@pytest.fixture(scope="module")
def trained():
    iris = data.load("iris")
    model = nets.build("mlp", iris.in_shape, iris.n_outputs, structure={"hidden": [6]})
    return fit(model, iris, epochs=60, out=None, progress=False), iris


def test_dropping_components_costs_what_the_net_without_them_scores(trained):
    run, iris = trained
    before = {name: weight.clone() for name, weight in values(run.model).items()}
    kept = list(cost_of_dropping(run.model, iris))
    assert all(torch.equal(before[name], weight) for name, weight in values(run.model).items())
    assert score(run.model, iris) == pytest.approx(run.results["test"]["accuracy"])
    layers = [(one.layer, one.components) for one in kept if one.layer]
    assert layers == [*(("hidden1.weight", k) for k in (0, 1, 2, 4)), *(("output.weight", k) for k in (0, 1, 2, 3))]
    cut = nets.build("mlp", (4,), 3, structure={"hidden": [6]})
    cut.load_state_dict(run.model.state_dict())
    cut.hidden1.weight.data.copy_(truncated(cut.hidden1.weight.data, 1))
    assert kept[1].score == score(cut, iris)
    assert [one.variance for one in kept if not one.layer] == [0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]
    assert kept[-1].score == kept[3].score == score(run.model, iris)


def test_the_score_of_regression_is_r2():
    diabetes = data.load("diabetes")
    run = fit(nets.build("mlp", (10,), 1, task="regression"), diabetes, epochs=3, out=None, progress=False)
    assert score(run.model, diabetes) == pytest.approx(run.results["test"]["r2"], abs=1e-5)


def test_the_score_of_targets_that_are_all_the_same_is_that_of_the_run():
    """As scikit-learn has it: 1 where every answer is right, else 0."""
    samples = data.dataset.Samples(name="same", task="regression", x=torch.rand(60, 2), y=torch.full((60, 1), 2.5))
    same, net = data.dataset.prepare(samples, 0), nets.build("mlp", (2,), 1, task="regression")
    assert score(net, same) == 0
    for weight in net.parameters():
        nn.init.zeros_(weight)
    assert score(net, same) == 1


def test_other_data_is_refused():
    with pytest.raises(DataError, match=r"iris, samples of shape \(4,\), does not fit this net"):
        list(cost_of_dropping(nn.Linear(3, 3), data.load("iris")))


def test_figures_are_drawn_with_and_without_records(trained, tmp_path):
    run, iris = trained
    for number, records in enumerate((run.records, [])):
        draw_distributions(run.model, records, tmp_path / f"{number}.png", "Weights of $iris")
    assert (tmp_path / "0.png").stat().st_size > (tmp_path / "1.png").stat().st_size > 1000
    kept = list(cost_of_dropping(run.model, iris))
    draw_components(spectra(run.model), kept, tmp_path / "components.png", "Components", "accuracy")
    assert (tmp_path / "components.png").stat().st_size > 1000


def test_a_net_of_a_single_weight_is_drawn_too(tmp_path):
    net = Tied(patterns.single(4, 3), bias="none")
    draw_distributions(net, [], tmp_path / "one.png", "One weight")
    draw_components(spectra(net), [], tmp_path / "none.png", "No matrix", "accuracy")
    assert spectra(net) == []
    assert (tmp_path / "one.png").stat().st_size > 1000
