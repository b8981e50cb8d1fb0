"""What a page calls a module, a column and whatever a user named: cut where it would burst the page."""

from commonweight.data.dataset import Data


def layer_name(path: str) -> str:
    """A module as a person would call it.

    >>> layer_name("features.conv1"), layer_name("0"), layer_name("")
    ('features.conv1', 'layer 0', 'the net')
    """
    return short(f"layer {path}" if path.isdecimal() else path or "the net")


def feature_names(data: Data) -> list[str]:
    """The columns of a table as a person would call them: by their numbers, from 1, where they have no names."""
    return list(data.features) or [f"feature {number}" for number in range(1, data.in_shape[0] + 1)]


def short(text: str, limit: int = 40) -> str:
    """A name from a user's file, cut where it would burst the page.

    >>> short("versicolor"), short("x" * 50, 10)
    ('versicolor', 'xxxxxxxxx…')
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
