"""One picture of a data set: its images by class, or its rows in the plane, or how its target is distributed."""

import textwrap
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.atomic import replacing
from commonweight.data.dataset import Data
from commonweight.errors import DataError, require_kind

MAX_CLASSES = 20
"""So many classes are drawn at most; the title says how many there are."""

_MAX_POINTS = 2_000
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#B8A800")
"""Okabe and Ito's palette, which people with colour blindness can tell apart, its yellow darkened, black lightened."""
_MARKERS = "osD^vPX*"
_CHARACTERS_PER_INCH = 12
_INK, _FAINT = "#222222", "#BBBBBB"


def picture_grid(data: Data, path: str | Path, per_class: int = 8) -> None:
    """Write a PNG of the training part: what is in the data, at a glance.

    Images with classes: a row of samples for each class. Images with a quantity: samples from the lowest target to the
    highest, and a histogram of the target. Series: the first channel of some, for each class. Tables: the rows in the
    plane of their two features, or of the first two principal components of the normalised features, coloured by class
    or by target; for a quantity also its histogram.

    Args:
        data: of any kind.
        path: of the PNG; it appears only when it is complete.
        per_class: samples in a row of images, at least 1; default 8.

    Raises:
        DataError: no data set, fewer than one sample in a row, or a path that does not end in .png.
        FileError: the file cannot be written.
    """
    require_kind(data, Data, "picture_grid draws a data set as data.load gives it", DataError)
    require_kind(path, str | PathLike, "picture_grid writes to a path", DataError)
    require_kind(per_class, int, "per_class is a whole number of samples", DataError)
    if per_class < 1:
        raise DataError(f"a row shows at least one sample; got per_class={per_class}")
    if Path(path).suffix.lower() != ".png":
        raise DataError(f"the picture '{path}' is to be a PNG; give a name that ends in .png")
    # Figure and not pyplot: nothing global is touched, and no window system is asked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if data.is_image and data.task == "classification":
        _draw_image_classes(figure, data, per_class)
    elif data.is_image:
        _draw_image_targets(figure, data, per_class)
    elif len(data.in_shape) == 2:
        _draw_series(figure, data, per_class)
    else:
        _draw_table(figure, data)
    columns = int(_CHARACTERS_PER_INCH * figure.get_figwidth())
    title = textwrap.fill(repr(data).replace(" / ", "\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}"), columns)
    figure.suptitle(title.replace("$", r"\$"), fontsize=9, color=_INK)
    with replacing(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw_image_classes(figure: Any, data: Data, per_class: int) -> None:
    """One strip of images for each class, its name at the left."""
    classes = data.classes[:MAX_CLASSES]
    labels = data.y[data.train]
    places = min(per_class, int(labels.bincount().max()))
    figure.set_size_inches(1.4 + 0.62 * places * _aspect(data), 0.5 + 0.66 * len(classes))
    axes = figure.subplots(len(classes), 1, squeeze=False)[:, 0]
    for index, (name, axis) in enumerate(zip(classes, axes, strict=True)):
        members = data.train[labels == index][:per_class]
        _show(axis, _strip(data.x[members], places))
        axis.set_ylabel(_short(name), rotation=0, ha="right", va="center", fontsize=9, color=_INK)


def _draw_image_targets(figure: Any, data: Data, per_class: int) -> None:
    """A strip of images in the order of the first target, its histogram below."""
    figure.set_size_inches(max(5.0, 0.5 + 0.62 * per_class * _aspect(data)), 4.2)
    top, bottom = figure.subplots(2, 1, height_ratios=(1, 3))
    ordered = data.train[data.y[data.train, 0].argsort()]
    chosen = ordered[torch.linspace(0, len(ordered) - 1, per_class).round().long()]
    _show(top, _strip(data.x[chosen], per_class))
    top.set_xlabel("from the lowest target to the highest", fontsize=8, color=_INK)
    _draw_histogram(bottom, data)


def _draw_series(figure: Any, data: Data, per_class: int) -> None:
    """The first channel of some series over time: a field for each class, or one for all."""
    labels = data.y[data.train] if data.task == "classification" else torch.zeros(len(data.train), dtype=torch.int64)
    names = data.classes[:MAX_CLASSES] or (_target_name(data),)
    figure.set_size_inches(6.4, 0.6 + 1.3 * len(names))
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    for index, (name, axis) in enumerate(zip(names, axes, strict=True)):
        members = data.train[labels == index][:per_class]
        axis.plot(data.x[members, 0].T.numpy(), color=_COLOURS[index % len(_COLOURS)], alpha=0.5, lw=0.8)
        axis.set_title(_short(name), fontsize=9, color=_INK, loc="left")
        _lighten(axis)
    axes[-1].set_xlabel("step", color=_INK)


def _draw_table(figure: Any, data: Data) -> None:
    """Rows as points; beside them, for regression, how the target is distributed."""
    points, names = _plane(data)
    index = data.train[:: -(-len(data.train) // _MAX_POINTS)]
    if data.task == "classification":
        figure.set_size_inches(6.4, 4.4)
        axis = figure.subplots()
        for kind, name in enumerate(data.classes[:MAX_CLASSES]):
            xy = points[index[data.y[index] == kind].numpy()]
            colour, marker = _COLOURS[kind % len(_COLOURS)], _MARKERS[kind // len(_COLOURS) % len(_MARKERS)]
            axis.scatter(xy[:, 0], xy[:, 1], s=14, color=colour, marker=marker, alpha=0.7, lw=0, label=_short(name))
        figure.legend(loc="outside right center", fontsize=8, frameon=False, markerscale=1.6)
    else:
        figure.set_size_inches(9.4, 4.2)
        axis, histogram = figure.subplots(1, 2)
        xy = points[index.numpy()]
        dots = axis.scatter(xy[:, 0], xy[:, 1], s=14, c=data.y[index, 0].numpy(), cmap="viridis", alpha=0.8, lw=0)
        figure.colorbar(dots, ax=axis).ax.tick_params(labelsize=8)
        axis.set_title(f"colour: {_target_name(data)}", fontsize=9, color=_INK)
        _draw_histogram(histogram, data)
    axis.set_xlabel(names[0], color=_INK)
    axis.set_ylabel(names[1], color=_INK)
    _lighten(axis)


def _draw_histogram(axis: Any, data: Data) -> None:
    """Counts of each target over the training part."""
    values = data.y[data.train]
    for column in range(min(data.n_outputs, len(_COLOURS))):
        label = f"target {column + 1}" if data.n_outputs > 1 else None
        axis.hist(values[:, column].numpy(), bins="sqrt", color=_COLOURS[column], alpha=0.75, label=label)
    if data.n_outputs > 1:
        axis.legend(fontsize=8, frameon=False)
    axis.set_xlabel(_target_name(data), color=_INK)
    axis.set_ylabel("training samples", color=_INK)
    _lighten(axis)


def _plane(data: Data) -> tuple[NDArray[np.float32], tuple[str, str]]:
    """Every row as a point, shape (N, 2), and what the two coordinates are."""
    names = data.features or tuple(f"feature {number}" for number in range(1, data.in_shape[0] + 1))
    if len(names) == 1:
        return np.column_stack([data.x[:, 0].numpy(), np.arange(len(data))]).astype(np.float32), (names[0], "row")
    if len(names) == 2:
        return data.x.numpy(), (names[0], names[1])
    x = data.normalisation.apply(data.x).double()
    variances, directions = torch.linalg.eigh(x[data.train].T @ x[data.train])
    largest = directions[:, [-1, -2]]
    # A direction and its opposite are the same component: the largest entry is made positive, so that pictures agree.
    largest = largest * largest.gather(0, largest.abs().argmax(0, keepdim=True)).sign()
    shares = (variances[[-1, -2]] / variances.sum().clamp(min=torch.finfo(torch.float64).tiny)).tolist()
    titles = [f"principal component {number} ({share:.0%} of variance)" for number, share in enumerate(shares, 1)]
    return (x @ largest).float().numpy(), (titles[0], titles[1])


def _strip(images: Tensor, places: int) -> NDArray[np.float32]:
    """Images of shape (n, C, H, W) side by side in `places` places with white between, shape (H, width, 3)."""
    _, channels, height, width = images.shape
    gap = max(1, width // 12)
    strip = np.ones((height, places * (width + gap) - gap, 3), dtype=np.float32)
    for place, image in enumerate(images):
        colour = image[:3] if channels >= 3 else image[:1].expand(3, -1, -1)
        strip[:, place * (width + gap) :][:, :width] = colour.permute(1, 2, 0).numpy()
    return strip


def _show(axis: Any, strip: NDArray[np.float32]) -> None:
    axis.imshow(strip, interpolation="nearest", aspect="equal")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _lighten(axis: Any) -> None:
    """Frame and ticks step back behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_FAINT)
    axis.tick_params(colors=_INK, labelsize=8, color=_FAINT)


def _aspect(data: Data) -> float:
    """Width over height of one image."""
    return data.in_shape[2] / data.in_shape[1]


def _target_name(data: Data) -> str:
    return data.target or "target"


def _short(name: str) -> str:
    """A name of at most 24 characters; matplotlib would read a dollar as mathematics."""
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$")
