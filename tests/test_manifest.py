"""The manifest comes back as it was written, and is read with suspicion."""

import hashlib
import json
import re

import pytest
from checkpoint_files import signed
from hypothesis import given
from hypothesis import strategies as st

from commonweight import manifest as m
from commonweight.errors import FileError
from commonweight.manifest import KEY, Manifest, declared, find, parse
from commonweight.notation import Equation, parse_one

ONE, TWO = "1" * 64, "2" * 64
EXAMPLE = Manifest({"a.w": ONE, "b": TWO}, (parse_one("c = -a.w.T.flip(0)[1:3, 0]"), parse_one("d = b")))


def forged(**changes):
    """The example with other fields, signed; a field that is None is left out."""
    return signed({name: value for name, value in (json.loads(str(EXAMPLE)) | changes).items() if value is not None})


def tie(alias="x", source="b", transform="", **more):
    return {"alias": alias, "source": source, "transform": transform, **more}


names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
transforms = st.sampled_from(["", "-", ".T", "-.T", ".flip(0)", "-.T.flip(0, -1)", "[1:2, :, 0]", "[::2].T"])


@st.composite
def manifests(draw):
    tensors = draw(st.dictionaries(names, st.sampled_from([ONE, TWO]), min_size=1, max_size=4))
    aliases = draw(st.lists(names.filter(lambda name: name not in tensors), max_size=4, unique=True))
    sources = st.sampled_from(sorted(tensors))
    equations = [Equation(alias, draw(sources), m.parse_transforms(draw(transforms))) for alias in aliases]
    return Manifest(tensors, tuple(equations))


@given(manifests())
def test_comes_back_as_it_was_written(manifest):
    assert parse(str(manifest)) == manifest
    assert declared({KEY: str(manifest), "format": "pt"}, list(manifest.tensors)) == list(manifest.ties)
    assert str(manifest).isascii()


def test_the_text_is_as_documented():
    fields = json.loads(str(EXAMPLE))
    stated = fields.pop("sha256")
    assert fields == {
        "version": 1,
        "tensors": {"a.w": ONE, "b": TWO},
        "ties": [tie("c", "a.w", "-.T.flip(0)[1:3, 0]"), tie("d", "b", "")],
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert stated == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read: Expecting value"),
        ("[" * 100_000, "cannot be read: maximum recursion"),
        ('{"version":1,"version":1}', "cannot be read: the key 'version' is there twice"),
        ('{"version":' + "9" * 5000 + "}", "cannot be read: Exceeds the limit"),
        ("[]", "has version None and this program reads version 1: update commonweight"),
        (forged(version=2), "has version 2 and this program reads version 1"),
        (forged(version=True), "has version True"),
        (forged(version=1.0), r"has version 1\.0"),
        (forged(version="1"), "has version '1'"),
        (forged(more=1), r"has the fields \['more', 'sha256', 'tensors', 'ties', 'version'\]; expected sha256"),
        (forged(ties=None), r"has the fields \['sha256', 'tensors', 'version'\]"),
        (forged(tensors=[]), "needs an object under `tensors`"),
        (forged(ties={}), "a list under `ties`"),
        (forged(tensors={"b": ONE.upper() + "X"}), "gives 'b' the SHA-256 '1{64}X'; expected 64 hex digits"),
        (forged(tensors={"b": 1}), "gives 'b' the SHA-256 1; expected 64 hex digits"),
        (forged(ties=["c = b"]), "has the tie 'c = b'; expected the texts alias, source and transform"),
        (forged(ties=[tie(sha256=ONE)]), "expected the texts alias, source and transform"),
        (forged(ties=[tie(transform=None)]), "expected the texts alias, source and transform"),
        (str(EXAMPLE).replace("a.w", "a.v"), "does not have the SHA-256 that it states"),
        (forged(ties=[tie(), tie()]), "ties 'x' twice"),
        (forged(ties=[tie("b", "a.w")]), "ties 'b', which the file also stores"),
        (forged(ties=[tie("x", "x")]), "ties 'x' to 'x', which the file does not store"),
        (forged(ties=[tie("x", "y"), tie("y", "x")]), "ties 'x' to 'y', which the file does not store"),
        (forged(ties=[tie("x", "b"), tie("y", "x")]), "ties 'y' to 'x', which the file does not store"),
        (forged(ties=[tie(transform=".t")]), r"ties 'x' by '\.t', which is no transform"),
        (forged(ties=[tie(transform="\x1b[2J")]), r"ties 'x' by '\\x1b\[2J', which is no transform"),
        (forged(ties=[tie(transform=".T" * 501)]), "by a transform of 1,002 characters; expected at most 1,000"),
    ],
)
def test_what_cannot_be_is_refused(text, says):
    with pytest.raises(FileError, match=f"The manifest .*{says}") as caught:
        parse(text)
    assert len(str(caught.value)) < 400


def test_a_manifest_that_is_too_long(monkeypatch):
    monkeypatch.setattr(m, "LONGEST", 10)
    with pytest.raises(FileError, match="has 11 characters; expected at most 10"):
        parse(" " * 11)


@given(st.data())
def test_any_change_of_a_character_is_refused(data):
    text = str(EXAMPLE)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters().filter(lambda c: c != text[at])) + text[at + 1 :]
    with pytest.raises(FileError, match="The manifest"):
        parse(changed)


def test_a_manifest_under_another_key_is_damage():
    assert find({"format": "pt"}) is None
    assert find({KEY: str(EXAMPLE)}) == EXAMPLE
    for metadata in ({"commonwejght": str(EXAMPLE)}, {"format": "p" + str(EXAMPLE)[80:]}, {str(EXAMPLE)[:80]: ""}):
        with pytest.raises(FileError, match=r"a part of it, stands under .*, not 'commonweight': it is damaged"):
            find(metadata)


def test_the_manifest_must_fit_the_names():
    metadata = {KEY: str(EXAMPLE)}
    with pytest.raises(FileError, match=re.escape("ties 'd' to 'b', which the file does not store")):
        declared(metadata, ["a.w"])
    with pytest.raises(FileError, match="ties 'c', which the file also stores"):
        declared(metadata, ["a.w", "b", "c"])


def test_metadata_of_others():
    """As safetensors.torch.save_model, Hugging Face and Keras Hub have it: keras-hub#3075 shows this header."""
    metadata = {
        "format": "pt",
        "model.encoder.embed_tokens.weight": "model.decoder.embed_tokens.weight",
        "model.shared.weight": "model.decoder.embed_tokens.weight",
        "license": "mit",
        "elsewhere": "model.no.weight",
    }
    names = ["model.decoder.embed_tokens.weight", "pt"]
    assert [str(equation) for equation in declared(metadata, names)] == [
        "model.encoder.embed_tokens.weight = model.decoder.embed_tokens.weight",
        "model.shared.weight = model.decoder.embed_tokens.weight",
    ]
    assert declared({"a": "a"}, ["a"]) == []
    assert declared({}, ["a"]) == []
    assert declared({"a": "b"}, ["a", "b"]) == [parse_one("a = b")]  # both stored: for others to compare
    assert declared({"a": "b", "b": "a"}, ["b"]) == [parse_one("a = b")]
    with pytest.raises(FileError, match="The metadata ties 'a' to 'b' and that to 'a'; expected one owner"):
        declared({"a": "b", "b": "a"}, ["a", "b"])


def test_a_manifest_speaks_alone():
    assert declared({KEY: str(EXAMPLE), "e": "b"}, ["a.w", "b"]) == list(EXAMPLE.ties)
