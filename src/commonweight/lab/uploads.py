"""What a page gave to the lab: files, and folders of pictures; each alone in a temporary folder until the lab ends.

A worker that looks at one of them may read that folder and nothing else. There are never more than `MOST_KEPT`.
"""

import asyncio
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from commonweight.lab.packed_pictures import PLAIN, unpack
from commonweight.lab.refusals import RefusalError, quoted

MOST_BYTES = 1 << 28
"""Of one file, or of all pictures of a folder."""

MOST_KEPT = 4
"""Files and folders at once: the oldest goes when another one comes."""

PATIENCE = 20.0
"""Seconds without another byte after which an upload is given up."""

PREFIX = "upload-"
_ENDS = "safetensors|pt|pth|bin|ckpt|onnx|csv|tsv|parquet|npz"
NAME = re.compile(rf"[A-Za-z0-9_()+-][A-Za-z0-9_ .()+-]{{0,99}}\.({_ENDS})")
"""A plain name that says what the file is."""


class Uploads:
    """What was given, by the subject that a view is opened for to look at it.

    Attributes:
        folders: of each subject, the oldest first.
    """

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        self._home: TemporaryDirectory[str] | None = None
        self._taking = False

    async def take(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Keep a file; the subject to open it by.

        Args:
            name: of the file; its end says what it is.
            chunks: its bytes, as they come.

        Raises:
            LabError: a name that is neither a checkpoint's nor a table's, a file that is too long, that stops on its
                way or for which there is no room, or another one that is still on its way.
        """
        if not NAME.fullmatch(name):
            raise RefusalError("upload_name", ends=_ENDS.replace("|", ", "), name=quoted(name, 60))
        return await self._keep(name, lambda place: _write(place, chunks))

    async def take_pictures(self, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Keep a folder with a folder of pictures for each class; the subject to open it by.

        Args:
            name: of the folder.
            chunks: its pictures, packed as `packed_pictures` says, as they come.

        Raises:
            LabError: what came is not that, is too much or has no room, or something else is still on its way.
        """
        if not PLAIN.fullmatch(name):
            raise RefusalError("folder_name", name=quoted(name, 60))

        async def write(place: Path) -> None:
            packed = place.with_name(".packed")
            await _write(packed, chunks)
            await asyncio.to_thread(unpack, packed, place)

        return await self._keep(name, write)

    async def _keep(self, name: str, write: Callable[[Path], Awaitable[None]]) -> str:
        """Make a folder for a file or folder of this name and have it written there, or leave nothing."""
        if self._taking:
            raise RefusalError("upload_under_way")
        self._taking = True
        subject = PREFIX + secrets.token_hex(6)
        try:
            self.folders[subject] = self._folder(subject)
            await write(self.folders[subject] / name)
        except BaseException as error:
            self._remove(subject)
            if isinstance(error, OSError):
                raise RefusalError("upload_not_kept", name=name, reason=error.strerror or error) from error
            raise
        finally:
            self._taking = False
        while len(self.folders) > MOST_KEPT:
            self._remove(next(iter(self.folders)))
        return subject

    def close(self) -> None:
        """Nothing that was given is left behind."""
        self.folders.clear()
        if self._home is not None:
            self._home.cleanup()

    def _folder(self, subject: str) -> Path:
        if self._home is None:
            self._home = TemporaryDirectory(prefix="commonweight-lab-")
        folder = Path(self._home.name) / subject
        folder.mkdir()
        return folder

    def _remove(self, subject: str) -> None:
        folder = self.folders.pop(subject, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


async def _write(path: Path, chunks: AsyncIterator[bytes]) -> None:
    """All chunks into a file.

    Raises:
        LabError: they are too many, or no more of them come.
        OSError: there is no room for them.
    """
    size = 0
    with path.open("wb") as file:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(chunks), PATIENCE)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise RefusalError("upload_stopped", seconds=f"{PATIENCE:g}") from error
            size += len(chunk)
            if size > MOST_BYTES:
                raise RefusalError("upload_too_large", most=MOST_BYTES >> 20)
            file.write(chunk)
