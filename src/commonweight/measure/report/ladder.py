"""The sharing ladder, for someone who meets weight sharing for the first time: fully connected, local, shared."""

import math
from collections.abc import Sequence

from commonweight import patterns
from commonweight.census.result import Census, Layer
from commonweight.measure.report.charts import svg
from commonweight.measure.report.markup import Markup, figure, paragraph, section, table, tag
from commonweight.measure.report.naming import layer_name, short
from commonweight.numerals import compact, counted, times

MAX_LAYERS = 40
"""Layers that are listed; `commonweight count` lists all."""
MOST_TICKS = 7
"""Powers of ten that the scale has room to number one by one."""

_RUNGS = (("full", "fully connected"), ("local", "locally connected"), ("shared", "shared"))


def ladder(census: Census) -> Markup:
    """The section on weights and connections."""
    words = [
        paragraph(
            "A ", tag("strong", "weight"), " is one trainable number. A ", tag("strong", "connection"), " is one "
            "multiplication that uses a weight. Two steps lead from the many to the few:",
        ),
        paragraph(
            tag("strong", "Look nearby. "), "A unit is connected only to a small window of the layer before, not to "
            "all of it.",
        ),
        paragraph(
            tag("strong", "Share. "), "The unit next to it looks at the next window with the very same weights. What "
            "is learned in one place is then known in every place, and the gradient of a weight is the sum over all "
            "connections that use it.",
        ),
        paragraph(_verdict(census), class_="aside"),
    ]  # fmt: skip
    layers = [layer for layer in census.layers if layer.connections][:MAX_LAYERS]
    content = [
        figure("The idea, in small", _idea(), None, class_="wide"),
        _rungs(census, layers),
        _numbers(census, layers),
    ]
    return section("ladder", "Weights that are shared", words, content)


def _verdict(census: Census) -> str:
    full, local, shared = census.full, census.connections, census.weights
    if shared == local:
        told = f"This net shares nothing: each of its {shared:,} weights is used by one connection."
        return told + (" It is fully connected throughout." if full == local else "")
    told = f"In this net, {local:,} connections use {counted(shared, 'weight')}: a weight is used "
    told += f"{times(local / shared)} on average"
    if full > local:
        told += f". Fully connected, the same units would need {full:,} weights, {times(full / shared)} as many"
    return told + "."


def _idea() -> Markup:
    """The three rungs, drawn from the patterns themselves: 6 inputs below, 4 outputs above."""
    rungs = (
        (patterns.dense(6, 4), "Fully connected", "every line has a weight of its own"),
        (patterns.local((1, 6), 1, kernel=3), "Locally connected", "fewer lines, each with a weight of its own"),
        (patterns.conv1d((1, 6), 1, kernel=3), "Shared", "lines drawn alike are one and the same weight"),
    )
    return tag("div", *(_rung(pattern, name, remark) for pattern, name, remark in rungs), class_="idea")


def _rung(pattern: patterns.Pattern, name: str, remark: str) -> Markup:
    tiemap = pattern.tiemap()
    shared = pattern.n_weights < pattern.n_connections
    parts = []
    for out, inp, weight in zip(tiemap.out.tolist(), tiemap.inp.tolist(), tiemap.weight.tolist(), strict=True):
        style = f"line weight{weight}" if shared else "line"
        said = tag("title", f"input {inp + 1} to output {out + 1}: weight {weight + 1} of {pattern.n_weights}")
        parts.append(tag("line", said, x1=20 + 32 * inp, y1=92, x2=52 + 32 * out, y2=20, class_=style))
    parts += [tag("circle", cx=20 + 32 * inp, cy=92, r=7, class_="unit") for inp in range(pattern.n_in)]
    parts += [tag("circle", cx=52 + 32 * out, cy=20, r=7, class_="unit") for out in range(pattern.n_out)]
    told = f"{pattern.n_connections} connections, {pattern.n_weights} weights"
    drawing = svg(parts, 200, 112, f"{name}: 6 inputs, 4 outputs, {told}; {remark}.", class_="rung")
    return tag("div", drawing, tag("p", tag("strong", name), tag("span", told), tag("small", remark)))


def _rungs(census: Census, layers: Sequence[Layer]) -> Markup:
    """Three marks for each layer on a common scale of powers of ten."""
    top = math.ceil(math.log10(max(layer.full for layer in layers) + 1))
    apart, tens = (1, "ten") if top <= MOST_TICKS else (2, "a hundred")
    powers = range(0, top + 1, apart)
    ticks = [tag("span", compact(10**power), style=f"left:{100 * power / top:.2f}%") for power in powers]
    rows = [_rung_row(layer, top) for layer in layers]
    scale = tag(
        "div", tag("span"), tag("div", *ticks, class_="ticks"), tag("span"), class_="row scale", aria_hidden="true"
    )
    keys = [tag("span", tag("i", class_=kind), meaning) for kind, meaning in _RUNGS]
    caption = tag(
        "figcaption", f"Each step along the scale is {tens} times as many. ", tag("span", *keys, class_="legend")
    )
    return tag("figure", tag("h3", "Layer by layer"), tag("div", *rows, scale, class_="rungs"), caption, class_="wide")


def _rung_row(layer: Layer, top: int) -> Markup:
    values = [n for n in (layer.full, layer.connections, layer.weights) if n]
    places = [100 * math.log10(n) / top for n in values]
    marks = [tag("i", class_="reach", style=f"left:{places[-1]:.2f}%;width:{places[0] - places[-1]:.2f}%")]
    meant = list(zip(_RUNGS, values, places, strict=False))
    for (kind, meaning), value, place in meant:
        marks.append(tag("i", class_=kind, title=f"{meaning}: {value:,}", style=f"left:{place:.2f}%"))
    said = ", ".join(f"{meaning} {value:,}" for (_, meaning), value, _ in meant)
    track = tag("div", *marks, class_="track", role="img", aria_label=said)
    name = tag("span", layer_name(layer.name), class_="who")
    return tag("div", name, track, tag("span", _used(layer)), class_="row")


def _used(layer: Layer) -> str:
    if layer.weights:
        return f"{counted(layer.weights, 'weight')}, each used {times(layer.connections / layer.weights)}"
    return f"the weights of {short(', '.join(layer.shared), 24)}" if layer.shared else "fixed, nothing to learn"


def _numbers(census: Census, layers: Sequence[Layer]) -> Markup:
    rows = [_row(layer_name(layer.name), layer) for layer in layers]
    left_out = sum(1 for layer in census.layers if layer.connections) - len(layers)
    if left_out:
        rows.append([f"… {left_out} more layers", "", "", "", ""])
    rows.append(_row("the whole net", census))
    head = ("layer", "fully connected", "locally connected", "shared: weights", "each weight is used")
    numbers = table(head, rows, "Multiplications of one sample, and the weights that are trained, biases included")
    return tag("details", tag("summary", "The exact numbers"), numbers)


def _row(name: str, counts: Census | Layer) -> list[str]:
    used = times(counts.connections / counts.weights) if counts.weights else "–"
    return [name, f"{counts.full:,}", f"{counts.connections:,}", f"{counts.weights:,}", used]
