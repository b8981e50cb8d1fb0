"""Compressing: bytes by hand, the answers of the weights written out, ties that survive, and what is refused."""

import copy
import hashlib
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import compress, data, nets, patterns
from commonweight.codebook import learn
from commonweight.compress import nearest
from commonweight.compress.sharing import packed_bytes
from commonweight.errors import CommonweightError, CompressError, FileError
from commonweight.kernels.flat import flat_words
from commonweight.manifest import KEY, Coded, Manifest
from commonweight.train.finetune import Best, finetune, score


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def mixed():
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 16, 32),
            nn.ReLU(),
            cw.Tied(patterns.dense(32, 40)),
            nn.Linear(40, 5),
        )
    ).eval()


def written_out(pattern, values):
    return pattern.tiemap().expand(values.double().flatten())


def test_bytes_by_hand():
    report = compress.share(mixed(), k=16, per="tensor")
    words = {  # 128 codes of 4 bits are 16 words of 4 bytes, and codes come in whole blocks of 16 words
        "0.weight": math.ceil(144 / 128) * 64 + 16 * 4,
        "4.weight": 4096 // 128 * 64 + 16 * 4,
        "6.weight": 1280 // 128 * 64 + 16 * 4,
        "7.weight": math.ceil(200 / 128) * 64 + 16 * 4,
    }
    assert {line.name: line.bytes_after for line in report.lines} == words
    assert report.rest == 4 * (8 + 4 * 8 + 32 + 40 + 5) + 8  # biases, the norm's four vectors, and its counter
    assert report.bytes_before == report.rest + 4 * (144 + 4096 + 1280 + 200)
    assert report.bytes_after == report.rest + sum(words.values())
    assert report.lines[1].bits == 8 * words["4.weight"] / 4096
    text = str(report)
    assert f"{report.bytes_after:,}" in text
    assert "4.weight" in text


