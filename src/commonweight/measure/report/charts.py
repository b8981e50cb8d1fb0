"""Line charts, scatter plots and histograms as crisp SVG, with tooltips and no script."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from commonweight.measure.report.markup import Markup, tag, together
from commonweight.numerals import number, percent

MAX_POINTS = 600
"""Points drawn of a line or a cloud; more are thinned evenly."""

_HOVERED = 80
"""Points of a line that answer to hovering."""

Words = Callable[[float], str]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Scale:
    """From values (low to high) to places on the page (start to stop), linearly or by logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    @staticmethod
    def over(values: Iterable[float], start: float, stop: float, log: bool = False, margin: float = 0.0) -> "Scale":
        """A scale that holds all finite values, with a margin as a share of their range; a single value gets room."""
        finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
        low, high = min(finite), max(finite)
        if log:
            return Scale(low / 1.2, high * 1.2, start, stop, log)
        room = (high - low) * margin if high > low else abs(high) / 2 or 0.5
        return Scale(low - room, high + room, start, stop)

    def __call__(self, value: float) -> float:
        """The place of a value, to a hundredth."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.stop - self.start), 2)

    def shows(self, value: float) -> bool:
        """Whether a value has a place at all."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values inside the scale: steps of 1, 2 or 5 times a power of ten, or powers of ten."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1,) if last - first > 3 else (1, 2, 5)
            every = max(1, (last - first) // count)
            ticks = [s * 10.0**e for e in range(first, last + 1, every) for s in steps]
        else:
            rough = (self.high - self.low) / count
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
            ticks = [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [tick for tick in ticks if self.low <= tick <= self.high]


@dataclass(frozen=True)
class Line:
    """One curve: places and heights in order; `style` names the class of the stylesheet that draws it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str


def line_chart(
    lines: Sequence[Line],
    *,
    text: str,
    x_name: str,
    log: bool = False,
    words: Words = number,
    mark: tuple[float, float] | None = None,
) -> Markup:
    """Curves over common axes, drawn 400 × 240; gaps where a value is not finite.

    Args:
        text: what the picture shows, for those who cannot see it.
        log: height by logarithm.
        words: how heights are written.
        mark: place and height of a dot on the first line.
    """
    x = Scale.over([v for line in lines for v in line.x], 50, 390)
    y = Scale.over([v for line in lines for v in line.y], 200, 26, log, 0.06)
    parts = [*_frame(x, y, x_name, words)]
    for place, line in enumerate(lines):
        left = 50 + place * 110
        parts.append(tag("line", x1=left, x2=left + 22, y1=10, y2=10, class_=f"curve {line.style}"))
        parts.append(tag("text", line.name, x=left + 28, y=14, class_="key"))
        parts += _curve(line, x, y, x_name, words)
    if mark is not None and y.shows(mark[1]):
        parts.append(tag("circle", cx=x(mark[0]), cy=y(mark[1]), r=4, class_=f"dot {lines[0].style}"))
    return svg(parts, 400, 240, text)


def _curve(line: Line, x: Scale, y: Scale, x_name: str, words: Words) -> Iterable[Markup]:
    points = thinned(list(zip(line.x, line.y, strict=True)), MAX_POINTS)
    path, pen = [], "M"
    for along, height in points:
        if y.shows(height):
            path.append(f"{pen}{x(along):g} {y(height):g}")
            pen = "L"
        else:
            pen = "M"
    yield tag("path", d="".join(path), class_=f"curve {line.style}")
    shown = [(along, height) for along, height in points if y.shows(height)]
    if len(shown) == 1:
        yield tag("circle", cx=x(shown[0][0]), cy=y(shown[0][1]), r=3, class_=f"dot {line.style}")
    for along, height in thinned(shown, _HOVERED):
        said = tag("title", f"{x_name} {number(along, 3)}: {line.name} {words(height)}")
        yield tag("circle", said, cx=x(along), cy=y(height), r=6, class_="hover")


def scatter(x_values: Tensor, y_values: Tensor, *, text: str, x_name: str, y_name: str) -> Markup:
    """Points over equal axes with the diagonal on which both agree, drawn 400 × 400."""
    both = torch.cat([x_values, y_values]).tolist()
    x, y = Scale.over(both, 58, 390, margin=0.04), Scale.over(both, 352, 20, margin=0.04)
    parts = [*_frame(x, y, x_name, number)]
    parts.append(tag("text", y_name, x=-186, y=12, transform="rotate(-90)", text_anchor="middle", class_="name"))
    parts.append(tag("line", x1=x(x.low), x2=x(x.high), y1=y(y.low), y2=y(y.high), class_="agree"))
    for a, b in thinned(list(zip(x_values.tolist(), y_values.tolist(), strict=True)), MAX_POINTS):
        if math.isfinite(a) and math.isfinite(b):
            said = tag("title", f"{x_name} {number(a)}, {y_name} {number(b)}")
            parts.append(tag("circle", said, cx=x(a), cy=y(b), r=3.5, class_="point"))
    return svg(parts, 400, 392, text)


def histogram(values: Tensor, *, text: str, bins: int = 41) -> Markup:
    """How often values occur, drawn 260 × 110, symmetric around 0: blue to its left, orange to its right."""
    finite = values[values.isfinite()].double().numpy()
    reach = float(np.abs(finite).max(initial=0.0)) or 1.0
    counts, edges = np.histogram(finite, bins=bins, range=(-reach, reach))
    x, tallest = Scale(-reach, reach, 4, 256), max(int(counts.max(initial=0)), 1)
    bars = []
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            height = max(80 * count / tallest, 0.8)
            side = "zero" if low < 0 < high else "negative" if low < 0 else "positive"
            said = tag("title", f"{number(low, 3)} to {number(high, 3)}: {count:,}")
            width = x(high) - x(low) - 0.6
            bars.append(tag("rect", said, x=x(low) + 0.3, y=86 - height, width=width, height=height, class_=side))
    parts = [*bars, tag("line", x1=4, x2=256, y1=86, y2=86, class_="axis")]
    for value, anchor in ((-reach, "start"), (0.0, "middle"), (reach, "end")):
        parts.append(tag("text", number(value, 3), x=x(value), y=102, text_anchor=anchor, class_="tick"))
    return svg(parts, 260, 108, text)


def _frame(x: Scale, y: Scale, x_name: str, words: Words) -> Iterable[Markup]:
    """Light lines at round heights, round places below, and the name of the horizontal axis."""
    bottom = y.start
    for value in y.ticks():
        yield tag("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="grid")
        yield tag("text", words(value), x=x.start - 6, y=y(value) + 3.5, text_anchor="end", class_="tick")
    yield tag("line", x1=x.start, x2=x.stop, y1=bottom, y2=bottom, class_="axis")
    for value in x.ticks():
        yield tag("text", number(value), x=x(value), y=bottom + 15, text_anchor="middle", class_="tick")
    yield tag("text", x_name, x=(x.start + x.stop) / 2, y=bottom + 32, text_anchor="middle", class_="name")


def svg(parts: Iterable[Markup], width: float, height: float, text: str, class_: str = "chart") -> Markup:
    """A drawing that scales with the page; `text` says what it shows."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", together(parts), viewBox=box, role="img", aria_label=text, class_=class_)


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly spread, the first and the last among them.

    >>> thinned(range(100), 4)
    [0, 33, 66, 99]
    """
    if len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]


def share(value: float) -> str:
    """A height that is a share of one, for an axis."""
    return percent(value, 1)
