"""The weights in an ONNX file, found by their place: initializers, values of `Constant` nodes, and files beside it.

Only the fields that lead to tensors are looked at (field numbers from onnx.proto, IR version 3 and later); all others
are stepped over, so that the time does not depend on the size of the file. In subgraphs (the branches of an `If`, the
body of a `Loop`) a name stands behind those of the node and of its attribute: `If_0/then_branch/weight`.
Left out: texts, which are no weights, training information, and functions.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from commonweight.checkpoints.bounded import (
    MAX_AXES,
    MAX_TENSORS,
    MAX_VARINTS,
    damaged,
    elements,
    inside,
    opened,
    shown,
)
from commonweight.checkpoints.dtypes import ONNX
from commonweight.checkpoints.stored import Stored
from commonweight.checkpoints.wire import Field, Wire

_MAX_DEPTH = 32
_TEXTS = "STRING"

# TensorProto.DataType in the order of its numbers from 1 on.
_TYPES = [
    "FLOAT",
    "UINT8",
    "INT8",
    "UINT16",
    "INT16",
    "INT32",
    "INT64",
    "STRING",
    "BOOL",
    "FLOAT16",
    "DOUBLE",
    "UINT32",
    "UINT64",
    "COMPLEX64",
    "COMPLEX128",
    "BFLOAT16",
    "FLOAT8E4M3FN",
    "FLOAT8E4M3FNUZ",
    "FLOAT8E5M2",
    "FLOAT8E5M2FNUZ",
    "UINT4",
    "INT4",
    "FLOAT4E2M1",
    "FLOAT8E8M0",
    "UINT2",
    "INT2",
]

_FLOATS, _INT32, _INT64, _RAW, _DOUBLES, _UINT64 = 4, 5, 7, 9, 10, 11
_PLAIN = {"FLOAT": _FLOATS, "COMPLEX64": _FLOATS, "DOUBLE": _DOUBLES, "COMPLEX128": _DOUBLES}
_VARINTS = {"INT64": _INT64, "UINT32": _UINT64, "UINT64": _UINT64}
"""The typed field of each type; of those in neither, `int32_data`."""


def read_onnx(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The weights of an ONNX file by name, and its metadata_props.

    Raises:
        FileError: the file cannot be read, breaks the format, or names a file outside of its folder.
    """
    with opened(path) as (file, size):
        if not size:
            raise damaged(path, "it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Model(Wire(path, data)).read(size)


@dataclass
class _Tensor:
    """A TensorProto: what its fields say."""

    dims: list[int] = field(default_factory=list)
    type: int = 0
    name: str = ""
    typed: list[tuple[int, Field]] = field(default_factory=list)
    raw: Field | None = None
    external: dict[str, str] = field(default_factory=dict)
    elsewhere: bool = False


class _Model:
    def __init__(self, wire: Wire):
        self.wire, self.path = wire, wire.path
        self.found: dict[str, Stored] = {}
        self._beside: dict[Path, set[tuple[int, int]]] = {}
        """What is read of each file beside the model: first byte, and how many."""
        self._sizes: dict[Path, int] = {}

    def read(self, size: int) -> tuple[dict[str, Stored], dict[str, str]]:
        metadata, graphs = {}, 0
        for part in self.wire.fields(0, size):
            if part.number == 7:
                graphs += 1
                self._graph(part, "", 0)
            elif part.number == 14:
                key, value = self._pair(part)
                metadata[key] = value
        if not graphs:
            raise damaged(self.path, "it holds no ONNX graph")
        for file, ranges in self._beside.items():
            end = 0
            for start, nbytes in sorted(ranges):
                if start < end:
                    what = f"two of its tensors overlap at byte {start:,} of {file.name}"
                    raise damaged(self.path, what, "do not trust it")
                end = start + nbytes
        return self.found, metadata

    def _pair(self, part: Field) -> tuple[str, str]:
        texts = {inner.number: self.wire.text(inner) for inner in self.wire.fields(part.start, part.stop)}
        return texts.get(1, ""), texts.get(2, "")

    def _graph(self, graph: Field, prefix: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise damaged(self.path, f"its graphs are nested deeper than {_MAX_DEPTH}", "do not trust it")
        for part in self.wire.fields(graph.start, graph.stop):
            if part.number == 5:
                self._add(part, prefix)
            elif part.number == 15:
                raise damaged(self.path, "it has sparse initializers, which are not read", "save them as dense ones")
            elif part.number == 1:
                self._node(part, prefix, depth)

    def _node(self, node: Field, prefix: str, depth: int) -> None:
        texts = {2: "", 3: "", 4: ""}  # the first output, the name and the operation
        for part in self.wire.fields(node.start, node.stop):
            if part.number in texts:
                texts[part.number] = texts[part.number] or self.wire.text(part)
        for attribute in self.wire.fields(node.start, node.stop):
            if attribute.number != 5:
                continue
            word = ""
            for part in self.wire.fields(attribute.start, attribute.stop):
                if part.number == 1:
                    word = self.wire.text(part)
                elif part.number == 5 and texts[4] == "Constant":
                    self._add(part, prefix, texts[2])
                elif part.number in (6, 11):
                    self._graph(part, f"{prefix}{texts[3] or texts[2]}/{word}/", depth + 1)

    def _add(self, part: Field, prefix: str, name: str = "") -> None:
        """Note one TensorProto."""
        tensor = self._tensor(part)
        name = prefix + (name or tensor.name)
        if not 1 <= tensor.type <= len(_TYPES):
            raise damaged(self.path, f"{shown(name)} has the type {tensor.type}, which ONNX has not")
        word = _TYPES[tensor.type - 1]
        if word == _TEXTS:
            return
        if name == prefix or name in self.found:
            state = "has no name" if name == prefix else f"has the name {shown(name)} of another"
            raise damaged(self.path, f"the tensor at byte {part.start:,} {state}")
        if len(self.found) >= MAX_TENSORS:
            raise damaged(self.path, f"it holds more than {MAX_TENSORS:,} tensors", "split it")
        shape, number = elements(tensor.dims, name, self.path)
        nbytes = -(-number * ONNX[word].bits // 8)
        if tensor.elsewhere:
            file, start = self._external(name, tensor.external, nbytes)
            varints = 0
        else:
            file, (start, varints) = self.path, self._inner(name, word, tensor, nbytes)
        storage = f"{file}:{start}" if nbytes else f"{self.path}:{name}"
        self.found[name] = Stored(name, word, shape, file, start, nbytes, storage, None, varints)

    def _tensor(self, message: Field) -> _Tensor:
        tensor = _Tensor()
        for part in self.wire.fields(message.start, message.stop):
            if part.number == 1:
                tensor.dims += islice(self._numbers(part), MAX_AXES + 1 - len(tensor.dims))
            elif part.number == 2:
                tensor.type = part.value
            elif part.number == 3:
                raise damaged(self.path, f"the tensor at byte {message.start:,} is in segments", "save it in one")
            elif part.number == 8:
                tensor.name = self.wire.text(part)
            elif part.number == _RAW:
                tensor.raw = part
            elif part.number in (_FLOATS, _INT32, _INT64, _DOUBLES, _UINT64):
                tensor.typed = [*tensor.typed[:1], (part.number, part)]  # two are one too many
            elif part.number == 13:
                key, value = self._pair(part)
                tensor.external |= {key: value} if key in ("location", "offset", "length") else {}
            elif part.number == 14:
                tensor.elsewhere = part.value == 1
        return tensor

    def _numbers(self, part: Field) -> Iterator[int]:
        """One number, or many packed into one field."""
        if not part.stop:
            yield part.value
        start = part.start
        while start < part.stop:
            value, start = self.wire.varint(start, part.stop)
            yield value

    def _inner(self, name: str, word: str, tensor: _Tensor, nbytes: int) -> tuple[int, int]:
        """Where the values of a tensor within the file are, and how many bytes of varints if they are varints."""
        fields = [*([(_RAW, tensor.raw)] if tensor.raw is not None else []), *tensor.typed]
        fields = [(number, part) for number, part in fields if part.start != part.stop]
        if not fields and not nbytes:
            return 0, 0
        if len(fields) != 1 or not fields[0][1].stop:
            what = f"{shown(name)} has its values in {len(fields)} fields, expected one that is packed"
            raise damaged(self.path, what, "save it again with a current onnx")
        ((number, part),) = fields
        length = part.stop - part.start
        if number in (_RAW, _PLAIN.get(word)):
            if length != nbytes:
                raise damaged(self.path, f"{shown(name)} has {length:,} bytes, its shape of {word} needs {nbytes:,}")
            return part.start, 0
        if word in _PLAIN or number != _VARINTS.get(word, _INT32):
            raise damaged(self.path, f"{shown(name)} has its {word} values in the field {number} of another type")
        if not nbytes or length > MAX_VARINTS:
            what = f"{shown(name)} has {length:,} bytes of varints for a shape of {nbytes:,} bytes"
            raise damaged(self.path, f"{what}, at most {MAX_VARINTS:,} are read", "save it with raw_data")
        return part.start, length

    def _external(self, name: str, entries: dict[str, str], nbytes: int) -> tuple[Path, int]:
        """The file beside the model that holds a tensor, and where in it."""
        file = inside(self.path.parent, entries.get("location"), self.path)
        numbers = [entries.get("offset", "0"), entries.get("length", str(nbytes))]
        if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
            raise damaged(self.path, f"{shown(name)} lies at {shown(numbers)} of {file.name}, expected numbers")
        start, length = map(int, numbers)
        if file not in self._sizes:
            with opened(file) as (_, size):
                self._sizes[file] = size
        if length != nbytes or start + nbytes > self._sizes[file]:
            what = f"{shown(name)} needs {nbytes:,} bytes, it has {length:,} at {start:,} of {file.name}"
            raise damaged(self.path, f"{what}, which has {self._sizes[file]:,}")
        self._beside.setdefault(file, set()).add((start, nbytes))
        return file, start
