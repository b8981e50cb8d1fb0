"""The process that trains: it takes commands from its standard input and writes states and frames to its output.

It has one session at a time. A command is an object with the word `do`: open, set, act, run, pause, step. When its
input ends, so does the process: no training outlives the server.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from commonweight.errors import CommonweightError
from commonweight.lab import channel
from commonweight.lab.frames import Frame
from commonweight.lab.pace import Pace
from commonweight.lab.refusals import RefusalError, quoted, said
from commonweight.lab.sessions import Session, open_session
from commonweight.lab.settings import described

if sys.platform == "linux":
    import fcntl
    import termios

PIPE_BYTES = 1 << 20
"""Of the pipe to the server, where that can be said: some frames, so that no step waits for one to be taken."""

MOST_STEPS_AT_ONCE = 1000
NEEDED = ("commonweight.lab.sessions.play", "torch._dynamo", "sklearn.datasets", "commonweight.lab.sessions.share")
"""What the first views load, and what torch loads for its first optimiser: loaded while there is nothing else to do."""

BEHIND_NICENESS = 10
"""By how much its priority is lowered meanwhile: seconds of work, for which no training is to wait."""


class Worker:
    """The loop between commands and steps.

    Args:
        folder: what sessions may read.
        output: where messages go.
    """

    def __init__(self, folder: Path, output: BinaryIO) -> None:
        self.folder, self.output = folder, output
        self.view, self.running = "", False
        self.session: Session | None = None
        self.pace = Pace(time.perf_counter())

    def serve(self, commands: "queue.SimpleQueue[bytes | None]") -> None:
        """Until the commands end (None). How things stand is shown once for all commands that wait."""
        needed = list(NEEDED)
        while True:
            if needed and not self.running and commands.empty():
                load = _load_behind if self.session is None else import_module  # nobody waits for a spare worker
                load(needed.pop(0))
                continue
            rest = self.pace.rest(time.perf_counter())
            if self.running and not rest and commands.empty():
                self.advance()
                continue
            try:
                command = commands.get(timeout=rest if self.running else None)
            except queue.Empty:
                continue
            if command is None:
                return
            self.obey(command)
            if commands.empty():
                self._show_all()

    def obey(self, command: bytes) -> None:
        """Do what was asked; a refusal is one sentence to the viewers."""
        try:
            asked = json.loads(command)
            self._do(asked.get("do"), asked)
        except CommonweightError as error:
            self._send(channel.pack_json(channel.MESSAGE, {"type": "refused", "text": said(error)}))

    def advance(self) -> None:
        """One step, and a frame when it is time for one; what goes wrong in it pauses."""
        assert self.session is not None
        try:
            self.running = self.session.advance()
        except CommonweightError as error:
            self.running = False
            self._send(channel.pack_json(channel.MESSAGE, {"type": "refused", "text": said(error)}))
        now = time.perf_counter()
        self.pace.stepped(now)
        if not self.running:
            self._show_all()
        elif self.pace.frame_due(now) and not _unread(self.output):
            began = time.thread_time()
            self._show(self.session.live())
            self.pace.framed(now, time.thread_time() - began)

    def _do(self, word: Any, asked: Mapping[str, Any]) -> None:
        if word == "open":
            self.running = False
            self.view, self.session = str(asked.get("view")), None
            self.session = open_session(self.view, self.folder, str(asked.get("subject", "")))
            self.session.change(asked.get("settings") or {})
            return
        if self.session is None:
            raise RefusalError("open_first")
        if word == "set":
            self.session.change(asked.get("settings") or {})
        elif word == "act":
            given = asked.get("given", {})
            if not isinstance(given, dict):
                raise RefusalError("given_no_object", got=str(given)[:40])
            self.session.act(str(asked.get("action")), given)
        elif word == "run":
            self.pace.steps_per_second = _number(asked, "steps_per_second", 0, 1000)
            self.running = True
        elif word == "pause":
            self.running = False
        elif word == "step":
            self.running = False
            for _ in range(int(_number(asked, "count", 1, MOST_STEPS_AT_ONCE))):
                self.session.advance()
        else:
            raise RefusalError("no_message", types="open, set, act, run, pause, step", got=quoted(str(word)))

    def _show_all(self) -> None:
        if self.session is None:
            return
        now, began = time.perf_counter(), time.thread_time()
        session = self.session
        state = {"type": "state", "view": self.view, "running": self.running, "step": session.step}
        state |= {"steps_per_second": self.pace.steps_per_second, "limits": described(type(session.settings))}
        state |= {"settings": asdict(session.settings), "facts": session.facts(), "code": session.code()}
        self._send(channel.pack_json(channel.STATE, state))
        structure = session.structure()
        if structure is not None:
            self._show(structure)
        self._show(session.live())
        self.pace.framed(now, time.thread_time() - began)

    def _show(self, frame: Frame) -> None:
        self._send(channel.pack_frame(frame))

    def _send(self, message: bytes) -> None:
        self.output.write(message)
        self.output.flush()


def _load_behind(module: str) -> None:
    """Import a module while whoever trains goes first: on Linux a priority is that of a thread, not of its process."""

    def load() -> None:
        if sys.platform == "linux":
            os.nice(BEHIND_NICENESS)
        import_module(module)

    loading = threading.Thread(target=load)
    loading.start()
    loading.join()


def _unread(output: BinaryIO) -> bool:
    """Whether the server has yet to take what was written: then training goes on without another frame."""
    if sys.platform != "linux":
        return False
    return fcntl.ioctl(output, termios.FIONREAD, bytes(4)) != bytes(4)


def _number(asked: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """A number of a command, its least value when it is left out."""
    value = asked.get(name, low)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RefusalError("real", name=name, low=low, high=high, got=repr(value)[:40])
    return value


def main() -> None:
    """Serve standard input; whatever else the process says goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if sys.platform == "linux":
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    import torch

    torch.set_num_threads(1)
    commands: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def listen() -> None:
        while (message := channel.receive(sys.stdin.buffer)) is not None:
            commands.put(message[1])
        commands.put(None)

    threading.Thread(target=listen, daemon=True).start()
    with suppress(BrokenPipeError):  # the server is gone
        Worker(Path(sys.argv[1]), output).serve(commands)


if __name__ == "__main__":
    main()
