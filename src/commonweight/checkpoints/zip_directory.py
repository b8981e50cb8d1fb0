"""Which entries a zip archive holds and where their bytes are, read strictly: nothing compressed, nothing shared.

The layout is that of APPNOTE.TXT 6.3.10 (PKWARE): a directory at the end of the file, in 64-bit form for large files,
names each entry and where its own header is; the bytes follow that header. Python's zipfile would read a directory of
any size into memory and does not say where bytes lie.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from commonweight.checkpoints.bounded import MAX_TENSORS, bytes_at, damaged, opened, shown

_END = struct.Struct("<4s4H2LH")
_END_64_PLACE = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_DIRECTORY = 2**27
_LARGE = 0xFFFF_FFFF


@dataclass(frozen=True)
class Entry:
    """One entry of an archive.

    Attributes:
        header: where its own header begins.
        offset: where its bytes begin.
        size: of its bytes.
        plain: the bytes are there as they are, neither compressed nor encrypted.
    """

    name: str
    header: int
    offset: int
    size: int
    plain: bool


def read_directory(path: Path) -> dict[str, Entry]:
    """The entries of a zip archive by name.

    Raises:
        FileError: no directory, one that is too large or broken, an entry outside of the file, twice, or overlapping.
    """
    with opened(path) as (file, size):
        number, start, length = _directory(file, size, path)
        if number > MAX_TENSORS or length > _MAX_DIRECTORY:
            raise damaged(path, f"its zip directory claims {number:,} entries in {length:,} bytes", "do not trust it")
        if start + length > size:
            raise damaged(path, f"its zip directory claims to end at byte {start + length:,} of {size:,}")
        raw = bytes_at(file, start, length, path)
        found: dict[str, Entry] = {}
        place = 0
        for _ in range(number):
            entry, place = _entry(raw, place, file, start, path)
            if entry.name in found:
                raise damaged(path, f"its zip directory names {shown(entry.name)} twice")
            found[entry.name] = entry
    end = 0
    for entry in sorted(found.values(), key=lambda entry: entry.header):
        if entry.header < end:
            raise damaged(path, f"its zip entry {shown(entry.name)} overlaps the one before it", "do not trust it")
        end = entry.offset + entry.size
    if end > start:
        raise damaged(path, f"its zip entries end at byte {end:,}, inside of the directory at {start:,}")
    return found


def _directory(file: BinaryIO, size: int, path: Path) -> tuple[int, int, int]:
    """Number of entries, place and length of the directory."""
    place = size - _END.size
    end = _END.unpack(bytes_at(file, place, _END.size, path)) if place >= 0 else (b"",)
    if end[0] != b"PK\5\6":
        raise damaged(path, "it does not end like a zip archive that PyTorch wrote")
    number, length, start = end[4], end[5], end[6]
    if place < _END_64_PLACE.size:
        return number, start, length
    pointer = _END_64_PLACE.unpack(bytes_at(file, place - _END_64_PLACE.size, _END_64_PLACE.size, path))
    if pointer[0] != b"PK\6\7":
        return number, start, length
    if pointer[2] + _END_64.size > size:
        raise damaged(path, f"its zip directory claims to be described at byte {pointer[2]:,} of {size:,}")
    large = _END_64.unpack(bytes_at(file, pointer[2], _END_64.size, path))
    if large[0] != b"PK\6\6":
        raise damaged(path, "its zip directory is not where its end says")
    return large[7], large[9], large[8]


def _entry(raw: bytearray, place: int, file: BinaryIO, limit: int, path: Path) -> tuple[Entry, int]:
    """The directory's entry at a place, and the place of the next."""
    if place + _ENTRY.size > len(raw):
        raise damaged(path, "its zip directory ends inside of an entry")
    head = _ENTRY.unpack_from(raw, place)
    signature, flags, method, packed, size, named, extra, comment = head[0], *head[3:5], *head[8:13]
    header = head[-1]
    place += _ENTRY.size
    name, more = bytes(raw[place : place + named]), raw[place + named : place + named + extra]
    place += named + extra + comment
    if signature != b"PK\1\2" or place > len(raw):
        raise damaged(path, "its zip directory has a broken entry")
    size, packed, header = _wide(more, [size, packed, header])
    if header + _LOCAL.size + named + packed > limit:
        raise damaged(path, f"its zip entry {shown(name)} claims to reach over byte {limit:,}, where entries end")
    again = bytes_at(file, header, _LOCAL.size + named, path)
    local = _LOCAL.unpack_from(again)
    offset = header + _LOCAL.size + local[9] + local[10]
    if local[0] != b"PK\3\4" or local[9] != named or again[_LOCAL.size :] != name:
        raise damaged(path, f"its zip entry {shown(name)} is not where the directory says")
    plain = method == 0 and not flags & 1 and size == packed
    return Entry(name.decode("utf-8", "backslashreplace"), header, offset, packed, plain), place


def _wide(extra: bytearray, fields: list[int]) -> list[int]:
    """Sizes and place of an entry, those that do not fit 32 bits taken from its extra field 1."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            numbers = [number for (number,) in struct.iter_unpack("<Q", extra[place + 4 : place + 4 + length // 8 * 8])]
            return [numbers.pop(0) if field == _LARGE and numbers else field for field in fields]
        place += 4 + length
    return fields