@pytest.mark.parametrize("per", ["row", "tensor", 2, 3])
@pytest.mark.parametrize("k", [2, 4, 7, 16])
def test_the_nearest_codebooks_are_what_runs(per, k):
    """Output and gradients equal those of the net with dense weights that `learn` gives."""
    net, dense = mixed(), mixed()
    report = compress.share(net, k, per)
    shared = compress.shared_weights(net)
    for line in report.lines:
        layer = dense.get_submodule(line.name.removesuffix(".weight"))
        if line.left:
            assert line.name not in shared
            continue
        n_out = len(layer.weight)
        rows = {"row": 1, "tensor": n_out}.get(per, per)
        rows = math.ceil(n_out / math.ceil(n_out / rows))
        pattern, values = learn(layer.weight.detach(), k, rows)
        expected = written_out(pattern, values).float().view(layer.weight.shape)
        delta = layer.weight.detach() - expected
        assert line.error == pytest.approx(float(delta.norm() / layer.weight.detach().norm()), rel=1e-5)
        assert line.max_error == pytest.approx(float(delta.abs().max()), rel=1e-6)
        layer.weight.data = expected
        assert torch.equal(shared[line.name](), expected)
    x = seeded(lambda: torch.randn(6, 2, 4, 4))
    torch.testing.assert_close(net(x), dense(x), rtol=1e-5, atol=1e-6)
    net(x).square().sum().backward()
    dense(x).square().sum().backward()
    for name, weight in shared.items():
        grad = dense.get_parameter(name).grad.flatten(1)
        sums = torch.zeros_like(weight.values.detach(), dtype=torch.float64)
        for row, codes in enumerate(weight.codes().long()):
            sums[row // weight.rows].index_add_(0, codes, grad[row].double())
        torch.testing.assert_close(weight.values.grad.double(), sums, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("k", [2, 16, 256])
def test_a_codebook_for_very_many_elements_is_as_near_as_the_nearest(monkeypatch, k):
    weight = seeded(lambda: torch.randn(64, 300)) ** 3
    importance = seeded(lambda: torch.rand(64, 300), 1)
    for given in (None, importance):
        _, best = learn(weight, k, "tensor", given)
        monkeypatch.setattr(nearest, "LARGEST", 1 << 14)
        codes, values = nearest.nearest(weight, k, "tensor", given)
        monkeypatch.undo()
        costs = []
        for book in (best[0], values[0]):
            delta = weight.flatten()[:, None] - book
            costs.append(float((delta.square().amin(1) * (1 if given is None else given.flatten())).double().sum()))
        assert costs[0] * (1 - 1e-5) <= costs[1] <= costs[0] * 1.0001
        assert torch.equal((weight[..., None] - values[0]).abs().argmin(-1), codes.long())


def test_very_many_elements_of_few_values_stay_as_they_are(monkeypatch):
    table = torch.tensor([0.0, 1.0, 1.0 + 2**-23, 1e6])
    weight = table[torch.arange(64 * 300).view(64, 300) ** 2 % 61 % 4]
    monkeypatch.setattr(nearest, "LARGEST", 1 << 12)
    monkeypatch.setattr(nearest, "AT_ONCE", 1 << 12)
    for k in (4, 7):
        codes, values = nearest.nearest(weight, k, "tensor")
        assert torch.equal(values[0][codes.long()], weight)


def test_what_is_left_alone():
    net = mixed()
    before = copy.deepcopy(net.state_dict())
    report = compress.share(net, k=16, per="row", keep=["first", "7"])
    left = {line.name: line.left for line in report.lines if line.left}
    assert left == {
        "0.weight": "it was to be kept",
        "7.weight": "it was to be kept",
    }
    for name in ("0.weight", "7.weight", "0.bias", "1.weight", "1.running_mean", "1.num_batches_tracked", "4.bias"):
        assert torch.equal(net.state_dict()[name], before[name])
    small = compress.share(mixed(), k=16, per="row", keep=["6.weight", "last"])
    assert small.lines[0].left == "8 codebooks of 16 values for 144 elements would save nothing"
    assert "0.weight is left alone: 8 codebooks" in str(small)
    bad = nn.Linear(64, 8)
    bad.weight.data[0, 0] = torch.nan
    assert compress.share(bad, k=2).lines[0].left == "it has elements that are not finite"
    assert compress.share(nn.Linear(64, 8).to(torch.float8_e4m3fn), k=2).lines[0].left.startswith("its elements are")
    vector = cw.Tied(patterns.diagonal(5))
    assert compress.share(vector, k=2).lines[0].left == "it is a vector"


@pytest.mark.parametrize(("family", "shape"), [("mlp", (1, 8, 8)), ("cnn", (1, 8, 8)), ("lenet5", (1, 32, 32))])
def test_a_shared_net_has_the_connections_that_it_had(family, shape):
    """Fewer weights, each with more connections; where layers are counted one by one, too."""
    model, x = nets.build(family, shape, 10), torch.zeros(2, *shape)
    before = cw.count(model, x)
    compress.share(model, 4)
    after = cw.count(model, x)
    assert [layer.connections for layer in after.layers] == [layer.connections for layer in before.layers]
    assert after.weights == sum(weight.numel() for weight in model.parameters()) < before.weights / 5
    assert not after.notes


def test_a_tied_weight_is_shared_once_and_stays_tied(tmp_path):
    def make():
        net = nn.ModuleDict({"embed": nn.Embedding(50, 16), "head": nn.Linear(16, 50, bias=False)})
        net["back"] = nn.Linear(50, 16, bias=False)
        cw.tie(net, "head.weight = embed.weight", "back.weight = embed.weight.T", keep="source")
        return net

    net = seeded(make)
    dense = net["embed"].weight.detach().clone()
    report = compress.share(net, k=16, per="tensor")
    assert [line.name for line in report.lines] == ["head.weight"]
    assert (report.rest, report.bytes_before) == (0, 4 * 800)
    assert net["embed"].shared is net["head"].shared
    assert sum(p.numel() for p in net.parameters()) == 16
    cw.check(net)
    copied = copy.deepcopy(net)
    assert copied["embed"].shared is copied["head"].shared
    new = net["head"].weight
    assert not torch.equal(new, dense)
    assert torch.equal(net["back"].weight, new.T)
    assert torch.equal(net["embed"](torch.tensor([3])), new[3:4])
    torch.testing.assert_close(net["head"](torch.eye(16)), new.T)
    net["back"](torch.eye(50)).sum().backward()
    counts = torch.bincount(net["head"].shared.codes().flatten(), minlength=16)
    torch.testing.assert_close(net["head"].shared.values.grad, counts[None].float())

    compress.save(net, tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == {"embed.weight.codes", "embed.weight.codebooks"}
    state = cw.load(tmp_path / "m.safetensors")
    assert state["head.weight"] is state["embed.weight"]
    assert torch.equal(state["back.weight"], new.T)
    other = cw.load(tmp_path / "m.safetensors", seeded(make, 1))
    assert torch.equal(other["head"].weight, new)
    opened = compress.open_shared(tmp_path / "m.safetensors", seeded(make, 2))
    assert opened["embed"].shared is opened["head"].shared
    assert torch.equal(opened["back"].weight, new.T)


def test_ties_that_cannot_be_kept_are_told():
    class Reader(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.table = weight

    net = nn.ModuleDict({"a": nn.Linear(64, 64, bias=False)})
    net["b"] = Reader(net["a"].weight)
    assert compress.share(net, k=2).lines[0].left == "`b.table` uses it too, and cannot read it from codebooks"
    view = nn.ModuleDict({"a": nn.Linear(64, 64, bias=False)})
    view["a"].register_buffer("part", view["a"].weight.detach()[:2])
    assert compress.share(view, k=2).lines[0].left == "`a.part` lies in its memory"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("k", "per"), [(2, "row"), (3, 5), (8, "tensor"), (16, 4), (256, "tensor")])
def test_a_packed_file_gives_the_same_values_to_anyone(tmp_path, k, per, dtype):
    def make():
        return nn.Sequential(nn.Linear(150, 17), nn.Conv1d(30, 17, 5)).to(dtype)

    net = seeded(make)
    compress.share(net, k, per)
    path = tmp_path / "m.safetensors"
    compress.save(net, path)
    again = tmp_path / "again.safetensors"
    compress.save(copy.deepcopy(net), again)
    assert path.read_bytes() == again.read_bytes()
    state = cw.load(path)
    assert sorted(state) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    for at in (0, 1):
        assert torch.equal(state[f"{at}.weight"], net[at].weight)
        assert torch.equal(state[f"{at}.bias"], net[at].bias)
    filled = cw.load(path, seeded(make, 1))
    assert torch.equal(filled[0].weight, net[0].weight)
    assert isinstance(filled[0].weight, nn.Parameter)
    opened = compress.open_shared(path, seeded(make, 2))
    x = seeded(lambda: torch.randn(3, 150)).to(dtype)
    assert torch.equal(opened[0](x), net[0](x))
    stored = sum(tensor.nbytes for tensor in load_file(path).values())
    assert stored == compress.share(seeded(make), k, per).bytes_after
    cw.save(net, tmp_path / "own.safetensors")  # a compressed model is a model: its own state comes back, too
    other = seeded(make, 3)
    compress.share(other, k, per)
    assert torch.equal(cw.load(tmp_path / "own.safetensors", other)[1].weight, net[1].weight)


def test_words_of_a_file_are_those_of_the_format():
    """docs/manifest.md: codes row by row, lowest bits first, columns 16 apart in a word."""
    codes = torch.randint(0, 8, (3, 70), generator=torch.Generator().manual_seed(0))
    words = flat_words(codes, 3)[0].tolist()
    flat = codes.flatten().tolist()
    for block in range(len(words) // 16):
        for word in range(16):
            for place in range(10):
                at = 16 * (10 * block + place) + word
                assert words[16 * block + word] >> (3 * place) & 7 == (flat[at] if at < len(flat) else 0)
    assert 4 * len(words) == packed_bytes(210, 3)


def test_conv_layers_and_autocast():
    for conv, n in ((nn.Conv1d, 1), (nn.Conv2d, 2), (nn.Conv3d, 3)):
        net = seeded(lambda conv=conv: conv(4, 8, 3, stride=2, padding=1, groups=2))
        x = torch.randn(2, 4, *[6] * n, generator=torch.Generator().manual_seed(0))
        compress.share(net, k=4, per="tensor")
        expected = getattr(F, f"conv{n}d")(x, net.weight, net.bias, 2, 1, 1, 2)
        assert torch.equal(net(x), expected)
    linear = seeded(lambda: nn.Linear(64, 32))
    compress.share(linear, k=4)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.ones(2, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_linear_weights_too(tmp_path, kind):
    def make():
        return kind(24, 16, num_layers=2, bidirectional=True, batch_first=True)

    net, dense = seeded(make), seeded(make)
    report = compress.share(net, k=16, per="tensor")
    names = [name for name, _ in dense.named_parameters() if name.startswith("weight")]
    assert [line.name for line in report.lines] == names
    for name, weight in compress.shared_weights(net).items():
        assert len(weight().unique()) == 16
        dense.get_parameter(name).data = weight().detach()
    x = seeded(lambda: torch.randn(3, 5, 24))
    torch.testing.assert_close(net(x)[0], dense(x)[0])
    net(x)[0].square().sum().backward()
    dense(x)[0].square().sum().backward()
    for name, weight in compress.shared_weights(net).items():
        grad, codes = dense.get_parameter(name).grad.flatten(), weight.codes().flatten().long()
        torch.testing.assert_close(weight.values.grad[0], torch.zeros(16).index_add_(0, codes, grad))
    copied = copy.deepcopy(net).double()
    torch.testing.assert_close(copied(x.double())[0].float(), net(x)[0])
    compress.save(net, tmp_path / "m.safetensors")
    assert sorted(cw.load(tmp_path / "m.safetensors")) == sorted(dense.state_dict())
    opened = compress.open_shared(tmp_path / "m.safetensors", seeded(make, 1))
    assert set(compress.shared_weights(opened)) == set(names)
    assert torch.equal(opened(x)[0], net(x)[0])


def test_a_recurrent_cell_and_tied_recurrent_weights():
    net = nn.ModuleDict({"cell": nn.LSTMCell(24, 16), "one": nn.LSTM(24, 16), "two": nn.LSTM(24, 16)})
    cw.tie(net, "two.weight_ih_l0 = one.weight_ih_l0", keep="source")
    compress.share(net, k=4, per="tensor")
    assert net["two"].shared_ih_l0 is net["one"].shared_ih_l0
    cw.check(net)
    h, c = net["cell"](torch.ones(1, 24))
    gates = net["cell"].weight_ih.sum(1) + net["cell"].bias_ih + net["cell"].bias_hh
    i, _, g, o = gates.chunk(4)
    torch.testing.assert_close(c[0], i.sigmoid() * g.tanh())
    torch.testing.assert_close(h[0], o.sigmoid() * c[0].tanh())


def test_a_compressed_net_is_copied_moved_compiled_to_a_graph_and_counted():
    net = mixed()
    compress.share(net, k=16, per="tensor")
    x = seeded(lambda: torch.randn(2, 2, 4, 4))
    copied = copy.deepcopy(net)
    copied[4].shared.values.data.zero_()
    assert bool(net[4].weight.any())
    assert copied.double()[4].weight.dtype == torch.float64
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x), net(x))
    assert isinstance(net[0], nn.Conv2d)
    assert cw.count(mixed(), x[:1]).connections > 0


def test_importance_decides_which_elements_are_exact():
    net = nn.Linear(64, 8, bias=False)
    importance = torch.full((8, 64), 1e-9)
    importance[:, :2] = 1.0
    weight = net.weight.detach().clone()
    compress.share(net, 2, "row", importance={"weight": importance})
    torch.testing.assert_close(net.weight[:, :2], weight[:, :2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: compress.share_depth(nn.Sequential(), "a"), "one: a whole number of at least 2; got 'a'"),
        (lambda: compress.share_tensors(3, 4), "A state dict maps names to tensors; got int: 3"),
        (lambda: compress.share_tensors({"a": 3}, 4), "A state dict maps 'a' to a tensor; got int: 3"),
        (lambda: compress.save_tensors(3, {}, [], "a"), "save_tensors takes tensors by their names; got int: 3"),
        (lambda: compress.save_tensors({}, 3, [], "a"), "save_tensors takes compressed weights by .*; got int: 3"),
        (lambda: compress.share_file(3, "a", 4), "share_file takes the path of a file and that .*; got int: 3"),
        (lambda: compress.share_file("a", 3, 4), "share_file takes the path of a file and that .*; got int: 3"),
        (lambda: compress.open_shared(3, nn.Linear(1, 1)), "load takes the path of a file; got int: 3"),
        (lambda: compress.share(nn.Linear(64, 8), 4, importance={"weight": 3}), "of `weight` is a tensor; got int: 3"),
        (lambda: learn(torch.ones(2, 2), 1, importance=3), "importance of a weight's elements is a tensor; got int: 3"),
    ],
)
def test_the_wrong_kind_is_one_sentence(call, sentence):
    with pytest.raises(CommonweightError, match=sentence):
        call()


@pytest.mark.parametrize("largest", [1 << 20, 100])  # learned at once, and by a histogram
@pytest.mark.parametrize(
    "importance",
    [
        torch.ones(64),
        torch.ones(8, 63),
        torch.ones(8, 64).int(),
        torch.zeros(8, 64),
        torch.ones(8, 64) - 2 * torch.eye(8, 64),
        torch.where(torch.eye(8, 64) > 0, torch.nan, 1.0),
        torch.ones(8, 64) / 0,
    ],
)
def test_importance_that_is_none_is_refused_before_anything_changes(monkeypatch, largest, importance):
    monkeypatch.setattr(nearest, "LARGEST", largest)
    net = nn.Sequential(nn.Linear(64, 8), nn.Linear(64, 8))
    with pytest.raises(CompressError, match=r"importance of `1.weight` is .* \(8, 64\), finite, .* all 0; got torch"):
        compress.share(net, 2, "tensor", importance={"1.weight": importance})
    assert not compress.shared_weights(net)


def test_whole_numbers_of_numpy_are_those_of_python():
    one, other = mixed(), mixed()
    report = compress.share(one, np.int64(4), np.int64(2))
    assert json.dumps(report.to_json()) == json.dumps(compress.share(other, 4, 2).to_json())


@pytest.mark.parametrize(
    ("codes", "values"),
    [
        (torch.zeros(2, 3), torch.zeros(1, 2)),
        (torch.full((2, 4), 2), torch.zeros(1, 2)),
        (torch.zeros(2, 4), torch.zeros(2)),
    ],
)
def test_codes_that_do_not_fit_a_weight_are_refused(codes, values):
    with pytest.raises(CompressError, match=r"shape \(2, 2, 2\) has codes of shape \(2, 4\) and .* codes below k; got"):
        compress.SharedWeight(codes.long(), values, (2, 2, 2))


def test_shadows_pass_the_gradient_of_each_element():
    net = nn.Linear(64, 8, bias=False)
    weight = net.weight.detach().clone()
    compress.share(net, 2, shadows=True)
    assert torch.equal(net.shared.shadow, weight)
    x = seeded(lambda: torch.randn(5, 64))
    net(x).square().sum().backward()
    expected = net.weight.detach().requires_grad_()
    F.linear(x, expected).square().sum().backward()
    torch.testing.assert_close(net.shared.shadow.grad, expected.grad)
    with torch.no_grad():
        net.shared.shadow.copy_(weight.sign() * 3)
    net.shared.follow_shadow()
    assert torch.equal(net.weight, weight.sign() * 3)


@pytest.mark.parametrize(("k", "per"), [(1, "row"), (2, 3), (3, "row"), (16, "tensor"), (256, "tensor")])
def test_codebooks_follow_their_shadows_by_a_step_of_lloyd(k, per):
    net = seeded(lambda: nn.Linear(130, 8))
    compress.share(net, k, per, shadows=True)
    shared, shadow = net.shared, net.shared.shadow.detach()
    shadow += seeded(lambda: torch.randn(8, 130)) / 50
    values = shared.values.detach().clone()
    shared.follow_shadow()
    for group in range(len(values)):
        part = shadow[group * shared.rows : (group + 1) * shared.rows].flatten()
        codes = (part[:, None] - values[group]).abs().argmin(1)
        assert torch.equal(shared.codes()[group * shared.rows : (group + 1) * shared.rows].flatten().long(), codes)
        for code in range(k):
            expected = part[codes == code].mean() if bool((codes == code).any()) else values[group, code]
            torch.testing.assert_close(shared.values[group, code].detach(), expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"k": 0}, "A codebook has 1 to 256 values; got 0"),
        ({"k": 257}, "A codebook has 1 to 256 values; got 257"),
        ({"k": 2.0}, "A codebook has 1 to 256 values; got 2.0"),
        ({"k": 4, "per": "column"}, "per 'row', 'tensor', or per so many rows, from 1 on; got 'column'"),
        ({"k": 4, "per": 0}, "per so many rows, from 1 on; got 0"),
        ({"k": 4, "keep": 3}, r"a list of names, such as \['last'\]; got 3"),
        ({"k": 4, "keep": "last"}, r"a list of names, such as \['last'\]; got 'last'"),
        (
            {"k": 4, "keep": ["nothing"]},
            r"no weight 'nothing' to keep; there are 0.weight, 4.weight, 6.weight, 7.weight",
        ),
    ],
)
def test_what_cannot_be_asked_for(arguments, says):
    net = mixed()
    with pytest.raises(CompressError, match=says):
        compress.share(net, **arguments)
    assert not compress.shared_weights(net)
    with pytest.raises(CompressError, match=says.split(";")[0]):
        compress.share_tensors(net.state_dict(), **arguments)


