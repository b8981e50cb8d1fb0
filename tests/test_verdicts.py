"""The audit: one verdict for each group, one code for each thing that goes wrong with ties.

Numbers of bugs in the wild are those of FACTS.md: repository#issue.
"""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from audited import EMBEDDING, GPT2, HEAD, TIE, codes, folder, gpt2, gpt2_tensors, values, verdicts
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file, save_model
from tied_models import linear, net
from torch import nn

import commonweight as cw
from commonweight.checkpoints import open_checkpoint
from commonweight.equations import turning
from commonweight.errors import FileError, TieError
from commonweight.notation import Equation
from commonweight.verdicts import Code, Verdict, audit
from commonweight.verdicts.grading import Grader


def message(found, code):
    (problem,) = [problem for problem in found.problems if problem.code == code]
    assert problem.remedy
    return problem.message


# A folder as Hugging Face lays it out


def test_a_tied_folder_that_stores_the_weight_once_is_clean(tmp_path):
    found = audit(folder(tmp_path / "gpt2", gpt2_tensors()))
    assert found.ok
    assert verdicts(found) == [("same storage", TIE)]
    assert found.groups[0].names == (EMBEDDING, HEAD)
    assert found.groups[0].file == "stored once"
    assert found.groups[0].intent == "tied: the default of gpt2"
    assert found.savings == 0
    assert found.bytes == sum(t.nbytes for t in gpt2_tensors().values())
    assert str(found).startswith("gpt2: 10 tensors, ")


def test_two_equal_copies_are_savings_and_no_problem(tmp_path):
    found = audit(folder(tmp_path, gpt2_tensors(lm_head__weight=gpt2_tensors()[EMBEDDING])))
    assert found.ok
    assert verdicts(found) == [("equal bits", TIE)]
    assert found.savings == gpt2_tensors()[EMBEDDING].nbytes
    assert "Stored once, what is equal would take 768 bytes less (26%)." in str(found)


@pytest.mark.parametrize("flag", [{}, {"tie_word_embeddings": True}])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_head_that_contradicts_the_configuration(tmp_path, flag, shards):
    """vllm#51665, #53020, transformers#42612, peft#2777: it is loaded over, and the model emits garbage."""
    head = gpt2_tensors()[EMBEDDING].clone()
    head[3, 5] += 0.75
    found = audit(folder(tmp_path, gpt2_tensors(lm_head__weight=head), GPT2 | flag, shards))
    assert not found.ok
    assert codes(found) == ["contradicted"]
    assert found.problems[0].names == (EMBEDDING, HEAD)
    (group,) = found.groups
    assert group.verdict is Verdict.DIVERGED
    assert group.difference == pytest.approx(0.75)
    said = message(found, "contradicted")
    by = "config.json (tie_word_embeddings: true)"
    by = by if flag else "the default of gpt2 (config.json has no tie_word_embeddings)"
    assert said.startswith(f"`{TIE}` is declared by {by}, but in {tmp_path.name} the two differ by up to 0.75. A load")
    assert 'set "tie_word_embeddings": false in config.json' in found.problems[0].remedy
    assert re.search(
        r"diverged +lm_head.* +tied: (config.json|the default of gpt2) +- +two, max \|Δ\| 0.75", str(found)
    )


def test_a_file_that_the_configuration_calls_untied(tmp_path):
    untied = GPT2 | {"tie_word_embeddings": False}
    found = audit(folder(tmp_path / "a", gpt2_tensors(lm_head__weight=values(24, 8)), untied))
    assert found.ok
    assert not found.groups
    found = audit(folder(tmp_path / "b", gpt2_tensors(), untied))
    assert codes(found) == ["head_missing"]
    assert "says that `lm_head.weight` has weights of its own, but b does not hold it" in found.problems[0].message
    assert verdicts(found) == [("missing", (EMBEDDING, HEAD))]


def test_the_default_depends_on_the_architecture(tmp_path):
    llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    tensors = {"model.embed_tokens.weight": values(9, 4), "model.norm.weight": values(4)}
    assert codes(audit(folder(tmp_path / "a", tensors, llama))) == ["head_missing"]
    assert audit(folder(tmp_path / "b", tensors, llama | {"tie_word_embeddings": True})).ok
    assert audit(folder(tmp_path / "c", tensors, llama | {"model_type": "gemma"})).ok
    headless = llama | {"architectures": ["LlamaModel"]}
    found = audit(folder(tmp_path / "d", {"embed_tokens.weight": values(9, 4), "norm.weight": values(4)}, headless))
    assert found.ok
    assert not found.groups


def test_the_language_model_inside_of_a_larger_one(tmp_path):
    """Older folders of the same model have `language_model` in front, and the flag inside."""
    stem = "language_model.model.embed_tokens.weight"
    tensors = {stem: values(9, 4), "language_model.lm_head.weight": values(9, 4, seed=1), "vision.weight": values(2, 2)}
    config = {"model_type": "llava", "text_config": {"model_type": "llama", "tie_word_embeddings": True}}
    found = audit(folder(tmp_path / "a", tensors, config))
    assert codes(found) == ["contradicted"]
    assert found.groups[0].tie == f"language_model.lm_head.weight = {stem}"
    inner = {"model_type": "unheard", "text_config": {"model_type": "gemma"}}
    found = audit(folder(tmp_path / "b", tensors, inner))
    assert codes(found) == ["contradicted"]
    assert found.groups[0].intent == "tied: the default of gemma"
    inner["text_config"]["tie_word_embeddings"] = False
    assert audit(folder(tmp_path / "c", tensors, inner)).ok


