"""Images shifted, turned and mirrored at random, a whole batch in one sampling."""

import math
from collections.abc import Collection

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

KINDS = ("shift", "rotate", "flip")
SHIFT = 1 / 8
"""At most so much of a side, in whole pixels: 4 of 28 or 32, and 1 of 8."""
DEGREES = 15.0


def augment(images: Tensor, kinds: Collection[str], *, generator: Generator | None = None) -> Tensor:
    """Each image of a batch moved in its own way, as its class stays the same.

    shift: by whole pixels, uniform from -r to r along each side, r = max(1, round(side / 8));
    rotate: about the middle, by an angle uniform in ±15°, with values between pixels interpolated linearly;
    flip: left and right exchanged, every second time. Of digits and letters this makes something else.

    A pixel at p from the middle of the new image is what lies at R p + s in the old one, mirrored or not: R turns, s
    shifts. What comes in from outside repeats the border. The whole batch is mirrored by one operation, and sampled by
    another (benchmarks/augment.py).

    Args:
        images: (B, C, H, W), of floating numbers.
        kinds: some of `KINDS`; none leaves the images as they are.
        generator: of the draws, on the CPU; torch's own by default.

    Returns:
        Images of the same shape and type, channels last if they were.

    Source: Simard, Steinkraus, Platt 2003, "Best practices for convolutional neural networks applied to visual document
    analysis"; mirroring: Krizhevsky, Sutskever, Hinton 2012.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> augment(image, ["flip"], generator=Generator().manual_seed(1))
        tensor([[[[0., 1.],
                  [2., 3.]]]])
        >>> augment(image, ["flip"], generator=Generator().manual_seed(0))
        tensor([[[[1., 0.],
                  [3., 2.]]]])
    """
    n, _, height, width = images.shape
    if "flip" in kinds:
        chosen = torch.rand(n, generator=generator).view(n, 1, 1, 1) < 0.5
        images = torch.where(chosen.to(images.device), images.flip(3), images)
    if "shift" not in kinds and "rotate" not in kinds:
        return images
    cos, sin, across, down = torch.ones(n), torch.zeros(n), torch.zeros(n), torch.zeros(n)
    if "shift" in kinds:
        across, down = (_pixels(side, n, generator) * 2 / side for side in (width, height))
    if "rotate" in kinds:
        angle = math.radians(DEGREES) * (2 * torch.rand(n, generator=generator) - 1)
        cos, sin = angle.cos(), angle.sin()
    rows = (cos, -sin * height / width, across), (sin * width / height, cos, down)
    maps = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(maps.to(images.device), list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    last = images.is_contiguous(memory_format=torch.channels_last)
    return moved.to(images.dtype, memory_format=torch.channels_last if last else torch.contiguous_format)


def _pixels(side: int, n: int, generator: Generator | None) -> Tensor:
    """Whole numbers from -r to r, shape (n,)."""
    most = max(1, round(SHIFT * side))
    return torch.randint(-most, most + 1, (n,), generator=generator)
