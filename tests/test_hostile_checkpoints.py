"""Checkpoints that are damaged or made to harm: each ends in one FileError that says why, before memory is taken."""

import contextlib
import os
import random

import pytest
import torch
from checkpoint_files import (
    entry,
    proto,
    refused,
    tensor_proto,
    varint,
    write_folder,
    write_onnx,
    write_safetensors,
)
from safetensors.torch import save_file
from torch import nn

from commonweight.checkpoints import (
    bounded,
    content,
    contents,
    folder,
    onnx_initializers,
    open_checkpoint,
    safetensors_header,
    wire,
)
from commonweight.errors import FileError

# Files


def test_what_is_no_file_is_refused(tmp_path):
    refused(tmp_path / "none.safetensors", "does not exist; check the path")
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", "not a regular file")
    refused(tmp_path / ("n" * 300 + ".onnx"), "File name too long; check the path and its rights")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    for raw in (b"", b"hello", b"PK\5\6"):
        (tmp_path / "file").write_bytes(raw)
        refused(tmp_path / "file", "begins like no checkpoint; give a file of safetensors, PyTorch or ONNX")


def test_a_pickle_of_old_pytorch_is_refused_with_the_remedy(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pth", "a pickle as PyTorch wrote them before 1.6.*torch.load.*and torch.save it again")


def test_a_file_that_shrinks_is_refused(tmp_path):
    with (
        bounded.opened(write_safetensors(tmp_path / "a", {})) as (file, size),
        pytest.raises(FileError, match="ends 7 b"),
    ):
        bounded.bytes_at(file, 0, size + 7, tmp_path / "a")


# JSON


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b'{"a": {"dtype": "F32"}, "a": 1}', "the key 'a' is there twice"),
        (b'{"a": {"dtype": "F32", "dtype": "F32"}}', "the key 'dtype' is there twice"),
        (b'{"a": ', "JSON is not valid"),
        (b'{"a": \xff}', "JSON is not valid"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON is not valid"),
        (b'{"a":' * 50_000, "JSON is not valid"),
        (b'{"a":' + b"[" * 100_000, "JSON is not valid"),
        (b"[]", r"begins with b'\['"),
        (b' {"a": 1}', "begins with b' '"),
    ],
)
def test_json_is_read_strictly(tmp_path, text, sentence):
    refused(write_safetensors(tmp_path / "a.safetensors", text), sentence)


