"""Reading files that nobody vouches for: memory is taken for bytes that exist, never for what a header claims."""

import difflib
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from commonweight.errors import DataError

MAX_BYTES = 4 * 2**30
"""The largest array that is read into memory, in bytes."""

_BLOCK = 2**22


@contextmanager
def readable(source: str | Path) -> Iterator[None]:
    """Turn what the operating system says against reading into a DataError that names the source."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"'{source}' cannot be read ({error.strerror or error}); check the path and its rights"
        ) from error


def require_file(path: Path) -> int:
    """The size in bytes of a file that exists, is a regular file, and is not empty.

    Raises:
        DataError: otherwise; for a missing file the sentence names the most similar ones beside it.
    """
    if not path.exists():
        if path.is_symlink():
            raise DataError(f"'{path}' is a link to '{path.readlink()}', which does not exist; mend or remove it")
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"'{path}' does not exist; {nearest(path.name, siblings) or 'check the path'}")
    if not path.is_file():
        raise DataError(f"'{path}' is not a regular file; give a file with data in it")
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"'{path}' is empty (0 bytes); give a file with data in it")
    return size


def require_memory(size: int, path: Path, what: str) -> None:
    """Refuse to hold more than `MAX_BYTES` bytes of one file."""
    if size > MAX_BYTES:
        raise DataError(
            f"'{path}' asks for {size:,} bytes ({what}), more than the {MAX_BYTES:,} that are read into memory;"
            " give a part of the data"
        )


@contextmanager
def open_plain_or_gzip(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that may be compressed by gzip: its first two bytes tell, not its name.

    Raises:
        DataError: inside the `with` block, when the compressed stream turns out truncated or damaged.
    """
    require_file(path)
    with path.open("rb") as plain:
        compressed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not compressed:
            yield plain
            return
        try:
            with gzip.open(plain) as stream:
                yield cast(IO[bytes], stream)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"'{path}' is a truncated or damaged gzip file ({error}); copy it again") from error


def read_exactly(stream: IO[bytes], size: int, path: Path) -> bytearray:
    """The rest of the stream, which must be `size` bytes; memory grows only with bytes that are really there.

    Raises:
        DataError: when the stream holds fewer or more bytes.
    """
    content = bytearray()
    while len(content) < size:
        block = stream.read(min(_BLOCK, size - len(content)))
        if not block:
            raise DataError(
                f"'{path}' is truncated: its header announces {size:,} bytes of data, {len(content):,} are there;"
                " copy it again"
            )
        content += block
    if stream.read(1):
        raise DataError(
            f"'{path}' holds more than the {size:,} bytes of data that its header announces; check the file"
        )
    return content


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause with the names most like `name`, or an empty string when none is.

    >>> nearest("digts", ["digits", "iris"])
    "did you mean 'digits'?"
    """
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f"did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