def test_an_architecture_that_is_not_in_the_table(tmp_path):
    tensors = {"model.embed_tokens.weight": values(9, 4), "lm_head.weight": values(9, 4, seed=1)}
    assert codes(audit(folder(tmp_path / "a", tensors, {"model_type": "new", "tie_word_embeddings": True}))) == [
        "contradicted"
    ]
    assert audit(folder(tmp_path / "b", tensors, {"model_type": "new"})).ok
    del tensors["lm_head.weight"]
    assert audit(folder(tmp_path / "c", tensors, {"model_type": "new", "tie_word_embeddings": True})).ok


def test_a_folder_that_holds_neither(tmp_path):
    tensors = gpt2_tensors()
    del tensors[EMBEDDING]
    found = audit(folder(tmp_path, tensors))
    assert codes(found) == ["tie_missing"]
    assert "neither is there" in message(found, "tie_missing")
    assert audit(folder(tmp_path / "b", tensors, GPT2 | {"architectures": ["GPT2Model"]})).ok


def test_an_encoder_and_a_decoder_share_their_embedding_always(tmp_path):
    config = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "tie_word_embeddings": False}
    tensors = {"shared.weight": values(9, 4), "lm_head.weight": values(9, 4, seed=1)}
    tensors |= {"encoder.norm.weight": values(4), "decoder.norm.weight": values(4, seed=1)}
    found = audit(folder(tmp_path / "a", tensors, config))
    assert found.ok
    (group,) = found.groups
    assert group.names == ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    assert group.tie == "encoder.embed_tokens.weight = shared.weight; decoder.embed_tokens.weight = shared.weight"
    tensors["decoder.embed_tokens.weight"] = values(9, 4, seed=2)
    assert codes(audit(folder(tmp_path / "b", tensors, config))) == ["contradicted"]


def test_parts_of_an_encoder_and_decoder(tmp_path):
    """An encoder alone, a decoder alone with a head, and a file that holds both aliases and not their owner."""
    bart = {"model_type": "bart"}
    encoder = {"shared.weight": values(9, 4), "encoder.norm.weight": values(4)}
    found = audit(folder(tmp_path / "a", encoder, bart | {"architectures": ["BartEncoder"]}))
    assert found.ok
    assert verdicts(found) == [("same storage", "encoder.embed_tokens.weight = shared.weight")]
    decoder = {"model.decoder.embed_tokens.weight": values(9, 4), "model.decoder.norm.weight": values(4)}
    found = audit(folder(tmp_path / "b", decoder, bart | {"architectures": ["BartForCausalLM"]}))
    assert found.ok
    assert verdicts(found) == [("same storage", "lm_head.weight = model.decoder.embed_tokens.weight")]
    both = {f"{part}.embed_tokens.weight": values(9, 4, seed=n) for n, part in enumerate(["encoder", "decoder"])}
    found = audit(folder(tmp_path / "c", both, bart | {"architectures": ["BartModel"]}))
    assert codes(found) == ["contradicted"]
    assert found.groups[0].tie == "decoder.embed_tokens.weight = encoder.embed_tokens.weight"


def test_a_head_under_its_older_name(tmp_path):
    config = {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]}
    tensors = {"gpt_neox.embed_in.weight": values(9, 4), "embed_out.weight": values(9, 4, seed=1)}
    assert audit(folder(tmp_path / "a", tensors, config)).ok
    assert codes(audit(folder(tmp_path / "b", tensors, config | {"tie_word_embeddings": True}))) == ["contradicted"]
    del tensors["embed_out.weight"]
    assert codes(audit(folder(tmp_path / "c", tensors, config))) == ["head_missing"]


def test_the_bias_of_a_masked_language_models_head(tmp_path):
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
    tensors = {
        "bert.embeddings.word_embeddings.weight": values(9, 4),
        "cls.predictions.bias": values(9),
        "cls.predictions.decoder.bias": values(9, seed=1),
    }
    found = audit(folder(tmp_path, tensors, config))
    assert codes(found) == ["contradicted"]
    assert [group.verdict for group in found.groups] == [Verdict.DIVERGED, Verdict.SAME_STORAGE]


# Grades of sameness


def graded(tmp_path, change):
    embedding = gpt2_tensors()[EMBEDDING]
    return audit(folder(tmp_path, gpt2_tensors(lm_head__weight=change(embedding).contiguous())))


def test_a_tie_that_holds_when_turned(tmp_path):
    found = graded(tmp_path, lambda w: -w.T.flip(1))
    assert codes(found) == ["transformed"]
    assert "it is `lm_head.weight = -transformer.wte.weight.T.flip(1)` that holds" in message(found, "transformed")
    assert found.groups[0].verdict is Verdict.TRANSFORMED
    assert found.savings == 24 * 8 * 4


