"""A worker process as the server sees it: started, told what to do, listened to, and started again when it dies."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commonweight.errors import LabError
from commonweight.lab import channel
from commonweight.lab.refusals import RefusalError

PIPE_BYTES = 1 << 20
"""Of what a worker says, read ahead."""

WAITING_BYTES = 1 << 20
"""Commands that a busy worker has not read yet: more are refused."""

MOST_EARLY = 100
"""Commands to a worker that has not started yet."""

MOST_DEATHS = 3
"""After so many, the worker is not started again by itself."""


async def start_worker(folder: Path) -> Process:
    """A process that waits for commands; it may read the folder.

    Raises:
        LabError: the system has no room for it.
    """
    command = [sys.executable, "-m", "commonweight.lab.worker", str(folder)]
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=PIPE_BYTES, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    except OSError as error:
        raise RefusalError("no_worker", reason=error.strerror) from error


class Job:
    """One view that is being worked on, by a process of its own.

    Args:
        view, subject: what it is for.
        folder: what the worker may read.
        heard: called with the kind and the bytes of each message of the worker.
        died: called with the exit code when the worker ends without having been told to, and whether it was started
            again.
    """

    def __init__(
        self,
        view: str,
        subject: str,
        folder: Path,
        heard: Callable[["Job", bytes, bytes], None],
        died: Callable[["Job", int, bool], None],
    ) -> None:
        self.view, self.subject, self.folder, self.heard, self.died = view, subject, folder, heard, died
        self.latest: dict[bytes, bytes] = {}
        self.process: Process | None = None
        self.listening: asyncio.Task[None] | None = None
        self.early: list[dict[str, Any]] = []
        self.deaths, self.stopping = 0, False

    async def start(self, settings: Any, process: Process | None = None) -> None:
        """Open the view in a process, by default in a new one."""
        started = process or await start_worker(self.folder)
        self.process = started
        self.listening = asyncio.create_task(self._listen(started))
        self.tell({"do": "open", "view": self.view, "subject": self.subject, "settings": settings or {}})
        early, self.early = self.early, []
        for command in early:
            self.tell(command)

    def tell(self, command: dict[str, Any]) -> bool:
        """Send a command, or keep it until the process has started; False when too many wait already."""
        process = self.process
        if process is None:
            if len(self.early) == MOST_EARLY:
                return False
            self.early.append(command)
            return True
        if process.stdin is None or process.returncode is not None:
            return False
        if process.stdin.transport.get_write_buffer_size() > WAITING_BYTES:
            return False
        process.stdin.write(channel.pack_json(channel.COMMAND, command))
        return True

    async def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.stopping = True
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self.listening is not None:
            self.listening.cancel()

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None
        try:
            while True:
                length, kind = channel.unpack_head(await process.stdout.readexactly(channel.HEAD.size))
                body = await process.stdout.readexactly(length)
                if kind != channel.MESSAGE:
                    self.latest[kind] = body
                self.heard(self, kind, body)
        except asyncio.IncompleteReadError:  # it has ended: to kill it now would take its exit code from asyncio
            code = await process.wait()
        except LabError:  # what it writes cannot be read
            if process.returncode is None:
                process.kill()
            code = await process.wait()
        if not self.stopping:
            await self._bury(code)

    async def _bury(self, code: int) -> None:
        """Start again with the settings that there were, from the first step."""
        self.deaths, self.process = self.deaths + 1, None
        again = self.deaths <= MOST_DEATHS
        if again:
            state = json.loads(self.latest.get(channel.STATE, b"{}"))
            self.latest.clear()
            try:
                await self.start(state.get("settings"))
            except LabError:
                again = False
        self.died(self, code, again)
