"""What a family of networks shows of itself beside kernels: the pictures of its method `views`."""

import numpy as np
import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.measure.report.markup import Markup, figure, paragraph, section, tag
from commonweight.measure.report.pictures import Pixels, image, shrunk, signed
from commonweight.numerals import counted
from commonweight.views import View

MOST, SIDE, ALONE = 128, 160, 560
"""Pictures of a view that are shown, and their largest side in pixels: of several, and of one alone."""
STRIP = 1.5
"""Pictures wider than so many times their height are shown one below the other, as each alone."""


def views(model: nn.Module, data: Data) -> Markup | None:
    """The section on what this family shows, or None for a net that shows nothing more."""
    own = getattr(model, "views", None)
    if own is None:
        return None
    with torch.no_grad():
        targets = data.normalisation.apply_target(data.y[data.test])
        found: list[View] = own(data.normalisation.apply(data.x[data.test]), targets)
    words = [paragraph("Point at a picture to read what it is.")]
    return section("views", "What it shows", words, map(_figure, found))


def _figure(view: View) -> Markup:
    strips = view.images.shape[-1] > STRIP * view.images.shape[-2]
    images = shrunk(view.images[:MOST].float(), ALONE if strips or len(view.images) == 1 else SIDE)
    finite = images[images.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    tiles = []
    for place, values in enumerate(images):
        label = view.labels[place] if place < len(view.labels) else f"{place + 1} of {len(view.images)}"
        pixels = signed(values, max(-low, high)) if view.signed else grey(values, low, high)
        tiles.append(image(pixels, label))
    caption = view.caption
    if len(view.images) > MOST:
        caption += f" The first {counted(MOST, 'picture')} of {len(view.images):,} are shown."
    sizes = {"alone": MOST if strips else 1, "large": 10, "medium": 24, "small": MOST}
    size = next(name for name, most in sizes.items() if len(tiles) <= most)
    return figure(view.title, tag("div", *tiles, class_=f"tiles {size}"), caption, class_="wide")


def grey(values_HW: Tensor, low: float, high: float) -> Pixels:
    """From black for `low` to white for `high`, nothing where a value is not finite: uint8 of shape (H, W, 4)."""
    shade = ((values_HW - low) / ((high - low) or 1.0)).nan_to_num(0, 0, 0).clamp(0, 1).numpy()
    pixels = np.repeat(np.round(shade * 255).astype(np.uint8)[..., None], 4, axis=2)
    pixels[..., 3] = np.where(values_HW.isfinite().numpy(), 255, 0)
    return pixels
