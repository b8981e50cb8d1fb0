"""Frames: named arrays of Float32 behind a short description, as they travel from a worker to the page.

    bytes 0-3    the letters CWF and the version, "1"
    bytes 4-7    n, the length of the description, little-endian
    n bytes      the description, JSON in UTF-8, filled with spaces to a multiple of 4
    the rest     the numbers of all arrays, one after the other, little-endian Float32

A frame says everything about one moment: whoever misses one misses nothing but that moment.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commonweight.errors import LabError

MAGIC = b"CWF1"


@dataclass(frozen=True, eq=False)
class Frame:
    """Numbers of one moment.

    Attributes:
        kind: "live" for what changes with each step, "structure" for what changes with the settings.
        step: training steps so far.
        values: single numbers, words and short lists; not finite numbers become None.
        arrays: by name, of any shape.
    """

    kind: str
    step: int
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, ArrayLike] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes of this frame.

        >>> frame = Frame("live", 3, {"loss": 0.5}, {"w": [[1, 2]]})
        >>> decode(frame.encode()).arrays["w"].tolist()
        [[1.0, 2.0]]
        """
        arrays = {name: np.ascontiguousarray(array, dtype="<f4") for name, array in self.arrays.items()}
        shapes = [{"name": name, "shape": list(array.shape)} for name, array in arrays.items()]
        about = {"kind": self.kind, "step": self.step, "values": finite(dict(self.values)), "arrays": shapes}
        text = json.dumps(about, allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        return b"".join([MAGIC, struct.pack("<I", len(text)), text, *(array.tobytes() for array in arrays.values())])


def decode(data: bytes) -> Frame:
    """The frame that was encoded.

    Raises:
        LabError: these bytes are no frame of this version.
    """
    try:
        (length,) = struct.unpack_from("<I", data, 4)
        about = json.loads(data[8 : 8 + length])
        place, arrays = 8 + length, {}
        for entry in about["arrays"]:
            count = math.prod(entry["shape"])
            arrays[entry["name"]] = _numbers(data, place, count).reshape(entry["shape"])
            place += 4 * count
        if data[:4] != MAGIC or place != len(data):
            raise ValueError(f"it starts with {data[:4]!r} and has {len(data) - place} bytes too many")
        return Frame(about["kind"], about["step"], about["values"], arrays)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise LabError(f"These {len(data)} bytes are no frame of version {MAGIC.decode()} ({error}).") from error


def _numbers(data: bytes, place: int, count: int) -> NDArray[np.float32]:
    return np.frombuffer(data, "<f4", count, place)


def finite(value: Any) -> Any:
    """The same value with None for numbers that JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
