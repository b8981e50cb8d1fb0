"""What can go wrong around the lab: full disks, killed workers, two tabs, crowds, slow readers, long nights."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from lab_client import TOKEN, lab, page

from commonweight.errors import LabError
from commonweight.lab import channel, worker
from commonweight.lab.curves import MOST_POINTS, Curves
from commonweight.lab.frames import Frame, decode
from commonweight.lab.hub import Hub
from commonweight.lab.job import MOST_EARLY, Job
from commonweight.lab.uploads import Uploads
from commonweight.lab.viewer import MESSAGES

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("lab")) as client:
        yield client


def _hub(client):
    return client.app.app.state.hub


def test_an_upload_to_a_full_disk_is_told_and_leaves_nothing(client, monkeypatch):
    """The system's own device without room stands where the file would be."""
    folder_of = Uploads._folder

    def full(self, subject):
        folder = folder_of(self, subject)
        (folder / "net.pt").symlink_to("/dev/full")
        return folder

    with monkeypatch.context() as patched:
        patched.setattr(Uploads, "_folder", full)
        answer = client.post(f"/{TOKEN}/uploads", params={"name": "net.pt"}, content=b"1" * 100_000)
    assert answer.status_code == 400
    assert answer.json()["text"]["en"] == "The lab cannot keep net.pt: No space left on device."
    assert _hub(client).uploads.folders == {}
    assert client.post(f"/{TOKEN}/uploads", params={"name": "net.pt"}, content=b"1").status_code == 200


def test_two_tabs_in_conflict_see_the_same_and_are_told_of_each_other(client):
    with page(client) as one:
        with page(client) as two:
            for tab in (one, two):
                tab.ask(type="open", view="play", subject="", settings=None)
                tab.hear("state")
            one.ask(type="set", settings={"hidden": [3]})
            two.ask(type="set", settings={"hidden": [5, 5]})
            for tab, other in ((one, two), (two, one)):
                assert tab.hear("steered") == {"type": "steered", "by": other.hello["viewer"], "did": "set"}
            last = one.hear("state", lambda told: told["settings"]["hidden"] in ([3], [5, 5]))
            one.ask(type="pause")
            last = one.hear("state", lambda told: told["settings"]["hidden"] == [5, 5])
            assert two.hear("state", lambda told: told["settings"]["hidden"] == [5, 5])["step"] == last["step"]
            one.ask(type="run", steps_per_second=0)
            two.ask(type="stop")
            assert one.hear("steered", lambda told: told["did"] == "stop")["by"] == two.hello["viewer"]
            assert one.hear("state", lambda told: told["step"] == 0)["settings"]["hidden"] == [5, 5]
            two.ask(type="open", view="descend", subject="", settings=None)  # one of them looks at something else
            two.hear("state", lambda told: told["view"] == "descend")
            one.ask(type="step", count=4)
            one.hear("state", lambda told: (told["view"], told["step"]) == ("play", 4))
        one.ask(type="step", count=2)  # the other one is closed
        assert one.hear("state", lambda told: told["step"] == 6)["view"] == "play"


def test_fifty_viewers_of_one_job_see_the_same(client):
    with ExitStack() as stack:
        tabs = [stack.enter_context(page(client)) for _ in range(50)]
        for tab in tabs:
            tab.ask(type="open", view="play", subject="", settings=None)
        for tab in tabs:
            tab.hear("state")
        tabs[7].ask(type="set", settings={"seed": 50})
        tabs[7].ask(type="step", count=9)
        losses = {tab.hear("live", lambda frame: frame.step == 9).values["loss"] for tab in tabs}
        assert len(losses) == 1
        assert sum(len(job.latest) for job in _hub(client).jobs.values()) <= 3 * len(_hub(client).jobs)


def test_one_worker_is_kept_ready_and_a_dead_one_is_not_missed(client):
    hub = _hub(client)
    os.kill(hub.spare.pid, signal.SIGKILL)
    with page(client) as one:
        one.ask(type="open", view="map", subject="", settings=None)
        assert one.hear("state")["view"] == "map"
        assert hub.spare.returncode is None
        assert hub.spare.pid not in {job.process.pid for job in hub.jobs.values()}


