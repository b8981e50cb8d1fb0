"""Whitening: uncorrelated on the training part, invertible, bounded, and the same in a run that is read back."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.decomposition import PCA
from typer.testing import CliRunner

from commonweight import data, nets
from commonweight.cli import app
from commonweight.data import Normalisation
from commonweight.data.whiten import EPSILON, MAX_VALUES, Whitening
from commonweight.errors import DataError, FileError, TrainError
from commonweight.train.loop import fit, resume
from commonweight.train.run import Run
from commonweight.train.start import start_run


def covariance(rows):
    centred = rows.double() - rows.double().mean(0)
    return centred.T @ centred / len(rows)


def tiles_by_hand(image, height, width):
    """Rows of tiles, cut by plain slices."""
    _, rows, columns = image.shape
    corners = [(r, c) for r in range(0, rows, height) for c in range(0, columns, width)]
    return torch.stack([image[:, r : r + height, c : c + width].flatten() for r, c in corners])


@pytest.mark.parametrize("way", ["pca", "zca"])
@pytest.mark.parametrize("name", ["wine", "breast-cancer", "diabetes"])
def test_whitened_training_rows_are_uncorrelated_with_variance_one(name, way):
    loaded = data.load(name, prepare=way)
    white = loaded.normalisation.apply(loaded.x[loaded.train])
    torch.testing.assert_close(covariance(white), torch.eye(white.shape[1]).double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(white.mean(0), torch.zeros(white.shape[1]), atol=1e-3, rtol=0)
    others = loaded.normalisation.apply(loaded.x[loaded.test])
    assert not torch.allclose(covariance(others), torch.eye(white.shape[1]).double(), atol=0.05)


def test_pca_agrees_with_scikit_learn():
    wine = data.load("wine", prepare="pca")
    standard = data.load("wine").normalisation.apply(wine.x).double().numpy()
    oracle = PCA(whiten=True).fit(standard[wine.train.numpy()])
    ours, theirs = wine.normalisation.apply(wine.x).numpy(), oracle.transform(standard)
    n = len(wine.train)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs) * np.sqrt(n / (n - 1)), atol=1e-3)


def test_zca_is_the_whitening_that_stays_nearest():
    """Kessy et al. 2018: its cross-correlation with the standardised values is symmetric and has the largest trace."""
    wine = data.load("wine", prepare="zca")
    standard = data.load("wine").normalisation.apply(wine.x[wine.train]).double()
    zca = wine.normalisation.apply(wine.x[wine.train]).double()
    pca = data.load("wine", prepare="pca").normalisation.apply(wine.x[wine.train]).double()
    cross = zca.T @ standard / len(standard)
    torch.testing.assert_close(cross, cross.T, atol=1e-4, rtol=0)
    assert cross.trace() > (pca.T @ standard / len(standard)).trace() + 1


@pytest.mark.parametrize("way", ["pca", "zca"])
def test_directions_without_variance_become_zero_and_come_back_as_their_mean(way):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=generator)
    x = torch.cat([x, 1000 * x[:, :1] + 7, x[:, 1:2] - x[:, 2:3], torch.full((60, 1), 5.0)], 1)
    normalisation = Normalisation.fit(x, torch.zeros(60, dtype=torch.int64), torch.arange(60), way)
    white = normalisation.apply(x)
    found = torch.linalg.eigvalsh(covariance(white))
    torch.testing.assert_close(found, torch.tensor([0.0, 0, 0, 1, 1, 1]).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalisation.restore(white), x, rtol=1e-4, atol=1e-3)
    off = normalisation.restore(normalisation.apply(x + torch.tensor([0, 0, 0, 0, 0, 3.0])))
    torch.testing.assert_close(off, x, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("way", ["pca", "zca"])
def test_one_sample_has_no_variance(way):
    x = torch.tensor([[3.0, -4.0], [0.0, 1.0]])
    normalisation = Normalisation.fit(x, torch.tensor([0, 1]), torch.tensor([0]), way)
    assert torch.equal(normalisation.apply(x), torch.zeros(2, 2))
    assert torch.equal(normalisation.restore(torch.zeros(2)), x[0])


@pytest.mark.parametrize("way", ["pca", "zca"])
def test_tiles_of_images_have_the_covariance_of_the_formula(way):
    generator = torch.Generator().manual_seed(1)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(200, 2, 16, 22, generator=generator), 5, stride=1)
    assert smooth.shape[1:] == (2, 12, 18)
    train = torch.arange(150)
    normalisation = Normalisation.fit(smooth, torch.zeros(200, dtype=torch.int64), train, way)
    standard = (smooth[train] - normalisation.mean) / normalisation.scale
    before = covariance(torch.cat([tiles_by_hand(image, 6, 6) for image in standard]))
    white = normalisation.apply(smooth[train])
    after = covariance(torch.cat([tiles_by_hand(image, 6, 6) for image in white]))
    variance = torch.linalg.eigvalsh(before)
    torch.testing.assert_close(torch.linalg.eigvalsh(after), (variance / (variance + EPSILON)).sort().values,
                               atol=1e-4, rtol=0)  # fmt: skip
    if way == "pca":
        torch.testing.assert_close(after, torch.diag(after.diagonal()), atol=1e-4, rtol=0)
        assert torch.all(after.diagonal().diff() < 1e-6), "the largest component first"
    torch.testing.assert_close(normalisation.restore(white), smooth[train], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["digits", "gunpoint", "iris"])
@pytest.mark.parametrize("way", ["standard", "mean", "none", "pca", "zca"])
def test_what_is_applied_can_be_restored(name, way):
    """Also where pixels are constant, as in digits; for a batch and for one sample."""
    loaded = data.load(name, prepare=way)
    prepared = loaded.normalisation.apply(loaded.x)
    assert prepared.shape == loaded.x.shape
    assert prepared.dtype == torch.float32
    torch.testing.assert_close(loaded.normalisation.restore(prepared), loaded.x, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(loaded.normalisation.apply(loaded.x[3]), prepared[3], atol=1e-4, rtol=1e-4)


def test_mean_and_none_do_what_their_names_say():
    standard, mean, none = (data.load("iris", prepare=way) for way in ("standard", "mean", "none"))
    assert torch.equal(none.normalisation.apply(none.x), none.x)
    centred = mean.normalisation.apply(mean.x)
    torch.testing.assert_close(centred, standard.x - standard.x[standard.train].mean(0), atol=1e-5, rtol=0)
    assert standard.normalisation.whitening is None
    assert (standard.prepare, mean.prepare, none.prepare) == ("standard", "mean", "none")


def test_the_other_parts_have_no_say():
    wine = data.load("wine")
    others = torch.cat([wine.validation, wine.test])
    changed = wine.x.clone()
    changed[others] += 1000
    before, after = (Normalisation.fit(x, wine.y, wine.train, "zca") for x in (wine.x, changed))
    assert torch.equal(before.whitening.matrix, after.whitening.matrix)


def test_an_unknown_preparation_is_refused():
    with pytest.raises(DataError, match="one of standard, mean, none, pca, zca, not by 'white'"):
        data.load("iris", prepare="white")


def test_rows_too_long_to_whiten_are_refused():
    x = torch.zeros(3, MAX_VALUES + 1)
    with pytest.raises(
        DataError, match=r"at most 4,096 values together, but a row or tile of shape \(4097,\) has 4,097"
    ):
        Normalisation.fit(x, torch.tensor([0, 1, 0]), torch.arange(3), "pca")


@pytest.fixture(scope="module")
def whitened():
    return data.load("wine", prepare="zca")


@pytest.mark.parametrize("net", ["mlp", "rbf"])
def test_a_run_read_back_says_the_same(whitened, net, tmp_path):
    run = start_run(
        "wine", net=net, target=None, task=None, seed=0, prepare="zca", out=tmp_path / "run",
        **({"epochs": 2, "progress": False} if net == "mlp" else {}),
    )  # fmt: skip
    loaded = Run.load(tmp_path / "run")
    with torch.no_grad():
        again = loaded.outputs(whitened.x)
        assert torch.equal(again, run.outputs(whitened.x))
        plain = replace(loaded, whitening=None).outputs(whitened.x)
    right = float((again[whitened.test].argmax(1) == whitened.y[whitened.test]).double().mean())
    assert right == pytest.approx(run.results["test"]["accuracy"])
    assert not torch.allclose(plain, again)
    assert (tmp_path / "run" / "run.json").stat().st_size < 10_000
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["prepare"] == "zca"


def test_predict_report_share_and_resume_go_on_working(tmp_path):
    def call(*words):
        answer = CliRunner().invoke(app, [str(word) for word in words])
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    run = tmp_path / "run"
    call("train", "wine", "--prepare", "pca", "--epochs", 2, "--out", run)
    wine = data.load("wine")
    rows = tmp_path / "rows.csv"
    lines = [",".join(f"{value:.6g}" for value in row) for row in wine.x[:5].tolist()]
    rows.write_text("\n".join([",".join(wine.features), *lines]) + "\n")
    with torch.no_grad():
        expected = Run.load(run).outputs(wine.x[:5]).argmax(1).tolist()
    said = [json.loads(line)["label"] for line in call("predict", run, rows, "--json").splitlines()]
    assert said == [wine.classes[label] for label in expected]
    assert "the input, normalised" in (run / "report.html").read_text()
    call("share", run, "--codebook", 16, "--out", tmp_path / "small")
    with torch.no_grad():
        small = Run.load(tmp_path / "small").outputs(wine.x)
    assert float((small.argmax(1) == Run.load(run).outputs(wine.x).argmax(1)).double().mean()) > 0.9
    before = load_file(run / "weights.safetensors")
    (run / "checkpoint.safetensors").unlink()
    call("train", "--resume", run)
    after = load_file(run / "weights.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_run_goes_on_only_with_data_prepared_alike(tmp_path, whitened):
    mlp = nets.build("mlp", whitened.in_shape, whitened.n_outputs)
    fit(mlp, whitened, epochs=1, out=tmp_path / "run", progress=False)
    with pytest.raises(TrainError, match="was begun on data prepared by zca, not by standard"):
        resume(tmp_path / "run", mlp, data.load("wine"))


def test_a_run_from_before_whitening_is_read(tmp_path):
    iris = data.load("iris")
    run = fit(nets.build("mlp", (4,), 3), iris, epochs=1, out=tmp_path / "run", progress=False)
    path = tmp_path / "run" / "run.json"
    description = json.loads(path.read_text())
    del description["data"]["prepare"]
    path.write_text(json.dumps(description))
    with torch.no_grad():
        assert torch.equal(Run.load(tmp_path / "run").outputs(iris.x), run.outputs(iris.x))


GOOD = {"matrix": torch.eye(4), "centre": torch.zeros(4)}


@pytest.mark.parametrize(
    ("tensors", "metadata", "sentence"),
    [
        (GOOD, {}, "is no whitening"),
        (GOOD, {"tile": "4"}, "is no whitening"),
        (GOOD, {"tile": '["a"]'}, "is no whitening"),
        (GOOD, {"tile": "[0]"}, "is no whitening"),
        (GOOD, {"tile": "[" * 100_000}, "is no whitening"),
        ({"matrix": torch.eye(4)}, {"tile": "[4]"}, "is no whitening"),
        (GOOD, {"tile": "[2]"}, r"tiles of shape \(2,\) by a matrix of shape \(4, 4\), which does not fit"),
        (GOOD, {"tile": "[1, 4]"}, r"does not fit samples of shape \(4,\)"),
        (GOOD | {"centre": torch.zeros(3)}, {"tile": "[4]"}, "does not fit"),
        (GOOD | {"matrix": torch.full((4, 4), torch.nan)}, {"tile": "[4]"}, "not finite"),
        (GOOD | {"matrix": torch.eye(4).double()}, {"tile": "[4]"}, "does not fit"),
    ],
)
def test_a_damaged_file_is_refused(tensors, metadata, sentence, tmp_path):
    save_file(tensors, tmp_path / "whitening.safetensors", metadata)
    with pytest.raises(FileError, match=sentence):
        Whitening.load(tmp_path / "whitening.safetensors", (4,))


def test_a_file_that_is_missing_or_too_large_is_refused(tmp_path):
    with pytest.raises(FileError, match="Cannot read the tensors"):
        Whitening.load(tmp_path / "none", (4,))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 27)
    with pytest.raises(FileError, match="134,217,728 bytes; a whitening has at most"):
        Whitening.load(tmp_path / "large", (4,))


@pytest.mark.parametrize("way", ["pca", "zca"])
def test_how_large_the_values_are_makes_no_difference(way):
    z = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    small = 1e-6 * z
    white = Whitening.fit(z, way).apply(z)
    torch.testing.assert_close(Whitening.fit(small, way).apply(small), white, atol=1e-3, rtol=1e-3)
