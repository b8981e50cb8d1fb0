"""The plane as the net divides it, and the same plane as its layers bend it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.measure.figures.sheet import COLOURS, RULE, SOFT, quiet, sheet
from commonweight.measure.report.charts import thinned
from commonweight.measure.report.naming import feature_names, layer_name
from commonweight.measure.space import Bent, plane, regions

MOST, POINTS = 5, 400


def draw_space(model: nn.Module, data: Data, bends: Sequence[Bent], path: Path, title: str) -> None:
    """Write a PNG: decision regions on the plane of the data, then the plane's grid as each layer is handed it."""
    shown = thinned(bends, MOST)
    with sheet(path, 3.1 * (len(shown) + 1), 3.4, title) as figure:
        first, *others = figure.subplots(1, len(shown) + 1, squeeze=False)[0]
        _draw_regions(first, model, data)
        for axes, one in zip(others, shown, strict=True):
            for lines in (one.grid, one.grid.transpose(0, 1)):
                for line in lines:
                    axes.plot(*line.T.numpy(), color=RULE, linewidth=0.6, zorder=1)
            _draw_points(axes, one.points, data)
            said = f"before {layer_name(one.layer)}: {one.share:.0%} of variance"
            quiet(axes, said, f"a linear model reads {one.linear:.1%} from here", grid=False)
            axes.set_xticks([])
            axes.set_yticks([])
            _look_at(axes, one.points)


def _draw_regions(axes: Any, model: nn.Module, data: Data) -> None:
    """The answer at each point in its colour, fainter where it is less sure; for a quantity from blue to orange."""
    flat = plane(data)
    coordinates, answer, sure = regions(model, data)
    (left, bottom), (right, top) = coordinates[0, 0].tolist(), coordinates[-1, -1].tolist()
    if data.task == "classification":
        chance = 1 / len(data.classes)
        ground = torch.tensor(COLOURS)[answer % len(COLOURS)]
        opacity = 0.05 + 0.5 * ((sure - chance) / (1 - chance)).clamp(0, 1)
        picture = torch.cat([ground, opacity[..., None]], 2).numpy()
    else:
        picture = answer.numpy()
    axes.imshow(picture, extent=(left, right, bottom, top), origin="lower", aspect="auto", cmap="coolwarm", alpha=None)
    _draw_points(axes, flat.points, data)
    names = feature_names(data) if data.in_shape == (2,) else ["first component", "second component"]
    quiet(axes, f"Answers on the plane: {flat.share:.0%} of variance", names[0], names[1], grid=False)


def _draw_points(axes: Any, points: Tensor, data: Data) -> None:
    """Test samples in the colour of their class, or of their target."""
    chosen = np.unique(np.linspace(0, len(points) - 1, min(len(points), POINTS)).astype(int))
    targets = data.y[data.test][chosen]
    if data.task == "classification":
        coloured: dict[str, Any] = {"color": [COLOURS[label % len(COLOURS)] for label in targets.tolist()]}
    else:
        coloured = {"c": targets[:, 0].numpy(), "cmap": "coolwarm"}
    x, y = points[chosen].T.numpy()
    axes.scatter(x, y, s=9, linewidth=0.3, edgecolor="white", zorder=2, **coloured)


def _look_at(axes: Any, points: Tensor) -> None:
    """The window that holds the samples: the grid may reach far beyond them."""
    low, high = points.amin(0), points.amax(0)
    room = 0.15 * (high - low).clamp_min(1e-6)
    axes.set_xlim(float(low[0] - room[0]), float(high[0] + room[0]))
    axes.set_ylim(float(low[1] - room[1]), float(high[1] + room[1]))
    axes.yaxis.label.set_color(SOFT)
