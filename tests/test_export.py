"""ONNX files: each weight once, computed ties as nodes, and outputs that onnxruntime gives as well.

pytorch#108342, optimum#1326: exporters write a tied weight twice, and its transpose as a second one.
"""

import importlib.util
import re

import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from onnxscript import optimizer
from test_tied import PATTERNS
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from commonweight import export, nets
from commonweight.equations import share_layers, tie, untie
from commonweight.errors import FileError
from commonweight.export import to_onnx
from commonweight.tied import Tied


class Language(nn.Module):
    """A head that is the embedding, and a decoder that is the encoder's transpose, flipped and negated."""

    def __init__(self, *ties):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.encoder = nn.Linear(6, 5)
        self.decoder = nn.Linear(5, 6)
        self.head = nn.Linear(6, 11, bias=False)
        if ties:
            tie(self, *ties, keep="source")

    def forward(self, words):
        return self.head(self.decoder(torch.tanh(self.encoder(self.embed(words)))))


WORDS = torch.tensor([[1, 2, 3], [10, 0, 4]])


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def initializers(path):
    """The float tensors of the file as the onnx library reads them, constants in nodes among them."""
    graph = onnx.load(path).graph
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found[node.output[0]] = numpy_helper.to_array(attribute.t)
    return {name: torch.tensor(values) for name, values in found.items() if values.dtype.kind == "f"}


def each_once(path, model):
    """The file holds the Parameters of a model under their names, and no other float tensor of more than one value."""
    expected = {name: value.detach() for name, value in model.named_parameters()}
    held = {name: value for name, value in initializers(path).items() if name in expected or value.numel() > 1}
    assert held.keys() == expected.keys()
    for name, value in held.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch, about itself
def test_plain_torch_writes_a_tied_weight_twice(tmp_path):
    model = Language().eval()
    model.head.weight = model.embed.weight
    torch.onnx.export(model, (WORDS,), tmp_path / "plain.onnx", dynamo=True, verbose=False, external_data=False)
    shapes = sorted(tuple(value.shape) for value in initializers(tmp_path / "plain.onnx").values())
    assert (11, 6) in shapes
    assert (6, 11) in shapes


@pytest.mark.parametrize(
    "ties",
    [
        ("head.weight = embed.weight",),
        ("head.weight = embed.weight", "decoder.weight = encoder.weight.T"),
        ("decoder.weight = -encoder.weight.T.flip(0)",),
        ("decoder.weight = encoder.weight.T", "encoder.bias = embed.weight[3, 0:5]", "decoder.bias = -embed.weight[2]"),
    ],
)
def test_each_weight_is_one_initializer(tmp_path, ties):
    model = Language(*ties)
    written = to_onnx(model, WORDS, tmp_path / "model.onnx")
    each_once(tmp_path / "model.onnx", model)
    assert [str(equation) for equation in written.ties] == list(ties)
    assert written.difference <= 1e-5
    assert written.n_bytes == (tmp_path / "model.onnx").stat().st_size
    assert str(written).startswith(f"{tmp_path / 'model.onnx'}: {written.n_bytes:,} bytes, onnxruntime agrees to ")
    assert model.training
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_without_ties_all_weights_keep_their_names(tmp_path):
    model = Language()
    to_onnx(model, (WORDS,), tmp_path / "model.onnx")
    each_once(tmp_path / "model.onnx", model)


def test_ties_of_plain_torch_are_found(tmp_path):
    """One Parameter twice, a transposed view of one storage, and equal values that nobody tied."""
    model = Language()
    model.head.weight = model.embed.weight
    model.decoder.weight = nn.Parameter(model.encoder.weight.detach().T)
    written = to_onnx(model, WORDS, tmp_path / "model.onnx")
    assert {str(equation) for equation in written.ties} == {
        "head.weight = embed.weight",
        "decoder.weight = encoder.weight.T",
    }
    held = initializers(tmp_path / "model.onnx")
    assert {name for name, value in held.items() if value.ndim == 2} == {"embed.weight", "encoder.weight"}
    model = Language()
    with torch.no_grad():
        model.decoder.weight.copy_(-model.encoder.weight.T)
    to_onnx(model, WORDS, tmp_path / "equal.onnx")
    assert "decoder.weight" not in initializers(tmp_path / "equal.onnx")
    assert isinstance(model.decoder.weight, nn.Parameter)


def test_what_was_untied_stays_apart(tmp_path):
    model = Language("head.weight = embed.weight")
    untie(model, "head.weight")
    to_onnx(model, WORDS, tmp_path / "model.onnx")
    assert {"head.weight", "embed.weight"} <= initializers(tmp_path / "model.onnx").keys()