def test_a_tie_whose_rows_are_in_another_order(tmp_path):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    found = graded(tmp_path, lambda w: w[order])
    assert codes(found) == ["permuted"]
    assert found.groups[0].verdict is Verdict.PERMUTED
    assert "the same rows in different orders" in message(found, "permuted")
    assert found.savings == 0


def test_a_vocabulary_that_was_padded_on_one_side(tmp_path):
    found = graded(tmp_path, lambda w: torch.cat([w, torch.zeros(8, 8)]))
    assert codes(found) == ["transformed"]
    assert "`transformer.wte.weight = lm_head.weight[0:24]` that holds" in message(found, "transformed")
    found = audit(tmp_path, headers_only=True)
    assert "they cannot be one: shapes (32, 8) and (24, 8)." in message(found, "contradicted")
    found = graded(tmp_path, lambda w: w[:20])
    assert "`lm_head.weight = transformer.wte.weight[0:20]` that holds" in message(found, "transformed")


def test_a_tie_that_rounding_broke(tmp_path):
    found = graded(tmp_path, lambda w: w.half())
    assert codes(found) == ["rounded"]
    assert found.groups[0].verdict is Verdict.CLOSE
    assert "differ by rounding, up to " in message(found, "rounded")


def test_a_small_change_of_coarse_numbers_is_no_rounding(tmp_path):
    """One large value must not make small differences look like rounding."""
    tensors = gpt2_tensors()
    tensors[EMBEDDING][0, 0] = 40.0
    tensors[EMBEDDING] = tensors[EMBEDDING].bfloat16()
    head = (tensors[EMBEDDING].float() * 1.002).bfloat16()
    assert codes(audit(folder(tmp_path / "a", tensors | {HEAD: head}))) == ["rounded"]
    head = tensors[EMBEDDING].clone()
    head[3, 3] += 0.25
    assert codes(audit(folder(tmp_path / "b", tensors | {HEAD: head}))) == ["contradicted"]
    head[3, 3] = float("inf")
    assert codes(audit(folder(tmp_path / "c", tensors | {HEAD: head}))) == ["contradicted", "not_finite"]


def test_equal_values_with_other_bits_are_no_problem(tmp_path):
    tensors = gpt2_tensors()
    tensors[EMBEDDING] = tensors[EMBEDDING].half()
    tensors[EMBEDDING][0, 0] = 0.0
    for name, head in (("wider", tensors[EMBEDDING].float()), ("minus", tensors[EMBEDDING].clone())):
        head[0, 0] = -0.0
        found = audit(folder(tmp_path / name, tensors | {HEAD: head}))
        assert found.ok
        assert (found.groups[0].verdict, found.groups[0].difference) == (Verdict.CLOSE, 0)


@pytest.mark.parametrize("shape", [(24, 9), (24,), (8, 24, 1)])
def test_shapes_that_cannot_be_one(tmp_path, shape):
    found = graded(tmp_path, lambda w: values(*shape))
    assert codes(found) == ["contradicted"]
    assert f"they cannot be one: shapes {shape} and (24, 8)" in message(found, "contradicted")


@given(data=st.data())
def test_blocks_tell_what_whole_tensors_tell(data):
    shape = data.draw(st.lists(st.integers(0, 5), min_size=0, max_size=4))
    one, two = values(*shape), values(*shape, seed=1)
    rows = one.numel() and len(shape) > 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turning, "BLOCK", data.draw(st.integers(1, 9)))
        delta = Grader().gap(one, two)
        still = Grader().still_rows(one, torch.where(one > 0, one, two)) if rows else []
        parts = [one[span] for span in turning.spans(shape)]
    assert delta == pytest.approx((one.double() - two.double()).abs().max().item() if one.numel() else 0.0)
    assert sum(part.numel() for part in parts) == one.numel()
    if rows:
        assert still == [row for row in range(shape[0]) if bool((one[row] > 0).all())]


@given(data=st.data())
def test_what_is_turned_is_found_in_blocks(data):
    shape = data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=3))
    dtype = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]))
    flips = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True))
    source = values(*shape).to(dtype)
    source.view(-1)[0] = 0.0
    alias = source.flip(flips)
    if len(shape) == 2 and data.draw(st.booleans()):
        alias = alias.T
    if data.draw(st.booleans()):
        alias = -alias
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turning, "BLOCK", data.draw(st.integers(1, 9)))
        found = turning.turned(source, alias)
        assert turning.sum_of_bits(source) == turning.sum_of_bits(alias)
        other = alias.clone()
        other[(-1,) * len(shape)] += 1
        assert turning.turned(source, other) is None
    assert torch.equal(Equation("", "", found).apply(source), alias)


