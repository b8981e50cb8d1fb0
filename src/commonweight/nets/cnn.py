"""A small modern convolutional network, for images and for series: the default net for images."""

from collections.abc import Callable
from math import prod
from numbers import Real

from torch import Tensor, nn
from torch.nn.utils import parametrize

from commonweight.errors import NetError, require_kind, require_whole
from commonweight.nets.sample_shape import output_number, sample_shape

STAGES = 3
SMALLEST = 2**STAGES
LAYERS: dict[tuple[int, str], tuple[Callable[..., nn.Module], ...]] = {
    (1, "max"): (nn.Conv1d, nn.MaxPool1d, nn.BatchNorm1d),
    (1, "average"): (nn.Conv1d, nn.AvgPool1d, nn.BatchNorm1d),
    (2, "max"): (nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d),
    (2, "average"): (nn.Conv2d, nn.AvgPool2d, nn.BatchNorm2d),
}
"""The layers of a stage, by the number of sides and the pooling."""


class CNN(nn.Sequential):
    """Three stages of convolution, pooling, normalisation and ReLU, then one linear layer.

        (C, H, W) -> (width, H/2, W/2) -> (2·width, H/4, W/4) -> (4·width, H/8, W/8) -> n_outputs, sides rounded down
        (C, L)    -> (width, L/2)      -> (2·width, L/4)      -> (4·width, L/8)      -> n_outputs

    A stage is a convolution with kernels of side 3 (stride 1, padding 1), pooling of windows of side 2 (their maximum,
    or their average; what is left over at an odd border is dropped), batch normalisation (Ioffe, Szegedy, "Batch
    Normalization", 2015), whose shift serves as the bias, and ReLU. Pooling comes straight after the convolution, so
    that the others have a quarter of the work.

    Free weights, with k = 9 for images and 3 for series: k·width·(C + 10·width) in the convolutions, 14·width in the
    normalisations and n_outputs·(4·width·(H//8)·(W//8) + 1) in the linear layer.

    Args:
        in_shape: (C, H, W) of one image or (C, L) of one series, each side at least 8.
        n_outputs: number of classes or values.
        width: channels of the first stage, at least 1.
        pooling: "max" or "average".
        convolution: "correlation", y[p] = Σ_k w[k] x[p + k], as is usual, or "true", y[p] = Σ_k w[k] x[p - k], whose
            kernels are turned by half a turn before they are laid over the input (see `Turned`).
        dropout: probability, from 0 to below 1, with which an input of the linear layer is 0 while training, and
            divided by its complement otherwise (Srivastava et al. 2014).
        batch_norm: without it, the convolutions have a bias of their own.

    Shapes: x (B, *in_shape) -> (B, n_outputs), in float32 or bfloat16.

    Raises:
        NetError: sizes that are no whole numbers from 1, samples that are neither images nor series, sides below 8,
            another word for pooling or convolution, or a dropout that is no such probability.

    Example:
        >>> import torch
        >>> net = CNN((1, 28, 28), 10)
        >>> net(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
        >>> sum(weight.numel() for weight in net.parameters())
        29178
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_outputs: int,
        *,
        width: int = 16,
        pooling: str = "max",
        convolution: str = "correlation",
        dropout: float = 0.0,
        batch_norm: bool = True,
    ) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        width = require_whole(width, "width", NetError, least=1)
        _require(in_shape, pooling, convolution)
        require_kind(dropout, Real, "The dropout of a cnn is a number from 0 to below 1", NetError)
        if not 0 <= dropout < 1:
            raise NetError(f"The dropout of a cnn is a probability from 0 to below 1; got {dropout!r}.")
        super().__init__()
        channels, *sides = in_shape
        layer, pool, norm = LAYERS[len(sides), pooling]
        for stage in range(1, STAGES + 1):
            maps = width * 2 ** (stage - 1)
            kernels = layer(channels, maps, kernel_size=3, padding=1, bias=not batch_norm)
            if convolution == "true":
                parametrize.register_parametrization(kernels, "weight", Turned())
            self.add_module(f"conv{stage}", kernels)
            self.add_module(f"conv{stage}_pool", pool(2))
            if batch_norm:
                self.add_module(f"conv{stage}_norm", norm(maps))
            self.add_module(f"conv{stage}_state", nn.ReLU())
            channels = maps
        self.add_module("flat", nn.Flatten())
        if dropout:
            self.add_module("dropout", nn.Dropout(dropout))
        self.add_module("output", nn.Linear(channels * prod(side // SMALLEST for side in sides), n_outputs))


class Turned(nn.Module):
    """Kernels (O, C, *sides) turned by half a turn, every axis of a side reversed: what makes correlation convolution.

    As a parametrization of a layer's weight, the parameter is the kernel of the true convolution. Learning can go
    either way (claim 5): the kernels of one are those of the other, turned.

        >>> import torch
        >>> Turned()(torch.arange(6.0).reshape(1, 1, 2, 3))
        tensor([[[[5., 4., 3.],
                  [2., 1., 0.]]]])
    """

    def forward(self, kernels: Tensor) -> Tensor:
        return kernels.flip(tuple(range(2, kernels.ndim)))

    right_inverse = forward


def _require(in_shape: tuple[int, ...], pooling: str, convolution: str) -> None:
    """Refuse what no net can be made for."""
    if len(in_shape) not in (2, 3):
        raise NetError(
            f"A cnn takes images of shape (channels, height, width) or series of shape (channels, length), but the "
            f"samples have shape {in_shape}: use mlp."
        )
    if min(in_shape[1:]) < SMALLEST:
        size = "×".join(map(str, in_shape[1:]))
        raise NetError(
            f"A cnn halves each side {STAGES} times and needs at least {SMALLEST} pixels or steps of it, but these "
            f"samples have {size}: enlarge them, or use mlp."
        )
    if pooling not in ("max", "average"):
        raise NetError(f"The pooling of a cnn is max or average; got {pooling!r}.")
    if convolution not in ("correlation", "true"):
        raise NetError(
            f"The convolution of a cnn is one of the words 'correlation' and 'true'; got {convolution!r}. On the "
            f"command line the second is written with quotes of its own: --structure 'convolution=\"true\"'."
        )
