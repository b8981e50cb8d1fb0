"""The server in this process: who may talk to it, what it says, what it survives."""

import asyncio
import json
import os
import random
import re
import signal
import socket as sockets
import subprocess
import sys
import threading
import urllib.request

import pytest
from lab_client import HOST, ORIGIN, TOKEN, lab, page
from starlette.websockets import WebSocket, WebSocketDisconnect

from commonweight.errors import LabError
from commonweight.lab import server
from commonweight.lab.guard import Guard
from commonweight.lab.hub import Hub


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("lab")) as client:
        yield client


def test_the_page_comes_with_a_policy_that_lets_nothing_else_in(client):
    answer = client.get(f"/{TOKEN}/")
    assert answer.status_code == 200
    assert "<title>lab</title>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "headers", "status", "sentence"),
    [
        ("/", {}, 403, "has a token in it"),
        ("/a-secret-wore/", {}, 403, "has a token in it"),
        (f"/{TOKEN}x/", {}, 403, "has a token in it"),
        (f"/{TOKEN}/", {"host": "evil.example:8765"}, 421, "does not go by that name"),
        (f"/{TOKEN}/", {"host": "127.0.0.1:80"}, 421, "does not go by that name"),
        (f"/{TOKEN}/", {"origin": "http://evil.example"}, 403, "come from its own page"),
        (f"/{TOKEN}/", {"origin": "null"}, 403, "come from its own page"),
    ],
)
def test_strangers_are_turned_away(client, path, headers, status, sentence):
    answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert sentence in answer.text
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("name", [b"host", b"origin"])
def test_a_name_that_is_said_twice_is_none(name):
    said = {b"host": HOST.encode(), b"origin": ORIGIN.encode()}
    statuses = []

    async def send(message):
        statuses.append(message.get("status"))

    headers = [(name, b"evil.example"), *said.items()]
    asyncio.run(Guard(None, TOKEN, {HOST})({"type": "http", "path": f"/{TOKEN}/", "headers": headers}, None, send))
    assert statuses == [421, None]


@pytest.mark.parametrize(
    "path", ["../lab_client.py", "..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"]
)
def test_no_file_outside_of_the_page_is_served(client, path):
    assert client.get(f"/{TOKEN}/{path}").status_code in (403, 404)


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": ""}, {"host": "evil.example"}, {"origin": f"https://{HOST}"}],
)
def test_a_websocket_from_elsewhere_is_refused(client, headers):
    with pytest.raises(WebSocketDisconnect) as closed, page(client, **headers):
        pass
    assert closed.value.code == 1008


def test_a_websocket_without_the_token_is_refused(client):
    headers = {"host": HOST, "origin": ORIGIN}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers=headers):
        pass


def test_a_view_is_opened_trained_and_paused(client):
    with page(client) as one:
        assert one.hello["version"] == 1
        one.ask(type="open", view="share", subject="", settings={"maps": 2})
        state = one.hear("state")
        assert state["settings"]["maps"] == 2
        (kernel,) = [limit for limit in state["limits"] if limit["name"] == "kernel"]
        assert kernel == {"name": "kernel", "default": 5, "kind": "whole", "low": 3, "high": 7, "step": 2}
        assert one.hear("structure").arrays["index"].shape == (144, 144)
        one.ask(type="run", steps_per_second=0)
        one.hear("live", lambda frame: frame.step > 5)
        one.ask(type="pause")
        stopped = one.hear("state", lambda told: not told["running"])
        one.ask(type="step", count=3)
        assert one.hear("state")["step"] == stopped["step"] + 3


def test_who_comes_late_gets_the_state_and_who_steers_is_told_to_the_others(client):
    with page(client) as one, page(client) as two:
        one.ask(type="open", view="share", subject="", settings={"maps": 3})
        one.hear("state", lambda told: told["settings"]["maps"] == 3)
        one.ask(type="step", count=4)
        step = one.hear("state", lambda told: told["step"] >= 4)["step"]
        two.ask(type="open", view="share", subject="", settings=None)
        assert two.hear("state")["step"] == step
        two.hear("live", lambda frame: frame.step == step)
        two.ask(type="set", settings={"maps": 2})
        assert one.hear("steered") == {"type": "steered", "by": two.hello["viewer"], "did": "set"}
        assert one.hear("state", lambda told: told["settings"]["maps"] == 2)["step"] == 0


def test_a_worker_that_is_killed_is_told_and_replaced(client):
    with page(client) as one:
        one.ask(type="open", view="share", subject="", settings={"maps": 2, "seed": 5})
        one.hear("state", lambda told: told["settings"]["seed"] == 5)
        one.ask(type="run", steps_per_second=0)
        one.hear("live", lambda frame: frame.step > 2)
        (job,) = _hub(client).jobs.values()
        os.kill(job.process.pid, signal.SIGKILL)
        assert one.hear("worker") == {"type": "worker", "code": -9, "again": True}
        state = one.hear("state")
        assert (state["step"], state["running"], state["settings"]["seed"]) == (0, False, 5)