def test_the_memory_of_what_was_looked_at_is_given_back(tmp_path):
    save_file({"a": values(40, 50), "b": values(40, 50, seed=1)}, tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    released = []

    def release():
        checkpoint.release()
        released.append(True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turning, "BLOCK", 100)
        delta = Grader(release).gap(checkpoint.read("a"), checkpoint.read("b"))
    assert len(released) >= 20
    assert delta == (values(40, 50).double() - values(40, 50, seed=1).double()).abs().max()
    assert torch.equal(checkpoint.read("a"), values(40, 50))


# What a file declares itself


def test_the_metadata_of_plain_safetensors(tmp_path):
    """safetensors#98, #202, #304, #493: save_model drops one of the names and says so in the metadata."""
    model = gpt2()
    with pytest.raises(RuntimeError, match="Some tensors share memory"):
        save_file(model.state_dict(), tmp_path / "a.safetensors")
    save_model(model, str(tmp_path / "a.safetensors"))
    found = audit(tmp_path / "a.safetensors")
    assert found.ok
    ((verdict, tie),) = verdicts(found)
    assert verdict == "same storage"
    assert set(tie.split(" = ")) == {HEAD, EMBEDDING}
    assert found.groups[0].intent == "tied: the metadata of the file"


def test_metadata_that_the_tensors_contradict(tmp_path):
    tensors = gpt2_tensors(lm_head__weight=values(24, 8, seed=7))
    save_file(tensors, tmp_path / "a.safetensors", {"format": "pt", HEAD: EMBEDDING})
    found = audit(tmp_path / "a.safetensors")
    assert codes(found) == ["contradicted"]
    assert message(found, "contradicted").startswith(f"`{TIE}` is declared by the metadata of the file, but")


def test_a_file_of_ours(tmp_path):
    """Its manifest declares the ties, transposed ones too, and says what every tensor was."""
    model = tied_net()
    path = tmp_path / "model.safetensors"
    cw.save(model, path)
    found = audit(path)
    assert found.ok
    assert verdicts(found) == [
        ("same storage", "head.weight = embed.weight"),
        ("same storage", "b.weight = a.weight.T"),
    ]
    assert {group.intent for group in found.groups} == {"tied: the manifest of the file"}
    assert audit(model, against=path).ok
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 64
    path.write_bytes(raw)
    found = audit(path)
    assert codes(found) == ["altered"]
    assert re.search(r"^`\w+\.weight` in model.safetensors is not what the manifest", message(found, "altered"))
    assert audit(path, headers_only=True).ok
    tensors, metadata = load_file(path), safe_open(path, "pt").metadata()
    save_file(tensors | {"new": values(2)}, path, metadata)
    assert "new" in audit(path, headers_only=True).problems[0].names


def test_a_damaged_manifest_cannot_be_read(tmp_path):
    save_file({"a": values(2)}, tmp_path / "a.safetensors", {"commonweight": "{"})
    with pytest.raises(FileError, match=r"^Cannot audit .*a\.safetensors\. The manifest cannot be read"):
        audit(tmp_path / "a.safetensors")


# What is equal though nobody declared it


def test_names_of_one_storage_in_a_file_of_torch(tmp_path):
    flat = values(24)
    state = {"a": flat[:12].view(3, 4), "b": flat[:12].view(3, 4), "t": flat[:12].view(3, 4).T, "c": flat[12:]}
    torch.save(state, tmp_path / "a.pt")
    for found in (audit(tmp_path / "a.pt"), audit(tmp_path / "a.pt", headers_only=True)):
        assert found.ok
        assert verdicts(found) == [("same storage", "b = a"), ("same storage", "t = a.T")]
    turned = {"encoder": state["a"], "decoder": state["t"]}
    assert verdicts(audit(turned)) == [("same storage", "decoder = encoder.T")]  # the first name owns
    found = audit(torch.load(tmp_path / "a.pt"))
    assert [verdict for verdict, _ in verdicts(found)] == ["same storage", "same storage"]


def test_equal_and_turned_tensors_in_a_file(tmp_path):
    """pytorch#108342, optimum#1326, coremltools#1832: what export duplicates, also transposed."""
    w, v = values(5, 3), values(4, 4, seed=1)
    tensors = {"a": w, "b": w.clone(), "c": w.clone(), "t": w.T.contiguous(), "v": v, "n": -v.flip(0, 1)}
    plain = {"bias1": torch.zeros(4), "bias2": torch.zeros(4), "one": torch.ones(1), "two": torch.ones(1)}
    save_file(tensors | plain, tmp_path / "a.safetensors")
    found = audit(tmp_path / "a.safetensors")
    assert found.ok
    assert verdicts(found) == [
        ("equal bits", "b = a; c = a"),
        ("equal up to a transform", "t = a.T"),
        ("equal up to a transform", "v = -n.flip(0, 1)"),
    ]
    assert found.groups[0].names == ("a", "b", "c")
    assert found.savings == 3 * 60 + 64
    assert audit(tmp_path / "a.safetensors", headers_only=True).groups == ()


def test_a_copy_is_found_by_its_onnx_initializers(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: `pip install onnx`")
    from onnx import helper, numpy_helper

    w = values(5, 3).numpy()
    held = [numpy_helper.from_array(a, name) for name, a in (("embed", w), ("onnx::MatMul_7", w.T.copy()))]
    graph = helper.make_graph([], "g", [], [], initializer=held)
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    assert verdicts(audit(tmp_path / "a.onnx")) == [("equal up to a transform", "onnx::MatMul_7 = embed.T")]


def test_an_lstm_on_one_flat_buffer_has_no_ties(tmp_path):
    """pytorch#185803: views at different places of one buffer, as cuDNN keeps them, in memory and in a file."""
    lstm = nn.LSTM(3, 4, num_layers=2)
    flat = values(sum(p.numel() for p in lstm.parameters()))
    start = 0
    for parameter in lstm.parameters():
        parameter.data = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    assert len({p.untyped_storage().data_ptr() for p in lstm.parameters()}) == 1
    torch.save(lstm.state_dict(), tmp_path / "lstm.pt")
    for found in (audit(lstm), audit(lstm.state_dict()), audit(tmp_path / "lstm.pt")):
        assert found.ok
        assert found.groups == ()
        assert found.bytes == 4 * start
    assert audit(lstm, against=tmp_path / "lstm.pt").ok


def test_nothing_is_found_by_addresses_of_what_died_or_has_no_memory():
    """Model-Optimizer#2092, pytorch#176225: recycled ids; every tensor on the meta device has pointer 0."""
    for _ in range(30):
        assert audit(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))).groups == ()
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    assert audit(model).ok
    assert audit(model).groups == ()
    assert audit(model.state_dict()).groups == ()


