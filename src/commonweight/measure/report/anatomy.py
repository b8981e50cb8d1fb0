"""What is inside the trained net: its kernels, a sample on its way through, and how its weights are spread."""

from collections.abc import Sequence
from math import isfinite, prod

from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.measure.report.charts import histogram, thinned
from commonweight.measure.report.markup import Markup, figure, paragraph, section, tag, together
from commonweight.measure.report.naming import layer_name, short
from commonweight.measure.report.observe import Answers, Kernels, Stage, kernels, stages, weights
from commonweight.measure.report.pictures import image, sample_picture, shrunk, signed
from commonweight.numerals import counted, number

FIRST_KERNELS, LATER_KERNELS, KERNEL_LAYERS = 64, 32, 4
"""Kernels shown of the first layer, of a later one, and layers shown."""

MAPS, MAP_SIDE, STAGES = 16, 48, 16
"""Maps shown of a layer, their largest side in pixels, and layers shown."""

_PIXELS = 60_000
"""Pixels of all kernels of one layer: larger kernels are averaged down, then fewer are shown."""

_VALUES = 512
"""Values shown of a layer that puts out a vector."""

_READ = 32
"""Values up to which a vector can be read by pointing at it."""

_HISTOGRAMS = 24
"""Layers whose weights are drawn."""


def first_kernels(model: nn.Module, order: list[str], data: Data) -> Markup | None:
    """The section on kernels, or None for a net that has none."""
    layers = kernels(model, data.in_shape, order)[:KERNEL_LAYERS]
    if not layers:
        return None
    words = [
        paragraph(
            "A kernel is a small window of weights. Its output is large where the picture under it looks like it: "
            "bright where the kernel is orange (positive weights), dark where it is blue (negative weights)."
        ),
        paragraph("First layers often learn edges and spots. Point at a kernel to read its weights.", class_="aside"),
        _legend(),
    ]
    figures = [_kernels(layer, FIRST_KERNELS if place == 0 else LATER_KERNELS) for place, layer in enumerate(layers)]
    return section("kernels", "What it looks for", words, figures)


