"""What one pass over the bytes of a tensor tells: a hash that equal tensors share, and whether values are odd.

The hash is a tree of two levels, so that both cores work on one large tensor. The values, row by row and little-endian,
are cut into leaves of 2^20 bytes (the last may be shorter), and

    sha256 = SHA-256("commonweight content 1\\n" + TYPE + " " + SHAPE + "\\n" + SHA-256(leaf 0) + SHA-256(leaf 1)...)

with torch's name of the type and the shape as Python prints a tuple: `float32 (3, 4)`. Type and shape say how many
leaves there are, so that two different tensors have the same hash only if SHA-256 has a collision. Bits are compared:
0.0 and -0.0 differ, and so do two NaN with different payloads. The file's format, strides and shards do not matter.

Leaves are read by `readinto`, not mapped: each byte is read once, memory stays at a leaf for each thread, and a file
that shrinks meanwhile is an error and not a crash.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from commonweight.checkpoints.bounded import damaged, opened, read_at, shown
from commonweight.checkpoints.dtypes import SAFETENSORS, TORCH, ValueType
from commonweight.checkpoints.stored import Checkpoint, Stored
from commonweight.checkpoints.varints import decoded
from commonweight.errors import FileError, TieError

if TYPE_CHECKING:
    import torch

LEAF = 2**20
"""Bytes that are hashed at once. It is part of what the hash means."""

Bytes: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Content:
    """What the bytes of a tensor tell.

    Attributes:
        sha256: of type, shape and values, in hexadecimal: equal for equal tensors, and for no others.
        finite: no value is NaN or infinite.
        nan: a value is NaN.
        constant: more than one value, and all are the same.
        zero: at least one value, and all are 0.

    For types that are packed into bytes, such as 4-bit integers, the last two speak of the bytes.
    """

    sha256: str
    finite: bool
    nan: bool
    constant: bool
    zero: bool


class _Leaf(NamedTuple):
    """What one leaf tells."""

    digest: bytes
    same: bytes | None
    """The value, if the leaf holds no other."""
    largest: int
    """The largest bits of a number, its sign left out; looked at for floats only."""
    nan: bool


class _Tally:
    """What the leaves of one tensor have told so far; leaves may come in any order, from several threads."""

    def __init__(self, value_type: ValueType, nbytes: int):
        self.value_type = value_type
        self.nbytes = nbytes
        self._digests = bytearray(32 * len(self.leaves))
        self._same: set[bytes | None] = set()
        self._largest = 0
        self._nan = False
        self._lock = threading.Lock()

    @property
    def leaves(self) -> range:
        return range(-(-self.nbytes // LEAF))

    def span(self, leaf: int) -> tuple[int, int]:
        """From which byte of the tensor to which a leaf goes."""
        return leaf * LEAF, min((leaf + 1) * LEAF, self.nbytes)

    def add(self, leaf: int, told: _Leaf) -> None:
        with self._lock:
            self._digests[32 * leaf : 32 * leaf + 32] = told.digest
            if len(self._same) < 2:
                self._same.add(told.same)
            self._largest = max(self._largest, told.largest)
            self._nan |= told.nan

    def content(self, shape: tuple[int, ...]) -> Content:
        value_type, floats = self.value_type, self.value_type.floats
        if value_type is TORCH["float4_e2m1fn_x2"] and shape:  # torch counts pairs, other files count numbers
            value_type, shape = SAFETENSORS["F4"], (*shape[:-1], 2 * shape[-1])
        head = f"commonweight content 1\n{value_type.name} {shape}\n".encode()
        infinite = floats is not None and floats.infinity is not None and self._largest >= floats.infinity
        same = len(self._same) == 1 and None not in self._same
        if floats is None or floats.exact:
            zero = same and not any(any(value or b"") for value in self._same)
        else:  # 0.0 and -0.0 are both zero
            zero = self._largest == 0 and self.nbytes > 0
        return Content(
            sha256=hashlib.sha256(head + self._digests).hexdigest(),
            finite=not infinite and not self._nan,
            nan=self._nan,
            constant=(same or zero) and self.nbytes * 8 > value_type.bits,
            zero=zero,
        )


def contents(checkpoint: Checkpoint, names: Iterable[str] | None = None, threads: int = 2) -> dict[str, Content]:
    """What the bytes of a checkpoint's tensors tell, in one pass over the files.

    Tensors that share their bytes are read once. Tensors of PyTorch's files that do not lie row by row are gathered
    from the mapped file, which is slower.

    Args:
        checkpoint: as `open_checkpoint` returns it.
        names: of the tensors; all by default.
        threads: that read and hash; memory is one leaf (1 MiB) for each, whatever the size of the files.

    Raises:
        FileError: a name that the checkpoint has not, or a file that cannot be read or changed since it was opened.
    """
    chosen = [_named(checkpoint, name) for name in (checkpoint.tensors if names is None else names)]
    tallies: dict[tuple[Any, ...], _Tally] = {}

    def tasks() -> Iterator[_Task]:
        for stored in sorted(chosen, key=lambda stored: (str(stored.file), stored.offset)):
            if (key := _place(stored)) not in tallies:
                tallies[key] = tally = _Tally(stored.value_type, stored.nbytes)
                source = _source(checkpoint, stored)
                yield from ((tally, leaf, source) for leaf in tally.leaves)

    _run(tasks(), threads)
    return {stored.name: tallies[_place(stored)].content(stored.shape) for stored in chosen}


def content_of(tensor: "torch.Tensor", threads: int = 1) -> Content:
    """What the bytes of a tensor in memory tell: the same as `contents` says of it once it is in a file.

    Args:
        tensor: of any shape and strides, on any device; copied only if it does not lie row by row on the CPU.
        threads: that hash.

    Raises:
        TieError: the tensor has no plain values: it is on the meta device, sparse or quantized.

    >>> import torch
    >>> content_of(torch.zeros(2, 2)).zero
    True
    >>> content_of(torch.eye(3)) == content_of(torch.eye(3).T)
    True
    """
    import torch

    value_type = TORCH.get(str(tensor.dtype).removeprefix("torch."))
    if value_type is None or tensor.is_meta or tensor.layout is not torch.strided:
        kind = "on the meta device" if tensor.is_meta else f"{tensor.dtype}, {tensor.layout}"
        raise TieError(f"A tensor without plain values has no content to compare: got one {kind}; load or convert it.")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    # As one row: a single element may keep any stride through contiguous() and reshape().
    values: Bytes = plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy()
    tally = _Tally(value_type, len(values))

    def source(_: "_Reader", start: int, stop: int) -> Bytes:
        return values[start:stop]

    _run(((tally, leaf, source) for leaf in tally.leaves), threads)
    return tally.content(tuple(tensor.shape))


class _Reader:
    """One thread's buffer, and the file that it read from last."""

    def __init__(self) -> None:
        self._buffer = np.empty(LEAF, dtype=np.uint8)
        self._path: Path | None = None
        self._file: BinaryIO
        self._closing = ExitStack()

    def read(self, path: Path, offset: int, length: int) -> Bytes:
        """Bytes of a file, until the next call."""
        if path != self._path:
            self.close()
            self._file, _ = self._closing.enter_context(opened(path))
            self._path = path
        found = self._buffer[:length]
        try:
            got = read_at(self._file, offset, found.data)
        except OSError as error:
            raise damaged(path, error.strerror or str(error), "check the disk") from error
        if got < length:
            raise damaged(path, "it became shorter while it was read", "read it when nobody writes it")
        return found

    def close(self) -> None:
        self._closing.close()
        self._path = None


