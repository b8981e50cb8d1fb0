"""What a checkpoint file holds, read in place: names, types, shapes, where the bytes are, and what they contain.

No format's own loader runs: nothing in a file is executed, memory is taken only for what is there, and every file ends
in a `Checkpoint` or in one `FileError`.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commonweight.checkpoints.bounded import damaged, opened
from commonweight.checkpoints.folder import Reader, config_of, read_shards, weights_of
from commonweight.checkpoints.onnx_initializers import read_onnx
from commonweight.checkpoints.pytorch import read_pytorch
from commonweight.checkpoints.safetensors_header import read_safetensors
from commonweight.checkpoints.stored import Checkpoint, Stored
from commonweight.errors import FileError, require_kind

if TYPE_CHECKING:
    from commonweight.checkpoints.content import Content, content_of, contents

__all__ = ["Checkpoint", "Content", "Stored", "content_of", "contents", "open_checkpoint"]


def __getattr__(name: str) -> Any:
    """What needs numpy loads on first use: half of the time of a header-only answer would be its import."""
    if name in ("Content", "content_of", "contents"):
        return getattr(import_module("commonweight.checkpoints.content"), name)
    raise AttributeError(f"module 'commonweight.checkpoints' has no attribute '{name}'")


_READERS: dict[str, Reader] = {"safetensors": read_safetensors, "pytorch": read_pytorch, "onnx": read_onnx}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read the headers of a checkpoint, and none of its values.

    Args:
        path: a file of safetensors, ONNX (its name ends in `.onnx`) or PyTorch (since 1.6), a folder as Hugging Face
            lays it out, or the index (`*.index.json`) of a sharded one.

    Raises:
        FileError: missing, unreadable, damaged, or of no format that is known.
    """
    require_kind(path, str | os.PathLike, "open_checkpoint takes the path of a file or folder", FileError)
    path = Path(path)
    if os.path.isdir(path):  # unlike `Path.is_dir`, no error for a name too long
        tensors, metadata = _weights(weights_of(path))
        return Checkpoint(path, "folder", _sorted(tensors), metadata, config_of(path))
    tensors, metadata = _weights(path)
    return Checkpoint(path, "folder" if _is_index(path) else _format(path), _sorted(tensors), metadata)


def _weights(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    if not _is_index(path):
        return _READERS[_format(path)](path)
    return read_shards(path, lambda shard: _READERS[_format(shard)](shard))


def _is_index(path: Path) -> bool:
    return path.name.endswith(".index.json")


def _format(path: Path) -> str:
    """The format of a file: by its name if that says it, otherwise by its first bytes."""
    if path.suffix in (".safetensors", ".onnx"):
        return path.suffix[1:]
    with opened(path) as (file, _):
        start = file.read(9)
    if start[:4] == b"PK\3\4":
        return "pytorch"
    if start[8:] == b"{":
        return "safetensors"
    if start[:1] == b"\x80":
        remedy = "load it once with torch.load(path, weights_only=True) and torch.save it again"
        raise damaged(path, "it is a pickle as PyTorch wrote them before 1.6, which cannot be read in place", remedy)
    raise damaged(path, "it begins like no checkpoint", "give a file of safetensors, PyTorch or ONNX, or a folder")


def _sorted(tensors: dict[str, Stored]) -> dict[str, Stored]:
    return {name: tensors[name] for name in sorted(tensors)}
