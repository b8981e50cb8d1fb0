"""A file of tensors, compressed without the net that it belongs to."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from commonweight.checkpoints import open_checkpoint
from commonweight.compress.nearest import Per
from commonweight.compress.report import Report
from commonweight.compress.sharing import share_tensors
from commonweight.compress.storing import save_tensors
from commonweight.equations import record
from commonweight.equations.sameness import same_storage
from commonweight.errors import FileError
from commonweight.files import load
from commonweight.manifest import declared
from commonweight.notation import Equation


def share_file(path: str | Path, out: str | Path, k: int, per: Per = "row", keep: Sequence[str] = ()) -> Report:
    """Compress the tensors of a file into a packed file: all floating ones of two axes or more, one after the other.

    Args:
        path: a state dict, of safetensors or of PyTorch. Its ties stay ties; a tied tensor is shared once.
        out: the packed file.
        k, per, keep: see `compress.share_tensors`.

    Raises:
        FileError: no such file, or one of another kind.
        CompressError: k or per out of range, or a name in `keep` that is not there.

    Example:
        >>> import torch
        >>> torch.save({"weight": torch.randn(8, 64)}, "state.pt")
        >>> share_file("state.pt", "packed.safetensors", k=16, per="tensor").bytes_after
        320
    """
    checkpoint = open_checkpoint(path)
    if checkpoint.format == "safetensors":
        tensors = load(path)
        ties = {tie.alias: tie for tie in declared(checkpoint.metadata, tensors.keys())}
    elif checkpoint.format == "pytorch":
        tensors = {name: checkpoint.read(name) for name in checkpoint.tensors}
        ties = _of_storages(tensors)
    else:
        raise FileError(f"{path} is {checkpoint.format}; give a state dict in one file, of safetensors or of PyTorch.")
    for alias in ties:
        del tensors[alias]
    report, shared = share_tensors(tensors, k, per, keep)
    save_tensors(tensors, shared, ties.values(), out)
    return report


def _of_storages(tensors: dict[str, Tensor]) -> dict[str, Equation]:
    """The names that lie in the memory of others, each with its owner."""
    known = {tie.equation.alias: tie.equation for tie in same_storage({n: t for n, t in tensors.items() if t.numel()})}
    return {alias: record.follow(known, alias) for alias in known}
