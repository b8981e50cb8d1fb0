"""Files that someone made to do harm are refused by one sentence; `fuzz_files.py` adds random damage."""

import json
import os
import re
import struct
from contextlib import suppress

import pytest
import torch
from checkpoint_files import parts, signed, write_safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from tied_models import linear, net
from torch import nn

from commonweight import files
from commonweight.equations import tie
from commonweight.errors import FileError
from commonweight.files import load, save

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def written(path, header, data=bytes(8), length=None):
    """A file with this header, as JSON or as bytes, by default with 8 bytes of values."""
    return write_safetensors(path, header, data, length)


def refused(path, says):
    """Refused both as a state dict and into a model, which stays as it was."""
    model = nn.Linear(2, 1)
    before = [value.clone() for value in model.state_dict().values()]
    for target in (None, model):
        with pytest.raises(FileError, match=says) as caught:
            load(path, target)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before, strict=True))


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_file_that_ends_before_its_header(tmp_path, length):
    (tmp_path / "m.safetensors").write_bytes(b"\xff" * length)
    refused(tmp_path / "m.safetensors", f"Cannot read .* has {length} bytes")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 1 << 40, 100_000_001, 100])
def test_a_header_longer_than_the_file_or_than_allowed(tmp_path, length):
    refused(written(tmp_path / "m.safetensors", {"a": F32}, length=length), f"header claims {length:,} bytes")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"", "header begins with"),
        (b"[]", "header begins with"),
        (b"{", "JSON is not valid"),
        (b'{"a": \xff}', "JSON is not valid"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a":' * 100_000, "JSON is not valid"),
        ({"a": []}, "'a' is described by"),
        ({"a": {**F32, "more": 1}}, "'a' is described by"),
        ({"a": {**F32, "dtype": "F128"}}, "has the type 'F128', which safetensors has not"),
        ({"a": {**F32, "dtype": ["F32"]}}, r"has the type \['F32'\]"),
        ({"a": {**F32, "dtype": "F64"}}, "needs 16"),
        ({"a": {**F32, "shape": [3]}}, "needs 12"),
        ({"a": {**F32, "shape": [-2]}}, r"has the shape \[-2\]"),
        ({"a": {**F32, "shape": [2.0]}}, r"has the shape \[2.0\]"),
        ({"a": {**F32, "shape": [True, 2]}}, r"has the shape \[True, 2\]"),
        ({"a": {**F32, "shape": "2"}}, "has the shape '2'"),
        ({"a": {**F32, "shape": [1] * 100}}, "expected at most 64"),
        ({"a": {**F32, "shape": [2**62, 4]}}, r"more than 2\^63 elements"),
        ({"a": {**F32, "shape": [2**64 + 2]}}, "has the shape"),
        ({"a": {**F32, "shape": [0, 2**62, 2**62]}}, r"more than 2\^63 elements"),
        ({"a": {**F32, "data_offsets": [8, 0]}}, "lies at bytes 8 to 0"),
        ({"a": {**F32, "data_offsets": [-8, 0]}}, r"lies at \[-8, 0\]"),
        ({"a": {**F32, "data_offsets": [0, 8, 16]}}, r"lies at \[0, 8, 16\]"),
        ({"a": {**F32, "data_offsets": [2**63, 2**63 + 8]}}, "lies at"),
        ({"a": {**F32, "data_offsets": [8, 16]}}, "leaves a hole"),
        ({"a": F32, "b": F32}, "overlaps"),
        ({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, "overlaps"),
        ({}, "its tensors end at byte"),
        ({"a": F32, "b": {**F32, "data_offsets": [8, 16]}}, "its tensors end at byte"),
        ({"a": F32, "__metadata__": []}, "metadata is no map from text to text"),
        ({"a": F32, "__metadata__": {"a": 1}}, "metadata is no map from text to text"),
    ],
)
def test_headers_that_break_the_format(tmp_path, header, says):
    refused(written(tmp_path / "m.safetensors", header), says)


def test_a_name_twice(tmp_path):
    """safetensors takes the last one; which is meant, nobody knows."""
    one = json.dumps(F32)
    other = json.dumps(F32 | {"dtype": "I32"})
    raw = f'{{"a": {one}, "a": {other}}}'.encode()
    refused(written(tmp_path / "m.safetensors", raw), "'a' is there twice")
    raw = f'{{"a": {one}, "__metadata__": {{}}, "__metadata__": {{"b": "a"}}}}'.encode()
    refused(written(tmp_path / "m.safetensors", raw), "'__metadata__' is there twice")


