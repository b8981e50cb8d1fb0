"""Every setting and action of every view with values that nobody should send: a refusal or a sane state."""

import io
import json
import math
from dataclasses import asdict

import pytest

from commonweight.lab import channel
from commonweight.lab.sessions import VIEWS
from commonweight.lab.settings import described
from commonweight.lab.worker import Worker


def nested(depth):
    return [nested(depth - 1)] if depth else []


HOSTILE = [
    None, True, "", "\0", "\ud800", "../..", "x" * 60_000, "NaN", "{0}", -1, 0, 3.5, -(10**30), 10**400, 1e308,
    math.nan, math.inf, -math.inf, [], {}, {"a": {"b": [1]}}, [math.nan], [10**400], ["a"] * 5000, [[0, 0, 0]] * 501,
    [[0, 0, True]], [[0, 0, 0.5]], [[math.nan, 0, 1]], nested(90),
]  # fmt: skip


class Talk:
    """A worker in this process, with what it has said since it was last listened to."""

    def __init__(self, view, folder):
        self.output = io.BytesIO()
        self.worker = Worker(folder, self.output)
        self.ask(do="open", view=view)

    def ask(self, **asked):
        """The refusals of a command; an error that is none would have ended the worker."""
        self.output.seek(0)
        self.output.truncate()
        self.worker.obey(json.dumps(asked).encode())
        self.output.seek(0)
        said = []
        while (message := channel.receive(self.output)) is not None:
            said.append(json.loads(message[1]))
        assert all(one["type"] == "refused" and len(json.dumps(one)) < 20_000 for one in said)
        return said

    def is_sane(self):
        """Everything that a page is shown can be made of it."""
        self.worker._show_all()
        return all(math.isfinite(value) for value in self.settings.values() if isinstance(value, int | float))

    @property
    def settings(self):
        return asdict(self.worker.session.settings)


def edges(limit):
    """Both ends of a setting, and what lies just beyond."""
    return [limit[end] + beyond for end, sign in (("low", -1), ("high", 1)) if end in limit for beyond in (0, sign)]


@pytest.mark.parametrize("view", VIEWS)
def test_no_setting_and_no_action_ends_a_worker(view, tmp_path):
    talk = Talk(view, tmp_path)
    limits = described(type(talk.worker.session.settings))
    for limit in limits:
        name, before = limit["name"], talk.settings
        for value in [*HOSTILE, *edges(limit)]:
            if talk.ask(do="set", settings={name: value}):
                assert talk.settings == before, (name, value)
            else:
                assert talk.is_sane(), (name, value)
                before = talk.settings
        talk.ask(do="set", settings={name: limit["default"]})
    for settings in [*HOSTILE, {value: 1 for value in HOSTILE if isinstance(value, str)}]:
        assert talk.ask(do="set", settings=settings) or not settings
    (refusal,) = talk.ask(do="act", action="?", given={})
    keys = [*(limit["name"] for limit in limits), "step", "weight", "finding"]
    for action in refusal["text"]["en"].split("do ")[1].split(";")[0].split(", "):
        for value in HOSTILE[:3] if action == "restart" else HOSTILE:  # which takes a while, and nothing else
            talk.ask(do="act", action=action, given=dict.fromkeys(keys, value))
            talk.ask(do="act", action=action, given=value)
    assert talk.is_sane()
    assert not talk.ask(do="step", count=2)
