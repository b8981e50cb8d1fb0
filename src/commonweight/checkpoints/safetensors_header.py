"""The header of a safetensors file, read strictly: every byte of the file belongs to exactly one tensor.

The format (https://github.com/huggingface/safetensors, README, "Format"): 8 bytes, little-endian, give the length of a
JSON text; it maps each name to its type, shape and place; the values follow, without holes and without overlaps.
The library checks the same, but does not tell where a tensor lies.
"""

from pathlib import Path
from typing import Any

from commonweight.checkpoints.bounded import (
    MAX_JSON,
    MAX_TENSORS,
    bytes_at,
    damaged,
    elements,
    is_size,
    opened,
    parse_json,
    shown,
)
from commonweight.checkpoints.dtypes import SAFETENSORS
from commonweight.checkpoints.stored import Stored

_KEYS = {"dtype", "shape", "data_offsets"}


def read_safetensors(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    Raises:
        FileError: the file cannot be read or breaks the format.
    """
    with opened(path) as (file, size):
        if size < 8:
            raise damaged(path, f"it has {size} bytes, a safetensors file has 8 and a header")
        length = int.from_bytes(bytes_at(file, 0, 8, path), "little")
        if length > min(MAX_JSON, size - 8):
            raise damaged(
                path, f"its header claims {length:,} bytes, the file has {size:,} and a header at most {MAX_JSON:,}"
            )
        raw = bytes_at(file, 8, length, path)
    if raw[:1] != b"{":
        raise damaged(path, f"its header begins with {shown(bytes(raw[:1]))}, a safetensors header with b'{{'")
    header = parse_json(raw, path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise damaged(path, "its metadata is no map from text to text")
    if len(header) > MAX_TENSORS:
        raise damaged(path, f"it holds {len(header):,} tensors, at most {MAX_TENSORS:,} are read", "split it")
    found = [_stored(name, entry, path, 8 + length) for name, entry in header.items()]
    end = 8 + length
    for stored in sorted(found, key=lambda stored: (stored.offset, stored.nbytes)):
        if stored.offset != end:
            word = "overlaps the tensor before it" if stored.offset < end else "leaves a hole before it"
            raise damaged(path, f"{shown(stored.name)} {word}: it begins at byte {stored.offset:,}, not {end:,}")
        end += stored.nbytes
    if end != size:
        raise damaged(path, f"its tensors end at byte {end:,}, the file has {size:,}")
    return {stored.name: stored for stored in found}, metadata


def _stored(name: str, entry: Any, path: Path, start: int) -> Stored:
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        raise damaged(path, f"{shown(name)} is described by {shown(entry)}, expected dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in SAFETENSORS:
        raise damaged(path, f"{shown(name)} has the type {shown(entry['dtype'])}, which safetensors has not")
    if not isinstance(entry["shape"], list):
        raise damaged(path, f"{shown(name)} has the shape {shown(entry['shape'])}, expected a list")
    shape, number = elements(entry["shape"], name, path)
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_size, offsets)):
        raise damaged(path, f"{shown(name)} lies at {shown(offsets)}, expected two whole numbers")
    bits = number * SAFETENSORS[entry["dtype"]].bits
    if (offsets[1] - offsets[0]) * 8 != bits:
        raise damaged(
            path,
            f"{shown(name)} lies at bytes {offsets[0]:,} to {offsets[1]:,}, its shape {shape} of {entry['dtype']}"
            f" needs {-(-bits // 8):,}",
        )
    place = start + offsets[0]
    storage = f"{path}:{place}" if bits else f"{path}:{name}"
    return Stored(name, entry["dtype"], shape, path, place, bits // 8, storage)
