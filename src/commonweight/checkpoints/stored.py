"""What a checkpoint holds, without its values: each tensor's name, type and shape, and where its bytes are."""

import mmap
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from commonweight.checkpoints.bounded import damaged, opened, shown
from commonweight.checkpoints.dtypes import WORDS, ValueType
from commonweight.errors import FileError

if TYPE_CHECKING:
    import torch

# Without this flag Linux maps no file larger than its memory; Python has a name for it only from 3.12 on.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


@dataclass(frozen=True)
class Stored:
    """One tensor as a file holds it.

    Attributes:
        name: as the file has it.
        type: the word for its type: the format's own (`F32`, `FLOAT`), for PyTorch's files torch's name (`float32`).
        shape: sizes of the axes.
        file: where it is; in a sharded or external checkpoint not the path that was opened.
        offset: of its first byte in the file.
        nbytes: of its values.
        storage: tensors with the same word are views of one storage; empty tensors have one of their own.
        strides: in elements; None for the usual ones, row by row without gaps.
        varints: bytes at `offset` where the values are written as protobuf's varints; 0: they are plain.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int
    storage: str
    strides: tuple[int, ...] | None = None
    varints: int = 0

    @property
    def value_type(self) -> ValueType:
        """What the word `type` means."""
        return WORDS[self.type]

    @property
    def dtype(self) -> "torch.dtype | None":
        """torch's type; None where torch has none. The first use imports torch."""
        return self.value_type.dtype

    @property
    def extent(self) -> int:
        """Bytes from the first to the end of the last value in the file."""
        if self.strides is None or not self.nbytes:
            return self.varints or self.nbytes
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return (last + 1) * (self.value_type.bits // 8)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose headers were read and found in order.

    Attributes:
        path: what was opened.
        format: "safetensors", "pytorch", "onnx" or "folder".
        tensors: by name, sorted.
        metadata: the texts that safetensors files carry, those of all shards together.
        config: a folder's `config.json`; None where there is none.
    """

    path: Path
    format: str
    tensors: Mapping[str, Stored]
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] | None = None
    _maps: dict[Path, mmap.mmap] = field(default_factory=dict, init=False, repr=False, compare=False)

    def read(self, name: str) -> "torch.Tensor":
        """A tensor's values on the CPU, mapped from the file: memory is taken only for what is looked at.

        The file never changes by it. Clone before writing into it: later reads of the same values would see that.

        Raises:
            FileError: no such name, a type that torch has not, or the file changed since it was opened.
        """
        import torch

        if (stored := self.tensors.get(name)) is None:
            raise FileError(f"{self.path} holds no tensor {shown(name)}; ask for one of its {len(self.tensors)} names.")
        if (dtype := stored.dtype) is None:
            raise FileError(f"{self.path} holds {shown(name)} as {stored.type}, a type that torch has not; skip it.")
        if not stored.nbytes:
            return torch.empty(stored.shape, dtype=dtype)
        if stored.varints:
            from commonweight.checkpoints.varints import decoded

            return torch.from_numpy(decoded(stored)).view(dtype).reshape(stored.shape)
        count = stored.extent // (stored.value_type.bits // 8)
        values = torch.frombuffer(self.mapped(stored), dtype=dtype, count=count, offset=stored.offset)
        return (
            values.reshape(stored.shape) if stored.strides is None else values.as_strided(stored.shape, stored.strides)
        )

    def release(self) -> None:
        """Give back the memory that values have taken which were looked at; they can be looked at again.

        What was written into such values is lost.
        """
        for mapped in self._maps.values():
            if hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def mapped(self, stored: Stored) -> mmap.mmap:
        """The whole file of a tensor in memory, without taking any: private pages, which never reach the file.

        Raises:
            FileError: the file is shorter than it was when it was opened.
        """
        if stored.file not in self._maps:
            with opened(stored.file) as (file, size):
                if not size:
                    raise damaged(stored.file, "it became empty since it was opened", "open it again")
                if sys.platform == "linux":
                    flags, rights = mmap.MAP_PRIVATE | _NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
                    self._maps[stored.file] = mmap.mmap(file.fileno(), 0, flags=flags, prot=rights)
                else:
                    self._maps[stored.file] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        found = self._maps[stored.file]
        if stored.offset + stored.extent > len(found):
            raise damaged(stored.file, "it became shorter since it was opened", "open it again")
        return found