# A model


def tied_net():
    model = net(embed=nn.Embedding(5, 3), head=linear(5, 3, 1), a=linear(2, 3, 2), b=linear(3, 2, 3))
    cw.tie(model, "head.weight = embed.weight", "b.weight = a.weight.T", keep="source")
    return model


def test_ties_that_hold_in_a_model():
    model = tied_net()
    model.twin = model.a
    found = audit(model)
    assert found.ok
    assert verdicts(found) == [
        ("same object", "head.weight = embed.weight"),
        ("same object", "b.weight = a.weight.T"),
        ("same object", "twin = a"),
    ]
    assert [group.reality for group in found.groups] == ["one Parameter", "computed from its owner", "one module"]
    assert found.bytes == 4 * (15 + 6)
    assert found.savings == 0
    assert audit(model, headers_only=True).to_json() == found.to_json()


def test_a_shared_module_is_found():
    """accelerate#2984: detection by parameters alone names no module."""
    block = nn.Linear(3, 3)
    found = audit(net(first=block, second=block))
    assert verdicts(found) == [("same object", "second = first")]
    assert found.groups[0].bytes == 48


def test_a_replaced_head_is_a_problem_with_both_remedies():
    model = tied_net()
    model.head = linear(5, 3, 9)
    found = audit(model)
    assert codes(found) == ["contradicted"]
    assert message(found, "contradicted").startswith("`head.weight = embed.weight` is declared by cw.tie, but in Mod")
    assert 'cw.tie(model, "head.weight = embed.weight", keep="source")' in found.problems[0].remedy
    assert audit(model, headers_only=True).problems[0].code == "two_copies"
    del model["head"]
    assert codes(audit(model)) == ["tie_missing"]


def test_untied_on_purpose_is_no_problem():
    model = tied_net()
    cw.untie(model, "head.weight")
    assert audit(model).ok
    assert [tie for _, tie in verdicts(audit(model))] == ["b.weight = a.weight.T"]


def test_two_parameters_on_one_memory():
    """pytorch#185803, pytorch#40967: distinct Parameters on one storage, also `nn.Parameter(w.t())`."""
    model = net(a=linear(3, 2), b=linear(3, 2), t=linear(2, 3))
    model.b.weight = nn.Parameter(model.a.weight.data)
    model.t.weight = nn.Parameter(model.a.weight.t())
    found = audit(model)
    assert codes(found) == ["two_parameters", "two_parameters"]
    assert [group.tie for group in found.groups] == ["b.weight = a.weight; t.weight = a.weight.T"]
    assert 'cw.tie(model, "t.weight = a.weight.T", keep="source")' in found.problems[1].remedy
    assert found.bytes == found.bytes_if_tied == 24


class Transformers(nn.Module):
    """What transformers' models declare, without transformers."""

    def __init__(self, keys, tied=True, flag=True):
        super().__init__()
        self._tied_weights_keys = keys
        self.config = type("Config", (), {"tie_word_embeddings": flag})()
        self.body = gpt2(tied)

    def get_input_embeddings(self):
        return self.body.transformer["wte"]


AS_LIST = [r"lm_head\.weight"]
AS_MAPPING = {r"body.lm_head.weight": "body.transformer.wte.weight"}
KEYS_TIE = f"body.{HEAD} = body.{EMBEDDING}"


@pytest.mark.parametrize("keys", [AS_LIST, AS_MAPPING])
def test_keys_of_transformers(keys):
    found = audit(Transformers(keys))
    assert found.ok
    assert verdicts(found) == [("same object", KEYS_TIE)]
    assert found.groups[0].intent == "tied: _tied_weights_keys of Transformers"
    assert codes(audit(Transformers(keys, tied=False))) == ["contradicted"]
    untied = audit(Transformers(keys, tied=False, flag=False))
    assert untied.ok
    assert untied.groups == ()


