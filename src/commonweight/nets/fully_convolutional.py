"""Fully convolutional network: a classifier that slides over images of any size and gives a map of its answers."""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commonweight.errors import NetError, require_whole
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.views import View, spread

SMALLEST = 8
SMALLEST_STAGE = 6
"""Least side of a map that a stage makes smaller: to (6 - 2) / 2 = 2."""
HIDDEN = 8
SIDE = 3
"""Images in a row and in a column of the scene that is shown."""


class FullyConvolutional(nn.Sequential):
    """A net of convolutions and pooling only, whose fully connected layers are convolutions as well.

    A fully connected layer on a map of C×h×w is a convolution whose kernel covers all of the map; on a larger image,
    it moves. The net is made for windows of the size of its training images, and at each place of a larger image it
    gives what it gives for the window there alone, while windows share the work where they overlap:

        map[i, j] = net(window of the image whose corner is at (stride·i, stride·j))

    Layers: stages of a 3×3 convolution, batch normalisation, ReLU and 2×2 maximum, as many as the image has room for,
    with width, 2·width, 4·width... channels; then a convolution over all that remains, to 8·width channels,
    normalisation and ReLU; then a 1×1 convolution to the answers. Nothing is padded, so that a window looks the same
    wherever it stands.

    Source: Long, Shelhamer, Darrell, "Fully convolutional networks for semantic segmentation" (2015), section 3.1.
    Unlike theirs, `segment` brings the coarse map to the size of the image by plain linear interpolation.

    Args:
        in_shape: (C, H, W) of one image to learn from, H and W at least 8.
        n_outputs: number of classes or values.
        width: channels of the first stage, at least 1.

    Attributes:
        stride: how far the windows of neighbouring answers are apart, in pixels.
        window: (height, width) of the window that an answer depends on, at most the size of the images to learn from.

    Shapes: x (B, C, H, W) -> (B, n_outputs), the mean of the map; H and W may be any that hold a window.

    Raises:
        NetError: sizes that are no whole numbers from 1, samples that are not images, images to learn from below 8×8,
            or images smaller than the window.

    Example:
        >>> import torch
        >>> net = FullyConvolutional((1, 28, 28), 10).eval()
        >>> net.window, net.stride
        ((26, 26), 4)
        >>> photo = torch.randn(1, 1, 26, 90)
        >>> answers = net.answers(photo)
        >>> answers.shape
        torch.Size([1, 10, 1, 17])
        >>> torch.allclose(answers[..., 0, 5], net(photo[..., 20:46]), atol=1e-5)
        True
        >>> net.segment(photo).shape
        torch.Size([1, 10, 26, 90])
    """

    def __init__(self, in_shape: tuple[int, ...], n_outputs: int, *, width: int = 16) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        width = require_whole(width, "width", NetError, least=1)
        if len(in_shape) != 3:
            raise NetError(
                f"A fully convolutional net takes images of shape (channels, height, width), but the samples have "
                f"shape {in_shape}: use mlp."
            )
        if min(in_shape[1:]) < SMALLEST:
            raise NetError(
                f"A fully convolutional net learns from images of at least {SMALLEST}×{SMALLEST} pixels, but these "
                f"have {in_shape[1]}×{in_shape[2]}: enlarge them, or use mlp."
            )
        super().__init__()
        channels, rows, columns = in_shape
        self.stride, stage = 1, 1
        while min(rows, columns) >= SMALLEST_STAGE:
            self._add(f"conv{stage}", channels, width * self.stride, (3, 3))
            self.add_module(f"conv{stage}_pool", nn.MaxPool2d(2))
            channels, rows, columns = width * self.stride, (rows - 2) // 2, (columns - 2) // 2
            self.stride, stage = 2 * self.stride, stage + 1
        self._add("hidden", channels, HIDDEN * width, (rows, columns))
        self.add_module("output", nn.Conv2d(HIDDEN * width, n_outputs, kernel_size=1))
        border = 2 * (self.stride - 1)  # each stage takes twice as many pixels, and two more
        self.window = (self.stride * rows + border, self.stride * columns + border)

    def _add(self, name: str, channels: int, maps: int, kernel: tuple[int, int]) -> None:
        """A convolution, whose bias is the shift of the normalisation, and ReLU."""
        self.add_module(name, nn.Conv2d(channels, maps, kernel, bias=False))
        self.add_module(f"{name}_norm", nn.BatchNorm2d(maps))
        self.add_module(f"{name}_state", nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the map: x (B, C, H, W) -> (B, n_outputs)."""
        return self.answers(x).mean((2, 3))

    def answers(self, x: Tensor) -> Tensor:
        """The map: x (B, C, H, W) -> (B, n_outputs, rows, columns), an answer for each window."""
        if x.shape[2] < self.window[0] or x.shape[3] < self.window[1]:
            raise NetError(
                f"This fully convolutional net looks through a window of {self.window[0]}×{self.window[1]} pixels, but "
                f"the images have {x.shape[2]}×{x.shape[3]}: enlarge or pad them."
            )
        scores: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return scores

    def segment(self, x: Tensor) -> Tensor:
        """The map, enlarged to the image: x (B, C, H, W) -> (B, n_outputs, H, W), the scores of each pixel."""
        return F.interpolate(self.answers(x), size=x.shape[2:], mode="bilinear")

    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """A scene of several test images, and where the net finds each class in it."""
        side = min(SIDE, isqrt(len(inputs)))
        chosen = inputs[spread(len(inputs), side * side)]
        scene = torch.cat([torch.cat(list(row), 2) for row in torch.split(chosen, side)], 1)
        scores = self.segment(scene[None])[0]
        caption = f"{side * side} images of the test part side by side: the net was trained on single ones."
        found = "What the net answers at each place: white is the largest value."
        shown = scores.softmax(0) if targets.ndim == 1 else scores
        return [
            View("A scene larger than any image of training", caption, scene.mean(0, keepdim=True).cpu()),
            View(
                "Maps of answers over the scene", found, shown.cpu(), [f"output {place}" for place in range(len(shown))]
            ),
        ]
