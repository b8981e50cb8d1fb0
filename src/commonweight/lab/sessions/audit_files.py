"""Which checkpoints there are in the folder that a session may read, and the path of one that is asked for."""

import os
from collections.abc import Iterator
from pathlib import Path

from commonweight.checkpoints.bounded import inside
from commonweight.errors import LabError

ENDS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx", ".index.json")
MOST_FILES, MOST_ENTRIES, DEEPEST = 200, 5000, 3


def checkpoints_in(folder: Path) -> tuple[list[str], bool]:
    """Names of checkpoints below a folder, the newest first, and whether these are all.

    A folder with a `config.json` and weights is one checkpoint, and so are the files in it; links are not followed.
    """
    found: list[tuple[float, str]] = []
    for seen, entry in enumerate(_walk(folder, DEEPEST)):
        if seen >= MOST_ENTRIES or len(found) >= MOST_FILES:
            return _by_time(found), False
        path = Path(entry.path)
        if (path / "config.json").is_file() if entry.is_dir() else entry.name.endswith(ENDS):
            found.append((entry.stat().st_mtime, path.relative_to(folder).as_posix()))
    return _by_time(found), True


def checkpoint_at(folder: Path, name: str) -> Path:
    """The path of a checkpoint in a folder.

    Raises:
        LabError: there is none of this name.
        FileError: it lies outside of the folder.
    """
    path = inside(folder, name, folder)
    if not path.exists():
        raise LabError(f"There is no file or folder {name[:100]!r} in the folder that this lab may read.")
    return path


def _walk(folder: Path, deep: int) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not entry.is_symlink() and not entry.name.startswith(".")]
    except OSError:  # it does not exist, or may not be read: nothing to choose from in it
        return
    for entry in kept:
        yield entry
        if entry.is_dir() and deep > 1:
            yield from _walk(Path(entry.path), deep - 1)


def _by_time(found: list[tuple[float, str]]) -> list[str]:
    return [name for _, name in sorted(found, reverse=True)]