def test_json_has_limits(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    refused(tmp_path, "JSON is a list, expected an object")
    monkeypatch.setattr(bounded, "_MAX_JSON_ITEMS", 3)
    refused(write_safetensors(tmp_path / "a.safetensors", {"a": [1, 2, 3]}), "more than 3 items")
    monkeypatch.setattr(bounded, "MAX_JSON", 1)
    refused(tmp_path, "it has 2 bytes, at most 1 are read")


# safetensors


@pytest.mark.parametrize(
    ("header", "data", "sentence"),
    [
        (
            {"a": entry(0, 4), "b": entry(0, 4)},
            bytes(8),
            "'b' overlaps the tensor before it: it begins at byte .*, not",
        ),
        ({"a": entry(0, 4), "b": entry(2, 6)}, bytes(6), "'b' overlaps"),
        ({"a": entry(0, 4), "b": entry(5, 9)}, bytes(9), "'b' leaves a hole before it"),
        ({"a": entry(4, 8)}, bytes(8), "'a' leaves a hole"),
        ({"a": entry(0, 4)}, bytes(3), "tensors end at byte .*, the file has"),
        ({"a": entry(0, 4)}, bytes(5), "tensors end at byte .*, the file has"),
        ({"a": entry(0, 4, (2,))}, bytes(4), r"'a' lies at bytes 0 to 4, its shape \(2,\) of F32 needs 8"),
        ({"a": entry(4, 0)}, bytes(4), "lies at bytes 4 to 0"),
        ({"a": entry(0, 4, (2**40, 2**40))}, bytes(4), r"more than 2\^63 elements"),
        ({"a": entry(0, 0, (0, 2**62, 2))}, b"", r"more than 2\^63 elements"),
        ({"a": entry(0, 4, (2**63,))}, bytes(4), "expected at most 64 whole numbers"),
        ({"a": entry(0, 4, (1,) * 65)}, bytes(4), "expected at most 64 whole numbers"),
        ({"a": entry(0, 4, (-1,))}, bytes(4), "expected at most 64 whole numbers"),
        ({"a": entry(0, 4, (1.0,))}, bytes(4), "expected at most 64 whole numbers"),
        ({"a": entry(0, 4, (True,))}, bytes(4), "expected at most 64 whole numbers"),
        ({"a": {**entry(0, 4), "shape": "1"}}, bytes(4), "'a' has the shape '1', expected a list"),
        ({"a": {**entry(0, 4), "shape": 1}}, bytes(4), "'a' has the shape 1, expected a list"),
        ({"a": entry(0, 4, dtype="F31")}, bytes(4), "has the type 'F31', which safetensors has not"),
        ({"a": entry(0, 4, dtype=["F32"])}, bytes(4), "which safetensors has not"),
        ({"a": {**entry(0, 4), "data_offsets": [0]}}, bytes(4), r"lies at \[0\], expected two whole numbers"),
        ({"a": {**entry(0, 4), "data_offsets": [0.0, 4.0]}}, bytes(4), "expected two whole numbers"),
        ({"a": {**entry(0, 4), "more": 1}}, bytes(4), "expected dtype, shape and data_offsets"),
        ({"a": 1}, b"", "expected dtype, shape and data_offsets"),
        ({"__metadata__": {"a": 1}}, b"", "metadata is no map from text to text"),
        ({"__metadata__": []}, b"", "metadata is no map"),
        ({"n" * 10**6: entry(0, 4)}, bytes(3), "tensors end"),
        ({"n" * 10**6: entry(0, 5)}, bytes(5), "lies at"),
    ],
)
def test_a_safetensors_header_is_read_strictly(tmp_path, header, data, sentence):
    refused(write_safetensors(tmp_path / "a.safetensors", header, data), sentence)


def test_a_safetensors_header_has_limits(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"\0" * 7)
    refused(path, "it has 7 bytes, a safetensors file has 8 and a header")
    for length in (3, 2**63, 2**64 - 1):
        refused(write_safetensors(path, {}, length=length), f"header claims {length:,} bytes, the file has 10")
    refused(write_safetensors(path, {}, length=0), "header begins with b''")
    monkeypatch.setattr(safetensors_header, "MAX_JSON", 1)
    refused(write_safetensors(path, {}), "a header at most 1")
    monkeypatch.undo()
    monkeypatch.setattr(safetensors_header, "MAX_TENSORS", 1)
    refused(write_safetensors(path, {"a": entry(0, 4), "b": entry(4, 8)}, bytes(8)), "holds 2 tensors, at most 1")


# Folders


@pytest.mark.parametrize(
    "name",
    ["../out.safetensors", "/out.safetensors", "a/../../out.safetensors", "..", "", "a\\b", "C:out", "a\0b", 3, None],
)
def test_an_index_names_files_in_its_folder_only(tmp_path, name):
    save_file({"a": torch.ones(1)}, tmp_path / "out.safetensors")
    refused(write_folder(tmp_path / "in", {}, {"a": name}), "which does not lie in its folder; do not trust")
    refused(write_folder(tmp_path / "in", {}, {"a": [name]}), "which does not lie in its folder; do not trust")


def test_links_do_not_lead_out_of_a_folder(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "out.safetensors")
    inner = write_folder(tmp_path / "in", {}, {"a": "a.safetensors"})
    (inner / "a.safetensors").symlink_to("../out.safetensors")
    refused(inner, "'a.safetensors', which does not lie in its folder")
    (inner / "model.safetensors").symlink_to("../out.safetensors")
    refused(inner, "'model.safetensors', which does not lie in its folder")
    (inner / "model.safetensors").unlink()
    (inner / "a.safetensors").unlink()
    (inner / "a.safetensors").symlink_to("a.safetensors")
    refused(inner, "which does not lie in its folder|does not exist|symbolic link")
    (inner / "a.safetensors").unlink()
    save_file({"a": torch.ones(1)}, inner / "a.safetensors")
    (tmp_path / "secret.json").write_text("{}")
    (inner / "config.json").symlink_to("../secret.json")
    refused(inner, "'config.json', which does not lie in its folder")


def test_shards_and_index_agree(tmp_path):
    one, two = {"a": torch.ones(1)}, {"b": torch.ones(1)}
    shards = {"1.safetensors": one, "2.safetensors": two}
    index = {"a": "1.safetensors", "b": "2.safetensors"}
    refused(write_folder(tmp_path / "missing", {"1.safetensors": one}, index), "2.safetensors.*does not exist")
    refused(write_folder(tmp_path / "more", shards, {"a": "1.safetensors", "c": "2.safetensors"}), "does not list it")
    wrong = {"a": "2.safetensors", "b": "1.safetensors"}
    refused(write_folder(tmp_path / "wrong", shards, wrong), "1.safetensors holds 'a', the index says '2.safetensors'")
    refused(
        write_folder(tmp_path / "less", shards, index | {"c": "1.safetensors"}), "does not hold 'c', the index says so"
    )
    double = {"1.safetensors": one, "2.safetensors": two | one}
    refused(write_folder(tmp_path / "double", double, index), "2.safetensors holds 'a', the index says '1.safetensors'")
    many = {str(n): f"{n}.safetensors" for n in range(4097)}  # to look up where each lies takes long
    refused(write_folder(tmp_path / "many", {}, many), r"it names more than 4,096 files; do not trust this checkpoint")
    for weight_map in ({}, [], "a", 3):
        refused(write_folder(tmp_path / "no", {}, weight_map), "weight_map is .*, expected a map from tensor to file")
    (tmp_path / "no" / "model.safetensors.index.json").write_text('{"weight_map": ["a"]}')
    refused(tmp_path / "no", r"weight_map is \['a'\], expected a map")
    write_folder(tmp_path / "said", shards, index)
    save_file(one, tmp_path / "said" / "1.safetensors", {"format": "pt"})
    save_file(two, tmp_path / "said" / "2.safetensors", {"format": "tf"})
    refused(tmp_path / "said", "2.safetensors contradicts another shard about the metadata 'format'")


def test_a_folder_holds_weights_once(tmp_path):
    refused(tmp_path, "holds no weights; expected one of model.safetensors")
    for name in "ab":
        save_file({"a": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    refused(tmp_path, r"holds 2 files \*.safetensors \('[^']*safetensors', '[^']*safetensors'\); give the path of one")
    with pytest.raises(FileError, match=r"none: No such file or directory; check the path"):
        folder.weights_of(tmp_path / "none")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    (tmp_path / "config.json").write_text("[")
    refused(tmp_path, "JSON is not valid")


# ONNX


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (tensor_proto(dims=(3,)), "'w' has 8 bytes, its shape of FLOAT needs 12"),
        (tensor_proto(dims=(-1,)), "expected at most 64 whole numbers"),
        (tensor_proto(dims=(1,) * 70), "expected at most 64 whole numbers"),
        (tensor_proto(dims=(2**40, 2**40)), r"more than 2\^63 elements"),
        (tensor_proto(kind=0), "has the type 0, which ONNX has not"),
        (tensor_proto(kind=99), "has the type 99"),
        (tensor_proto(name=""), "the tensor at byte .* has no name"),
        (tensor_proto(raw=None), "has its values in 0 fields, expected one that is packed"),
        (tensor_proto("w", (2,), 1, bytes(8), (4, bytes(8))), "has its values in 2 fields"),
        (tensor_proto("w", (2,), 7, None, (7, 1), (7, 2)), "has its values in 2 fields"),
        (tensor_proto("w", (1,), 7, None, (7, 1)), "expected one that is packed; save it again"),
        (tensor_proto("w", (2,), 1, None, (7, b"\1\2")), "has its FLOAT values in the field 7 of another type"),
        (tensor_proto("w", (2,), 7, None, (5, b"\1\2")), "has its INT64 values in the field 5 of another type"),
        (tensor_proto("w", (0,), 7, None, (7, b"\1\2")), "has 2 bytes of varints for a shape of 0 bytes"),
        (tensor_proto("w", (2,), 1, bytes(8), (3, b"")), "is in segments"),
        (proto((8, b"\xff")), "is no text"),
        (proto((8, 5)), "is no text"),
        (proto((8, b"n" * 70_000)), "is no text"),
        (b"\x0b", "begins no field of protobuf"),
        (b"\x00\x00", "begins no field of protobuf"),
        (b"\x4a\x7fabc", "claims 127 bytes, 3 are there"),
        (b"\x4d\x00", "claims 4 bytes, 1 are there"),
        (b"\x49\x00", "claims 8 bytes, 1 are there"),
        (b"\x08" + b"\xff" * 10, "does not end within 10 bytes"),
        (b"\x08", "does not end within 10 bytes"),
        (b"\x4a" + varint(2**63), "claims 9,223"),
    ],
)
def test_an_initializer_is_read_strictly(tmp_path, tensor, sentence):
    refused(write_onnx(tmp_path / "a.onnx", tensor), sentence)


def test_an_onnx_file_is_read_strictly(tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"")
    refused(path, "it is empty")
    path.write_bytes(proto((1, 10)))
    refused(path, "holds no ONNX graph")
    refused(write_onnx(path, tensor_proto(), tensor_proto()), "has the name 'w' of another")
    refused(write_onnx(path, graph=[(15, b"")]), "has sparse initializers, which are not read")
    deep = b""
    for _ in range(40):
        deep = proto((1, proto((4, "If"), (5, proto((1, "then_branch"), (6, deep))))))
    path.write_bytes(proto((7, deep)))
    refused(path, "nested deeper than 32")
    whole = write_onnx(path, tensor_proto(dims=(2,))).read_bytes()
    for stop in range(1, len(whole)):
        path.write_bytes(whole[:stop])
        refused(path, "claims|is there|holds no|does not end")
    monkeypatch.setattr(onnx_initializers, "MAX_TENSORS", 1)
    refused(write_onnx(path, tensor_proto("a"), tensor_proto("b")), "more than 1 tensors")
    monkeypatch.setattr(wire, "_MAX_FIELDS", 3)
    refused(write_onnx(path, tensor_proto("a")), "more than 3 fields; do not trust it")


def external(name, dims=(2,), **entries):
    pairs = [(13, proto((1, key), (2, value))) for key, value in entries.items()]
    return tensor_proto(name, dims, 1, None, *pairs, (14, 1))


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"location": "../out.bin"}, "which does not lie in its folder"),
        ({"location": "/etc/passwd"}, "which does not lie in its folder"),
        ({"offset": "0"}, "names the file None, which does not lie in its folder"),
        ({"location": "none.bin"}, "none.bin: it does not exist"),
        ({"location": "w.bin", "offset": "9"}, "'w' needs 8 bytes, it has 8 at 9 of w.bin, which has 16"),
        ({"location": "w.bin", "length": "4"}, "'w' needs 8 bytes, it has 4 at 0"),
        ({"location": "w.bin", "offset": "-8"}, r"lies at \['-8', '8'\] of w.bin, expected numbers"),
        ({"location": "w.bin", "offset": "²"}, "expected numbers"),
        ({"location": "w.bin", "offset": "9" * 30}, "expected numbers"),
    ],
)
def test_external_data_lies_in_the_folder(tmp_path, entries, sentence):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    with pytest.raises(FileError, match=sentence):
        open_checkpoint(write_onnx(tmp_path / "a.onnx", external("w", **entries)))