_Source: TypeAlias = Callable[[_Reader, int, int], Bytes]
"""Gives the bytes of a tensor from one place to another."""

_Task: TypeAlias = tuple[_Tally, int, _Source]


def _run(tasks: Iterator[_Task], threads: int) -> None:
    """Look at every leaf, on several threads; the first error ends them all."""
    lock, stop = threading.Lock(), threading.Event()

    def take() -> _Task | None:
        with lock:
            return None if stop.is_set() else next(tasks, None)

    def work() -> None:
        reader = _Reader()
        try:
            while (task := take()) is not None:
                tally, leaf, source = task
                tally.add(leaf, _look(source(reader, *tally.span(leaf)), tally.value_type))
        finally:
            stop.set()  # nothing is left, or something went wrong
            reader.close()

    if threads == 1:
        work()
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
        finally:
            stop.set()


def _look(raw: Bytes, value_type: ValueType) -> _Leaf:
    """Hash a leaf, then look for odd values while it is still in the cache."""
    digest = hashlib.sha256(raw.data).digest()
    numbers = raw.view(f"<u{value_type.width}")
    values = numbers.reshape(-1, value_type.parts)
    same = bool((values[-1] == values[0]).all()) and bool((values == values[0]).all())
    largest, nan, floats = 0, False, value_type.floats
    if floats is not None and floats.exact:
        nan = bool((numbers == floats.nan).any())
    elif floats is not None:
        largest = _largest(numbers, value_type.width)
        nan = largest >= floats.nan
    return _Leaf(digest, values[0].tobytes() if same else None, largest, nan)


def _largest(numbers: NDArray[Any], width: int) -> int:
    """The largest bits without the sign.

    As unsigned numbers the negative ones are above all others and sorted by size; as signed numbers, the positive ones.
    """
    sign = 1 << (8 * width - 1)
    unsigned, signed = int(numbers.max()), int(numbers.view(f"<i{width}").max())
    return max(unsigned & (sign - 1), signed) if unsigned & sign else unsigned


def _named(checkpoint: Checkpoint, name: str) -> Stored:
    if name not in checkpoint.tensors:
        raise FileError(f"{checkpoint.path} holds no tensor {shown(name)}; ask for one of its names.")
    return checkpoint.tensors[name]


def _place(stored: Stored) -> tuple[Any, ...]:
    """What two tensors have in common if their bytes need to be looked at only once."""
    strided = None if stored.strides is None else (stored.shape, stored.strides)
    return stored.file, stored.offset, stored.nbytes, stored.type, strided, stored.varints


def _source(checkpoint: Checkpoint, stored: Stored) -> _Source:
    def plain(reader: _Reader, start: int, stop: int) -> Bytes:
        return reader.read(stored.file, stored.offset + start, stop - start)

    if stored.nbytes and stored.strides is not None:
        return _gathered(checkpoint, stored)
    if not stored.varints:
        return plain
    values = decoded(stored)
    return lambda _, start, stop: values[start:stop]


def _gathered(checkpoint: Checkpoint, stored: Stored) -> _Source:
    """The bytes, row by row, of a tensor that lies otherwise."""
    width = stored.value_type.bits // 8
    strides = [width * stride for stride in stored.strides or ()]
    view = np.ndarray(stored.shape, f"V{width}", checkpoint.mapped(stored), stored.offset, strides)

    def gather(_: _Reader, start: int, stop: int) -> Bytes:
        return np.ascontiguousarray(view.flat[start // width : stop // width]).view(np.uint8)

    return gather
