"""The loss around a net as lines of equal height, with the paths of training on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from commonweight.measure.figures.sheet import COLOURS, INK, SOFT, quiet, sheet
from commonweight.measure.surface import Surface

LEVELS = 18


@dataclass(frozen=True, eq=False)
class Pictured:
    """A surface with its words.

    Attributes:
        heading: what it is around.
        axes: what its two directions are.
        surface: the heights.
        paths: (T, 2) points on it by name; the last one of each is marked.
    """

    heading: str
    axes: str
    surface: Surface
    paths: Mapping[str, Tensor] = field(default_factory=dict)


def draw_surfaces(found: Sequence[Pictured], path: Path, title: str) -> None:
    """Write a PNG of loss surfaces side by side; a cross is the trained net."""
    with sheet(path, 4.6 * len(found), 4.1, title) as figure:
        for axes, one in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
            _draw_heights(figure, axes, one.surface)
            for place, (name, points) in enumerate(one.paths.items()):
                colour = COLOURS[place % len(COLOURS)]
                axes.plot(*points.T.numpy(), ".-", color=colour, linewidth=1.2, markersize=3, label=name)
                axes.plot(*points[-1].numpy(), "o", color=colour, markersize=6, markeredgecolor="white")
            axes.plot(0, 0, "+", color=INK, markersize=9)
            quiet(axes, one.heading, one.axes, grid=False)
            if one.paths:
                axes.legend(fontsize=7, framealpha=0.8, labelcolor=SOFT)


def _draw_heights(figure: Any, axes: Any, one: Surface) -> None:
    """Shades and lines of equal loss, spaced by its logarithm: a loss spans powers of ten around a minimum."""
    height = one.loss.numpy().astype(float)
    height = np.where(np.isfinite(height), height, np.nan)
    low, high = max(float(np.nanmin(height)), 1e-8), float(np.nanmax(height))
    levels = np.geomspace(low, max(high, 1.01 * low), LEVELS)
    clipped = np.clip(height, levels[0], levels[-1])
    place = (one.along.numpy(), one.up.numpy(), clipped)
    shades = axes.contourf(*place, levels=levels, norm="log", cmap="Greys", alpha=0.55)
    axes.contour(*place, levels=levels, norm="log", colors=SOFT, linewidths=0.4)
    bar = figure.colorbar(shades, ax=axes, fraction=0.046, format="%.2g")
    bar.ax.tick_params(labelsize=7, colors=SOFT)
    bar.outline.set_visible(False)