def test_external_data_does_not_overlap(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    overlapping = external("a", location="w.bin"), external("b", location="w.bin", offset="4")
    refused(write_onnx(tmp_path / "a.onnx", *overlapping), "two of its tensors overlap at byte 4 of w.bin")
    same = external("a", location="w.bin"), external("b", location="w.bin", offset="0")
    assert len(open_checkpoint(write_onnx(tmp_path / "a.onnx", *same)).tensors) == 2


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"\1\2\3", "'w' has 3 values, its shape needs 2"),
        (b"\1\x80\x80", "'w' has 1 values, its shape needs 2"),
        (b"\1\2\x80", "'w' has 2 values"),
        (b"\x80" * 10 + b"\1\1", "a value of more than 64 bits"),
    ],
)
def test_varints_are_decoded_strictly(tmp_path, raw, sentence):
    checkpoint = open_checkpoint(write_onnx(tmp_path / "a.onnx", tensor_proto("w", (2,), 7, None, (7, raw))))
    for look in (lambda: contents(checkpoint), lambda: checkpoint.read("w")):
        with pytest.raises(FileError, match=sentence):
            look()


def test_long_varints_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_initializers, "MAX_VARINTS", 1)
    refused(
        write_onnx(tmp_path / "a.onnx", tensor_proto("w", (2,), 7, None, (7, b"\1\2"))),
        "at most 1 are read; save it with",
    )


