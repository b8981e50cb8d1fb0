"""How the weights of each layer are spread, how they came to be so, and how many directions they fill."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from commonweight.measure.components import Kept, Spectrum
from commonweight.measure.figures.sheet import BLUE, COLOURS, ORANGE, SOFT, quiet, sheet
from commonweight.measure.records import QUANTILES, Record
from commonweight.measure.report.naming import layer_name
from commonweight.measure.report.observe import weights
from commonweight.numerals import number

MOST = 12
"""Layers that are drawn; of more, the first ones."""


def draw_distributions(model: nn.Module, records: Sequence[Record], path: Path, title: str) -> None:
    """Write a PNG: for each layer a histogram of its weights, and below it their quantiles over training."""
    layers = weights(model)[:MOST]
    with sheet(path, max(5, 2.4 * len(layers)), 4.4, title) as figure:
        grid = figure.subplots(2, len(layers), squeeze=False)
        for (name, values), (above, below) in zip(layers, grid.T, strict=True):
            finite = values[values.isfinite()].numpy()
            reach = float(np.abs(finite).max(initial=0)) or 1.0
            counts, edges = np.histogram(finite, bins=41, range=(-reach, reach))
            middle = (edges[1:] + edges[:-1]) / 2
            above.bar(middle, counts, np.diff(edges), color=[BLUE if m < 0 else ORANGE for m in middle])
            deviation = number(float(values.std(correction=0)), 2)
            quiet(above, layer_name(name), f"{len(values):,} weights, deviation {deviation}")
            above.set_yticks([])
            _draw_quantiles(below, name, records)
        grid[1, 0].set_ylabel("weights, 5 to 95 %", fontsize=8, color=SOFT)


def _draw_quantiles(axes: Any, name: str, records: Sequence[Record]) -> None:
    """The middle half and the middle nine tenths of a layer's weights at each check."""
    known = {layer.name for record in records for layer in record.layers}
    module = name if name in known else name.rpartition(".")[0]  # rnn.weight_ih_l0 is told of as a part of rnn
    told = [(r.epoch, layer.weight_quantiles) for r in records for layer in r.layers if layer.name == module]
    rows = np.array([[epoch, *quantiles] for epoch, quantiles in told if len(quantiles) == len(QUANTILES)])
    quiet(axes, "", "epoch")
    if len(rows):
        epochs, low, lower, middle, upper, high = rows.T
        axes.fill_between(epochs, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axes.fill_between(epochs, lower, upper, color=BLUE, alpha=0.3, linewidth=0)
        axes.plot(epochs, middle, color=BLUE, linewidth=1.2)


def draw_components(found: Sequence[Spectrum], kept: Sequence[Kept], path: Path, title: str, score: str) -> None:
    """Write a PNG: singular values, the variance that the first components hold, and the score with these alone."""
    shown = found[:MOST]
    with sheet(path, 11, 3.4, title) as figure:
        singular, variance, cost = figure.subplots(1, 3)
        for place, one in enumerate(shown):
            style = {"color": COLOURS[place % len(COLOURS)], "linewidth": 1.3, "marker": ".", "markersize": 3}
            rank = len(one.singular)
            singular.plot(np.arange(1, rank + 1) / rank, one.singular / one.singular[0], **style)
            together = torch.cat([one.variance.new_zeros(1), one.variance.cumsum(0)])
            variance.plot(np.arange(rank + 1) / rank, together, label=layer_name(one.name), **style)
            points = [(k.components / rank, k.score) for k in kept if k.layer == one.name]
            cost.plot(*zip(*points, strict=True), **style)
        singular.set_yscale("log")
        quiet(singular, "Singular values, over the largest", "place, as a share of the rank")
        quiet(variance, "Variance that the first components hold", "components kept, as a share of all")
        quiet(cost, f"Test {score} when one layer keeps only these", "components kept, as a share of all")
        if shown:
            variance.legend(fontsize=7, frameon=False, labelcolor=SOFT)