def _kernels(layer: Kernels, most: int) -> Markup:
    n, height, width = layer.values.shape
    small = shrunk(layer.values, 64)
    shown = min(n, most, max(_PIXELS // prod(small.shape[1:]), 1))
    largest = float(layer.values[layer.values.isfinite()].abs().max()) if layer.values.isfinite().any() else 0.0
    tiles = []
    for place in range(shown):
        said = f"Kernel {place + 1} of {n}{_role(layer, place)}: {_values(layer.values[place])}"
        tiles.append(image(signed(small[place], largest), f"Kernel {place + 1} of {n}", title=said))
    kind = "weights of one unit each, laid out as the picture it sees" if layer.whole else "kernels"
    if layer.kind.startswith("local("):
        kind = "sheets, each the kernels of all positions side by side,"
    told = f"{shown} of {n:,}" if shown < n else f"{n:,}"
    caption = f"{short(layer.kind, 80)}: {told} {kind} of {height} × {width}; full colour is ±{number(largest, 3)}."
    size = "large" if shown <= 10 else "medium" if shown <= 24 else "small"
    return figure(layer_name(layer.name), tag("div", *tiles, class_=f"tiles {size}"), caption, class_="wide")


def _role(layer: Kernels, place: int) -> str:
    if layer.across == 1:
        return ""
    return f", output {place // layer.across + 1}, input channel {place % layer.across + 1}"


def _values(kernel: Tensor) -> str:
    """All weights row by row when they are few, else their range."""
    if kernel.numel() > 49:
        return f"{number(float(kernel.min()), 3)} to {number(float(kernel.max()), 3)}"
    return "\n" + "\n".join("  ".join(f"{value:+.2f}".replace("-", "−") for value in row) for row in kernel.tolist())


def through_the_net(model: nn.Module, answers: Answers, data: Data) -> tuple[Markup, list[str]]:
    """The section that follows one test sample through the layers, and the names of the layers as they are computed."""
    place = _example(answers, data)
    sample = int(answers.index[place])
    path = stages(model, data.x[sample], data)
    shown = thinned(path, STAGES)
    words = [
        paragraph(
            f"Sample {sample:,} (counted from 0), of the test part, as each layer passes it on. Orange is above zero, "
            "blue below; the deeper the colour, the larger the value within that layer."
        ),
        paragraph(
            "Early maps still look like the picture; later ones say what was found and roughly where.", class_="aside"
        )
        if data.is_image
        else None,
        paragraph(f"{len(shown)} of {len(path)} layers are shown.", class_="aside") if len(shown) < len(path) else None,
        _legend(),
    ]
    rows = [_input(sample, data), *(_stage(stage) for stage in shown)]
    rows.append(_quantities(place, answers) if data.task == "regression" else _likeliest(place, answers, data))
    content = tag("ol", *rows, class_="stages")
    return section("through", "One sample on its way through", words, [content]), [stage.name for stage in path]


def _example(answers: Answers, data: Data) -> int:
    """The first test sample that is answered rightly and clearly, else the first of all."""
    if data.task == "regression":
        return 0
    sure = answers.scores_only | (answers.probability.amax(1) >= 0.9)
    clear = (answers.right & sure).nonzero()
    return int(clear[0]) if len(clear) else 0


def _input(sample: int, data: Data) -> Markup:
    shape = "\u00a0×\u00a0".join(str(n) for n in data.in_shape)
    picture = sample_picture(sample, data)
    if picture is not None:
        return _step("the input", shape, image(picture, f"Test sample {sample}", class_="sample"))
    names = () if data.prepare == "pca" else data.features
    return _step("the input, normalised", shape, _strip(data.normalisation.apply(data.x[sample]), names))


def _stage(stage: Stage) -> Markup:
    shape = "\u00a0×\u00a0".join(str(n) for n in stage.values.shape)
    if stage.values.ndim == 1:
        return _step(layer_name(stage.name), f"{stage.kind}, {shape}", _strip(stage.values))
    small = shrunk(stage.values[:MAPS], MAP_SIDE)
    largest = _largest(stage.values)
    tiles = [
        image(
            signed(channel, largest),
            f"Map {k + 1} of {len(stage.values)} of {layer_name(stage.name)}, {_range(stage.values[k])}",
        )
        for k, channel in enumerate(small)
    ]
    left_out = len(stage.values) - len(tiles)
    more = tag("span", f"and {counted(left_out, 'more map')}", class_="more") if left_out > 0 else None
    return _step(layer_name(stage.name), f"{stage.kind}, {shape}", tag("div", *tiles, more, class_="maps"))


def _step(name: str, kind: str, picture: Markup) -> Markup:
    return tag("li", tag("p", tag("strong", name), tag("span", kind)), picture)


def _strip(values: Tensor, names: Sequence[str] = ()) -> Markup:
    """A vector as a row of cells; when it is short, its values can be read."""
    shown = values[:_VALUES]
    said = f"{counted(len(values), 'value')}, {_range(values)}"
    if len(shown) <= _READ:
        each = [number(value, 3) for value in shown.tolist()]
        said = ", ".join(f"{short(name)} {value}" for name, value in zip(names or [""] * len(each), each, strict=True))
    style = "strip few" if len(shown) <= 40 else "strip"
    return image(signed(shown[None], _largest(values)), said, class_=style)


def _largest(values: Tensor) -> float:
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0


def _range(values: Tensor) -> str:
    return f"{number(float(values.min()), 3)} to {number(float(values.max()), 3)}"


def _likeliest(place: int, answers: Answers, data: Data) -> Markup:
    """The five likeliest classes as bars: as long as they are probable, or from the lowest score to the highest."""
    scores = answers.scores[place]
    shares = (scores - scores.amin()) / (scores.amax() - scores.amin()) if answers.scores_only else scores.softmax(0)
    bars = []
    for label in shares.nan_to_num(nan=0.0).argsort(descending=True, stable=True)[:5].tolist():
        bar = tag("i", style=f"width:{100 * float(shares[label].nan_to_num(nan=0.0)):.1f}%")
        name = tag("span", short(data.classes[label], 20))
        bars.append(tag("div", name, tag("span", bar, class_="bar"), tag("span", answers.sure(place, label, 1))))
    true = short(data.classes[int(answers.target[place])])
    return _step("the answer", f"true class: {true}", tag("div", *bars, class_="bars"))


def _quantities(place: int, answers: Answers) -> Markup:
    """What was said and what was true."""
    said, true = (
        ", ".join(number(v) for v in values[place].tolist()[:8]) for values in (answers.predicted, answers.target)
    )
    return _step("the answer", f"target: {true}", paragraph(tag("strong", said)))


def spread(model: nn.Module) -> Markup | None:
    """The section of weight histograms, or None for a model without weights."""
    layers = weights(model)
    if not layers:
        return None
    shown = thinned(layers, _HISTOGRAMS)
    words = [
        paragraph(
            "How often each size of weight occurs, layer by layer: negative weights to the left in blue, positive ones "
            "to the right in orange."
        ),
        paragraph(
            "One heap around zero is normal. A few weights far out carry most of what the layer says; many that are "
            "nearly zero could be left out or shared.",
            class_="aside",
        ),
        paragraph(f"{len(shown)} of {len(layers)} layers are shown.", class_="aside")
        if len(shown) < len(layers)
        else None,
    ]
    figures = [_histogram(name, values) for name, values in shown]
    return section("weights", "How its weights are spread", words, [tag("div", *figures, class_="histograms")])


def _histogram(name: str, values: Tensor) -> Markup:
    mean, deviation = float(values.mean()), float(values.std(correction=0))
    said = f"{counted(len(values), 'weight')}, mean {number(mean, 2)}, standard deviation {number(deviation, 2)}"
    if not isfinite(mean):
        said = f"{counted(len(values), 'weight')}, {int((~values.isfinite()).sum()):,} of them not finite"
    return figure(layer_name(name), histogram(values, text=f"Weights of {layer_name(name)}: {said}."), f"{said}.")


def _legend() -> Markup:
    keys: Sequence[str | None] = (tag("span", "negative"), tag("i", class_="ramp"), tag("span", "positive"))
    return tag("p", together(keys), class_="legend")