def test_shared_layers_are_stored_once(tmp_path):
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(4)))
    share_layers(model, every=2)
    to_onnx(model, torch.randn(2, 4), tmp_path / "model.onnx")
    each_once(tmp_path / "model.onnx", model)


def test_buffers_that_are_equal_are_stored_once(tmp_path):
    class Position(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("wave", torch.linspace(0, 1, 40).sin())

        def forward(self, x):
            return x * self.wave

    model = nn.Sequential(Position(), nn.Linear(40, 40), Position())
    to_onnx(model, torch.randn(2, 40), tmp_path / "model.onnx")
    assert (
        sum(value.shape == (40,) and name != "1.bias" for name, value in initializers(tmp_path / "model.onnx").items())
        == 1
    )


def test_an_lstm_keeps_its_views(tmp_path):
    model = nn.LSTM(3, 4, batch_first=True)
    to_onnx(model, torch.randn(2, 5, 3), tmp_path / "model.onnx")
    held = initializers(tmp_path / "model.onnx")
    assert all(torch.equal(held[name], value) for name, value in model.named_parameters())


def test_a_batch_of_any_size(tmp_path):
    model = Language("head.weight = embed.weight").eval()
    to_onnx(model, WORDS, tmp_path / "model.onnx", dynamic_shapes=({0: torch.export.Dim("batch")},))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    more = torch.cat([WORDS, WORDS, WORDS])
    (answer,) = session.run(None, {session.get_inputs()[0].name: more.numpy()})
    torch.testing.assert_close(torch.from_numpy(answer), model(more).detach())


NOT_EXPORTED = ("som", "twin")  # they look for missing values, or take distances that ONNX does not have
LARGE = ("resnet50", "resnet152")  # of the same blocks as resnet18
OURS = [
    e.name for e in nets.entries() if not e.factory.startswith("comparators") and e.name not in NOT_EXPORTED + LARGE
]


@pytest.mark.parametrize("name", OURS)
def test_our_nets(tmp_path, name):
    natural = nets.natural_shape(name)
    shape = (1, 12) if len(natural) == 2 else natural  # a series of few steps, which are written out one by one
    model = nets.build(name, shape, 10)
    model(torch.randn(2, *shape)).sum().backward()
    to_onnx(model, torch.randn(2, *shape), tmp_path / "model.onnx")
    held = initializers(tmp_path / "model.onnx")
    normalised = any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
    for key, weight in model.named_parameters():
        if weight.grad is not None and not normalised:  # a decoder has no part in the answer
            assert torch.equal(held[key], weight.detach()), key


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_our_nets_that_onnx_cannot_hold_say_so(tmp_path, name):
    shape = nets.natural_shape(name)
    with pytest.raises(FileError, match=r"torch cannot export .* to ONNX"):
        to_onnx(nets.build(name, shape, 10).eval(), torch.randn(2, *shape), tmp_path / "model.onnx")


def test_a_language_model_as_transformers_ties_it(tmp_path):
    """optimum#1326: the head of an exported GPT-2 is its embedding once more."""
    sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**sizes, use_cache=False, bos_token_id=None, eos_token_id=None))
    written = to_onnx(model, WORDS, tmp_path / "model.onnx")
    assert [str(equation) for equation in written.ties] == ["lm_head.weight = transformer.wte.weight"]
    held = initializers(tmp_path / "model.onnx")
    assert torch.equal(held["transformer.wte.weight"], model.lm_head.weight.detach())
    assert sum(sorted(value.shape) == [32, 50] for value in held.values()) == 1


@pytest.mark.parametrize("way", PATTERNS)
def test_operators_of_tied_layers(tmp_path, way):
    """The free weights are in the file, and nothing that was spread out of them."""
    layer = Tied(PATTERNS[way])
    to_onnx(layer, torch.randn(2, *layer.pattern.in_shape), tmp_path / "model.onnx")
    each_once(tmp_path / "model.onnx", layer)


# --- what is refused ---


def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(
        export, "find_spec", lambda name: None if name == "onnxscript" else importlib.util.find_spec(name)
    )
    with pytest.raises(
        FileError, match=re.escape("ONNX files need onnxscript: say pip install 'commonweight[export]'.")
    ):
        to_onnx(Language(), WORDS, tmp_path / "model.onnx")


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"The name of an ONNX file ends in .onnx; got .*model.pt"):
        to_onnx(Language(), WORDS, tmp_path / "model.pt")


def test_bfloat16_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"onnxruntime takes no bfloat16 from Python.* say model.float\(\)"):
        to_onnx(Language().bfloat16(), WORDS, tmp_path / "model.onnx")


def test_a_model_for_which_one_file_is_too_small_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGEST", 100)
    with pytest.raises(FileError, match=r"The model has 812 bytes; one ONNX file holds at most 100: export its parts"):
        to_onnx(Language(), WORDS, tmp_path / "model.onnx")


