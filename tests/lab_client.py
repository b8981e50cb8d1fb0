"""A page that is none: it talks to a lab in this process as a browser would."""

import json
import re
import signal
from contextlib import contextmanager

from starlette.testclient import TestClient

from commonweight.lab.frames import decode
from commonweight.lab.server import make_app

TOKEN, HOST = "a-secret-word", "127.0.0.1:8765"
ORIGIN = f"http://{HOST}"


@contextmanager
def lab(folder, static=None):
    """A client of a lab that may read the folder."""
    static = static or folder / "static"
    static.mkdir(exist_ok=True)
    (static / "index.html").write_text("<title>lab</title>")
    with TestClient(make_app(folder, TOKEN, frozenset({HOST}), static), base_url=ORIGIN) as client:
        yield client


@contextmanager
def page(client, **headers):
    """An open WebSocket, as `Page`."""
    with client.websocket_connect(f"/{TOKEN}/ws", headers={"host": HOST, "origin": ORIGIN, **headers}) as socket:
        yield Page(socket)


class Page:
    """What a page says and hears."""

    def __init__(self, socket):
        self.socket = socket
        self.hello = self.hear("hello")

    def ask(self, **message):
        self.socket.send_text(json.dumps(message))

    def hear(self, kind, holds=lambda told: True, seconds=240):
        """The next message of a type (or the next "live" or "structure" frame) for which something holds."""

        def give_up(*_):
            raise AssertionError(f"no {kind} in {seconds} s")

        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)
        try:
            return self._next(kind, holds)
        finally:
            signal.alarm(0)

    def _next(self, kind, holds):
        while True:
            told = self.socket.receive()
            if told["type"] == "websocket.close":
                raise AssertionError(f"closed: {told}")
            if told.get("bytes") is not None:
                frame = decode(told["bytes"])
                if frame.kind == kind and holds(frame):
                    return frame
            else:
                message = json.loads(told["text"])
                if message["type"] == kind and holds(message):
                    return message

    def refusal(self):
        return re.sub(r"\s+", " ", self.hear("refused")["text"]["en"])