def test_a_worker_that_dies_again_and_again_is_given_up_until_the_view_is_opened_anew(client, monkeypatch):
    monkeypatch.setattr("commonweight.lab.job.MOST_DEATHS", 0)
    with page(client) as one:
        one.ask(type="open", view="descend", subject="", settings=None)
        one.hear("state", lambda told: told["view"] == "descend")
        os.kill(_hub(client).jobs["descend", ""].process.pid, signal.SIGKILL)
        assert one.hear("worker") == {"type": "worker", "code": -9, "again": False}
        one.ask(type="step", count=1)
        assert one.refusal() == "Open a view first."
        one.ask(type="open", view="descend", subject="", settings=None)
        one.ask(type="step", count=2)
        assert one.hear("state", lambda told: told["step"] == 2)["view"] == "descend"


def test_a_server_that_does_not_read_slows_no_training(tmp_path):
    """Nothing is read from a worker that runs: it goes on without frames, and obeys."""
    command = [sys.executable, "-m", "commonweight.lab.worker", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def tell(**asked):
            process.stdin.write(channel.pack_json(channel.COMMAND, asked))
            process.stdin.flush()

        def read_until(running):
            """The steps of the live frames until a state that says so, and the step of that state."""
            steps = []
            while True:
                kind, body = channel.receive(process.stdout)
                if kind == channel.LIVE:
                    steps.append(decode(body).step)
                elif kind == channel.STATE and json.loads(body)["running"] is running:
                    return steps, json.loads(body)["step"]

        tell(do="open", view="play", subject="", settings={})
        tell(do="step", count=1)
        read_until(False)
        unread, seconds = 0, 1.0
        while unread < 50 and seconds < 60:
            tell(do="run", steps_per_second=0)
            read_until(True)
            time.sleep(seconds)
            tell(do="pause")
            steps, stopped = read_until(False)
            assert len(steps) <= 4
            unread, seconds = stopped - steps[0], 2 * seconds
        assert unread >= 50
        process.stdin.close()
        process.stdout.close()


class Clock:
    """Any time that one likes."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def thread_time(self):
        return self.now


class Session:
    """Steps of two seconds on a clock of its own."""

    settings = SimpleNamespace()

    def __init__(self, clock):
        self.clock, self.step, self.curves = clock, 0, Curves(2, 1)

    def advance(self):
        self.step += 1
        self.clock.now += 2.0
        if self.curves.due(self.step):
            self.curves.add(self.step, [0.0, 1.0])
        return True

    def live(self):
        return Frame("live", self.step, {}, {"curves": self.curves.table()})


def test_twelve_hours_of_streaming_need_no_more_memory_than_one(tmp_path, monkeypatch):
    """A worker's loop, the job that listens to it, and two pages, of which one never reads."""
    clock, written = Clock(), []
    monkeypatch.setattr(worker, "time", clock)
    monkeypatch.setattr(worker, "_unread", lambda _: False)
    at_work = worker.Worker(tmp_path, SimpleNamespace(write=written.append, flush=lambda: None))
    at_work.session, at_work.running = Session(clock), True

    async def night():
        hub = Hub(tmp_path)
        job = hub.jobs["play", ""] = Job("play", "", tmp_path, hub._heard, hub._died)
        pages = [hub.join(), hub.join()]
        for viewer in pages:
            hub.watching[viewer] = ("play", "")
        stream, seen, used = asyncio.StreamReader(), 0, []
        listening = asyncio.create_task(job._listen(SimpleNamespace(stdout=stream, wait=None)))
        while clock.now < 12 * 3600:
            at_work.advance()
            for message in written:
                stream.feed_data(message)
            written.clear()
            await asyncio.sleep(0)
            if at_work.session.step % 100 == 0:
                hub._tell_others(pages[0], job, "set")
                seen += sum(isinstance(item, bytes) for item in await pages[0].next())
            if at_work.session.step % 1800 == 0:
                used.append(tracemalloc.get_traced_memory()[0])
        listening.cancel()
        return job, pages, seen, used

    tracemalloc.start()
    try:
        job, pages, seen, used = asyncio.run(night())
    finally:
        tracemalloc.stop()
    assert at_work.session.step == 6 * 3600
    assert seen == 6 * 36
    assert len(used) == 12
    assert max(used) - used[0] < 100_000
    assert set(job.latest) == {channel.LIVE}
    assert decode(job.latest[channel.LIVE]).step == at_work.session.step
    assert len(pages[1].waiting) == 1
    assert len(pages[1].messages) == MESSAGES
    assert len(at_work.session.curves.table()) <= MOST_POINTS
    assert len(job.early) == 0


def test_a_place_that_becomes_free_is_given_once(tmp_path, monkeypatch):
    """Two pages ask at the same moment for the place of a job that nobody watches, and that takes time to end."""
    monkeypatch.setattr("commonweight.lab.hub.MOST_JOBS", 1)

    async def scene():
        hub, started = Hub(tmp_path), []

        async def start(job, settings, process=None):
            started.append(job.view)

        async def stop(job):
            await asyncio.sleep(0.01)

        monkeypatch.setattr(Job, "start", start)
        monkeypatch.setattr(Job, "stop", stop)
        monkeypatch.setattr(Hub, "prepare", stop)
        hub.jobs["map", ""] = Job("map", "", tmp_path, hub._heard, hub._died)
        asked = [json.dumps({"type": "open", "view": view}) for view in ("play", "share")]
        return await asyncio.gather(*(hub.ask(hub.join(), one) for one in asked), return_exceptions=True), hub, started

    (first, second), hub, started = asyncio.run(scene())
    assert first is None
    assert "at most 1 things at once" in str(second)
    assert list(hub.jobs) == [("play", "")]
    assert started == ["play"]


@pytest.mark.skipif(sys.platform != "linux", reason="a priority is that of a thread on Linux only")
def test_a_spare_worker_loads_behind_whoever_trains_and_trains_as_before(monkeypatch):
    def priority():
        return os.getpriority(os.PRIO_PROCESS, 0)

    seen, before = [], priority()
    monkeypatch.setattr(worker, "import_module", lambda module: seen.append((module, priority())))
    worker._load_behind("some.module")
    assert seen == [("some.module", min(19, before + worker.BEHIND_NICENESS))]
    assert priority() == before


def test_a_system_without_room_for_a_worker_is_told_and_the_view_opens_later(client, monkeypatch):
    hub = _hub(client)

    async def none(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    with page(client) as one:
        with monkeypatch.context() as patched:
            patched.setattr("asyncio.create_subprocess_exec", none)
            os.kill(hub.spare.pid, signal.SIGKILL)
            client.portal.call(hub.spare.wait)
            one.ask(type="open", view="inside", subject="", settings=None)
            assert one.refusal().startswith("No worker can be started (Resource temporarily unavailable)")
            assert ("inside", "") not in hub.jobs
        one.ask(type="open", view="inside", subject="", settings=None)
        assert one.hear("state")["view"] == "inside"


def test_a_worker_whose_words_cannot_be_read_is_ended_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("commonweight.lab.job.MOST_DEATHS", 0)
    ended, told = [], []

    async def wait():
        return -9

    async def scene():
        stream = asyncio.StreamReader()
        stream.feed_data(b"\xff\xff\xff\xffF")
        job = Job("play", "", tmp_path, lambda *_: None, lambda _, code, again: told.append((code, again)))
        await job._listen(SimpleNamespace(stdout=stream, wait=wait, returncode=None, kill=lambda: ended.append(1)))

    asyncio.run(scene())
    assert (ended, told) == ([1], [(-9, False)])


def test_a_job_that_has_not_started_keeps_only_so_many_commands(tmp_path):
    job = Job("play", "", tmp_path, lambda *_: None, lambda *_: None)
    assert sum(job.tell({"do": "pause"}) for _ in range(1000)) == MOST_EARLY
    assert len(job.early) == MOST_EARLY


@pytest.mark.parametrize("asked", [{"type": "pause"}, {"type": "open", "view": "play", "settings": {"rate": 0.1}}])
def test_a_worker_that_takes_no_more_commands_is_told(tmp_path, asked):
    hub = Hub(tmp_path)
    viewer = hub.join()
    hub.jobs["play", ""] = job = Job("play", "", tmp_path, lambda *_: None, lambda *_: None)
    hub.watching[viewer] = ("play", "")
    job.early = [{"do": "pause"}] * MOST_EARLY
    with pytest.raises(LabError, match="The worker is busy and takes no more commands now"):
        asyncio.run(hub.ask(viewer, json.dumps(asked)))


def test_nothing_of_a_view_that_was_left_follows_into_the_next(tmp_path):
    """A frame that waits for a slow page would be drawn as one of the view that it opens meanwhile."""
    hub = Hub(tmp_path)
    viewer = hub.join()
    hub.jobs["map", ""] = SimpleNamespace(latest={channel.STATE: b"{}"}, tell=lambda command: None)
    viewer.put(b"L", b"a frame of the view before")
    asyncio.run(hub.ask(viewer, '{"type": "open", "view": "map"}'))
    assert list(viewer.waiting) == [channel.STATE]