def test_loading_with_assign_leaves_two_copies():
    """pytorch#188346."""
    model = Transformers(AS_MAPPING)
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert model.body.lm_head.weight is not model.body.transformer.wte.weight
    found = audit(model)
    assert codes(found) == ["two_parameters"]
    separate = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(separate, assign=True)
    found = audit(model)
    assert codes(found) == ["two_copies"]
    assert "two tensors with equal values, which training moves apart" in message(found, "two_copies")
    assert "model.tie_weights()" in found.problems[0].remedy
    assert verdicts(found) == [("equal bits", KEYS_TIE)]


def test_meta_construction_leaves_two_copies():
    """accelerate#3668: to_empty makes two Parameters of one; on meta they have no values to compare."""
    with torch.device("meta"):
        model = Transformers(AS_MAPPING)
        apart = Transformers(AS_MAPPING, tied=False)
    assert audit(model).ok
    found = audit(apart)
    assert codes(found) == ["two_copies"]
    assert "two tensors without values (on the meta device)" in message(found, "two_copies")
    assert verdicts(found) == [("never initialised", KEYS_TIE)]
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    assert set(codes(audit(model))) <= {"two_copies", "contradicted"}
    assert not audit(model).ok


def test_a_list_of_keys_names_biases_too():
    model = nn.Module()
    model._tied_weights_keys = [r"cls\.decoder\.bias"]
    model.cls = nn.Module()
    model.cls.bias = nn.Parameter(values(3))
    model.cls.decoder = linear(3, 2, bias=True)
    assert codes(audit(model)) == ["contradicted"]
    model.cls.decoder.bias = model.cls.bias
    assert verdicts(audit(model)) == [("same object", "cls.decoder.bias = cls.bias")]


# Never initialised


def test_values_that_nobody_wrote(tmp_path):
    mask = torch.full((3, 3), float("-inf")).triu(1)
    fine = {
        "w": values(3, 4),
        "bias": torch.zeros(4),
        "norm.weight": torch.ones(4),
        "mask": mask,
        "n": torch.ones(2, 2).int(),
    }
    save_file(fine | {"row": torch.zeros(1, 4)}, tmp_path / "fine.safetensors")
    assert audit(tmp_path / "fine.safetensors").ok
    bad = values(3, 4)
    bad[1, 2] = float("nan")
    wide = values(3, 4)
    wide[0, 0] = float("inf")
    odd = {"zeros": torch.zeros(3, 4), "twos": torch.full((2, 2), 2.0), "nans": bad, "wide": wide}
    save_file(fine | odd, tmp_path / "odd.safetensors")
    found = audit(tmp_path / "odd.safetensors")
    assert sorted(codes(found)) == ["never_initialised", "never_initialised", "not_finite", "not_finite"]
    assert {problem.names for problem in found.problems} == {("zeros",), ("twos",), ("nans",), ("wide",)}
    assert {group.verdict for group in found.groups} == {Verdict.NEVER_INITIALISED}
    assert all(group.tie is None for group in found.groups)
    assert "`zeros` is all zero in odd.safetensors" in str(found)
    more = audit(odd | {"more": torch.zeros(2, 2)})
    assert "`zeros`, `more` are all zero in the state dict: nobody wrote them" in str(more)
    assert audit(tmp_path / "odd.safetensors", headers_only=True).ok
    assert not audit(odd).ok


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.bfloat16, torch.float64, torch.complex64])
def test_infinity_in_every_type(dtype):
    wide = values(3, 4)
    wide[1, 1] = -float("inf")
    assert codes(audit({"w": wide.to(dtype)})) == ["not_finite"]
    mask = torch.zeros(3, 4).index_fill(0, torch.tensor([1]), -float("inf")).to(dtype)
    assert audit({"mask": mask}).ok is not dtype.is_complex


def test_buffers_of_a_model_may_be_constant():
    model = nn.BatchNorm2d(3)
    model.register_buffer("cache", torch.zeros(3, 3))
    assert audit(model).ok
    model.weight = nn.Parameter(torch.full((3,), float("nan")))
    assert codes(audit(model)) == ["not_finite"]


def test_a_part_that_was_left_on_meta():
    model = net(a=linear(2, 3), b=linear(3, 2))
    model.b.to("meta")
    found = audit(model)
    assert codes(found) == ["never_initialised"]
    assert "`b.weight` is on meta" in message(found, "never_initialised")


# Against what it should equal


def test_a_model_against_its_checkpoint(tmp_path):
    model = gpt2()
    path = folder(tmp_path, gpt2_tensors())
    found = audit(model, against=path)
    assert found.ok
    (group,) = found.groups
    assert (group.tie, group.reality, group.file) == (TIE, "one Parameter", "stored once")
    assert audit(path, against=model).ok
    with torch.no_grad():
        model.transformer.wpe.weight[0, 0] += 1
    found = audit(model, against=path)
    assert codes(found) == ["differs"]
    assert "1 of 10 tensors have other values" in message(found, "differs")
    assert "by up to 1 in `transformer.wpe.weight`" in message(found, "differs")


def test_a_model_that_is_tied_against_a_file_that_is_not(tmp_path):
    """vllm#51665: the file has two different weights, the model one place for both; the last one loaded wins."""
    save_file(gpt2_tensors(lm_head__weight=values(24, 8, seed=5)), tmp_path / "a.safetensors")
    found = audit(gpt2(), against=tmp_path / "a.safetensors")
    assert "contradicted" in codes(found)
    assert message(found, "contradicted").startswith(f"`{TIE}` holds in Gpt2 (one Parameter), but in a.safe")
    assert found.groups[0].verdict is Verdict.DIVERGED
    assert (found.groups[0].reality, found.groups[0].file[:11]) == ("one Parameter", "two, max |Δ")


