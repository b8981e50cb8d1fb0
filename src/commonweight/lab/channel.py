"""How the server and a worker talk: messages in a pipe, each a length, a letter for its kind, and its bytes.

The letters: `C` a command to the worker, `S` the state of a session, `M` a message to the viewers (all JSON), `G` a
frame of the structure, `F` a live frame (see `frames`).
"""

import json
import struct
from typing import Any, BinaryIO

from commonweight.errors import LabError
from commonweight.lab.frames import Frame, finite

HEAD = struct.Struct("<Ic")
MOST = 1 << 25
"""Bytes of one message, at most."""

COMMAND, STATE, MESSAGE, STRUCTURE, LIVE = b"C", b"S", b"M", b"G", b"F"
_OF_FRAMES = {"structure": STRUCTURE, "live": LIVE}


def pack(kind: bytes, body: bytes) -> bytes:
    """One message."""
    return HEAD.pack(len(body), kind) + body


def pack_json(kind: bytes, value: Any) -> bytes:
    """One message of JSON."""
    return pack(kind, json.dumps(finite(value), allow_nan=False).encode())


def pack_frame(frame: Frame) -> bytes:
    """One message with a frame."""
    return pack(_OF_FRAMES[frame.kind], frame.encode())


def unpack_head(head: bytes) -> tuple[int, bytes]:
    """The length and the kind of the message that follows.

    Raises:
        LabError: a message that is too long.
    """
    length, kind = HEAD.unpack(head)
    if length > MOST:
        raise LabError(f"A message between server and worker has at most {MOST:,} bytes; got one of {length:,}.")
    return length, kind


def receive(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """The kind and the bytes of the next message; None at the end of the stream."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    length, kind = unpack_head(head)
    body = stream.read(length)
    return (kind, body) if len(body) == length else None
