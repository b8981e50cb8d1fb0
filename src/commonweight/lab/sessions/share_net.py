"""The net of the view Share: one layer whose pattern can be changed, the largest answer of each map, and the classes.

A digit of 8×8 lies on a canvas of 12×12. The layer leads from the 144 units of the canvas to K maps of 144 units each;
every pattern joins these same units, so that only what is shared differs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from commonweight import Tied, codebook, patterns
from commonweight.lab.sessions.rules import Learning
from commonweight.lab.settings import choice, whole
from commonweight.patterns import Pattern

OBJECT, CANVAS = 8, 12
UNITS = CANVAS**2
MARGIN = (CANVAS - OBJECT) // 2
PATTERNS = ("conv", "tiled", "local", "dense", "circulant", "symmetric", "codebook", "single")
WINDOWED = ("conv", "tiled", "local")


@dataclass(frozen=True)
class ShareSettings(Learning):
    """What can be set, besides how it is learned.

    Attributes:
        pattern: how the layer shares.
        kernel: side of the window of conv, tiled and local.
        period: of tiled: the kernel repeats only every so many positions.
        values: of codebook: how many different weights there are.
        maps: K.
        head: what the classes see of each map: its largest answer, or all of its units.
        map, sample: what is looked at.
        out, inp: the connection whose weight is looked at; -1 for that of the map which asks for the largest change.
    """

    pattern: str = choice("conv", PATTERNS)
    kernel: int = whole(5, 3, 7, step=2)
    period: int = whole(2, 2, 6)
    values: int = whole(8, 2, 64)
    maps: int = whole(8, 1, 16)
    head: str = choice("largest", ("largest", "all"))
    map: int = whole(0, 0, 15)
    out: int = whole(-1, -1, 16 * UNITS - 1)
    inp: int = whole(-1, -1, UNITS - 1)
    sample: int = whole(0, 0, 9999)


def make_pattern(settings: ShareSettings, matrix: Tensor | None = None) -> Pattern:
    """The pattern of the settings; a codebook is learned from the matrix (O, I), by default that of a dense start."""
    canvas, maps, side = (1, CANVAS, CANVAS), settings.maps, settings.kernel
    match settings.pattern:
        case "conv":
            return patterns.conv2d(canvas, maps, kernel=side, padding=side // 2)
        case "tiled":
            return patterns.tiled(canvas, maps, kernel=side, padding=side // 2, period=settings.period)
        case "local":
            return patterns.local(canvas, maps, kernel=side, padding=side // 2)
        case "circulant":
            return patterns.kron(patterns.dense(1, maps), patterns.circulant(UNITS))
        case "symmetric":
            return patterns.kron(patterns.dense(1, maps), patterns.symmetric(UNITS))
        case "single":
            return patterns.single(UNITS, maps * UNITS)
    dense = patterns.dense(UNITS, maps * UNITS)
    if settings.pattern == "dense":
        return dense
    start = Tied(dense, bias="none").weight.detach() if matrix is None else matrix
    return codebook.learn(start, settings.values, per="tensor")[0]


def untied(pattern: Pattern, settings: ShareSettings) -> Pattern:
    """The same connections (a codebook's: all of them), each with a weight of its own."""
    if settings.pattern in WINDOWED:
        side = settings.kernel
        return patterns.local((1, CANVAS, CANVAS), settings.maps, kernel=side, padding=side // 2)
    return patterns.dense(pattern.n_in, pattern.n_out)


class ShareNet(nn.Module):
    """y = W x, then for each map its largest unit, a bias and ReLU, then the classes.

    With head "all", each unit goes through bias and ReLU, and all of them lead to the classes.

    Attributes:
        layer: the `Tied` layer, W.
        sums: its outputs for the last batch, shape (B, O), with their gradient after a backward pass.
    """

    def __init__(self, pattern: Pattern, maps: int, head: str) -> None:
        super().__init__()
        self.layer = Tied(pattern, bias="none")
        self.bias = nn.Parameter(torch.zeros(maps))
        self.classes = nn.Linear(maps if head == "largest" else pattern.n_out, 10)
        self.maps, self.head = maps, head
        self.tiemap = pattern.tiemap()
        self.sums = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 1, 12, 12) -> logits (B, 10)."""
        sums = self.layer(x.reshape(len(x), *self.layer.pattern.in_shape)).reshape(len(x), -1)
        self.sums = sums
        maps = sums.reshape(len(x), self.maps, UNITS)
        largest = self.head == "largest"
        seen = maps.amax(2) + self.bias if largest else (maps + self.bias[:, None]).flatten(1)
        logits: Tensor = self.classes(torch.relu(seen))
        return logits

    @torch.no_grad()
    def matrix(self) -> Tensor:
        """W, shape (O, I)."""
        return self.tiemap.expand(self.layer.weight.flatten())

    @torch.no_grad()
    def with_pattern(self, pattern: Pattern) -> "ShareNet":
        """The same net with another pattern: its weights are those whose matrix is nearest to the present one."""
        made = ShareNet(pattern, self.maps, self.head)
        made.layer.weight.copy_(made.tiemap.project(self.matrix()).reshape(made.layer.weight.shape))
        made.bias.copy_(self.bias)
        made.classes.load_state_dict(self.classes.state_dict())
        return made


def place(images: Tensor, down: int = MARGIN, right: int = MARGIN) -> Tensor:
    """Digits (B, 1, 8, 8) on empty canvases (B, 1, 12, 12), at a place, with values from 0 to 2."""
    canvas = images.new_zeros(len(images), 1, CANVAS, CANVAS)
    canvas[:, :, down : down + OBJECT, right : right + OBJECT] = 2 * images
    return canvas