def test_what_torch_cannot_export_is_one_sentence(tmp_path):
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(FileError, match=r"torch cannot export Branching to ONNX \(.*\); replace what it names"):
        to_onnx(Branching(), torch.ones(3), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_outputs_in_lists_and_dictionaries(tmp_path):
    class Several(nn.Linear):
        def forward(self, x):
            return {"y": super().forward(x), "more": [x.sum(1), (2 * x,)]}

    assert to_onnx(Several(3, 3), torch.ones(2, 3), tmp_path / "model.onnx").difference <= 1e-5


def test_an_answer_that_differs_is_refused(tmp_path, monkeypatch):
    def spoil(graph):
        weight = graph.initializers["encoder.weight"]
        weight.const_value = onnx_ir.tensor(weight.const_value.numpy() * 1.01)

    spoiled(monkeypatch, spoil)
    with pytest.raises(
        FileError, match=r"onnxruntime computes something else than the model, by 0\.0\d+ of the largest"
    ):
        to_onnx(Language(), WORDS, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_second_copy_is_found_in_the_file_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_optimise", lambda model, weights: optimizer.optimize(model))
    with pytest.raises(FileError, match=r"The file would hold `embed.weight` a second time, as `\S+`: nothing was"):
        to_onnx(Language("head.weight = embed.weight"), WORDS, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def spoiled(monkeypatch, spoil):
    optimise = export._optimise

    def careless(model, weights):
        optimise(model, weights)
        spoil(model.graph)

    monkeypatch.setattr(export, "_optimise", careless)


def test_a_graph_with_other_outputs_is_refused(tmp_path, monkeypatch):
    spoiled(monkeypatch, lambda graph: graph.outputs.append(graph.outputs[0]))
    with pytest.raises(FileError, match=r"The ONNX graph gives 2 tensors, the model 1: let it give tensors only"):
        to_onnx(Language(), WORDS, tmp_path / "model.onnx")


def test_a_graph_that_does_not_run_is_refused(tmp_path, monkeypatch):
    spoiled(monkeypatch, lambda graph: setattr(next(iter(graph)), "op_type", "Nonsense"))
    with pytest.raises(
        FileError, match=r"onnxruntime cannot run the graph that torch exported \(.*Nonsense.*\): nothing"
    ):
        to_onnx(Language(), WORDS, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_both_names_of_a_parameter_become_one_initializer():
    """torch 2.13 exports one of the names; others, pytorch#108342, exported both."""
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    a, b = (onnx_ir.val(f"{name}.weight", onnx_ir.DataType.FLOAT, [2, 2]) for name in "ab")
    node = onnx_ir.node("Add", [a, b])
    graph = onnx_ir.Graph([], node.outputs, nodes=[node], initializers=[a, b])
    export._merge_names(graph, model)
    assert list(graph.initializers) == ["a.weight"]
    assert list(node.inputs) == [a, a]


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        (3, torch.zeros(1, 2), "to_onnx writes a model, a torch.nn.Module; got int: 3"),
        (nn.Linear(2, 2), 3, "The sample is a tensor, or a tuple of tensors; got a int"),
        (nn.Linear(2, 2), (torch.zeros(1, 2), "a"), "The sample is a tensor, or a tuple of tensors; got a tuple"),
        (nn.Linear(2, 2), (), r"The model fails on the sample, nothing \(TypeError: .*\); give inputs that it takes"),
        (nn.Linear(2, 2), torch.zeros(1, 9), r"The model fails on the sample, \(1, 9\) \(RuntimeError: .*1x9 and 2x2"),
        (nn.Linear(2, 2), torch.full((1, 2), torch.nan), "outputs for the sample are not all finite"),
        (nn.Linear(2, 2), torch.zeros(1, 2, device="meta"), "tensors without values, which are lazy or on the meta"),
        (nn.Linear(2, 2, device="meta"), torch.zeros(1, 2), "tensors without values, which are lazy or on the meta"),
        (nn.LazyLinear(2), torch.zeros(1, 2), "tensors without values, which are lazy or on the meta device"),
    ],
)
def test_a_sample_that_the_model_cannot_take_is_refused(tmp_path, model, inputs, sentence):
    with pytest.raises(FileError, match=sentence):
        to_onnx(model, inputs, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_goes_to_a_path():
    with pytest.raises(FileError, match="to_onnx writes a file to a path; got int: 3"):
        to_onnx(nn.Linear(2, 2), torch.zeros(1, 2), 3)


def test_a_scripted_model_is_refused(tmp_path):
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(FileError, match=r"compiled by torch\.jit: export the model that it was made from"):
        to_onnx(scripted, torch.zeros(1, 2), tmp_path / "model.onnx")
