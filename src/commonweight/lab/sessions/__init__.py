"""What a job does: a file for each view of the page, found by the name of the view.

A session is made with the folder that it may read and with what it is opened for, such as the name of a run. The worker
calls it; it never prints, waits or talks to anyone itself.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted

VIEWS = {
    "play": "play",
    "share": "share",
    "inside": "inside",
    "descend": "descend",
    "run": "running",
    "map": "mapping",
    "audit": "auditing",
}
"""The views that there are, in the order of the page's navigation, and the module of each."""

WITH_SUBJECT = frozenset({"play", "run", "audit"})
"""Those that are opened for something, such as a file of data, a run or an uploaded file."""


class Session(Protocol):
    """What the worker asks of a session.

    Attributes:
        step: training steps so far.
    """

    step: int

    def __init__(self, folder: Path, subject: str) -> None: ...

    @property
    def settings(self) -> Any:
        """The settings as they are: a dataclass of fields of `commonweight.lab.settings`."""

    def change(self, given: Mapping[str, Any]) -> None:
        """Set some settings anew; raises LabError, and changes nothing, when they cannot be met."""

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """What a person does in the view: choose a weight, go back to the start."""

    def facts(self) -> dict[str, Any]:
        """What is fixed by the settings, in JSON, for people and tables."""

    def code(self) -> str:
        """Python that does the same."""

    def advance(self) -> bool:
        """Take one step; False where there is nothing left to do."""

    def structure(self) -> Frame | None:
        """What changes with the settings only."""

    def live(self) -> Frame:
        """What changes with each step."""


def open_session(view: str, folder: Path, subject: str = "") -> Session:
    """Make the session of a view, with its default settings.

    Raises:
        LabError: no such view.
    """
    if view not in VIEWS:
        raise RefusalError("no_view", view=quoted(view), views=", ".join(VIEWS))
    made: Session = import_module(f"commonweight.lab.sessions.{VIEWS[view]}").SESSION(folder, subject)
    return made
