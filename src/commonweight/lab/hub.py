"""Who watches which job. A page opens one view at a time; pages that open the same see and steer the same job."""

import json
from asyncio.subprocess import Process
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from commonweight.errors import LabError
from commonweight.lab import channel
from commonweight.lab.job import Job, start_worker
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions import VIEWS, WITH_SUBJECT
from commonweight.lab.uploads import PREFIX, Uploads
from commonweight.lab.viewer import Viewer

MOST_JOBS = 4
MOST_VIEWERS = 100
MOST_SUBJECT = 200
MOST_DEEP = 8
"""Lists and objects of a message within each other: painted points are 4 deep."""

STEERING = ("set", "act", "run", "pause", "step")


class Hub:
    """All jobs and all viewers of a lab.

    Args:
        folder: what workers may read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[tuple[str, str], Job] = {}
        self.watching: dict[Viewer, tuple[str, str] | None] = {}
        self.spare: Process | None = None
        self.uploads = Uploads()
        self._numbers = count(1)

    def join(self) -> Viewer:
        """A page was opened.

        Raises:
            LabError: too many are.
        """
        if len(self.watching) >= MOST_VIEWERS:
            raise RefusalError("too_many_pages", most=MOST_VIEWERS)
        viewer = Viewer(next(self._numbers))
        self.watching[viewer] = None
        viewer.say(to_json({"type": "hello", "version": 1, "viewer": viewer.number, "views": list(VIEWS)}))
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """A page was closed; nobody watches, nothing trains."""
        key = self.watching.pop(viewer, None)
        self._pause_unwatched(key)

    async def ask(self, viewer: Viewer, message: str) -> None:
        """Do what a page asks.

        Raises:
            LabError: no such request, or one that cannot be met.
        """
        try:
            asked = json.loads(message)
            word = asked["type"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RefusalError("message_no_object", got=quoted(message, 60)) from error
        if not _is_shallow(asked, MOST_DEEP):
            raise RefusalError("message_too_deep", most=MOST_DEEP)
        if word == "open":
            await self._open(viewer, asked)
        elif word == "stop":
            await self._stop(viewer)
        elif word in STEERING:
            job = self._job_of(viewer)
            told = {
                key: asked[key] for key in ("settings", "action", "given", "count", "steps_per_second") if key in asked
            }
            self._tell(job, {"do": word, **told})
            if word != "act":
                self._tell_others(viewer, job, word)
        else:
            raise RefusalError("no_message", types=f"open, stop, {', '.join(STEERING)}", got=quoted(str(word)))

    async def prepare(self) -> None:
        """Start a worker that has loaded all it needs by the time that a view is opened."""
        with suppress(LabError):  # said when a view is opened that cannot be served
            self.spare = await start_worker(self.folder)

    async def close(self) -> None:
        """End all workers."""
        if self.spare is not None and self.spare.returncode is None:
            self.spare.kill()
            await self.spare.wait()
        for job in list(self.jobs.values()):
            await job.stop()
        self.jobs.clear()
        self.uploads.close()

    async def _open(self, viewer: Viewer, asked: dict[str, Any]) -> None:
        view, subject = asked.get("view"), asked.get("subject", "")
        if not isinstance(view, str) or view not in VIEWS:
            raise RefusalError("no_view", view=quoted(str(view)), views=", ".join(VIEWS))
        if not isinstance(subject, str) or len(subject) > MOST_SUBJECT:
            raise RefusalError("subject_too_long", most=MOST_SUBJECT)
        if subject and view not in WITH_SUBJECT:
            raise RefusalError("no_subject", view=view, subject=quoted(subject))
        key, before = (view, subject), self.watching[viewer]
        self.watching[viewer] = key
        if before != key:
            viewer.turn_away()
            self._pause_unwatched(before)
        settings = asked.get("settings")
        if key in self.jobs:
            job = self.jobs[key]
            for kind, body in job.latest.items():
                viewer.put(kind, body)
            if settings:
                self._tell(job, {"do": "set", "settings": settings})
                self._tell_others(viewer, job, "set")
            return
        job = Job(view, subject, self._folder_of(subject), self._heard, self._died)
        ended = self._make_room()
        self.jobs[key] = job  # before anything is waited for, so that nobody else takes its place
        if ended is not None:
            await ended.stop()
        if job.folder != self.folder:  # a worker of its own, which may read this folder only
            await self._start(job, settings)
            return
        spare, self.spare = self.spare, None
        await self._start(job, settings, spare if spare is not None and spare.returncode is None else None)
        await self.prepare()

    async def _start(self, job: Job, settings: Any, process: Process | None = None) -> None:
        """Start a job; one that cannot be is none.

        Raises:
            LabError: it cannot be.
        """
        try:
            await job.start(settings, process)
        except LabError:
            self.jobs.pop((job.view, job.subject), None)
            raise

    def _folder_of(self, subject: str) -> Path:
        """What a worker may read: an upload is alone in its folder.

        Raises:
            LabError: the upload is not there any more.
        """
        if not subject.startswith(PREFIX):
            return self.folder
        if subject not in self.uploads.folders:
            raise RefusalError("upload_gone")
        return self.uploads.folders[subject]

    def _make_room(self) -> Job | None:
        """Give up the oldest job that nobody watches, if there are as many jobs as there may be; it is to be stopped.

        Raises:
            LabError: all are watched.
        """
        if len(self.jobs) < MOST_JOBS:
            return None
        idle = [key for key in self.jobs if key not in self.watching.values()]
        if not idle:
            raise RefusalError("too_many_jobs", most=MOST_JOBS)
        return self.jobs.pop(idle[0])

    async def _stop(self, viewer: Viewer) -> None:
        """End a worker, whatever it is doing, and begin anew with its settings."""
        job = self._job_of(viewer)
        state = json.loads(job.latest.get(channel.STATE, b"{}"))
        again = Job(job.view, job.subject, job.folder, self._heard, self._died)
        self.jobs[job.view, job.subject] = again
        await job.stop()
        await self._start(again, state.get("settings"))
        self._tell_others(viewer, again, "stop")

    def _job_of(self, viewer: Viewer) -> Job:
        key = self.watching.get(viewer)
        if key is None or key not in self.jobs:
            raise RefusalError("open_first")
        return self.jobs[key]

    def _pause_unwatched(self, key: tuple[str, str] | None) -> None:
        if key in self.jobs and key not in self.watching.values():
            self.jobs[key].tell({"do": "pause"})

    def _viewers(self, job: Job) -> list[Viewer]:
        return [viewer for viewer, key in self.watching.items() if key == (job.view, job.subject)]

    def _heard(self, job: Job, kind: bytes, body: bytes) -> None:
        for viewer in self._viewers(job):
            if kind == channel.MESSAGE:
                viewer.say(body)
            else:
                viewer.put(kind, body)

    def _died(self, job: Job, code: int, again: bool) -> None:
        if not again:
            self.jobs.pop((job.view, job.subject), None)
        for viewer in self._viewers(job):
            viewer.say(to_json({"type": "worker", "code": code, "again": again}))

    def _tell(self, job: Job, command: dict[str, Any]) -> None:
        """Have a job's worker do something.

        Raises:
            LabError: too many commands wait for it.
        """
        if not job.tell(command):
            raise RefusalError("worker_busy")

    def _tell_others(self, viewer: Viewer, job: Job, word: str) -> None:
        for other in self._viewers(job):
            if other is not viewer:
                other.say(to_json({"type": "steered", "by": viewer.number, "did": word}))


def _is_shallow(value: Any, most: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    return most > 0 and all(
        _is_shallow(item, most - 1) for item in (value.values() if isinstance(value, dict) else value)
    )


def to_json(value: Any) -> bytes:
    """A message to a page."""
    return json.dumps(value).encode()
