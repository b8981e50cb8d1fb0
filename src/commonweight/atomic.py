"""Tensors and text in files that are whole or not there, never half written.

A file is written under a temporary name in the same folder and then renamed, which is atomic. Tensors are stored by
safetensors, never by pickle. A tensor that a model holds under several names is stored once, under the first.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from commonweight.errors import FileError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` if the block ends well.

    Raises:
        FileError: the folder or the file cannot be written, for instance because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except (OSError, ValueError) as error:  # a path may hold a zero byte
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file, or none."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Add lines to the end of a text file.

    Raises:
        FileError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _unwritable(path, error) from error


def read_text(path: Path, limit: int = 1 << 26) -> str:
    """Read a UTF-8 text file of at most `limit` bytes.

    Raises:
        FileError: missing, unreadable, larger than the limit, or not UTF-8.
    """
    try:
        if path.stat().st_size > limit:
            raise FileError(f"{path} has {path.stat().st_size:,} bytes; expected at most {limit:,}.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"Cannot read {path}: {_reason(error)}.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a whole safetensors file, or none."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(whole, temporary, dict(metadata))
    except SafetensorError as error:  # how safetensors reports a full disk
        raise _unwritable(path, error) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises:
        FileError: missing, or not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FileError(f"Cannot read the tensors of {path}: {_reason(error)}.") from error


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and persistent buffers of a model by name, each tensor once."""
    kept = model.state_dict(keep_vars=True)
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor for name, tensor in named if name in kept}


@torch.no_grad()
def fill(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors into a model whose `own_tensors` have the same names and shapes.

    Raises:
        FileError: a name or a shape differs; the model is unchanged.
    """
    own = own_tensors(model)
    for name in sorted(own.keys() ^ tensors.keys()):
        holder, other = ("the file", "the net") if name in tensors else ("the net", "the file")
        raise FileError(f"{source} belongs to another net: {holder} has {name!r}, {other} has not.")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)} in the file, {tuple(tensor.shape)} in the net"
            raise FileError(f"{source} belongs to another net: {name!r} has shape {shapes}.")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _unwritable(path: Path, error: Exception) -> FileError:
    return FileError(f"Cannot write {path}: {_reason(error)}; free some space or choose another place.")
