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
from commonweight.compress.following import settled
from commonweight.errors import CompressError, FileError, TrainError
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
    sizes = {"rest", "tied", "bytes_before", "bytes_after"}
    assert set(told) == {"out", "layers", "followed", "before", "after", *sizes}
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


def test_no_file_is_lost_to_a_packed_one(say, tmp_path):
    torch.save({"weight": torch.randn(8, 64)}, tmp_path / "state.pt")
    assert say("share", "state.pt", "--out", "state.safetensors")[0] == 0
    (tmp_path / "notes.txt").write_text("mine")
    for path, out in (("state.pt", "state.pt"), ("state.pt", "notes.txt"), ("state.safetensors", "state.safetensors")):
        before = (tmp_path / out).read_bytes()
        code, _, err = say("share", path, "--out", out)
        assert code == 2
        assert f"{out} is to be a new file of safetensors: say --out NAME.safetensors." in err
        assert (tmp_path / out).read_bytes() == before


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
    with pytest.raises(TrainError, match="epochs is a whole number from 1 to 1,000,000,000; got 0"):
        finetune(net, digits, epochs=0)
    with pytest.raises(TrainError, match=r"The loss became (nan|inf) in step \d+ of \d+: lower lr, which was 1e\+30"):
        finetune(net, digits, epochs=20, lr=1e30)


def test_a_codebook_of_one_value_is_the_mean_of_a_row(say):
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    torch.save({"w": weight}, "m.pt")
    code, _, err = say("share", "m.pt", "--codebook", 1)
    assert code == 0, err
    torch.testing.assert_close(cw.load("m-shared.safetensors")["w"], weight.mean(1, keepdim=True).expand(-1, 64))


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


def test_ties_of_a_saved_file_stay_ties_however_often_it_is_compressed(say):
    model = nn.ModuleDict({name: nn.Linear(64, 64, bias=False) for name in ("a", "b", "c")})
    cw.tie(model, "b.weight = -a.weight.T", keep="source")
    cw.tie(model, "c.weight = a.weight", keep="source")
    cw.save(model, "tied.safetensors")
    for path, packed, k in (("tied", "tied-shared", 4), ("tied-shared", "tied-shared-shared", 2)):
        code, out, err = say("share", f"{path}.safetensors", "--codebook", k)
        assert code == 0, err
        assert "16,384 bytes became" in out
        state = cw.load(f"{packed}.safetensors")
        assert state["c.weight"] is state["a.weight"]
        assert torch.equal(state["b.weight"], -state["a.weight"].T)


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


STACK = """
import torch
from torch import nn
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(32), nn.Linear(32, 32)
    def forward(self, x):
        return x + self.linear(self.norm(x)).relu()
def deep(in_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), *(Block() for _ in range(5)), nn.Linear(32, n_outputs))
"""


@pytest.fixture(scope="module")
def stacked(tmp_path_factory):
    """A short run of a stack of five blocks on digits, and the file with its factory."""
    folder = tmp_path_factory.mktemp("stacks")
    (folder / "nets.py").write_text(STACK)
    digits, net = data.load("digits"), f"{folder / 'nets.py'}:deep"
    loop.fit(nets.build(net, (1, 8, 8), 10), digits, epochs=8, out=folder / "run", net=net, progress=False)
    return folder / "run", net


def test_neighbouring_layers_become_one(say, stacked):
    path, net = stacked
    dense = Run.load(path, net=net).model
    code, out, err = say("share", path, "--net", net, "--depth", "every=2", "--out", "plain", "--json")
    assert code == 0, err
    told, plain = json.loads(out), Run.load("plain", net=net).model
    block = 4 * (32 * 32 + 3 * 32)
    assert (told["tied"], told["layers"], told["bytes_before"] - told["bytes_after"]) == (2 * block, [], 2 * block)
    assert [line["text"] for line in told["followed"]] == ["3 = 2", "5 = 4"]
    assert plain[3] is plain[2] is not plain[4] is plain[5] is not plain[6]
    torch.testing.assert_close(plain[2].linear.weight, (dense[2].linear.weight + dense[3].linear.weight) / 2)
    spread = max(
        float((a - b).detach().abs().max()) for a, b in zip(plain[2].parameters(), dense[2].parameters(), strict=True)
    )
    assert told["followed"][0]["error"] == pytest.approx(spread)
    assert torch.equal(plain[6].linear.weight, dense[6].linear.weight)
    assert told["after"]["accuracy"] < told["before"]["accuracy"]

    words = ("--depth", "every=3", "--codebook", 16, "--finetune", 8)
    code, out, err = say("share", path, "--net", net, *words, "--out", "tuned")
    assert code == 0, err
    assert "followed: 3 = 2 (max |Δ| to their mean 0." in out
    tuned = Run.load("tuned", net=net)
    assert tuned.model[2] is tuned.model[3] is tuned.model[4] is not tuned.model[5] is tuned.model[6]
    assert tuned.results["test"]["accuracy"] > told["after"]["accuracy"]
    assert tuned.results["test"] == pytest.approx(score(tuned.model, data.load("digits")))
    assert set(compress.shared_weights(tuned.model)) == {f"{at}.weight" for at in ("1", "2.linear", "5.linear", "7")}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("every=1", "So many neighbouring layers become one: a whole number of at least 2; got 1."),
        ("2", "--depth says how many neighbouring layers become one, such as every=2; got '2'."),
        ("every=2", "Nothing can share its depth: MLP has no two neighbours in an nn.ModuleList or nn.Sequential"),
    ],
)
def test_depth_that_cannot_be_shared(say, trained, word, says):
    code, out, err = say("share", trained, "--depth", word, "--out", "x")
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_of_stacks_in_stacks_the_outer_one_is_shared():
    layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(3))
    unlike = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 5))
    net = nn.ModuleDict({"layers": layers, "unlike": unlike})
    assert [line.text for line in compress.share_depth(net, 2)] == ["layers.1 = layers.0"]


