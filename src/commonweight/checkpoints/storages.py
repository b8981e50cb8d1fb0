"""Tensors as views of the storages in a file of `torch.save`: where each lies, and that it lies within.

`torch.load` is not used for it: it does not tell places, refuses whole models, and with mmap=True it believes the
pickle about how long a storage is.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commonweight.checkpoints.bounded import bytes_at, damaged, elements, is_size, opened, shown
from commonweight.checkpoints.dtypes import STORAGES, TORCH, ValueType
from commonweight.checkpoints.pickled import Made, Named, Reference, follow
from commonweight.checkpoints.stored import Stored
from commonweight.checkpoints.zip_directory import Entry, read_directory

_MAX_PICKLE = 2**26
_MAX_VIEWS = 64
"""How often different views of one storage may cover it: a few names must not ask for endless reading."""


@dataclass(frozen=True)
class _Storage:
    """Bytes in the archive, as the pickle speaks of them."""

    word: str
    value_type: ValueType
    offset: int
    nbytes: int


class Archive:
    """The zip archive of a file of `torch.save`.

    Raises:
        FileError: it has no or several pickles, or its bytes are in another order than this machine's.
    """

    def __init__(self, path: Path):
        self.path = path
        self._entries = read_directory(path)
        pickles = [name for name in self._entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise damaged(path, f"its zip archive has {len(pickles)} pickles */data.pkl, torch.save writes one")
        self._folder = pickles[0].removesuffix("data.pkl")
        order = (
            self._read("byteorder", 16).decode("latin-1") if f"{self._folder}byteorder" in self._entries else "little"
        )
        if order != sys.byteorder:
            remedy = "load it with torch.load and torch.save it again on this machine"
            raise damaged(path, f"its byte order is {shown(order)}, this machine's is {sys.byteorder!r}", remedy)
        self._covered: dict[_Storage, set[tuple[int, int]]] = {}

    def tree(self) -> Any:
        """What the pickle describes."""
        return follow(self._read("data.pkl", _MAX_PICKLE), self.path)

    def view(self, name: str, made: Made) -> Stored:
        """Where the tensor lies that a call of `torch._utils._rebuild_tensor`, `_v2` or `_v3` would make.

        Raises:
            FileError: the call has arguments that torch does not write, or the tensor reaches outside of its storage.
        """
        version = made.by.path[-3:] if isinstance(made.by, Named) else ""
        if len(made.arguments) < (7 if version == "_v3" else 4):
            raise damaged(self.path, f"{shown(name)} has only {len(made.arguments)} arguments")
        reference, start, sizes, strides, *more = made.arguments
        storage = self._storage(name, reference)
        value_type = self._typed(name, more[2]) if version == "_v3" else storage.value_type
        for flags in more[3:4] if version == "_v3" else more[2:3]:
            if isinstance(flags, dict) and any(flags.values()):
                remedy = "save it after resolve_conj() and resolve_neg()"
                raise damaged(self.path, f"{shown(name)} is a conjugate or a negative view", remedy)
        shape, number = elements(sizes, name, self.path)
        if not is_size(start) or not isinstance(strides, tuple) or len(strides) != len(shape):
            raise damaged(self.path, f"{shown(name)} has the offset {shown(start)} and the strides {shown(strides)}")
        if not all(map(is_size, strides)) or any(
            not stride and size > 1 for size, stride in zip(shape, strides, strict=True)
        ):
            what = f"{shown(name)} has the strides {shown(strides)}: it repeats values or is no torch tensor"
            raise damaged(self.path, what, "save a clone of it")
        width = value_type.bits // 8
        usual = None if _row_by_row(shape, strides) or not number else strides
        place = f"{self.path}:{name}" if not number else storage.word
        stored = Stored(
            name, value_type.name, shape, self.path, storage.offset + start * width, number * width, place, usual
        )
        if number and max(start * width + stored.extent, stored.nbytes) > storage.nbytes:
            what = f"{shown(name)} needs {max(start * width + stored.extent, stored.nbytes):,} bytes of its storage"
            raise damaged(self.path, f"{what}, which has {storage.nbytes:,}")
        self._cover(storage, stored)
        return stored

    def _cover(self, storage: _Storage, stored: Stored) -> None:
        places = self._covered.setdefault(storage, set())
        places.add((stored.offset, stored.nbytes))
        if len(places) > _MAX_VIEWS and sum(nbytes for _, nbytes in places) > _MAX_VIEWS * storage.nbytes:
            what = f"the different views of its storage {storage.word} cover it more than {_MAX_VIEWS} times"
            raise damaged(self.path, what, "save clones of the tensors")

    def _storage(self, name: str, reference: object) -> _Storage:
        match reference.to if isinstance(reference, Reference) else None:
            case ("storage", Named(kind), str(key), _, int(number)) if is_size(number):
                word = kind.rpartition(".")[2]
            case other:
                raise damaged(self.path, f"{shown(name)} is a view of {shown(other)}, expected a storage")
        value_type = TORCH["uint8"] if word == "UntypedStorage" else STORAGES.get(word)
        if value_type is None:
            raise damaged(
                self.path, f"{shown(name)} lies in a {shown(word)}, a type not known here", "convert it first"
            )
        entry = self._entry(f"data/{key}")
        nbytes = number * value_type.bits // 8
        if nbytes > entry.size:
            what = f"the storage of {shown(name)} claims {nbytes:,} bytes, its zip entry has {entry.size:,}"
            raise damaged(self.path, what)
        return _Storage(f"{self.path}:data/{key}", value_type, entry.offset, nbytes)

    def _typed(self, name: str, dtype: object) -> ValueType:
        word = dtype.path.removeprefix("torch.") if isinstance(dtype, Named) else shown(dtype)
        if word not in TORCH:
            raise damaged(self.path, f"{shown(name)} has the type {word:.50}, not known here", "convert it first")
        return TORCH[word]

    def _entry(self, name: str) -> Entry:
        found = self._entries.get(self._folder + name)
        if found is None or not found.plain:
            state = "is missing" if found is None else "is compressed or encrypted; torch.save stores it plainly"
            raise damaged(self.path, f"its zip entry {shown(self._folder + name)} {state}")
        return found

    def _read(self, name: str, limit: int) -> bytearray:
        entry = self._entry(name)
        if entry.size > limit:
            raise damaged(self.path, f"its {name} has {entry.size:,} bytes, at most {limit:,} are read", "split it")
        with opened(self.path) as (file, _):
            return bytes_at(file, entry.offset, entry.size, self.path)


def _row_by_row(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether these are the usual strides, without gaps; those of axes of size 1 say nothing."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
