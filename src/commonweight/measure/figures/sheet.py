"""A sheet to draw on: the colours, the quiet axes and the writing of the PNG that all figures share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from commonweight.atomic import replacing
from commonweight.measure.report.pictures import CLASS_COLOURS, NEGATIVE, POSITIVE

INK, SOFT, RULE, PAGE = "#1d1c1a", "#625f58", "#dedbd3", "#ffffff"
BLUE, ORANGE = (tuple(part / 255 for part in colour) for colour in (NEGATIVE, POSITIVE))
COLOURS = tuple(tuple(part / 255 for part in colour) for colour in CLASS_COLOURS)


@contextmanager
def sheet(path: Path, width: float, height: float, title: str) -> Iterator[Any]:
    """A matplotlib figure, inches wide and high, that is written to `path` if the block ends well."""
    # Figure and not pyplot: nothing global is touched, and no window system is asked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAGE)
    FigureCanvasAgg(figure)
    figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontsize=11, color=INK)
    yield figure
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def quiet(axes: Any, title: str = "", across: str = "", up: str = "", grid: bool = True) -> None:
    """Light lines, no box, small soft numbers."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(colors=SOFT, labelsize=8, length=0, which="both")
    if grid:
        axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title.replace("$", r"\$"), fontsize=9, color=INK, loc="left")
    axes.set_xlabel(across, fontsize=8, color=SOFT)
    axes.set_ylabel(up, fontsize=8, color=SOFT)


def bare(axes: Any, title: str = "") -> None:
    """A place for a picture: no axes at all."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title.replace("$", r"\$"), fontsize=8, color=INK, loc="left", pad=3)


def tiled(images_NHW: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Images side by side in rows, (rows·(H + gap) - gap, columns·(W + gap) - gap); NaN, drawn as nothing, between.

    >>> import torch
    >>> tiled(torch.ones(3, 2, 2), 2).shape
    torch.Size([5, 5])
    """
    n, height, width = images_NHW.shape
    rows = -(-n // columns)
    canvas = images_NHW.new_full((rows * (height + gap), columns * (width + gap)), np.nan)
    for place, image in enumerate(images_NHW):
        row, column = divmod(place, columns)
        top, left = row * (height + gap), column * (width + gap)
        canvas[top : top + height, left : left + width] = image
    return canvas[: rows * (height + gap) - gap, : columns * (width + gap) - gap]
