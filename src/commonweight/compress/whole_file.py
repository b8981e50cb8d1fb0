"""A file of tensors, compressed without the net that it belongs to."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from torch import Tensor

from commonweight.checkpoints import open_checkpoint
from commonweight.compress.following import follow_in_tensors, settled
from commonweight.compress.nearest import Per
from commonweight.compress.report import Report
from commonweight.compress.sharing import share_tensors
from commonweight.compress.storing import save_tensors
from commonweight.equations import record
from commonweight.equations.sameness import same_storage
from commonweight.errors import FileError, require_kind
from commonweight.files import load
from commonweight.manifest import declared, find
from commonweight.notation import Equation


def share_file(
    path: str | Path,
    out: str | Path,
    k: int | None,
    per: Per = "row",
    keep: Sequence[str] = (),
    *,
    suggest: bool = False,
) -> Report:
    """Compress the tensors of a file into a packed file: all floating ones of two axes or more, one after the other.

    Args:
        path: a state dict, of safetensors or of PyTorch. Its ties stay ties; a tied tensor is shared once.
        out: the packed file.
        k, per, keep: see `compress.share_tensors`.
        suggest: first tie the tensors that are equal by `audit(suggest=True)`, make codebooks of those that have few
            values, and store those that have a pattern as its free weights.

    Raises:
        FileError: no such file, or one of another kind.
        CompressError: k or per out of range, or a `keep` that is no list of names that are there.

    Example:
        >>> import torch
        >>> torch.save({"weight": torch.randn(8, 64)}, "state.pt")
        >>> share_file("state.pt", "packed.safetensors", k=16, per="tensor").bytes_after
        320
    """
    for place in (path, out):
        require_kind(place, str | PathLike, "share_file takes the path of a file and that of the packed one", FileError)
    checkpoint = open_checkpoint(path)
    if checkpoint.format == "safetensors":
        tensors = load(path)
        manifest = find(checkpoint.metadata)  # its ties to codebooks too: `load` has made tensors of them
        listed = manifest.ties if manifest else declared(checkpoint.metadata, checkpoint.tensors)
        ties = {tie.alias: tie for tie in listed}
    elif checkpoint.format == "pytorch":
        tensors = {name: checkpoint.read(name) for name in checkpoint.tensors}
        ties = _of_storages(tensors)
    else:
        raise FileError(f"{path} is {checkpoint.format}; give a state dict in one file, of safetensors or of PyTorch.")
    for alias in ties:
        del tensors[alias]
    followed, new, as_is = follow_in_tensors(tensors) if suggest else ([], [], {})
    for tie in new:
        ties[tie.alias] = tie
    tied = sum(tensors.pop(tie.alias).nbytes for tie in new)
    report, shared = share_tensors(tensors, k, per, keep, as_is)
    save_tensors(tensors, shared, [record.follow(ties, alias) for alias in ties], out)
    return replace(report, tied=tied, followed=settled(followed, report.lines))


def _of_storages(tensors: dict[str, Tensor]) -> dict[str, Equation]:
    """The names that lie in the memory of others, each with its owner."""
    known = {tie.equation.alias: tie.equation for tie in same_storage({n: t for n, t in tensors.items() if t.numel()})}
    return {alias: record.follow(known, alias) for alias in known}