def test_a_worker_can_be_stopped_whatever_it_does(client):
    with page(client) as one:
        one.ask(type="open", view="share", subject="", settings={"maps": 2})
        one.hear("state")
        (job,) = _hub(client).jobs.values()
        os.kill(job.process.pid, signal.SIGSTOP)  # as if it were in a step that never ends
        one.ask(type="stop")
        stopped = one.hear("state", lambda told: job.process.returncode is not None)  # not one that was on its way
        assert (stopped["step"], job.process.returncode) == (0, -signal.SIGKILL)


def test_nobody_watches_and_nothing_trains(client):
    with page(client) as one:
        one.ask(type="open", view="share", subject="", settings=None)
        one.hear("state")
        one.ask(type="run", steps_per_second=0)
        one.hear("live", lambda frame: frame.step > 0)
    with page(client) as two:
        two.ask(type="open", view="share", subject="", settings=None)
        two.ask(type="set", settings={})
        assert two.hear("state", lambda told: not told["running"])


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("{", "A message is a JSON object with a type"),
        ("[1]", "A message is a JSON object with a type"),
        ("[" * 5000, "A message is a JSON object with a type"),
        ('{"type": "dance"}', "A message is open, stop, set, act, run, pause, step; got 'dance'"),
        ('{"type": "run"}', "Open a view first."),
        ('{"type": "open", "view": "../share"}', "There is no view '../share': there are play, share"),
        ('{"type": "open", "view": ["share"]}', "There is no view"),
        ('{"type": "open", "view": "share", "subject": 5}', "is named with at most 200 letters"),
        ('{"type": "open", "view": "share", "subject": "x"}', "The view share is opened for nothing but itself"),
    ],
)
def test_messages_that_cannot_be_met(client, message, sentence):
    with page(client) as one:
        one.socket.send_text(message)
        assert sentence in one.refusal()


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"type": "set", "settings": {"maps": "many"}}, "maps is a whole number from 1 to 16; got 'many'"),
        ({"type": "set", "settings": [1]}, "Settings are an object"),
        ({"type": "act", "action": "map", "given": {"map": 99}}, "map is a whole number"),
        ({"type": "act", "action": "map", "given": 7}, "What is given to an action is an object; got 7"),
        ({"type": "run", "steps_per_second": -1}, "steps_per_second is a number from 0 to 1000; got -1"),
        ({"type": "run", "steps_per_second": "fast"}, "steps_per_second is a number"),
        ({"type": "step", "count": 10**9}, "count is a number from 1 to 1000"),
    ],
)
def test_commands_that_the_worker_cannot_meet(client, message, sentence):
    with page(client) as one:
        one.ask(type="open", view="share", subject="", settings={"maps": 2})
        one.hear("state")
        one.ask(**message)
        assert sentence in one.refusal()


def test_a_flood_and_a_message_too_long_are_cut_off(client):
    with page(client) as one:
        one.socket.send_text(json.dumps({"type": "open", "view": "x" * (1 << 17)}))
        assert "That was too much at once" in one.refusal()
    with page(client) as one:
        for _ in range(200):
            one.ask(type="pause")
        one.hear("refused", lambda told: "That was too much at once" in told["text"]["en"])


def test_bytes_are_no_message(client):
    with page(client) as one:
        one.socket.send_bytes(b"\x00")
        assert one.socket.receive()["type"] == "websocket.close"


def test_a_page_that_is_found_gone_by_a_send_is_asked_for_nothing_more(tmp_path):
    arriving = [{"type": "websocket.connect"}, *[{"type": "websocket.receive", "text": "nonsense"}] * 3]

    async def receive():
        return arriving.pop(0)

    async def send(message):
        if message["type"] == "websocket.send":
            raise OSError

    asyncio.run(server._talk(Hub(tmp_path), WebSocket({"type": "websocket"}, receive, send)))
    assert arriving


def test_random_messages_leave_the_lab_as_able_as_before(client):
    """A fuzz of the protocol: whatever a page says, it gets a sentence, and the next page gets its view."""
    chance = random.Random(0)
    words = [
        "open",
        "stop",
        "set",
        "act",
        "run",
        "pause",
        "step",
        "share",
        "",
        None,
        0,
        -1,
        1e308,
        [],
        {},
        "\ud800",
        True,
    ]
    keys = ["type", "view", "subject", "settings", "action", "given", "count", "steps_per_second", "maps"]
    for _ in range(12):
        with page(client) as one:
            one.ask(type="open", view="share", subject="", settings=None)
            for _ in range(8):
                message = {chance.choice(keys): chance.choice(words) for _ in range(5)}
                one.ask(**{"type": chance.choice(["set", "act", "run", "pause", "step", "open"]), **message})
    with page(client) as one:
        one.ask(type="open", view="share", subject="", settings={"maps": 2, "seed": 9})
        assert one.hear("state", lambda told: told["settings"]["seed"] == 9)["view"] == "share"


