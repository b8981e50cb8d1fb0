"""Arrays as small PNG pictures inside the page: signed values in blue and orange, samples as they are.

Signed values are drawn by colour for the sign and opacity for the size: zero is the page itself, light or dark.
"""

import base64
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from commonweight.data.dataset import Data
from commonweight.measure.report.markup import Markup, tag

Pixels = NDArray[np.uint8]

NEGATIVE, POSITIVE = (36, 107, 206), (224, 108, 16)
CLASS_COLOURS = (
    (36, 107, 206),
    (224, 108, 16),
    (38, 145, 92),
    (150, 84, 190),
    (205, 62, 100),
    (20, 150, 160),
    (140, 110, 30),
    (110, 118, 130),
)
"""Told apart with a colour vision deficiency; in the order of the classes, from the start again after eight."""

_BANDS = 24
"""Pixels that the channels of a series share as the height of their picture."""

_LEVELS = 63
"""Steps of opacity: the eye sees no more, and the file is half as large."""


def signed(values_HW: Tensor, largest: float) -> Pixels:
    """Blue below zero, orange above, opacity |value| / largest: uint8 of shape (H, W, 4)."""
    values = torch.nan_to_num(values_HW.float(), nan=0.0).numpy()
    strength = np.clip(np.abs(values) / (largest or 1.0), 0, 1)
    pixels = np.empty((*values.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(values[..., None] < 0, np.array(NEGATIVE), np.array(POSITIVE))
    pixels[..., 3] = np.round(np.round(strength * _LEVELS) * (255 / _LEVELS))
    return pixels


def photo(x_CHW: Tensor, side: int = 96) -> Pixels:
    """A sample with values in [0, 1], at most `side` high and wide: three channels in colour, others as their mean."""
    x_CHW = shrunk(x_CHW, side).nan_to_num().clamp(0, 1)
    shown = x_CHW.permute(1, 2, 0) if len(x_CHW) == 3 else x_CHW.mean(0)
    return (shown * 255).round().byte().numpy()


def sample_picture(sample: int, data: Data) -> Pixels | None:
    """An image as it is; a series, normalised, as a band for each channel from left to right; None for a row."""
    if data.is_image:
        return photo(data.x[sample])
    if len(data.in_shape) == 1:
        return None
    series_CL = data.normalisation.apply(data.x[sample])
    thick = series_CL.repeat_interleave(max(1, _BANDS // len(series_CL)), 0)
    return signed(thick, float(series_CL.abs().max()))


def shrunk(maps_CHW: Tensor, side: int) -> Tensor:
    """Averaged down to at most `side` high and wide."""
    height, width = maps_CHW.shape[1:]
    if max(height, width) <= side:
        return maps_CHW
    return F.adaptive_avg_pool2d(maps_CHW[None].float(), (min(height, side), min(width, side)))[0]


def image(pixels: Pixels, text: str, *, class_: str = "tile", title: str | None = None) -> Markup:
    """An `img` element that carries its own PNG; `text` describes it, `title` is shown on hovering."""
    height, width = pixels.shape[:2]
    size = {"width": float(width), "height": float(height)}
    return tag("img", src=data_uri(pixels), alt=text, title=title or text, class_=class_, **size)


def data_uri(pixels: Pixels) -> str:
    """PNG as a data URI: uint8 of shape (H, W) grey, (H, W, 3) colour, or (H, W, 4) with opacity."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG", optimize=pixels.size < 1 << 14)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
