"""The wire format of protobuf: the fields of a message, one after the other, without the schema and without copying.

A message is a row of fields, each a number and a wire type in one varint, then the value: a varint, 8 bytes, 4 bytes,
or a length and as many bytes. Source: protobuf.dev, "Encoding".
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from commonweight.checkpoints.bounded import damaged

_MAX_FIELDS = 2**22


class Field(NamedTuple):
    """One field: its number, and its value if that is a varint (`stop` is 0 then), or where its bytes are."""

    number: int
    value: int
    start: int
    stop: int


class Wire:
    """A mapped file in the wire format."""

    def __init__(self, path: Path, data: mmap.mmap):
        self.path, self.data = path, data
        self._seen = 0

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """The fields of the message between two places.

        Raises:
            FileError: a field reaches over the end, or is of no wire type.
        """
        while start < stop:
            tag, start = self.varint(start, stop)
            number, kind = tag >> 3, tag & 7
            if number == 0 or kind not in (0, 1, 2, 5):
                raise damaged(self.path, f"its byte {start - 1:,} begins no field of protobuf")
            self._seen += 1
            if self._seen > _MAX_FIELDS:
                raise damaged(self.path, f"it has more than {_MAX_FIELDS:,} fields", "do not trust it")
            if kind == 0:
                value, start = self.varint(start, stop)
                yield Field(number, value, start, 0)
                continue
            length = 8 if kind == 1 else 4
            if kind == 2:
                length, start = self.varint(start, stop)
            if start + length > stop:
                raise damaged(
                    self.path, f"its field at byte {start:,} claims {length:,} bytes, {stop - start:,} are there"
                )
            yield Field(number, 0, start, start + length)
            start += length

    def varint(self, start: int, stop: int) -> tuple[int, int]:
        """The varint at a place, and the place after it.

        Raises:
            FileError: it reaches over the end, or has more than 64 bits.
        """
        value = 0
        for place in range(start, min(stop, start + 10)):
            byte = self.data[place]
            value |= (byte & 0x7F) << 7 * (place - start)
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, place + 1
        raise damaged(self.path, f"its number at byte {start:,} does not end within 10 bytes")

    def text(self, field: Field) -> str:
        """The text in a field.

        Raises:
            FileError: the field is a number, or no UTF-8 of at most 64 KiB.
        """
        raw = self.data[field.start : min(field.stop, field.start + 2**16)]
        try:
            if field.stop - field.start != len(raw):
                raise ValueError("a number, or too long")
            return raw.decode("utf-8")
        except ValueError as error:
            raise damaged(self.path, f"its field at byte {field.start:,} is no text ({str(error)[:80]})") from error
