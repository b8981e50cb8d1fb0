"""The net of the view Look inside, and the arithmetic of any one value in it.

image 14×14 → convolution → ReLU → pooling 2×2 → convolution 3×3 → ReLU → classes
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import Tied, patterns
from commonweight.lab.sessions.rules import Learning
from commonweight.lab.settings import choice, text, whole

SIDE, FIRST_MAPS, SECOND_MAPS, CLASSES = 14, 6, 8, 10
STAGES = ("first", "pooled", "second", "classes")
"""What is shown, each computed from the one before; "first" and "second" before their ReLU."""


@dataclass(frozen=True)
class InsideSettings(Learning):
    """What can be set, besides how it is learned.

    Attributes:
        kernel, stride, padding: of the first convolution.
        pooling: what it keeps of each 2×2 window: the largest value or the mean.
        drawing: a digit drawn by hand: the letter d and a hexadecimal digit for each of 196 pixels; else a test sample.
        sample: the test sample.
        stage, map, row, column: the value that is looked at.
    """

    kernel: int = whole(5, 1, 5)
    stride: int = whole(1, 1, 3)
    padding: int = whole(2, 0, 3)
    pooling: str = choice("max", ("max", "average"))
    drawing: str = text(1 + SIDE * SIDE)
    sample: int = whole(0, 0, 9999)
    stage: int = whole(0, 0, len(STAGES) - 1)
    map: int = whole(0, 0, CLASSES - 1)
    row: int = whole(6, 0, SIDE + 5)
    column: int = whole(6, 0, SIDE + 5)


def out_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """⌊(size + 2 · padding - kernel) / stride⌋ + 1."""
    return (size + 2 * padding - kernel) // stride + 1


def make_net(settings: InsideSettings) -> nn.Sequential:
    """The net, with weights of torch's global generator."""
    first = patterns.conv2d(
        (1, SIDE, SIDE), FIRST_MAPS, kernel=settings.kernel, stride=settings.stride, padding=settings.padding
    )
    side = out_size(first.out_shape[1], 2, 2, 0)
    second = patterns.conv2d((FIRST_MAPS, side, side), SECOND_MAPS, kernel=3, padding=1)
    pool = nn.MaxPool2d(2) if settings.pooling == "max" else nn.AvgPool2d(2)
    return nn.Sequential(
        Tied(first), nn.ReLU(), pool, Tied(second), nn.ReLU(), nn.Flatten(), nn.Linear(second.n_out, CLASSES)
    )


@torch.no_grad()
def stages(net: nn.Sequential, image: Tensor) -> dict[str, Tensor]:
    """What each stage holds for one image (1, 1, 14, 14): shape (maps, rows, columns), classes (10, 1, 1)."""
    first = net[0](image)
    pooled = net[2](net[1](first))
    second = net[3](pooled)
    classes = net[6](net[5](net[4](second)))
    found = dict(zip(STAGES, (first, pooled, second), strict=False))
    return {name: maps[0] for name, maps in found.items()} | {"classes": classes.reshape(CLASSES, 1, 1)}


@dataclass(frozen=True)
class Arithmetic:
    """How one value comes about: Σ value · weight + bias.

    Attributes:
        values, weights: of the places that it sees, shape (maps, rows, columns); 0 · weight where padding is seen.
        bias: that is added; 0 for pooling.
        first_map, top, left: where the window begins in the stage before; top and left are negative inside of padding.
    """

    values: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: float
    first_map: int
    top: int
    left: int


@torch.no_grad()
def arithmetic(
    net: nn.Sequential, settings: InsideSettings, image: Tensor, chosen: tuple[str, int, int, int]
) -> Arithmetic:
    """The arithmetic of the value in a stage, at a map, a row and a column."""
    name, number, row, column = chosen
    found = stages(net, image)
    if name == "first":
        return _convolved(net[0], image[0], (number, row, column), settings.stride, settings.padding)
    if name == "second":
        return _convolved(net[3], found["pooled"], (number, row, column), 1, 1)
    if name == "pooled":
        window = torch.relu(found["first"])[number, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        if isinstance(net[2], nn.MaxPool2d):
            weights = F.one_hot(window.argmax(), 4).reshape(1, 2, 2)
        else:
            weights = torch.full((1, 2, 2), 0.25)
        return Arithmetic(window[None].numpy(), weights.float().numpy(), 0.0, number, 2 * row, 2 * column)
    seen, weight = torch.relu(found["second"]), net.get_parameter("6.weight")
    weights = weight[number].reshape(seen.shape)
    return Arithmetic(seen.numpy(), weights.numpy(), float(net.get_parameter("6.bias")[number]), 0, 0, 0)


def _convolved(layer: nn.Module, before: Tensor, at: tuple[int, int, int], stride: int, padding: int) -> Arithmetic:
    (number, row, column), weight, bias = at, layer.get_parameter("weight"), layer.get_parameter("bias")
    down, right, kernel = row * stride, column * stride, weight.shape[-1]
    window = F.pad(before, (padding,) * 4)[:, down : down + kernel, right : right + kernel]
    return Arithmetic(window.numpy(), weight[number].numpy(), float(bias[number]), 0, down - padding, right - padding)
