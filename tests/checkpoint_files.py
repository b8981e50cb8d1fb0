"""Checkpoint files by hand, good and bad: each format from its parts, so that a test can put any part wrong."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from commonweight.checkpoints import open_checkpoint
from commonweight.errors import FileError


def refused(path, sentence):
    """The file is refused by a FileError that names it, says this, and is short."""
    with pytest.raises(FileError, match=sentence) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value) or path.is_dir()
    assert len(str(caught.value)) < 2 * len(str(path)) + 500


def write_safetensors(path, header, data=b"", length=None):
    """A safetensors file with any header, as a text or as what JSON is to say."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def parts(data):
    """The header of a safetensors file, and the bytes behind it."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def signed(fields):
    """The text of a manifest with these fields and the SHA-256 that fits them."""
    fields = {name: value for name, value in fields.items() if name != "sha256"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({**fields, "sha256": sha256}, sort_keys=True, separators=(",", ":"))


def entry(start, stop, shape=(1,), dtype="F32"):
    """What a safetensors header says of one tensor."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def write_folder(folder, shards, index=None, config=None):
    """A folder as Hugging Face lays it out: shards {file name: {tensor name: tensor}}, and their index."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    for name, tensors in shards.items():
        save_file(tensors, folder / name) if name.endswith(".safetensors") else torch.save(tensors, folder / name)
    if index is None:
        index = {key: name for name, tensors in shards.items() for key in tensors}
    kind = "model.safetensors" if any(name.endswith(".safetensors") for name in shards) else "pytorch_model.bin"
    (folder / f"{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


class Call:
    """Pickles as a call of a function with any arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Reference:
    """Pickles as a reference to something outside, such as a storage."""

    def __init__(self, *to):
        self.to = to[0] if len(to) == 1 else to


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        return thing.to if isinstance(thing, Reference) else None


def view(shape=(2, 2), strides=(2, 1), offset=0, storage=None, number=4):
    """A tensor as torch.save describes it: a view of a storage, by default of 4 float32 in the entry data/0."""
    storage = Reference("storage", torch.FloatStorage, "0", "cpu", number) if storage is None else storage
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, OrderedDict())


def write_pt(path, thing, storages=None, entries=None, compression=zipfile.ZIP_STORED):
    """A file like those of torch.save: a pickle of anything (or its bytes), and storages by key."""
    content = io.BytesIO()
    if not isinstance(thing, bytes):
        Pickler(content, 2).dump(thing)
    pickled = thing if isinstance(thing, bytes) else content.getvalue()
    storages = {"0": bytes(16)} if storages is None else storages
    parts = {"data.pkl": pickled, **{f"data/{key}": raw for key, raw in storages.items()}, **(entries or {})}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, raw in parts.items():
            archive.writestr(f"archive/{name}", raw)
    return path


def varint(number):
    """A number in protobuf's varints."""
    number %= 2**64
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def proto(*fields):
    """A protobuf message from pairs (field number, value): a number, a text, or bytes."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def tensor_proto(name="w", dims=(2,), kind=1, raw=bytes(8), *more):
    """An ONNX TensorProto, by default two float32 in raw_data."""
    values = [] if raw is None else [(9, raw)]
    return proto(*((1, size) for size in dims), (2, kind), (8, name), *values, *more)


def write_onnx(path, *initializers, graph=()):
    """An ONNX file with these initializers, and other fields of its graph."""
    path.write_bytes(proto((1, 10), (7, proto(*((5, tensor) for tensor in initializers), *graph))))
    return path
