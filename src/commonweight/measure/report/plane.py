"""Which class the net gives to every point of the plane, for data with two features."""

import torch
from torch import nn

from commonweight.data.dataset import Data
from commonweight.measure.report.charts import Scale, svg, thinned
from commonweight.measure.report.markup import Markup, figure, paragraph, section, tag
from commonweight.measure.report.naming import feature_names, short
from commonweight.measure.report.observe import Answers, respond
from commonweight.measure.report.pictures import CLASS_COLOURS, Pixels, data_uri
from commonweight.numerals import number

SIDE = 120
"""Points of the plane asked along each side."""

_POINTS = 400
_LEGEND = 12
_SHAPES = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", "M-3.6-3.6h7.2v7.2h-7.2z", "M0-4.8 4.4 3.4h-8.8z", "M0-5 5 0 0 5-5 0z")


def plane(answers: Answers, model: nn.Module, data: Data) -> Markup:
    """The section on the plane; call it for classification of samples of shape (2,)."""
    points = data.x[data.test]
    across = Scale.over(points[:, 0].tolist(), 0, 400, margin=0.08)
    up = Scale.over(points[:, 1].tolist(), 400, 0, margin=0.08)
    ground = data_uri(_ground(across, up, model, data))
    parts = [tag("image", href=ground, width=400, height=400, preserveAspectRatio="none", class_="ground")]
    for place in thinned(range(len(points)), _POINTS):
        parts.append(_mark(place, across, up, answers, data))
    words = [
        paragraph(
            "With two features the whole input space can be shown. The ground has the colour of the class that the net "
            "answers there, fainter where it is less sure; the faint seam is the decision boundary."
        ),
        paragraph(
            "Marks are test samples in the colour and shape of their true class; a ring is around mistakes.",
            class_="aside",
        ),
    ]
    first, second = map(short, feature_names(data))
    said = (
        f"{first} from left to right, {second} from bottom to top; {int((~answers.right).sum())} of {len(points)} test "
    )
    said += "samples lie on the wrong side."
    legend = [_legend(k, short(name, 16)) for k, name in enumerate(data.classes[:_LEGEND])]
    drawing = svg(parts, 400, 400, f"Decision regions. {said}", class_="chart plane")
    content = tag("div", drawing, tag("p", *legend, class_="legend"))
    return section("plane", "The plane as the net divides it", words, [figure("Decision regions", content, said)])


def _ground(across: Scale, up: Scale, model: nn.Module, data: Data) -> Pixels:
    """The colour of the answer at each point, opaque where its softmax is 1: uint8 (SIDE, SIDE, 4)."""
    steps = (torch.arange(SIDE) + 0.5) / SIDE
    x = across.low + steps * (across.high - across.low)
    y = up.high - steps * (up.high - up.low)
    grid = torch.stack([x.expand(SIDE, SIDE), y[:, None].expand(SIDE, SIDE)], 2).reshape(-1, 2)
    probability, answer = respond(model, grid, data).softmax(1).nan_to_num(nan=0.0).max(1)
    chance = 1 / len(data.classes)
    opacity = 10 + 130 * ((probability - chance) / (1 - chance)).clamp(0, 1)
    colours = torch.tensor(CLASS_COLOURS)[answer % len(CLASS_COLOURS)]
    return torch.cat([colours, opacity.round()[:, None]], 1).byte().reshape(SIDE, SIDE, 4).numpy()


def _mark(place: int, across: Scale, up: Scale, answers: Answers, data: Data) -> Markup:
    x, y = data.x[answers.index[place]].tolist()
    true, answer = int(answers.target[place]), int(answers.predicted[place])
    said = f"({number(x, 3)}, {number(y, 3)}): true {short(data.classes[true])}, "
    said += f"answered {short(data.classes[answer])} at {answers.sure(place, answer, 1)}"
    ring = tag("circle", r=8, class_="ring") if true != answer else None
    return tag("g", tag("title", said), ring, _shape(true), transform=f"translate({across(x):g} {up(y):g})")


def _shape(label: int) -> Markup:
    red, green, blue = CLASS_COLOURS[label % len(CLASS_COLOURS)]
    return tag("path", d=_SHAPES[label % len(_SHAPES)], class_="mark", fill=f"rgb({red} {green} {blue})")


def _legend(label: int, name: str) -> Markup:
    box = tag("svg", _shape(label), viewBox="-6 -6 12 12", aria_hidden="true", class_="swatch")
    return tag("span", box, name)
