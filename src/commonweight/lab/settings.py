"""What a person may set in a session: each setting with its default and its limits, checked, and told to the page."""

from collections.abc import Mapping, Sequence
from dataclasses import Field, field, fields
from typing import Any, TypeVar

from commonweight.lab.refusals import RefusalError

Settings = TypeVar("Settings")


def choice(default: str, options: Sequence[str]) -> Any:
    """One of several words."""
    return field(default=default, metadata={"kind": "choice", "options": tuple(options)})


def whole(default: int, low: int, high: int, step: int = 1) -> Any:
    """A whole number; with a step of 2 from 3, an odd one."""
    return field(default=default, metadata={"kind": "whole", "low": low, "high": high, "step": step})


def real(default: float, low: float, high: float, step: float | None = None) -> Any:
    """A number; a page offers even steps where one is given, powers of ten otherwise."""
    even = {} if step is None else {"step": step}
    return field(default=default, metadata={"kind": "real", "low": low, "high": high, **even})


def sizes(default: tuple[int, ...], low: int, high: int, most: int) -> Any:
    """A list of whole numbers, such as the units of each hidden layer."""
    return field(default=default, metadata={"kind": "sizes", "low": low, "high": high, "most": most})


def points(most: int) -> Any:
    """A list of points (x, y, class) in the square from -2 to 2, of the classes 0 and 1."""
    return field(default=(), metadata={"kind": "points", "most": most})


def text(most: int) -> Any:
    """A word that the session itself checks, such as the name of a run."""
    return field(default="", metadata={"kind": "text", "most": most})


def changed(settings: Settings, given: Any) -> Settings:
    """The settings with some of them set anew.

    Raises:
        LabError: an unknown setting, or a value out of its limits.
    """
    kind: Any = type(settings)
    if not isinstance(given, Mapping):
        raise RefusalError("settings_no_object", got=_short(given))
    known = {entry.name: entry for entry in fields(kind)}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise RefusalError("no_setting", name=_short(unknown[0]), names=", ".join(known))
    kept = {name: getattr(settings, name) for name in known}
    made: Settings = kind(**kept | {name: _checked(known[name], value) for name, value in given.items()})
    return made


def index_of(given: Mapping[str, Any], name: str, count: int) -> int:
    """A whole number below a count, by its name in what was given to an action.

    Raises:
        LabError: it is none.
    """
    value = given.get(name)
    if not _is_whole(value, {"low": 0, "high": count - 1}):
        raise RefusalError("whole", name=name, low=0, high=count - 1, got=_short(value))
    return int(value)  # type: ignore[arg-type]  # it is one


def described(kind: Any) -> list[dict[str, Any]]:
    """The settings of a session for the page: names, defaults and limits."""
    return [{"name": entry.name, "default": entry.default, **entry.metadata} for entry in fields(kind)]


def _checked(entry: "Field[Any]", value: Any) -> Any:
    limits = entry.metadata
    kind = limits["kind"]
    if kind == "choice" and isinstance(value, str) and value in limits["options"]:
        return value
    if kind == "whole" and _is_whole(value, limits):
        return value
    if kind == "real" and _is_number(value) and limits["low"] <= value <= limits["high"]:
        return float(value)
    if kind == "text" and isinstance(value, str) and len(value) <= limits["most"]:
        return value
    if isinstance(value, list | tuple) and len(value) <= limits.get("most", -1):
        if kind == "sizes" and all(_is_whole(item, limits) for item in value):
            return tuple(value)
        if kind == "points" and all(_is_point(item) for item in value):
            return tuple((float(x), float(y), int(label)) for x, y, label in value)
    code = "whole_steps" if kind == "whole" and limits["step"] > 1 else kind
    told = {**limits, "options": ", ".join(limits.get("options", ()))}
    raise RefusalError(code, **told, name=entry.name, got=_short(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any, limits: Mapping[str, Any]) -> bool:
    if not isinstance(value, int) or isinstance(value, bool) or not limits["low"] <= value <= limits["high"]:
        return False
    return bool((value - limits["low"]) % limits.get("step", 1) == 0)


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(_is_number(item) for item in value)
        and abs(value[0]) <= 2
        and abs(value[1]) <= 2
        and value[2] in (0, 1)
    )


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
