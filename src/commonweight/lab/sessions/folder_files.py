"""What there is to choose from in the folder that a session may read, and the path of what was chosen."""

import mimetypes
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from commonweight.checkpoints.bounded import inside
from commonweight.errors import FileError
from commonweight.lab.refusals import RefusalError, quoted

TABLES = (".csv", ".tsv", ".parquet", ".npz")
MOST_FILES, MOST_ENTRIES, DEEPEST = 200, 5000, 3
GLANCE = 10
"""Files of a class folder that are looked at, by their names, to tell whether it holds pictures."""


def found_in(folder: Path, wanted: Callable[[Path], bool]) -> tuple[list[str], bool]:
    """Names of the wanted files and folders below a folder, the newest first, and whether these are all.

    Links are not followed.
    """
    found: list[tuple[float, str]] = []
    for seen, entry in enumerate(_walk(folder, DEEPEST)):
        if seen >= MOST_ENTRIES or len(found) >= MOST_FILES:
            return _by_time(found), False
        if wanted(Path(entry.path)):
            found.append((entry.stat().st_mtime, Path(entry.path).relative_to(folder).as_posix()))
    return _by_time(found), True


def path_in(folder: Path, name: str) -> Path:
    """The path of a file or folder in a folder.

    Raises:
        LabError: there is none of this name, or it leads out of the folder, by itself or through a link.
    """
    with suppress(FileError, OSError, ValueError):  # outside; too long for the system; no text that a name can be
        if (path := inside(folder, name, folder)).exists():
            return path
    raise RefusalError("no_file", name=quoted(name, 100))


def data_in(folder: Path, name: str) -> Path:
    """The path of a table or a folder of data in a folder.

    Raises:
        LabError: there is none of this name, it is neither, or something below it leads out of the folder.
    """
    path = path_in(folder, name)
    if not path.is_dir() and path.suffix.lower() not in TABLES:
        raise RefusalError("no_data", name=quoted(name, 100), ends=", ".join(TABLES))
    if (link := way_out(path, folder)) is not None:
        raise RefusalError("link_leads_out", name=path.name, link=quoted(link, 100))
    return path


def way_out(place: Path, folder: Path) -> str | None:
    """The first link below a place that leads out of a folder, by its path from there; None where there is none."""
    home, walked = folder.resolve(), set[Path]()
    for below, folders, files in os.walk(place, followlinks=True):
        for path in (Path(below, name) for name in (*folders, *files)):
            if path.is_symlink() and not _lies_in(path, home):
                return path.relative_to(place).as_posix()
        walked.add(Path(below).resolve())
        folders[:] = [name for name in folders if Path(below, name).resolve() not in walked]
    return None


def _lies_in(path: Path, home: Path) -> bool:
    try:
        return path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # links in a circle
        return False


def holds_data(path: Path) -> bool:
    """Whether this is a table, or a folder with a folder of pictures for each class, by the first files of each.

    Links are not followed.
    """
    if not path.is_dir():
        return path.is_file() and path.suffix.lower() in TABLES
    try:
        entries = [one for one in path.iterdir() if not one.is_symlink() and not one.name.startswith(".")]
        classes = [one for one in entries if one.is_dir()]
        return len(classes) > 1 and all(
            any(is_picture(file.name) for file in islice(one.iterdir(), GLANCE)) for one in classes
        )
    except OSError:  # it may not be read
        return False


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, by its end."""
    kind, _ = mimetypes.guess_type(name, strict=False)
    return kind is not None and kind.startswith("image/")


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
