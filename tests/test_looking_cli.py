"""`commonweight weights`, `features` and `surface`: what they write and print, and one sentence where they cannot."""

import numpy as np
import pytest
import torch

from commonweight import data, fit, nets
from commonweight.measure import features


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "iris"
    iris = data.load("iris")
    net = nets.build("mlp", iris.in_shape, iris.n_outputs, structure={"hidden": [6]})
    fit(net, iris, epochs=10, out=folder, progress=False)
    return folder


def test_weights(say, run, tmp_path):
    code, out, _ = say("weights", run, "--values", "csv", "--out", "seen")
    assert code == 0
    assert "hidden1  6 x 4" in " ".join(out.split("  ")).replace("   ", "  ")
    written = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert written == ["components.png", "values.csv", "weights.png"]
    assert all(f"seen/{name}" in out for name in written)
    say("weights", run)
    assert np.load(run / "values.npz")["hidden1.weight"].shape == (6, 4)


def test_weights_of_a_net_that_is_always_right(say, tmp_path):
    """Where all targets are the same, rounding decides between right and wrong."""
    rows = "".join(f"{k},{k * k % 7},2.5\n" for k in range(60))
    (tmp_path / "same.csv").write_text(f"a,b,y\n{rows}")
    given = ("--optimizer", "lm-bayes", "--structure", "hidden=[3]", "--out", "same")
    assert say("train", "same.csv", *given)[0] == 0
    code, out, err = say("weights", "same")
    assert (code, err) == (0, "")
    assert "leave the test R² of 1 within 0.01" in out


def test_features(say, run):
    code, out, _ = say("features", run)
    assert code == 0
    assert "A linear model reads the target from: inputs 0." in out
    assert {path.name for path in run.glob("*.png")} >= {"maps.png", "units.png", "space.png"}
    code, _, err = say("features", run, "--sample", 22)
    assert code == 2
    assert err == "commonweight: The test part has 22 samples; there is no sample 22.\n"


def test_what_units_look_at_is_found_once_for_each_layer(say, run, monkeypatch):
    asked, found = [], features.receptive_field

    def noting(model, layer, *given):
        asked.append(layer)
        return found(model, layer, *given)

    monkeypatch.setattr(features, "receptive_field", noting)
    assert say("features", run)[0] == 0
    assert asked == ["hidden1", "output"]


def test_surface(say, run):
    code, out, _ = say("surface", run, "--paths", "adam, sgd", "--side", 5)
    assert code == 0
    assert "the plane of the paths: loss" in out
    assert (run / "surface.png").stat().st_size > 1000
    code, _, err = say("surface", run, "--paths", "adams")
    assert code == 2
    assert "adams" in err


def test_no_path_leads_to_a_compressed_run_and_none_goes_on_from_it(say, run, tmp_path):
    assert say("share", run, "--codebook", 2, "--out", "small")[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "small").iterdir()}
    code, _, err = say("train", "--resume", "small")
    assert code == 2
    assert err == "commonweight: small was compressed, which no training goes on from: begin a new run.\n"
    assert {path.name: path.read_bytes() for path in (tmp_path / "small").iterdir()} == before
    code, _, err = say("surface", "small", "--paths", "adam", "--side", 3)
    assert code == 2
    assert err == "commonweight: small was compressed: no path leads from its start to codebooks; leave --paths out.\n"


def test_a_run_without_its_data_is_refused(say, tmp_path):
    x, y = torch.rand(60, 4), torch.arange(60) % 3
    own = data.dataset.prepare(
        data.dataset.Samples(name="own", task="classification", x=x, y=y, classes=("a", "b", "c")), 0
    )
    fit(nets.build("mlp", (4,), 3), own, epochs=1, out=tmp_path / "own", progress=False)
    code, _, err = say("weights", "own")
    assert code == 2
    assert "own was begun with data made in Python: look at it there, by commonweight.measure" in err
    code, _, err = say("weights", "own", "--data", "iris")
    assert code == 2
    assert "iris is not the data that own was begun with" in err
