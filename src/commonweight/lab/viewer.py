"""One open page: what waits to be sent to it, and how fast it may ask."""

import asyncio
from collections import deque

from commonweight.lab.channel import STATE

MESSAGES = 64
"""Messages that wait for a slow viewer; the oldest are dropped."""

RATE, BURST = 40.0, 120.0
"""Messages a second that a viewer may send for long, and at once."""


class Viewer:
    """An outbox that never grows: of frames and states only the newest of each kind waits.

    Args:
        number: by which pages call each other.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: dict[bytes, bytes] = {}
        self.messages: deque[bytes] = deque(maxlen=MESSAGES)
        self._something = asyncio.Event()
        self._left, self._since = BURST, 0.0

    def put(self, kind: bytes, body: bytes) -> None:
        """The newest of its kind; one that still waits is dropped."""
        self.waiting[kind] = body
        self._something.set()

    def turn_away(self) -> None:
        """The page has left its view: frames and states that still wait to be sent are not for the next one."""
        self.waiting.clear()

    def say(self, message: bytes) -> None:
        """A message that is not replaced by a later one."""
        self.messages.append(message)
        self._something.set()

    async def next(self) -> list[bytes | str]:
        """What to send now: text before frames."""
        await self._something.wait()
        self._something.clear()
        texts: list[bytes | str] = [message.decode() for message in self.messages]
        frames: list[bytes | str] = []
        for kind, body in self.waiting.items():
            if kind == STATE:
                texts.append(body.decode())
            else:
                frames.append(body)
        self.messages.clear()
        self.waiting.clear()
        return texts + frames

    def may_ask(self, now: float) -> bool:
        """Whether another message of this viewer keeps to the rate; it counts as one."""
        self._left = min(BURST, self._left + (now - self._since) * RATE)
        self._since = now
        self._left -= 1
        return self._left >= 0