def test_a_name_twice_among_very_many(tmp_path):
    """Must not take time that grows with the square of their number."""
    names = ",".join(f'"{n}":0' for n in range(300_000))
    refused(written(tmp_path / "m.safetensors", f'{{{names},"299999":0}}'.encode()), "'299999' is there twice")


@pytest.mark.parametrize("place", ["shape", "dtype", "data_offsets", "entry"])
def test_lists_as_deep_as_python_goes(tmp_path, place):
    for depth in [*range(1, 1100, 97), *range(900, 1000)]:
        deep = "[" * depth + "]" * depth
        entry = deep if place == "entry" else json.dumps(F32 | {place: 0}).replace(": 0", f": {deep}")
        refused(written(tmp_path / "m.safetensors", f'{{"a": {entry}}}'.encode()), "Cannot read")


def test_an_escape_sequence_does_not_reach_the_terminal(tmp_path):
    refused(written(tmp_path / "m.safetensors", {"\x1b[2J\n": []}), r"'\\x1b\[2J\\n' is described by")


# --- manifests ---


def forge(path, change):
    """Change the manifest of a file: `change` gets its fields; it is signed anew."""
    header, values = parts(path.read_bytes())
    fields = json.loads(header["__metadata__"]["commonweight"])
    change(fields)
    header["__metadata__"]["commonweight"] = signed(fields)
    return written(path, header, values)


def forged(path, change):
    """A small file of ours, with a tie, and its manifest changed."""
    model = net(a=linear(2, 3, 0), b=linear(2, 3, 1), v=nn.Linear(1, 3))
    tie(model, "b.weight = a.weight", keep="source")
    save(model, path)
    return forge(path, change)


def ties_of(*triples):
    def change(fields):
        fields["ties"] = [{"alias": a, "source": s, "transform": t} for a, s, t in triples]

    return change


@pytest.mark.parametrize(
    ("triples", "says"),
    [
        ([("x", "y", ""), ("y", "x", "")], "ties 'x' to 'y', which the file does not store"),
        ([("x", "x", "")], "ties 'x' to 'x', which the file does not store"),
        ([("x", "a.weight", ""), ("y", "x", "")], "ties 'y' to 'x', which the file does not store"),
        ([("a.weight", "v.weight", "")], "ties 'a.weight', which the file also stores"),
        ([("x", "a.weight", ""), ("x", "v.weight", "")], "ties 'x' twice"),
        ([("x", "v.bias", ".T")], r"tie 'x = v.bias.T' does not fit torch.float32 of shape \(3,\)"),
        ([("x", "a.weight", ".flip(2)")], r"does not fit torch.float32 of shape \(2, 3\)"),
        ([("x", "a.weight", "[5]")], r"does not fit torch.float32 of shape \(2, 3\)"),
        ([("x", "a.weight", "[0, 0, 0]")], r"does not fit torch.float32 of shape \(2, 3\)"),
        ([("x", "a.weight", "[" + "9" * 18 + "]")], "does not fit"),
        ([("x", "a.weight", "__import__('os')")], "which is no transform"),
    ],
)
def test_forged_manifests(tmp_path, triples, says):
    refused(forged(tmp_path / "m.safetensors", ties_of(*triples)), says)


def test_a_cut_that_reaches_far_takes_what_is_there(tmp_path):
    state = load(forged(tmp_path / "m.safetensors", ties_of(("x", "a.weight", f"[{'9' * 18}:, ::{'9' * 18}]"))))
    assert state["x"].shape == (0, 1)


def test_a_minus_of_what_has_none(tmp_path):
    model = nn.Module()
    model.register_buffer("mask", torch.tensor([True, False]))
    save(model, tmp_path / "m.safetensors")
    refused(forge(tmp_path / "m.safetensors", ties_of(("x", "mask", "-"))), r"does not fit torch.bool of shape \(2,\)")