# Values


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path, monkeypatch):
    def opened():
        return open_checkpoint(write_safetensors(path, {"a": entry(0, 400, (100,))}, bytes(400)))

    path = tmp_path / "a.safetensors"
    checkpoint = opened()
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(FileError, match="became shorter since it was opened"):
        checkpoint.read("a")
    checkpoint = opened()
    os.truncate(path, 300)
    with pytest.raises(FileError, match="became shorter while it was read"):
        contents(checkpoint)
    with pytest.raises(FileError, match="became shorter since it was opened"):
        checkpoint.read("a")
    checkpoint = opened()
    os.truncate(path, 0)
    with pytest.raises(FileError, match="became empty since it was opened"):
        checkpoint.read("a")
    checkpoint = opened()
    path.unlink()
    with pytest.raises(FileError, match="does not exist"):
        contents(checkpoint)

    def broken(*_):
        raise OSError(5, "Input/output error")

    checkpoint = opened()
    monkeypatch.setattr(content, "read_at", broken)
    with pytest.raises(FileError, match="Input/output error; check the disk"):
        contents(checkpoint)


def test_unknown_names_and_types_are_refused(tmp_path):
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "a", {"a": entry(0, 1, (2,), "F4")}, b"\0"))
    with pytest.raises(FileError, match="holds 'a' as F4, a type that torch has not"):
        checkpoint.read("a")
    with pytest.raises(FileError, match="holds no tensor 'b'; ask for one of its 1 names"):
        checkpoint.read("b")
    with pytest.raises(FileError, match="holds no tensor 'b'"):
        contents(checkpoint, ["b"])


