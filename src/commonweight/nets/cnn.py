"""A small modern convolutional network: the default net for images."""

from torch import nn

from commonweight.errors import NetError

STAGES = 3
SMALLEST = 2**STAGES


class CNN(nn.Sequential):
    """Three stages of convolution, pooling, normalisation and ReLU, then one linear layer.

        (C, H, W) -> (width, H/2, W/2) -> (2·width, H/4, W/4) -> (4·width, H/8, W/8) -> n_outputs, sides rounded down

    A stage is a 3×3 convolution (stride 1, padding 1), 2×2 max pooling (the maximum of each window), batch
    normalisation (Ioffe, Szegedy, "Batch Normalization", 2015), whose shift serves as the bias, and ReLU. Pooling comes
    straight after the convolution, so that the others have a quarter of the work.

    Free weights: 9·width·(C + 10·width) in the convolutions, 14·width in the normalisations and
    n_outputs·(4·width·(H//8)·(W//8) + 1) in the linear layer.

    Args:
        in_shape: (C, H, W) of one image, H and W at least 8.
        n_outputs: number of classes or values.
        width: channels of the first stage, at least 1.

    Shapes: x (B, C, H, W) -> (B, n_outputs), in float32 or bfloat16.

    Raises:
        NetError: samples that are not images, images smaller than 8×8, or a width below 1.

    Example:
        >>> import torch
        >>> net = CNN((1, 28, 28), 10)
        >>> net(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
        >>> sum(weight.numel() for weight in net.parameters())
        29178
    """

    def __init__(self, in_shape: tuple[int, ...], n_outputs: int, *, width: int = 16) -> None:
        if len(in_shape) != 3:
            raise NetError(
                f"A cnn takes images of shape (channels, height, width), but the samples have shape {tuple(in_shape)}: "
                f"use mlp."
            )
        channels, n_rows, n_columns = in_shape
        if min(n_rows, n_columns) < SMALLEST:
            raise NetError(
                f"A cnn halves an image {STAGES} times and needs at least {SMALLEST}×{SMALLEST} pixels, but these "
                f"images have {n_rows}×{n_columns}: enlarge them, or use mlp."
            )
        if width < 1:
            raise NetError(f"The first stage of a cnn needs at least 1 channel; got width {width}.")
        super().__init__()
        for stage in range(1, STAGES + 1):
            maps = width * 2 ** (stage - 1)
            self.add_module(f"conv{stage}", nn.Conv2d(channels, maps, kernel_size=3, padding=1, bias=False))
            self.add_module(f"conv{stage}_pool", nn.MaxPool2d(2))
            self.add_module(f"conv{stage}_norm", nn.BatchNorm2d(maps))
            self.add_module(f"conv{stage}_state", nn.ReLU())
            channels = maps
        self.add_module("flat", nn.Flatten())
        self.add_module("output", nn.Linear(channels * (n_rows // SMALLEST) * (n_columns // SMALLEST), n_outputs))