def test_there_are_only_so_many_jobs_and_pages(client, monkeypatch):
    monkeypatch.setattr("commonweight.lab.hub.MOST_JOBS", 1)
    monkeypatch.setattr("commonweight.lab.hub.WITH_SUBJECT", {"share"})
    with page(client) as one, page(client) as two:
        one.ask(type="open", view="share", subject="", settings=None)
        one.hear("state")
        two.ask(type="open", view="share", subject="other", settings=None)
        assert "This lab works on at most 1 things at once" in two.refusal()
        monkeypatch.setattr("commonweight.lab.hub.MOST_VIEWERS", 2)
        with client.websocket_connect(f"/{TOKEN}/ws", headers={"host": HOST, "origin": ORIGIN}) as third:
            assert "shows itself to at most 2 pages" in third.receive_text()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"host": "192.168.1.5"}, "--host 192.168.1.5 lets others in: say by --token"),
        ({"host": "0.0.0.0", "token": "long-enough"}, "under which address others reach this machine"),
        ({"token": "short"}, "A token has 8 letters, digits, - or _ at least"),
        ({"token": "slash/slash"}, "A token has 8 letters"),
    ],
)
def test_a_lab_that_is_not_opened(tmp_path, given, sentence):
    with pytest.raises(LabError, match=sentence):
        server.serve(tmp_path, say=print, **given)


def test_a_lab_without_its_page_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "STATIC", tmp_path)
    with pytest.raises(LabError, match="The page of the lab is not built: run `make web`"):
        server.serve(tmp_path, say=print)


def test_a_port_that_is_taken(tmp_path, monkeypatch):
    (tmp_path / "index.html").touch()
    monkeypatch.setattr(server, "STATIC", tmp_path)
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=rf"cannot listen at 127.0.0.1:{port} \(Address already in use\)"):
            server.serve(tmp_path, port=port, say=print)


def test_a_host_that_is_none(tmp_path, monkeypatch):
    (tmp_path / "index.html").touch()
    monkeypatch.setattr(server, "STATIC", tmp_path)
    with pytest.raises(LabError, match=r"cannot listen at no\.host\.invalid:8765 \(.*\): .* or another --host"):
        server.serve(tmp_path, host="no.host.invalid", token="long-enough", say=print)


@pytest.mark.parametrize("handler", ["default_int_handler", "SIG_IGN"])  # SIG_IGN: begun by a script with &
def test_a_lab_over_a_real_socket(tmp_path, handler):
    """As a person starts it: the address is printed, the page is served behind its token, and Ctrl+C ends it."""
    page_file = tmp_path / "index.html"
    page_file.write_text("<title>real</title>")
    code = f"""
import signal
from pathlib import Path
from commonweight.lab import server
signal.signal(signal.SIGINT, signal.{handler})
server.STATIC = Path({str(tmp_path)!r})
server.serve(Path("."), port=0, browser=False, say=lambda line: print(line, flush=True))
"""
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    lab = subprocess.Popen([sys.executable, "-c", code], **out, text=True, cwd=tmp_path)
    watchdog = threading.Timer(60, lab.kill)
    watchdog.start()
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/\S{20,}/", lab.stdout.readline())[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"real" in answer.read()
    finally:
        lab.send_signal(signal.SIGINT)
        told = lab.communicate(timeout=30)[1]
        watchdog.cancel()
    assert lab.returncode == -signal.SIGINT
    assert "KeyboardInterrupt: the lab has ended" in told


def _hub(client):
    """The hub of the lab that a client talks to."""
    return client.app.app.state.hub


@pytest.mark.parametrize("settings", ['{"l1": ' + "[" * 900 + "]" * 900 + "}", "[" * 900 + "]" * 900])
@pytest.mark.parametrize("word", ["open", "set"])
def test_a_message_that_is_nested_too_deep_is_refused_and_the_next_one_answered(client, word, settings):
    """It can be read, and yet is too deep for the functions that pass it on."""
    with page(client) as one:
        one.ask(type="open", view="play", subject="", settings=None)
        one.socket.send_text(f'{{"type": "{word}", "view": "play", "settings": {settings}}}')
        assert one.refusal() == "A message has at most 8 lists and objects within each other; this one has more."
        one.ask(type="set", settings={"points": [[0.5, 0.5, 1]] * 20})
        one.hear("state", lambda told: len(told["settings"]["points"]) == 20)