# Chance


def good(kind, path):
    """A small file of a format."""
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.tensor(3)}
    if kind == "safetensors":
        save_file(tensors, path, {"format": "pt"})
    elif kind == "pt":
        torch.save(tensors, path)
    elif kind == "whole.pt":
        torch.save(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), path)
    else:
        numbers = tensor_proto("c", (3,), 7, None, (7, b"\1\x80\2\7"))
        graph = [(1, proto((2, "d"), (4, "Constant"), (5, proto((1, "value"), (5, tensor_proto())))))]
        write_onnx(path, tensor_proto("a"), numbers, graph=graph)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["safetensors", "pt", "whole.pt", "onnx"])
def test_changed_bytes_never_surprise(tmp_path, kind):
    """Mutations: bytes changed, cut out, doubled. Every file is read, or refused by a FileError and by nothing else."""
    path, chance, read = tmp_path / f"file.{kind}", random.Random(0), 0
    whole = good(kind, path)
    for _ in range(700):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            place, length = chance.randrange(len(raw) + 1), chance.choice([1, 1, 2, 8])
            match chance.randrange(4):
                case 0:
                    raw[place : place + length] = b""
                case 1:
                    raw[place:place] = raw[place : place + length]
                case 2:
                    raw[place : place + length] = bytes([chance.choice([0, 1, 127, 128, 255])]) * length
                case _:
                    raw[place : place + 1] = bytes([chance.randrange(256)])
        path.write_bytes(raw)
        with contextlib.suppress(FileError):
            checkpoint = open_checkpoint(path)
            contents(checkpoint, threads=1)
            for name, stored in checkpoint.tensors.items():
                assert checkpoint.read(name).shape == stored.shape
            read += 1
    assert 0 < read < 700