def test_files_are_compressed_without_their_net(tmp_path):
    table = seeded(lambda: torch.randn(40, 32))
    state = {
        "a": table,
        "b": table,
        "half": table.half() * 2,
        "ids": torch.arange(99).view(3, 33),
        "norm": torch.ones(32),
    }
    torch.save(state, tmp_path / "m.pt")
    cw.save(seeded(mixed), tmp_path / "net.safetensors")
    report = compress.share_file(tmp_path / "m.pt", tmp_path / "packed.safetensors", 16, "tensor", ["half"])
    assert [(line.name, line.left) for line in report.lines] == [("a", ""), ("half", "it was to be kept")]
    assert report.bytes_before == 40 * 32 * 4 + 40 * 32 * 2 + 99 * 8 + 32 * 4
    loaded = cw.load(tmp_path / "packed.safetensors")
    assert loaded["a"] is loaded["b"]
    assert torch.equal(loaded["ids"], state["ids"])
    assert torch.equal(loaded["half"], state["half"])
    pattern, values = learn(table, 16, "tensor")
    assert torch.equal(loaded["a"].double(), written_out(pattern, values).view(40, 32))
    compress.share_file(tmp_path / "net.safetensors", tmp_path / "small.safetensors", 4, "tensor")
    filled = cw.load(tmp_path / "small.safetensors", mixed())
    assert len(filled[4].weight.unique()) == 4
    with pytest.raises(CompressError, match="does not say which of its tensors is the first one; keep it by its name"):
        compress.share_file(tmp_path / "m.pt", tmp_path / "x.safetensors", 16, keep=["first"])
    save_file({"0.weight": torch.ones(2, 2)}, tmp_path / "net.safetensors")
    index = {"weight_map": {"0.weight": "net.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileError, match="is folder; give a state dict in one file"):
        compress.share_file(tmp_path / "m.safetensors.index.json", tmp_path / "x.safetensors", 16)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_name_for_codes_that_is_taken(tmp_path):
    tensors = {"w": seeded(lambda: torch.randn(8, 64)), "w.codes": torch.ones(2)}
    report, shared = compress.share_tensors(tensors, 2, "tensor")
    compress.save_tensors(tensors, shared, (), tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == {"w.codes", "w.codes_", "w.codebooks"}
    assert set(cw.load(tmp_path / "m.safetensors")) == {"w", "w.codes"}
    assert not report.lines[0].left


def test_codebooks_of_a_weight_that_no_module_has(tmp_path):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.ones(8, 64))

    tensors = {"matrix": seeded(lambda: torch.randn(8, 64))}
    _, shared = compress.share_tensors(tensors, 2, "tensor")
    compress.save_tensors(tensors, shared, (), tmp_path / "m.safetensors")
    with pytest.raises(
        FileError, match="codebooks or a pattern for `matrix`, which is the `weight` of no module; load it written out"
    ):
        compress.open_shared(tmp_path / "m.safetensors", Bare())


GOOD = Coded("w", (4, 8), 2, "codes", "values")
WORDS, VALUES = torch.zeros(1, 16, dtype=torch.int32), torch.arange(4.0).view(1, 4)


def hostile(path, coded, **tensors):
    tensors = {"codes": WORDS, "values": VALUES, **tensors}
    from commonweight.checkpoints import content_of

    hashes = {name: content_of(tensor).sha256 for name, tensor in tensors.items()}
    save_file(tensors, path, {KEY: str(Manifest(hashes, (), coded))})
    return path


def test_a_file_made_by_hand_loads(tmp_path):
    state = cw.load(hostile(tmp_path / "m.safetensors", (GOOD,)))
    assert torch.equal(state["w"], torch.zeros(4, 8))


SHAPES = "expected the texts name, codes and values, a whole number of bits, and a shape of 2 to 8 sizes from 1 on"


@pytest.mark.parametrize(
    ("changes", "tensors", "says"),
    [
        ({"bits": 5}, {}, "Codes have 1, 2, 3, 4 or 8 bits; got 5"),
        ({"bits": 1}, {}, "with at most 2 values; got torch.float32 of shape"),
        ({"shape": (1 << 40, 1 << 6)}, {}, "are int32 of shape"),
        ({"shape": (1 << 47, 1 << 47)}, {}, "are int32 of shape"),
        ({"shape": (4, 0)}, {}, SHAPES),
        ({"shape": (4, -8)}, {}, SHAPES),
        ({"shape": (32,)}, {}, SHAPES),
        ({"shape": (4, True)}, {}, SHAPES),
        ({"bits": True}, {}, SHAPES),
        ({"bits": 2.0}, {}, SHAPES),
        ({"name": 3}, {}, SHAPES),
        ({"name": "codes"}, {}, "makes 'codes' of others, and has that name for something else"),
        ({"codes": "absent"}, {}, "makes 'w' of 'absent', which the file does not store"),
        ({"values": "codes"}, {}, "makes 'w' of 'codes', which another weight has too"),
        ({}, {"codes": torch.zeros(1, 32, dtype=torch.int32)}, r"int32 of shape \(1, 16\); got .* \(1, 32\)"),
        ({}, {"codes": torch.zeros(1, 16)}, "got torch.float32 of shape"),
        ({}, {"values": torch.zeros(3, 4)}, "serve equally many of them"),
        ({}, {"values": torch.zeros(5, 4)}, "serve equally many of them"),
        ({}, {"values": torch.zeros(0, 4)}, "serve equally many of them"),
        ({}, {"values": torch.zeros(1, 0)}, "serve equally many of them"),
        ({}, {"values": torch.zeros(4)}, "serve equally many of them"),
        ({}, {"values": torch.zeros(1, 4, dtype=torch.int32)}, "take floating codebooks"),
        ({}, {"values": torch.zeros(1, 4, dtype=torch.float8_e5m2)}, "take floating codebooks"),
        ({}, {"codes": WORDS | 3, "values": torch.zeros(1, 3)}, "codebook of 3 values has no value for code 3"),
    ],
)
def test_hostile_codebooks(tmp_path, changes, tensors, says):
    fields = {**GOOD.__dict__, **changes}
    path = hostile(tmp_path / "m.safetensors", (Coded(**fields),), **tensors)
    for target in (None, nn.Linear(8, 4)):
        with pytest.raises(FileError, match=says) as caught:
            cw.load(path, target)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 700


def test_hostile_manifests_of_codebooks(tmp_path):
    path = tmp_path / "m.safetensors"
    for coded, says in (
        ((GOOD, GOOD), "makes 'w' of 'codes', which another weight has too"),
        ((GOOD, Coded("w", (4, 8), 2, "c", "v")), "makes 'w' of others, and has that name for something else"),
    ):
        hostile(path, coded, c=WORDS.clone(), v=VALUES.clone())
        with pytest.raises(FileError, match=says):
            cw.load(path)
    text = json.loads(str(Manifest({}, (), (GOOD,))))
    for wrong, says in (({"a": 1}, "needs a list under `codebooks`"), ([3], SHAPES), ([{"name": "w"}], SHAPES)):
        fields = {**text, "codebooks": wrong}
        del fields["sha256"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        signed = {**fields, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}
        save_file({"codes": WORDS}, path, {KEY: json.dumps(signed)})
        with pytest.raises(FileError, match=says):
            cw.load(path)


def test_damage_to_codes_or_values_is_seen(tmp_path):
    path = tmp_path / "m.safetensors"
    net = seeded(lambda: nn.Linear(64, 8))
    compress.share(net, 16, "tensor")
    compress.save(net, path)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for at in range(start, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(FileError, match="is not what was saved: its SHA-256 is another one"):
            cw.load(path)
    path.write_bytes(whole)
    assert cw.audit(path).ok


def test_finetuning_keeps_what_does_best_on_the_validation_part():
    iris = data.load("iris")
    net = seeded(lambda: nets.build("mlp", iris.in_shape, iris.n_outputs))
    trained = cw.fit(net, iris, epochs=60, out=None, progress=False).model
    compress.share(trained, 16, "tensor", shadows=True)
    before = score(trained, iris, iris.validation)
    finetune(trained, iris, epochs=2, lr=5.0)  # ruins the net
    assert score(trained, iris, iris.validation) == pytest.approx(before)


def test_finetuning_looks_after_each_epoch_and_its_rate_falls_to_zero(monkeypatch):
    rates, looks = [], []
    step, look = torch.optim.Adam.step, Best.look
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda rule, *given: rates.append(rule.param_groups[0]["lr"]) or step(rule, *given)
    )
    monkeypatch.setattr(Best, "look", lambda best: looks.append(len(rates)) or look(best))
    iris = data.load("iris")
    net = nets.build("mlp", iris.in_shape, iris.n_outputs)
    compress.share(net, 4, "tensor")
    finetune(net, iris, epochs=3, lr=0.01)
    each = len(rates) // 3
    assert looks == [0, each, 2 * each, 3 * each]
    assert rates == pytest.approx([0.01 * (1 - step / len(rates)) for step in range(len(rates))])
