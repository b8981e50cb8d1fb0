"""Filters, feature maps, and what units answer to most, as sheets of small pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.measure.features import Strongest, favourites
from commonweight.measure.figures.sheet import SOFT, bare, sheet, tiled
from commonweight.measure.report.charts import thinned
from commonweight.measure.report.naming import layer_name
from commonweight.measure.report.observe import Stage, kernels, observing, stages
from commonweight.measure.report.pictures import photo, signed

MOST_LAYERS, MOST_TILES, MOST_UNITS, TOP = 8, 64, 6, 8
_BAND = 8


def draw_filters(model: nn.Module, data: Data, path: Path, title: str) -> bool:
    """Write a PNG of all weights that are small images: blue is negative, orange positive. False if there are none."""
    found = kernels(model, data.in_shape, [name for name, _ in model.named_modules()])[:MOST_LAYERS]
    if not found:
        return False
    with sheet(path, 2.6 * len(found), 3.1, title) as figure:
        for axes, one in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
            shown = one.values[:MOST_TILES]
            bare(axes, f"{layer_name(one.name)}: {len(shown)} of {len(one.values)}")
            axes.imshow(_coloured(tiled(shown, 8)))
    return True


def draw_maps(model: nn.Module, data: Data, sample: int, path: Path, title: str) -> None:
    """Write a PNG of what each layer puts out for one sample (a place in `data.x`)."""
    with observing(model):
        seen = stages(model, data.x[sample], data)
    shown = [stage for stage in seen if stage.values.ndim == 3][: 2 * MOST_LAYERS] or seen[: 2 * MOST_LAYERS]
    with sheet(path, 1.5 * (len(shown) + 1), 3.4, title) as figure:
        first, *others = figure.subplots(1, len(shown) + 1, squeeze=False)[0]
        bare(first, "sample")
        first.imshow(_picture(data.x[sample], data), cmap="gray")
        for axes, stage in zip(others, shown, strict=True):
            bare(axes, layer_name(stage.name))
            axes.imshow(_coloured(_maps(stage)))
        for axes in (first, *others):
            axes.set_anchor("N")


def _maps(stage: Stage) -> Tensor:
    """Maps below each other in two columns, or values as a column of squares."""
    if stage.values.ndim == 3:
        return tiled(stage.values[: MOST_TILES // 2], 2)
    return stage.values[:MOST_TILES, None]


def draw_units(
    model: nn.Module, data: Data, answered: Mapping[str, Sequence[Strongest]], path: Path, title: str
) -> None:
    """Write a PNG: for each layer a few units, with the input each would answer to most, then the windows it did.

    Args:
        answered: what `commonweight.measure.features.strongest` found, by layer.
    """
    shown = thinned(list(answered), MOST_LAYERS)
    chosen = [thinned(answered[layer], MOST_UNITS) for layer in shown]
    heights = [0.6 * len(units) + 0.3 for units in chosen]
    with sheet(path, 0.55 * (TOP + 1) + 0.6, sum(heights) + 0.3, title) as figure:
        parts = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, layer, units in zip(parts, shown, chosen, strict=True):
            said = f"{layer_name(layer)}: {len(units)} of {len(answered[layer])} units"
            part.suptitle(said, fontsize=9, color=SOFT, x=0.01, ha="left")
            wished = favourites(model, data, layer, [one.unit for one in units])
            grid = part.subplots(len(units), TOP + 1, squeeze=False)
            for row, one, wish in zip(grid, units, wished, strict=True):
                _draw_unit(row, one, wish, data)


def _draw_unit(row: Any, one: Strongest, wish: Tensor, data: Data) -> None:
    """The favourite input, and then the windows of samples, each in the middle of a place of equal size."""
    for axes in row:
        bare(axes)
    flat = wish if data.is_image else wish.reshape(1, -1, wish.shape[-1]).repeat_interleave(_BAND, 1)
    row[0].imshow(_coloured(flat.mean(0)))
    row[0].set_ylabel(str(one.unit), fontsize=7, color=SOFT, rotation=0, labelpad=8, va="center")
    for axes, sample, window in zip(row[1:], one.samples.tolist(), one.windows, strict=False):
        cut = data.x[sample][:, window[0], window[1]] if data.is_image else data.x[sample]
        axes.imshow(_picture(cut, data), cmap="gray", vmin=0, vmax=255)


def _picture(x: Tensor, data: Data) -> NDArray[Any]:
    """A sample or a part of one: an image as it is; a series or a row in colours, normalised."""
    if data.is_image:
        return photo(x)
    values = data.normalisation.apply(x).reshape(-1, x.shape[-1]).repeat_interleave(_BAND, 0)
    return signed(values, float(values.abs().max()))


def _coloured(values_HW: Tensor) -> NDArray[np.uint8]:
    """Blue below zero, orange above; what is not finite is left out."""
    finite = values_HW[values_HW.isfinite()]
    return signed(values_HW, float(finite.abs().max()) if len(finite) else 1.0)
