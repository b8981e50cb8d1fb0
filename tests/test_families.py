"""The table of tied keys for each architecture, compared with the transformers that is installed, read as text."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from commonweight.verdicts.families import FAMILIES, family
from commonweight.verdicts.intent import of_config, place

SPEC = importlib.util.find_spec("transformers")
pytestmark = pytest.mark.skipif(SPEC is None, reason="transformers is not installed: `pip install transformers`")
MODELS = Path(SPEC.origin).parent / "models" if SPEC and SPEC.origin else Path()
T5_LIKE = {"t5", "mt5", "umt5", "longt5"}  # true whatever the configuration says, by code


@pytest.fixture(scope="module")
def homes():
    """The configuration of each model type: its file."""
    found = {}
    for path in sorted(MODELS.glob("*/configuration_*.py")):
        for name in re.findall(r'^    model_type = "([^"]+)"', path.read_text(encoding="utf-8"), re.M):
            found[name] = path
    return found


def default_flag(path, model_type):
    """`tie_word_embeddings` of the class with this `model_type`."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and f'model_type = "{model_type}"' in ast.unparse(node).replace("'", '"'):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "tie_word_embeddings":
                    return ast.literal_eval(statement.value)
    return None


def tied_keys(folder):
    """All pairs of alias and source that `_tied_weights_keys` of an architecture has."""
    pairs = set()
    for path in folder.glob("modeling_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Assign) and "_tied_weights_keys" in ast.unparse(node.targets[0])):
                continue
            if isinstance(node.value, ast.Dict):
                pairs |= {(k.value, v.value) for k, v in zip(node.value.keys, node.value.values, strict=True)
                          if isinstance(k, ast.Constant)}  # fmt: skip
    return pairs


@pytest.mark.parametrize("line", FAMILIES, ids=lambda line: line.head[1])
def test_the_table_is_what_transformers_does(line, homes):
    for model_type in sorted(line.tied | line.untied):
        assert model_type in homes, f"{model_type} is no model type of transformers"
        keys = tied_keys(homes[model_type].parent)
        assert {line.head, *line.ties, *line.always} <= keys, f"{model_type} ties {keys}"
        if model_type not in T5_LIKE:
            assert default_flag(homes[model_type], model_type) is (model_type in line.tied), model_type


def test_other_heads_are_those_of_other_classes_or_of_files(homes):
    bart = family("bart")
    assert bart.other in tied_keys(homes["bart"].parent) & tied_keys(homes["marian"].parent)
    renamed = (MODELS.parent / "conversion_mapping.py").read_text(encoding="utf-8")
    assert re.search(r"source_patterns=r\"\^embed_out\\.\", target_patterns=\"lm_head\.\"", renamed)
    assert [line.other for line in FAMILIES if line.other] == [family("gpt_neox").other, bart.other]


def test_each_model_type_has_one_line():
    types = [name for line in FAMILIES for name in (*line.tied, *line.untied)]
    assert len(types) == len(set(types)) > 80
    assert family("gpt2").head == ("lm_head.weight", "transformer.wte.weight")
    assert family("no such type") is None
    assert family(None) is None


def test_names_with_other_beginnings_are_found():
    names = ["a.encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "shared.weight"]
    assert place("encoder.embed_tokens.weight", names) == "a.encoder.embed_tokens.weight"
    assert place("decoder.embed_tokens.weight", names[:1]) is None
    assert place("model.shared.weight", names) == "shared.weight"
    assert place("model.shared.weight", names, whole=True) is None
    assert place("lm_head.weight", ["a.weight"]) is None
    assert place("x.y.weight", ["a.y.weight", "b.y.weight"]) is None


@pytest.mark.parametrize(
    "config",
    [
        *({}, {"model_type": 3}, {"text_config": []}, {"tie_word_embeddings": "yes"}, {"architectures": [3]}),
        *({"model_type": ["gpt2"]}, {"text_config": {"model_type": {}}}, {"tie_word_embeddings": None}),
        {"model_type": "gpt2", "architectures": "GPT2"},
    ],
)
def test_strange_configurations_declare_nothing_wrong(config):
    assert of_config(config, {"a.weight": None}) == []
