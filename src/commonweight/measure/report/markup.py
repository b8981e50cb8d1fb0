"""HTML and SVG that is safe by construction: only `tag` makes `Markup`, and it escapes all other text."""

import re
from collections.abc import Iterable
from html import escape

_IMPOSSIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no HTML file can hold: control characters and lone surrogates, which names of files may contain."""

_VOID = frozenset({"img", "meta"})


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


def tag(element: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """An element with its children; plain strings are escaped, `Markup` stays, None is left out.

    Attribute names lose a closing underscore (`class_`) and turn the others into hyphens (`stroke_width`).

    >>> tag("p", "1 < 2", tag("b", "!"), class_="note", title=None)
    '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    words = [element]
    for name, value in attributes.items():
        if value is not None:
            words.append(f'{name.rstrip("_").replace("_", "-")}="{_escaped(_plain(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if element in _VOID else f"{opening}{together(children)}</{element}>")


def together(children: Iterable[str | None]) -> Markup:
    """Several pieces as one.

    >>> together(["<", tag("b", "bold"), None])
    '&lt;<b>bold</b>'
    """
    return Markup("".join(x if isinstance(x, Markup) else _escaped(x) for x in children if x is not None))


def paragraph(*children: str | None, class_: str | None = None) -> Markup:
    """A paragraph of text."""
    return tag("p", *children, class_=class_)


def figure(heading: str, picture: Markup, caption: str | None, class_: str | None = None) -> Markup:
    """A picture under its heading, with a sentence that says in words what it shows."""
    below = None if caption is None else tag("figcaption", caption)
    return tag("figure", tag("h3", heading), picture, below, class_=class_)


def table(head: Iterable[str], rows: Iterable[Iterable[str]], caption: str, class_: str = "plain") -> Markup:
    """A table that scrolls sideways when it is too wide; the first cell of each row is its heading."""
    columns = [tag("th", cell, scope="col") for cell in head]
    body = []
    for row in rows:
        first, *others = row
        body.append(tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in others)))
    parts = (tag("caption", caption), tag("thead", tag("tr", *columns)), tag("tbody", *body))
    return scrolling(tag("table", *parts, class_=class_), caption)


def scrolling(content: Markup, label: str) -> Markup:
    """A box that scrolls sideways by itself, by keyboard too."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def section(identity: str, heading: str, words: Iterable[str | None], content: Iterable[str | None]) -> Markup:
    """A part of the page: what it is about in words, then the pictures."""
    about = tag("div", tag("h2", heading), *words, class_="about")
    return tag("section", about, tag("div", *content, class_="content"), id=identity)


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    return escape(_IMPOSSIBLE.sub("\ufffd", text))
