"""Weights that are the free weights of a pattern: found, run, trained, stored, opened, and hostile files of them."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.test_export import each_once
from torch import nn

import commonweight as cw
from commonweight import compress, data, files, nets
from commonweight import patterns as P
from commonweight.checkpoints import content_of
from commonweight.compress import PatternWeight
from commonweight.compress.following import settled
from commonweight.errors import CompressError, FileError, TieError
from commonweight.export import to_onnx
from commonweight.manifest import KEY, Manifest, Patterned
from commonweight.pattern_text import arrays_of
from commonweight.reordering import reordered
from commonweight.train.compressing import share_run
from commonweight.train.finetune import score
from commonweight.train.run import Run

RANDOM = np.random.default_rng(0)
WIDE = reordered(P.circulant(192), RANDOM.permutation(200)[:192], RANDOM.permutation(200)[:192], n_out=200, n_in=200)


def drawn(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def of_pattern(pattern, shape):
    return pattern.tiemap().expand(drawn(pattern.n_weights)).view(shape)


class Net(nn.Module):
    """Another order, two patterns, repeated rows, and what has none of these."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 5, bias=False)
        self.first = nn.Linear(8 * 16, 200)
        self.wide = nn.Linear(200, 200)
        self.mix = nn.Linear(200, 200, bias=False)
        self.turned = nn.Linear(200, 200)
        self.rows = nn.Linear(200, 30)

    def forward(self, x):
        y = torch.tanh(self.wide(torch.tanh(self.first(self.conv(x).flatten(1)))))
        return self.rows(self.turned(torch.tanh(self.mix(y))))


def dense():
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net.wide.weight.copy_(of_pattern(WIDE, (200, 200)) / 14)
        net.mix.weight.copy_(net.mix.weight + net.mix.weight.T)
        net.turned.weight.copy_(of_pattern(P.circulant(200), (200, 200)) / 14)
        net.rows.weight.copy_(net.rows.weight[torch.randint(4, (30,))])
    return net


def compressed(k=None):
    net = dense()
    followed, as_is = compress.follow(net)
    report = compress.share(net, k, as_is=as_is)
    return net, report, settled(followed, report.lines)


X = drawn((6, 1, 8, 8), 1)


def test_what_is_found_holds_the_weights_and_runs_as_they_did():
    net, report, followed = compressed()
    before = dense()
    assert {one.name: one.left for one in followed} == dict.fromkeys(
        ["wide.weight", "mix.weight", "turned.weight", "rows.weight"], ""
    )
    held = {line.name: (line.values, line.bytes_before, line.bytes_after) for line in report.lines}
    assert held == {
        "wide.weight": (192, 160_000, 4 * 192 + 2 * 192),  # the numbers of 200 rows and columns take a byte each
        "mix.weight": (20_100, 160_000, 80_400),
        "turned.weight": (200, 160_000, 4 * 200),
        "rows.weight": (800, 24_000, 4 * 800 + 30),
    }
    assert [line.pattern for line in report.lines][1:3] == ["symmetric(200)", "circulant(200)"]
    assert report.bytes_before == sum(parameter.nbytes for parameter in before.parameters())
    assert report.bytes_after == report.rest + sum(line.bytes_after for line in report.lines)
    for name in held:
        at = name.removesuffix(".weight")
        assert torch.equal(net.get_submodule(at).weight, before.get_submodule(at).weight)
    assert torch.allclose(net(X), before(X), atol=1e-5)
    assert net.turned.shared.operator.operator == "torch.fft.rfft"
    assert torch.allclose(copy.deepcopy(net)(X), before(X), atol=1e-5)
    lead = drawn((2, 3, 200))
    assert torch.allclose(net.wide(lead), before.wide(lead), atol=1e-5)
    assert net.wide(lead[:0]).shape == (0, 3, 200)


def test_free_weights_are_trained_by_the_adjoint():
    net, _, _ = compressed()
    before = dense()
    for model in (net, before):
        model(X).square().mean().backward()
    for name in ("wide", "mix", "turned", "rows"):
        shared = net.get_submodule(name).shared
        expected = shared.pattern.tiemap().adjoint(before.get_submodule(name).weight.grad)
        assert torch.allclose(shared.weights.grad.flatten(), expected, atol=1e-6)


def test_written_out_its_gradient_is_the_adjoint_too():
    weight = PatternWeight.of(of_pattern(P.antisymmetric(6), (6, 3, 2)), P.antisymmetric(6))
    gradient = drawn((6, 3, 2), 3)
    weight().backward(gradient)
    expected = P.antisymmetric(6).tiemap().adjoint(gradient.flatten(1))
    assert torch.allclose(weight.weights.grad, expected)


