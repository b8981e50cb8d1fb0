"""`commonweight share`: its table, the files it writes, the same bytes each time, one sentence for what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import commonweight as cw
from commonweight import compress, data, nets
from commonweight.errors import CompressError, TrainError
from commonweight.train import loop
from commonweight.train.compressing import share_run
from commonweight.train.finetune import finetune, importance, score
from commonweight.train.run import Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run of the mlp on digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    digits = data.load("digits")
    loop.fit(nets.build("mlp", digits.in_shape, digits.n_outputs), digits, epochs=8, out=folder, progress=False)
    return folder


def test_a_run_becomes_a_smaller_run_that_predicts(say, trained, tmp_path):
    code, out, _ = say(
        "share", trained, "--codebook", 4, "--per", "tensor", "--keep", "last", "--out", "small", "--json"
    )
    told = json.loads(out)
    assert code == 0
    assert set(told) == {"out", "layers", "rest", "bytes_before", "bytes_after", "before", "after"}
    assert told["out"] == "small"
    sizes = {line["name"]: (line["values"], line["bytes_after"]) for line in told["layers"]}
    words = 64 * 128 // 256 * 64  # 256 codes of 2 bits in 64 bytes
    assert sizes == {
        "hidden1.weight": (4, words + 16),
        "hidden2.weight": (4, words + 16),
        "output.weight": (0, 2560),
    }
    assert told["bytes_after"] == told["rest"] + 2 * (words + 16) + 2560
    run, small = Run.load(trained), Run.load("small")
    digits = data.load("digits")
    assert told["before"] == pytest.approx(score(run.model, digits))
    assert told["after"] == pytest.approx(score(small.model, digits))
    assert small.results["test"] == told["after"]
    assert set(compress.shared_weights(small.model)) == {"hidden1.weight", "hidden2.weight"}
    assert torch.equal(small.model.output.weight, run.model.output.weight)
    dense = cw.load("small/weights.safetensors", Run.load(trained).model)
    x = digits.x[:5]
    torch.testing.assert_close(small.outputs(x), dense(run.normalisation.apply(x)))
    Image.fromarray((digits.x[0, 0] * 255).numpy().astype(np.uint8)).save(tmp_path / "digit.png")
    code, out, _ = say("predict", "small", "digit.png", "--json")
    assert (code, json.loads(out)["label"]) == (0, str(int(small.outputs(x[:1]).argmax())))


def test_the_same_command_gives_the_same_bytes(say, trained):
    for name in ("one", "two"):
        code, out, err = say("share", trained, "--codebook", 4, "--finetune", 2, "--seed", 3, "--out", name)
        assert code == 0, err
    assert "written: two" in out
    assert "accuracy: " in out
    whole = [Path(name, "weights.safetensors").read_bytes() for name in ("one", "two")]
    assert whole[0] == whole[1]
    code, _, err = say("share", trained, "--codebook", 4, "--finetune", 2, "--seed", 4, "--out", "three")
    assert code == 0, err
    assert Path("three/weights.safetensors").read_bytes() != whole[0]


def test_fine_tuning_repairs_what_one_bit_breaks(say, trained):
    told = [
        json.loads(say("share", trained, "--codebook", 2, "--per", "tensor", "--out", out, "--json", *more)[1])
        for out, more in (("plain", ()), ("tuned", ("--finetune", 8)))
    ]
    assert told[0]["before"] == told[1]["before"]
    assert told[0]["after"]["accuracy"] < 0.7
    assert told[1]["after"]["accuracy"] > 0.9
    model = Run.load("tuned").model
    assert all(weight.shadow is None for weight in compress.shared_weights(model).values())
    assert all(len(model.get_submodule(name).weight.unique()) == 2 for name in ("hidden1", "hidden2", "output"))


def test_calibration_weighs_elements_by_squared_gradients(say, trained):
    code, out, _ = say("share", trained, "--codebook", 4, "--calibrate", "digits", "--out", "weighed", "--json")
    assert code == 0
    plain = json.loads(say("share", trained, "--codebook", 4, "--out", "plain", "--json")[1])
    weighed = json.loads(out)
    assert weighed["after"]["loss"] < plain["after"]["loss"]
    assert all(a["error"] > b["error"] for a, b in zip(weighed["layers"], plain["layers"], strict=True))


def test_importance_is_the_mean_of_squared_gradients():
    digits = data.load("digits")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    found = importance(net, digits, seed=1)
    order = np.random.default_rng(1).permutation(len(digits.train))[:1024]
    total = torch.zeros(10, 64, dtype=torch.float64)
    for start in range(0, 1024, 16):
        chosen = digits.train[order[start : start + 16]]
        x = digits.normalisation.apply(digits.x[chosen]).flatten(1)
        error = (x @ net[1].weight.T).softmax(1) - nn.functional.one_hot(digits.y[chosen], 10)
        total += ((error.T @ x) / 16).double() ** 2
    expected = total + total.mean() / 100
    torch.testing.assert_close(found["1.weight"].double(), expected.detach(), rtol=1e-3, atol=1e-6)
    assert net[1].weight.grad is None


def test_values_are_trained_and_codes_stay_without_shadows():
    digits = data.load("digits")
    net = nets.build("cnn", digits.in_shape, 10)
    compress.share(net, 4, "tensor")
    before = {name: weight.codes().clone() for name, weight in compress.shared_weights(net).items()}
    values = {name: weight.values.detach().clone() for name, weight in compress.shared_weights(net).items()}
    finetune(net, digits, epochs=1)
    for name, weight in compress.shared_weights(net).items():
        assert torch.equal(weight.codes(), before[name])
        assert not torch.equal(weight.values.detach(), values[name])
    with pytest.raises(TrainError, match="epochs is a whole number of at least 1; got 0"):
        finetune(net, digits, epochs=0)
    with pytest.raises(TrainError, match=r"The loss became (nan|inf) in step \d+ of \d+: lower lr, which was 1e\+30"):
        finetune(net, digits, epochs=20, lr=1e30)


def test_files(say, tmp_path):
    torch.save({"w": torch.randn(32, 64, generator=torch.Generator().manual_seed(0)), "b": torch.zeros(32)}, "m.pt")
    code, out, _ = say("share", "m.pt", "--codebook", 2, "--per", 4)
    assert code == 0
    assert "w         32×64  1.25  " in out  # 1 bit, and 2 values of 32 bits for each 256 elements
    assert "written: m-shared.safetensors" in out
    assert len(cw.load("m-shared.safetensors")["w"][:4].unique()) == 2
    code, out, err = say("share", "m.pt", "--finetune", 1)
    assert (code, out) == (2, "")
    assert err == "commonweight: m.pt is no run folder; a file of tensors has no net to calibrate or to train.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--codebook", 300), "A codebook has 1 to 256 values; got 300"),
        (("--per", "column"), "per 'row', 'tensor', or per so many rows, from 1 on; got 'column'"),
        (("--keep", "middle"), "no weight 'middle' to keep; there are hidden1.weight, hidden2.weight, output.weight"),
        (("--calibrate", "iris"), "The net takes samples of shape (1, 8, 8) and gives 10 outputs; iris has samples of"),
        (("--calibrate", "nothing"), "nothing"),
    ],
)
def test_what_cannot_be_asked_for(say, trained, words, says):
    code, out, err = say("share", trained, *words, "--out", "x")
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_runs_that_cannot_be_compressed(say, trained, tmp_path):
    assert say("share", trained, "--out", "small")[0] == 0
    with pytest.raises(CompressError, match="small is compressed already: compress the run that it was made from"):
        share_run("small", "smaller", 4)
    code, _, err = say("share", trained, "--out", "small")
    assert code == 2
    assert "small holds a run already: choose another folder" in err
    assert "or go on with it by" in err
    told = json.loads((trained / "run.json").read_text())
    copied = tmp_path / "copy"
    copied.mkdir()
    for name in ("weights.safetensors", "records.jsonl"):
        (copied / name).write_bytes((trained / name).read_bytes())
    (copied / "run.json").write_text(json.dumps({**told, "data": {**told["data"], "source": ""}}))
    assert share_run(copied, "without", 4).after == {}
    with pytest.raises(CompressError, match="was trained on data made in Python: say which to use by --calibrate"):
        share_run(copied, "other", 4, epochs=1)
    (copied / "run.json").write_text(json.dumps({**told, "data": {**told["data"], "source": "gone.csv"}}))
    assert share_run(copied, "gone", 4).before == {}