def test_wrong_hashes(tmp_path):
    def other_hash(fields):
        fields["tensors"]["a.weight"] = "0" * 64

    def more(fields):
        fields["tensors"]["more"] = "0" * 64

    def less(fields):
        del fields["tensors"]["v.bias"]

    says = "Cannot read .*: 'a.weight' is not what was saved: its SHA-256 is another one; take another copy"
    refused(forged(tmp_path / "m.safetensors", other_hash), says)
    refused(forged(tmp_path / "m.safetensors", more), "only the manifest has 'more'")
    refused(forged(tmp_path / "m.safetensors", less), "only the file has 'v.bias'")
    path = forged(tmp_path / "m.safetensors", lambda fields: None)
    load(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    refused(path, "is not what was saved")


def test_tensors_that_changed_places_or_types(tmp_path):
    """Each name, type and shape is covered, not only the bytes."""
    path = forged(tmp_path / "m.safetensors", lambda fields: None)
    raw = path.read_bytes()
    for old, new in ((b'"v.bias"', b'"v.bios"'), (b'"F32"', b'"I32"'), (b"[2, 3]", b"[3, 2]")):
        assert old in raw
        path.write_bytes(raw.replace(old, new, 1))
        refused(path, "is not what was saved|only the file has|only the manifest has")


def test_a_manifest_with_another_key(tmp_path):
    path = forged(tmp_path / "m.safetensors", lambda fields: None)
    path.write_bytes(path.read_bytes().replace(b'"commonweight"', b'"commonwejght"', 1))
    refused(path, "The manifest, or a part of it, stands under 'commonwejght'")


def test_ties_that_fill_the_memory(tmp_path, monkeypatch):
    """A small file with very many aliases that are copies of a tensor; views take no memory."""
    monkeypatch.setattr(files, "ROOM", 0)
    for transform, expand, fits in (
        (".flip(0)", False, False),
        ("-", False, False),
        ("", False, True),
        ("", True, False),
    ):
        path = tmp_path / "m.safetensors"
        forged(path, ties_of(*((f"x{n}", "a.weight", transform) for n in range(1000))))
        if fits:
            assert len(load(path, expand=expand)) == 1003
            continue
        with pytest.raises(FileError, match="its 1,000 ties would take 256 times its size in memory; distrust it"):
            load(path, expand=expand)


def test_metadata_of_others_in_a_circle(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, path, {"a": "b", "b": "a"})
    refused(path, "The metadata ties 'a' to 'b' and that to 'a'; expected one owner for each name")
    save_file({"a": torch.ones(2)}, path, {"x": "y", "y": "x", "z": "z"})
    assert load(path).keys() == {"a"}


# --- files that are none, or change ---


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "link.safetensors")
    for name in ("pipe", "folder", "link", "none"):
        refused(tmp_path / f"{name}.safetensors", "Cannot read|holds no weights")
    if os.path.exists("/dev/zero"):
        (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
        refused(tmp_path / "zero.safetensors", "Cannot read")


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(1000)}, path)

    def shrunk(path):
        checkpoint = open_checkpoint(path)
        os.truncate(path, 3000)
        return checkpoint

    open_checkpoint = files.open_checkpoint
    monkeypatch.setattr(files, "open_checkpoint", shrunk)
    with pytest.raises(FileError, match=re.escape("it became shorter while it was read; load it again")):
        load(path)


def test_more_memory_than_there_is(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(1000)}, path)

    def full(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(files.torch, "empty", full)
    with pytest.raises(FileError, match="'a' needs 4,000 bytes; free memory"):
        load(path)


def test_a_type_that_torch_has_not(tmp_path):
    path = written(
        tmp_path / "m.safetensors", {"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"\0" * 3
    )
    refused(path, "'a' has type F6_E2M3, which torch has not; convert it")


odd = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2**65)
    | st.floats()
    | st.sampled_from(["F32", "U8", "F4", "a", "b", ""])
)
trees = st.recursive(
    odd, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3)
)
sizes = st.lists(st.integers(0, 3) | st.sampled_from([2**32, 2**63]), max_size=3)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "F4", "F8_E4M3", "C64"]) | trees,
        "shape": sizes | trees,
        "data_offsets": st.lists(st.integers(0, 12), min_size=2, max_size=2) | trees,
    }
)
metadata = st.dictionaries(
    st.sampled_from(["a", "b", "c", "commonweight", "format"]), st.sampled_from(["a", "b", "pt", "{}"])
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), entries | trees), metadata | trees, st.binary(max_size=24))
def test_any_header(tmp_path_factory, tensors, texts, data):
    """Whatever JSON a header is, it is refused, or every byte behind it is some tensor's."""
    path = written(tmp_path_factory.mktemp("any") / "m.safetensors", {**tensors, "__metadata__": texts}, data)
    with suppress(FileError):
        state = load(path)
        owners = {value.untyped_storage().data_ptr(): value.nbytes for value in state.values() if value.numel()}
        assert sum(owners.values()) <= len(data)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "m.safetensors"
    for content in (data, struct.pack("<Q", max(len(data) - 8, 0)) + data, struct.pack("<Q", len(data)) + b"{" + data):
        path.write_bytes(content)
        with pytest.raises(FileError):
            load(path)