def test_a_tied_file_against_a_model_that_is_not_tied(tmp_path):
    found = audit(gpt2(tied=False), against=folder(tmp_path, gpt2_tensors()))
    assert "contradicted" in codes(found)
    assert "in Gpt2 the two differ by up to" in message(found, "contradicted")


def test_what_both_sides_declare_is_said_once(tmp_path):
    model = tied_net()
    cw.save(model, tmp_path / "a.safetensors")
    found = audit(model, against=tmp_path / "a.safetensors")
    assert [group.intent for group in found.groups] == ["tied: cw.tie and the manifest of the file"] * 2
    del model["head"]
    found = audit(model, against=tmp_path / "a.safetensors")
    assert codes(found) == ["tie_missing"]
    assert "is declared by cw.tie and the manifest of the file, but in ModuleDict" in message(found, "tie_missing")


def test_names_and_shapes_that_do_not_fit(tmp_path):
    tensors = gpt2_tensors(other__weight=values(2), transformer__wpe__weight=values(7, 8))
    del tensors["transformer.ln_f.bias"]
    save_file(tensors, tmp_path / "a.safetensors")
    found = audit(gpt2(), against=tmp_path / "a.safetensors")
    assert codes(found) == ["absent", "extra", "shape"]
    assert "a.safetensors has `other.weight`; Gpt2 has not" in message(found, "absent")
    assert "Gpt2 has `transformer.ln_f.bias`" in message(found, "extra")
    assert "keep their first, random values" in message(found, "extra")
    assert "the first (6, 8) and (7, 8)" in message(found, "shape")


def test_what_a_model_never_saves_is_not_missed(tmp_path):
    model = gpt2()
    model._keys_to_ignore_on_save = [r"wpe\.weight$"]
    tensors = gpt2_tensors()
    del tensors["transformer.wpe.weight"]
    assert audit(model, against=folder(tmp_path, tensors)).ok


def test_a_file_against_another(tmp_path):
    save_file(gpt2_tensors(), tmp_path / "a.safetensors", {HEAD: EMBEDDING})
    torch.save(gpt2().state_dict(), tmp_path / "a.pt")
    found = audit(tmp_path / "a.safetensors", against=tmp_path / "a.pt")
    assert found.ok
    assert (found.groups[0].file, found.groups[0].against) == ("stored once", "one tensor, two names")
    assert "against" in str(found)
    half = {name: tensor.half() for name, tensor in gpt2_tensors().items()}
    save_file(half, tmp_path / "half.safetensors")
    assert set(codes(audit(tmp_path / "half.safetensors", against=tmp_path / "a.safetensors"))) == {"differs"}
    assert audit(tmp_path / "half.safetensors", against=tmp_path / "a.safetensors", headers_only=True).ok


# Since what it was trained from


def test_what_did_not_move(tmp_path):
    start = gpt2_tensors()
    save_file(start, tmp_path / "start.safetensors", {HEAD: EMBEDDING})
    trained = {name: tensor + 0.01 for name, tensor in start.items()}
    save_file(trained, tmp_path / "a.safetensors", {HEAD: EMBEDDING})
    assert audit(tmp_path / "a.safetensors", before=tmp_path / "start.safetensors").ok
    trained["transformer.wpe.weight"] = start["transformer.wpe.weight"]
    found = audit(trained, before=tmp_path / "start.safetensors")
    assert codes(found) == ["untouched"]
    assert "1 of 10 tensors did not move since start.safetensors: `transformer.wpe.weight`." in str(found)


def test_the_rows_of_a_process_that_never_updated_them(tmp_path):
    """pytorch#176076: the last rank's part of a tied weight keeps its first values."""
    start = gpt2_tensors()
    trained = {name: tensor + 0.01 for name, tensor in start.items()}
    trained[EMBEDDING][18:] = start[EMBEDDING][18:]
    trained["transformer.wpe.weight"][3:] = start["transformer.wpe.weight"][3:]
    before, after = folder(tmp_path / "a", start), folder(tmp_path / "b", trained)
    found = audit(after, before=before)
    assert codes(found) == ["untouched_rows"]
    assert "6 of 24 rows of the tied `transformer.wte.weight`" in message(found, "untouched_rows")
    assert "(rows 18 to 23)" in message(found, "untouched_rows")


def test_a_merge_that_parted_what_was_tied(tmp_path):
    """peft#2777: an adapter on the head is merged into the head alone."""
    save_file(gpt2_tensors(), tmp_path / "base.safetensors", {HEAD: EMBEDDING})
    merged = gpt2_tensors()
    save_file(merged | {HEAD: merged[EMBEDDING] + 0.5}, tmp_path / "merged.safetensors")
    assert audit(tmp_path / "merged.safetensors").ok
    found = audit(tmp_path / "merged.safetensors", before=tmp_path / "base.safetensors")
    assert codes(found) == ["contradicted"]


