"""Residual networks and their plain twins: of 20 to 110 layers for small images, of 18 to 152 for large ones."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from commonweight.errors import NetError, require_whole
from commonweight.nets.sample_shape import output_number, sample_shape

SMALLEST = 8
SMALL_DEPTHS = {depth: ((depth - 2) // 6,) * 3 for depth in (20, 32, 44, 56, 110)}
"""Blocks of each stage, by the depth of the net (section 4.2 of the paper)."""
LARGE_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each stage, by the depth of the net (table 1 of the paper)."""
BOTTLENECKS = (50, 101, 152)


class ResNet(nn.Module):
    """Each block adds to its input what it computes from it: y = ReLU(F(x) + x); in a plain net, y = ReLU(F(x)).

    Depth 20, 32, 44, 56 and 110 is for small images: a 3×3 convolution, three stages of blocks with width, 2·width and
    4·width channels, the mean of each map, a linear layer. F is two 3×3 convolutions, the first of a stage with stride
    2. Where the shape changes so, the shortcut has no weights: x at every second row and column, and zeros for the
    channels that it lacks (the paper's option A).

    Depth 18, 34, 50, 101 and 152 is for large images: a 7×7 convolution with stride 2, a 3×3 maximum with stride 2,
    four stages of width to 8·width channels, the mean of each map, a linear layer. From 50 on, F is a bottleneck of
    1×1, 3×3 and 1×1, which ends in four times the channels. Where the shape changes, the shortcut is a 1×1 convolution
    (option B). Weights have the names and shapes of torchvision, whose checkpoints load; as there, and unlike in the
    paper, the stride of a bottleneck is in its 3×3.

    Convolutions have no bias; batch normalisation follows each. Kernels start at N(0, 2 / (channels out · k²)).

    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (2015).

    Args:
        in_shape: (C, H, W) of one image, H and W at least 8. Images of other sizes may follow.
        n_outputs: number of classes or values.
        depth: layers with weights one after the other, without those of shortcuts.
        residual: False for the plain net, the same without shortcuts.
        width: channels of the first stage; by default 16 for small and 64 for large images.

    Shapes: x (B, C, H, W) -> (B, n_outputs).

    Raises:
        NetError: sizes that are no whole numbers from 1, samples that are not images, images smaller than 8×8, or a
            depth that is none of these.

    Example:
        >>> import torch
        >>> ResNet((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
        >>> with torch.device("meta"):  # as published; no memory
        ...     sum(weight.numel() for weight in ResNet((3, 224, 224), 1000, depth=152).parameters())
        60192808
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_outputs: int,
        *,
        depth: int = 20,
        residual: bool = True,
        width: int | None = None,
    ) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        _require(in_shape, depth)
        super().__init__()
        is_large = depth in LARGE_DEPTHS
        default = 64 if is_large else 16
        maps = default if width is None else require_whole(width, "width", NetError, least=1)
        self.conv1 = _convolution(in_shape[0], maps, 7 if is_large else 3, stride=2 if is_large else 1)
        self.bn1 = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if is_large else nn.Identity()
        channels, kernels = maps, (1, 3, 1) if depth in BOTTLENECKS else (3, 3)
        for stage, n_blocks in enumerate((SMALL_DEPTHS | LARGE_DEPTHS)[depth], start=1):
            blocks = []
            for stride in (1 if stage == 1 else 2, *[1] * (n_blocks - 1)):
                block = Block(channels, maps, kernels, stride)
                if residual:
                    block.downsample = _shortcut(channels, block.channels, stride, learned=is_large)
                blocks.append(block)
                channels = block.channels
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            maps *= 2
        self.fc = nn.Linear(channels, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name, stage in self.named_children():
            if name.startswith("layer"):
                x = stage(x)
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


class Block(nn.Module):
    """F(x): convolutions, each with normalisation and all but the last with ReLU; then the sum, and ReLU.

    Args:
        channels: of the input.
        maps: channels of each convolution; the last of three has 4·maps.
        kernels: side of each convolution; the first of side 3 has the stride.
        stride: 1, or 2 where a stage begins.

    Attributes:
        channels: of the output.
        downsample: the shortcut; None for none, as in a plain net.
    """

    def __init__(self, channels: int, maps: int, kernels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.n_layers = len(kernels)
        for layer, kernel in enumerate(kernels, start=1):
            out = 4 * maps if layer == 3 else maps
            has_stride = layer == kernels.index(3) + 1
            self.add_module(f"conv{layer}", _convolution(channels, out, kernel, stride if has_stride else 1))
            self.add_module(f"bn{layer}", nn.BatchNorm2d(out))
            channels = out
        self.relu = nn.ReLU()
        self.channels = channels
        self.downsample: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in range(1, self.n_layers + 1):
            y = self.get_submodule(f"bn{layer}")(self.get_submodule(f"conv{layer}")(y))
            if layer < self.n_layers:
                y = self.relu(y)
        if self.downsample is not None:
            y = y + self.downsample(x)
        out: Tensor = self.relu(y)
        return out


class EverySecond(nn.Module):
    """Every second row and column, and zeros for the maps that lack: (B, C, H, W) -> (B, maps, ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.maps - x.shape[1]))


def _shortcut(channels: int, maps: int, stride: int, *, learned: bool) -> nn.Module:
    """What brings x to the shape of F(x)."""
    if stride == 1 and channels == maps:
        return nn.Identity()
    if learned:
        return nn.Sequential(_convolution(channels, maps, 1, stride), nn.BatchNorm2d(maps))
    return EverySecond(maps)


def _convolution(channels: int, maps: int, kernel: int, stride: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, maps, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _require(in_shape: tuple[int, ...], depth: int) -> None:
    """Refuse what no net can be made for."""
    if len(in_shape) != 3:
        raise NetError(
            f"A resnet takes images of shape (channels, height, width), but the samples have shape {in_shape}: use mlp."
        )
    if min(in_shape[1:]) < SMALLEST:
        raise NetError(
            f"A resnet needs images of at least {SMALLEST}×{SMALLEST} pixels, but these have "
            f"{in_shape[1]}×{in_shape[2]}: enlarge them, or use mlp."
        )
    if depth not in SMALL_DEPTHS | LARGE_DEPTHS:
        raise NetError(
            f"A resnet has {', '.join(map(str, SMALL_DEPTHS))} layers for small images or "
            f"{', '.join(map(str, LARGE_DEPTHS))} for large ones; got {depth}: take one of these."
        )


plain20 = partial(ResNet, depth=20, residual=False)
resnet18 = partial(ResNet, depth=18)
resnet20 = partial(ResNet, depth=20)
resnet50 = partial(ResNet, depth=50)
resnet152 = partial(ResNet, depth=152)