def test_a_file_gives_the_same_weights_and_the_same_bytes_again(tmp_path):
    net, report, _ = compressed()
    compress.save(net, tmp_path / "m.safetensors")
    state, before = cw.load(tmp_path / "m.safetensors"), dense()
    assert state.keys() == before.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in before.state_dict().items())
    cw.load(tmp_path / "m.safetensors", plain := Net())
    assert torch.equal(plain.wide.weight, before.wide.weight)
    opened = compress.open_shared(tmp_path / "m.safetensors", Net())
    assert opened.wide.shared.pattern == net.wide.shared.pattern
    assert torch.equal(opened(X), net(X))
    compress.save(opened, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
    stored = sum(tensor.nbytes for tensor in state.values()) - (report.bytes_before - report.bytes_after)
    assert stored < (tmp_path / "m.safetensors").stat().st_size < stored + 5000
    assert cw.audit(tmp_path / "m.safetensors").ok


def test_what_was_trained_after_it_is_what_is_stored(tmp_path):
    net, _, _ = compressed()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(X).square().mean().backward()
    optimizer.step()
    compress.save(net, tmp_path / "m.safetensors")
    cw.load(tmp_path / "m.safetensors", plain := Net())
    assert torch.allclose(plain(X), net(X), atol=1e-5)
    found = {one.names[0]: str(one.pattern) for one in cw.audit(plain, suggest=True).suggestions}
    assert {"wide.weight", "mix.weight", "turned.weight", "rows.weight"} <= found.keys()  # the patterns are still there
    assert found["mix.weight"] == "symmetric(200)"


def test_codebooks_and_patterns_stand_side_by_side(tmp_path):
    net, report, _ = compressed(k=4)
    assert {line.name for line in report.lines if line.codebooks} == {"conv.weight", "first.weight"}
    assert list(compress.shared_weights(net)) == ["conv.weight", "first.weight"]
    compress.save(net, tmp_path / "m.safetensors")
    assert torch.equal(compress.open_shared(tmp_path / "m.safetensors", Net())(X), net(X))


def test_a_weight_with_several_users_stays_one(tmp_path):
    def tied():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64, bias=False))
        with torch.no_grad():
            net[0].weight.copy_(of_pattern(P.circulant(64), (64, 64)))
        net[1].weight = net[0].weight
        _ = cw.tie(net, "3.weight = 0.weight.T", keep="source")
        return net

    net = tied()
    _, as_is = compress.follow(net)
    compress.share(net, None, as_is=as_is)
    assert net[1].shared is net[0].shared
    assert torch.equal(net[3].weight, net[0].weight.T)
    x = drawn((3, 64))
    assert torch.allclose(net(x), tied()(x), atol=1e-4)
    compress.save(net, tmp_path / "m.safetensors")
    opened = compress.open_shared(tmp_path / "m.safetensors", tied())
    assert opened[1].shared is opened[0].shared
    assert torch.equal(opened(x), net(x))
    with pytest.raises(TieError, match=r"has the tie `.*`.*, which the model has not"):
        cw.load(
            tmp_path / "m.safetensors", nn.Sequential(*(nn.Linear(64, 64) for _ in range(3)), nn.Linear(64, 64, False))
        )


def test_counts_are_those_of_the_patterns():
    net, _, _ = compressed()
    census = cw.count(net, X)
    layers = {layer.name: layer for layer in census.layers}
    wide = layers["wide"]
    assert (wide.full, wide.connections, wide.weights) == (200 * 200 + 200, 192 * 192 + 200, 192 + 200)
    assert (layers["mix"].connections, layers["mix"].weights) == (40_000, 20_100)
    assert census.weights == sum(parameter.numel() for parameter in net.parameters())
    assert layers["conv"].connections == cw.count(dense(), X).layers[0].connections