# What it costs, and what it says


def test_headers_alone_answer_for_a_file_of_any_size_without_torch(tmp_path):
    path = tmp_path / "large.safetensors"
    side = 200_000
    spans = {EMBEDDING: [0, 4 * side * side], HEAD: [4 * side * side, 8 * side * side]}
    header = {name: {"dtype": "F32", "shape": [side, side], "data_offsets": span} for name, span in spans.items()}
    text = json.dumps({"__metadata__": {HEAD: EMBEDDING}} | header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 8 * side * side)
    found = audit(path, headers_only=True)
    assert found.ok
    assert verdicts(found) == [("not compared", TIE)]
    assert found.bytes == 8 * side * side
    program = (
        "import sys; from commonweight.verdicts import audit; found = audit(sys.argv[1], headers_only=True); "
        "print(found); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False, capture_output=True).returncode == 0


def test_the_json_is_what_is_documented(tmp_path):
    found = audit(folder(tmp_path, gpt2_tensors(lm_head__weight=values(24, 8, seed=3))))
    told = found.to_json()
    assert set(told) == {"version", "ok", "groups", "problems", "bytes", "bytes_if_tied"}
    assert told["version"] == 1
    assert told["ok"] is False
    assert {key for group in told["groups"] for key in group} == {"verdict", "names", "tie", "max_difference", "bytes"}
    assert {key for problem in told["problems"] for key in problem} == {"code", "names", "message", "remedy"}
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_difference_that_is_not_finite_is_null_in_json(tmp_path):
    head = gpt2_tensors()[EMBEDDING].clone()
    head[0, 0] = float("nan")
    found = audit(folder(tmp_path, gpt2_tensors(lm_head__weight=head)))
    assert found.groups[0].difference == float("inf")
    assert found.to_json()["groups"][0]["max_difference"] is None


def test_long_lists_are_shortened_in_the_report():
    mask = torch.ones(4, 4).tril()
    state = {f"h.{n}.attn.mask": mask.clone() for n in range(12)} | {f"{a}.w": values(3) for a in "abcde"}
    text = str(audit(state))
    assert "h.*.attn.mask (12)" in text
    assert "a.w, b.w, c.w, ... (5 in all)" in text
    long = "/".join(["branch"] * 12)
    text = str(audit({f"{long}/a": values(3), f"{long}/b": values(3)}))
    assert "branch/branch/branch/br…h/branch/branch/branch/b = branch/branch/branch/br…h/branch/branch/branch/a" in text


def test_names_out_of_a_file_cannot_write_to_the_terminal():
    state = {"a\x1b[31m\nok: 1": values(3, 4), "b\x9b": values(3, 4), "c\x07": torch.zeros(3, 4)}
    text = str(audit(state))
    assert text.replace("\n", "").isprintable()
    assert "a\\x1b[31m\\nok: 1" in text
    assert "c\\x07" in text


def test_a_configuration_beside_a_file_is_mentioned(tmp_path):
    path = folder(tmp_path, gpt2_tensors(), shards=1) / "model.safetensors"
    found = audit(path)
    assert str(found).endswith(
        "Note: config.json lies beside it and was not read; audit the folder to see whether they agree."
    )
    assert audit(tmp_path).notes == ()


FLOATS = ["float64", "float32", "float16", "bfloat16", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"]
INTEGERS = ["int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool"]


@pytest.mark.parametrize("name", FLOATS + INTEGERS)
def test_every_type_is_graded(name, tmp_path):
    source, other = (
        (values(4, 6, seed=seed) * 3).to(torch.int8 if name in INTEGERS else torch.float32) for seed in (0, 1)
    )
    first, second = (tensor.abs().to(getattr(torch, name)) for tensor in (source, other))
    state = {"a": first, "b": first.T.contiguous(), "c": second, "d": first.clone()}
    torch.save(state, tmp_path / "a.pt")
    for found in (audit(tmp_path / "a.pt"), audit(state)):
        assert found.ok
        assert verdicts(found)[0] == ("equal bits", "d = a")
    found = audit(state | {"a": second, "c": first}, against=state)
    assert codes(found) == ["differs"]
    assert found.problems[0].names == ("a", "c")
    state = Grader().grade(Equation("c", "a"), second, first)
    assert (state.verdict, state.holds) == (Verdict.DIVERGED, False)
    wide = torch.complex128 if first.is_complex() else torch.float64
    assert state.difference == (first.to(wide) - second.to(wide)).abs().max()


def test_what_cannot_be_audited():
    with pytest.raises(TieError, match="What could be tied is told by values, which headers_only does not read"):
        audit({"a": values(2)}, suggest=True, headers_only=True)
    with pytest.raises(TieError, match=r"takes a model, a state dict or the path of a checkpoint; got int"):
        audit(3)
    with pytest.raises(TieError, match=r"this one has none, but 'epoch', 'model'"):
        audit({"epoch": 3, "model": {}})
    with pytest.raises(FileError, match="does not exist"):
        audit("nowhere.safetensors")


@pytest.mark.parametrize("word", [*Code, *Verdict])
def test_every_word_is_documented(word):
    assert f"`{word}`" in (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
