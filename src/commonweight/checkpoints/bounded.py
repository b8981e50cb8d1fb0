"""Reading what nobody vouches for: regular files only, inside their folder, and bounded JSON without double keys."""

import json
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from commonweight.errors import FileError

MAX_JSON = 100_000_000
"""The longest JSON text that is read, in bytes: the limit of the safetensors format for its header."""

MAX_TENSORS = 2**19
"""The most tensors that one file may hold."""

MAX_VARINTS = 2**23
"""The longest field of protobuf's varints that is decoded, in bytes; decoding takes some fifty times as much memory."""

MAX_AXES = 64
"""The most axes of a tensor."""

_MAX_JSON_ITEMS = 16 * MAX_TENSORS


def damaged(path: Path, what: str, remedy: str = "copy or download it again") -> FileError:
    """The one sentence that says why a file cannot be read, without control characters that came out of the file."""
    plain = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in what)
    return FileError(f"Cannot read {path}: {plain}; {remedy}.")


def shown(text: object) -> str:
    """A word out of a file as an error may show it: quoted, and never longer than a line."""
    quoted = repr(text[:200]) if isinstance(text, str | bytes) else reprlib.repr(text)
    return quoted if len(quoted) <= 100 else f"{quoted[:97]}..."


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """An unbuffered regular file, and its size in bytes; what the system says against reading becomes a FileError."""
    try:
        if not path.exists():
            raise FileError(f"Cannot read {path}: it does not exist; check the path.")
        if not path.is_file():  # a pipe would block for ever, a device has no end
            raise FileError(f"Cannot read {path}: it is not a regular file; give a checkpoint or a folder with one.")
        with path.open("rb", buffering=0) as file:
            yield file, path.stat().st_size
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror or error}; check the path and its rights.") from error


def read_at(file: BinaryIO, offset: int, buffer: bytearray | memoryview) -> int:
    """Fill a buffer from a place in an unbuffered file; the number of bytes that were there."""
    file.seek(offset)
    view, done = memoryview(buffer), 0
    while done < len(view):
        got: int = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            break
        done += got
    return done


def bytes_at(file: BinaryIO, offset: int, length: int, path: Path) -> bytearray:
    """`length` bytes at a place in a file; the caller bounds the length by the size of the file.

    Raises:
        FileError: the file ends before.
    """
    buffer = bytearray(length)
    if (got := read_at(file, offset, buffer)) < length:
        raise damaged(path, f"it ends {length - got:,} bytes inside of what it announces")
    return buffer


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FileError: missing, too long, not JSON, a key twice, or not an object.
    """
    with opened(path) as (file, size):
        if size > MAX_JSON:
            raise damaged(path, f"it has {size:,} bytes, at most {MAX_JSON:,} are read", "give the folder's real file")
        return parse_json(bytes_at(file, 0, size, path), path)


def parse_json(raw: bytes | bytearray, path: Path) -> dict[str, Any]:
    """The object in a JSON text out of a file; constants outside of JSON, such as NaN, are refused as well.

    Raises:
        FileError: not JSON, not an object, a key twice, nested too deep, or with more items than tensors can need.
    """
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > _MAX_JSON_ITEMS:
        raise damaged(path, f"its JSON has more than {_MAX_JSON_ITEMS:,} items", "no checkpoint needs as many")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=each_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its JSON is not valid ({str(error)[:100]})") from error
    if not isinstance(value, dict):
        raise damaged(path, f"its JSON is a {type(value).__name__}, expected an object")
    return value


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `json.loads(object_pairs_hook=...)`.

    Raises:
        ValueError: it has a key twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} is there twice")
        found[key] = value
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def elements(shape: object, name: str, path: Path) -> tuple[tuple[int, ...], int]:
    """The shape of a tensor as a file gives it, and its number of elements.

    Raises:
        FileError: not a sequence of whole numbers from 0 on, more than `MAX_AXES` of them, or more elements than 2^63.
    """
    if not isinstance(shape, Sequence) or len(shape) > MAX_AXES or not all(map(is_size, shape)):
        expected = f"expected at most {MAX_AXES} whole numbers below 2^63"
        raise damaged(path, f"{shown(name)} has the shape {shown(shape)}, {expected}")
    number = 1
    for size in shape:
        number *= max(size, 1)
    if number >= 2**63:
        raise damaged(path, f"{shown(name)} has the shape {shown(tuple(shape))}, more than 2^63 elements")
    return tuple(shape), 0 if 0 in shape else number


def is_size(number: object) -> bool:
    """Whether this is a whole number from 0 on that fits 63 bits."""
    return type(number) is int and 0 <= number < 2**63


def inside(folder: Path, name: object, owner: Path) -> Path:
    """The file that `owner` names, if it lies in the folder: no absolute path, no `..`, no link that leads out.

    The one link allowed leads from `snapshots/REVISION/` to `blobs/` beside it: so Hugging Face keeps its cache.

    Raises:
        FileError: it lies elsewhere.
    """
    outside = damaged(
        owner, f"it names the file {shown(name)}, which does not lie in its folder", "do not trust this checkpoint"
    )
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        raise outside
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise outside
    try:
        real, home = (folder / name).resolve(), folder.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise outside from error
    cached = any(above.name == "snapshots" and real.parent == above.parent / "blobs" for above in home.parents)
    if not real.is_relative_to(home) and not cached:
        raise outside
    return folder / name