def test_other_ways_to_run(tmp_path):
    net, _, _ = compressed()
    answers = net(X)
    assert torch.allclose(torch.compile(net, backend="aot_eager")(X), answers, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(net(X).float(), answers, atol=0.3, rtol=0.1)
    assert torch.allclose(net.double()(X.double()).float(), answers, atol=1e-5)
    to_onnx(net.float(), X, tmp_path / "model.onnx")
    each_once(tmp_path / "model.onnx", net)


def test_recurrent_weights_and_convolutions_are_written_out(tmp_path):
    torch.manual_seed(0)
    net = nn.ModuleDict({"cell": nn.RNN(32, 32), "conv": nn.Conv1d(8, 8, 8)})
    with torch.no_grad():
        net["cell"].weight_hh_l0.copy_(of_pattern(P.circulant(32), (32, 32)) / 6)
        net["conv"].weight.copy_(of_pattern(P.kron(P.circulant(8), P.dense(8, 1)), (8, 8, 8)))
    before = copy.deepcopy(net)
    _, as_is = compress.follow(net)
    as_is["conv.weight"] = P.kron(P.circulant(8), P.dense(8, 1))
    report = compress.share(net, None, as_is=as_is)
    assert [line.left for line in report.lines] == ["", ""]
    x = drawn((5, 2, 32))
    assert torch.equal(net["cell"](x)[0], before["cell"](x)[0])
    assert torch.equal(net["conv"](drawn((2, 8, 9))), before["conv"](drawn((2, 8, 9))))
    compress.save(net, tmp_path / "m.safetensors")
    again = compress.open_shared(tmp_path / "m.safetensors", before)
    assert torch.equal(again["cell"](x)[0], net["cell"](x)[0])


def test_what_cannot_be_held_by_a_pattern_stays():
    net = nn.Sequential(
        nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(2, 2), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
    )
    net[4].to(torch.float8_e5m2)
    with torch.no_grad():
        net[0].weight.copy_(of_pattern(P.circulant(16), (16, 16)))
        net[1].weight.copy_(of_pattern(P.circulant(16), (16, 16)) + 1e-3 * drawn((16, 16)))
        net[2].weight.fill_(1)
    orders = reordered(P.single(2, 2), [1, 0], [0, 1])
    as_is = {"0.weight": P.circulant(16), "1.weight": P.circulant(16), "2.weight": orders}
    as_is |= {"3.weight": P.orbits([[1, 2, 3, 0]], [[1, 2, 3, 0]]), "4.weight": P.circulant(4)}
    report = compress.share(net, None, as_is=as_is, keep=["0"])
    assert [line.left.partition(" (")[0] for line in report.lines] == [
        "it was to be kept",
        "its elements are near the pattern and not equal",
        "",
        "a file cannot hold its pattern",
        "its elements are torch.float8_e5m2",
    ]
    tiny = nn.Linear(2, 2)
    with torch.no_grad():
        tiny.weight.copy_(torch.tensor([[1.0, 2.0], [2.0, 3.0]]))
    [line] = compress.share(tiny, None, as_is={"weight": reordered(P.symmetric(2), [0, 1], [0, 1])}).lines
    assert line.left == "its pattern would save nothing"
    [line] = compress.share(nn.Linear(2049, 2049), None, as_is={"weight": P.symmetric(2049)}).lines
    assert line.left == "it has 4,198,401 elements, and a file holds patterns of at most 4,194,304"


def test_a_pattern_of_another_size_is_refused():
    with pytest.raises(CompressError, match=r"circulant\(3\) makes a weight of 3 rows of 3 elements.*got .* \(2, 2\)"):
        PatternWeight(P.circulant(3), torch.zeros(3), (2, 2))


@pytest.fixture
def reordered_run(tmp_path):
    """The run of a net made by name, of which a weight is a Toeplitz matrix in another order."""
    iris = data.load("iris")
    net = nets.build("mlp", iris.in_shape, iris.n_outputs)
    run = cw.fit(net, iris, epochs=1, out=tmp_path / "run", progress=False)
    n_out, n_in = run.model.hidden2.weight.shape
    matrix = of_pattern(P.toeplitz(n_in, n_out), (n_out, n_in)) / n_in
    with torch.no_grad():
        run.model.hidden2.weight.copy_(matrix[RANDOM.permutation(n_out)][:, RANDOM.permutation(n_in)])
    cw.save(run.model, tmp_path / "run/weights.safetensors")
    return tmp_path / "run"


def test_a_run_is_shared_finetuned_read_and_refused_where_it_was_compressed(reordered_run, tmp_path, monkeypatch):
    report = share_run(reordered_run, tmp_path / "small", None, suggest=True, epochs=2)
    [line] = report.lines
    assert (line.name, line.left) == ("hidden2.weight", "")
    assert line.pattern.startswith("reordered(toeplitz(")
    small = Run.load(tmp_path / "small")
    assert isinstance(small.model.hidden2.shared, PatternWeight)
    iris = data.load("iris")
    assert score(small.model, iris) == pytest.approx(report.after)
    assert report.after["loss"] < report.before["loss"]
    with pytest.raises(CompressError, match="is compressed already"):
        share_run(tmp_path / "small", tmp_path / "smaller", None, suggest=True)

    monkeypatch.setattr("commonweight.train.run.LITTLE", 0)  # as if the net were large
    monkeypatch.setattr("commonweight.train.run.MOST_COMPRESSED", 1)
    assert Run.load(tmp_path / "small").model.hidden2.shared.pattern == small.model.hidden2.shared.pattern


# --- hostile files ---

GOOD = Patterned("w", (4, 4), str(reordered(P.circulant(4), [3, 1, 0, 2], range(4))), "t", ("r", "c"))
TENSORS = {"t": torch.arange(4.0), "r": torch.tensor([3, 1, 0, 2], dtype=torch.uint8), "c": torch.arange(4)}


def hostile(path, patterned, **tensors):
    tensors = TENSORS | tensors
    hashes = {name: content_of(tensor).sha256 for name, tensor in tensors.items()}
    save_file(tensors, path, {KEY: str(Manifest(hashes, (), (), patterned))})
    return path


def test_a_file_made_by_hand_loads(tmp_path):
    state = cw.load(hostile(tmp_path / "m.safetensors", (GOOD,)))
    assert state["w"].tolist() == [[2, 1, 0, 3], [1, 0, 3, 2], [3, 2, 1, 0], [0, 3, 2, 1]]
    assert list(state) == ["w"]


FORM = "expected the texts name, pattern and weights, a list of texts as arrays, and a shape of 2 to 8 sizes from 1 on"


@pytest.mark.parametrize(
    ("changes", "tensors", "says"),
    [
        ({"name": "t"}, {}, "makes 't' of others, and has that name for something else"),
        ({"weights": "absent"}, {}, "makes 'w' of 'absent', which the file does not store"),
        ({"weights": "r"}, {}, "makes 'w' of 'r', which another weight has too"),
        ({"shape": (4,)}, {}, FORM),
        ({"shape": (4, 0)}, {}, FORM),
        ({"pattern": 3}, {}, FORM),
        ({"arrays": ("r", 3)}, {}, FORM),
        ({"arrays": ("r",), "name": "c"}, {}, "makes 'c' of others"),
        ({"shape": (5, 4)}, {}, r"makes a matrix of 4 rows and 4 columns .* for a weight of shape \(5, 4\)"),
        ({"shape": (4, 2, 4)}, {}, r"for a weight of shape \(4, 2, 4\)"),
        ({"shape": (1 << 40, 1 << 40)}, {}, "its patterns would take 256 times its size in memory"),
        ({"pattern": "circulant(4)"}, {}, "is not the notation of a pattern, or that of other arrays"),
        ({"pattern": "exec(4)"}, {}, "Cannot read the pattern"),
        ({"pattern": "[" * 60000}, {}, "at most 64 brackets"),
        ({"pattern": f"symmetric({'9' * 5000})"}, {}, "a call, a number or a sign"),
        (
            {"pattern": "reordered(single(99999, 99999), <4 numbers, 0>, <4 numbers, 0>)"},
            {},
            "a number of at most 16 or a list",
        ),
        ({"pattern": "dense(<4 numbers, 0>, <4 numbers, 0>)"}, {"r": torch.arange(2000)}, "dense takes whole numbers"),
        ({}, {"r": torch.tensor([3, 1, 0, 1])}, "rows are 4 different numbers from 0 to 3"),
        ({}, {"r": torch.tensor([0, 1, 2, 3])}, "is not the notation of a pattern, or that of other arrays"),
        ({}, {"r": torch.arange(4.0)}, "The arrays of a pattern are whole numbers; got torch.float32"),
        ({}, {"r": torch.zeros(4, dtype=torch.bfloat16)}, "The arrays of a pattern are whole numbers"),
        ({}, {"t": torch.arange(5.0)}, r"weights of shape \(4,\); got torch.float32 of shape \(5,\)"),
        ({}, {"t": torch.arange(4)}, "columns of floating weights .* got torch.int64"),
        ({}, {"t": torch.zeros(4, dtype=torch.float8_e5m2)}, "columns of floating weights"),
    ],
)
def test_hostile_patterns(tmp_path, changes, tensors, says):
    path = hostile(tmp_path / "m.safetensors", (Patterned(**{**GOOD.__dict__, **changes}),), **tensors)
    for load in (lambda: cw.load(path), lambda: compress.open_shared(path, nn.ParameterDict({"w": torch.zeros(4, 4)}))):
        with pytest.raises(FileError, match=says) as caught:
            load()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 700


def test_hostile_lists_of_patterns(tmp_path):
    path, text = tmp_path / "m.safetensors", json.loads(str(Manifest({}, (), (), (GOOD,))))
    for wrong, says in (({"a": 1}, "needs a list under `patterns`"), ([3], FORM), ([{"name": "w"}], FORM)):
        fields = {**text, "patterns": wrong}
        del fields["sha256"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        signed = {**fields, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}
        save_file(TENSORS, path, {KEY: json.dumps(signed)})
        with pytest.raises(FileError, match=says):
            cw.load(path)


def test_patterns_that_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOM", 0)
    one = Patterned("w", (512, 512), "single(512, 512)", "one", ())
    path = hostile(tmp_path / "m.safetensors", (one,), one=torch.ones(1))
    with pytest.raises(FileError, match="its patterns would take 256 times its size in memory; distrust it"):
        cw.load(path)


def test_arrays_of_what_has_none():
    assert arrays_of(P.kron(P.circulant(3), P.block(P.dense(1, 2), P.symmetric(2)))) == []