def equal_parts(in_shape=(1, 8, 8), n_outputs=10):
    """A net in which much is equal, and nothing is tied."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), *(nn.Linear(64, 64, bias=False) for _ in range(6)), nn.Linear(64, 10))
        net[2].weight.copy_(net[1].weight)
        net[3].weight.copy_(net[1].weight.T)
        net[4].weight.copy_(torch.linspace(-1, 1, 5)[torch.arange(4096).view(64, 64) ** 3 % 61 % 5] / 8)
        net[5].weight.copy_(net[5].weight + net[5].weight.T)
        net[6].weight.copy_(net[1].weight.flip(0) + 0.0001)
    return net


def told_of(lines):
    return {line["text"]: line["left"] for line in lines}


def test_suggestions_that_are_exact_are_followed_in_a_run(say, tmp_path):
    source = Path(__file__).read_text(encoding="utf-8")
    body = source[source.index("def equal_parts") : source.index("def told_of")]
    (tmp_path / "mine.py").write_text(f"import torch\nfrom torch import nn\n{body}")
    digits = data.load("digits")
    loop.fit(equal_parts(), digits, epochs=1, lr=1e-30, out="run", net="mine.py:equal_parts", progress=False)
    cw.save(dense := equal_parts(), "run/weights.safetensors")
    code, out, err = say("share", "run", "--net", "mine.py:equal_parts", "--suggest", "--out", "small", "--json")
    assert code == 0, err
    told = json.loads(out)
    left = told_of(told["followed"])
    assert left.pop("6.weight = 1.weight.flip(0)").startswith("it is close, not equal: max |Δ| = 0.0001")
    assert left == {
        "2.weight = 1.weight": "",
        "3.weight = 1.weight.T": "",
        'cw.codebook.learn(weight, k=5, per="tensor")': "",
        "symmetric(64)": "",
    }
    assert told["tied"] == 2 * 4 * 64 * 64
    lines = [(line["name"], line["values"], line["pattern"], line["error"]) for line in told["layers"]]
    assert lines == [("4.weight", 5, "", 0.0), ("5.weight", 64 * 65 // 2, "symmetric(64)", 0.0)]
    assert told["layers"][1]["bytes_after"] == 4 * 64 * 65 // 2
    assert told["before"] == pytest.approx(told["after"])
    small = Run.load("small", net="mine.py:equal_parts").model
    assert small[2].weight is small[1].weight
    assert sorted(compress.shared_weights(small)) == ["4.weight"]
    assert isinstance(small[5].shared, compress.PatternWeight)
    assert all(torch.equal(one.weight, other.weight) for one, other in zip(small[1:], dense[1:], strict=True))

    described = json.loads(Path("small/run.json").read_text())
    for ties in (["9.weight = 1.weight"], 3, [3]):
        described["shared"]["ties"] = ties
        Path("small/run.json").write_text(json.dumps(described))
        with pytest.raises(FileError, match="has ties that its net cannot have"):
            Run.load("small", net="mine.py:equal_parts")


def test_suggestions_that_are_exact_are_followed_in_a_file(say):
    cw.save(equal_parts(), "m.safetensors")
    state = cw.load("m.safetensors")
    code, out, err = say("share", "m.safetensors", "--suggest")
    assert code == 0, err
    assert "followed: 2.weight = 1.weight\n" in out
    assert "followed: `4.weight`: cw.codebook.learn(weight, k=5" in out
    assert "followed: `5.weight`: symmetric(64)\n" in out
    again = cw.load("m-shared.safetensors")
    assert again["2.weight"] is again["1.weight"]
    assert state.keys() == again.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    code, out, err = say("share", "m.safetensors", "--suggest", "--codebook", 2, "--json", "--out", "both")
    values = {line["name"]: line["values"] for line in json.loads(out)["layers"]}
    assert values == {"1.weight": 2, "4.weight": 5, "5.weight": 2080, "6.weight": 2, "7.weight": 2}


def test_what_no_module_has_as_weight_stays():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter((torch.arange(4096.0).view(64, 64) ** 3 % 61 % 5) - 2)

    net = nn.ModuleDict({"table": Table(), "embed": nn.Embedding(64, 64)})
    with torch.no_grad():
        net["embed"].weight.copy_((net["table"].table + 9).T * 2)
    followed, as_is = compress.follow(net)
    report = compress.share(net, None, as_is=as_is)
    assert list(compress.shared_weights(net)) == [line.name for line in report.lines] == ["embed.weight"]
    assert {one.name: one.left for one in settled(followed, report.lines)} == {
        "table.table": "it is the `weight` of no module",
        "embed.weight": "",
    }
