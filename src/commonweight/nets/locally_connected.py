"""The unshared twin of the small convolutional net: the same connections, but a kernel for each position."""

from torch import nn

from commonweight import patterns
from commonweight.errors import NetError
from commonweight.nets.cnn import CNN
from commonweight.nets.sample_shape import sample_shape
from commonweight.tied import Tied


class LocallyConnected(CNN):
    """`CNN` with every convolution replaced by `patterns.local`: what sharing the kernels does, by leaving it out.

    Layer by layer the two have the same name, the same units and the same connections. Only the kernels differ in
    number: in y[o, p] = Σ_c Σ_k w[o, c, p, k] x[c, p + k] the weight depends on the position p, in a convolution it is
    w[o, c, k]. Normalisation and output layer are those of the twin, with the few weights that they share.

    Source: Le Cun, "Generalization and network design strategies" (1989), which compares nets that are fully connected,
    locally connected and sharing (Net-2 to Net-5); the layers here are those of `CNN`.

    Args:
        in_shape: (channels, height, width) of the images, height and width at least 8.
        n_outputs: number of classes or values.
        width: channels of the first stage, at least 1.

    Raises:
        NetError: samples that are not images; and as `CNN`.

    Example:
        >>> import torch
        >>> net = LocallyConnected((1, 28, 28), 10)
        >>> net(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
        >>> CNN((1, 28, 28), 10).conv1.weight.numel(), net.conv1.weight.numel()  # 28·28 for one, less the border
        (144, 107584)
    """

    def __init__(self, in_shape: tuple[int, ...], n_outputs: int, *, width: int = 16) -> None:
        in_shape = sample_shape(in_shape)
        if len(in_shape) != 3:
            raise NetError(
                f"A locally connected net takes images of shape (channels, height, width), but the samples have shape "
                f"{in_shape}: use cnn for series, mlp for the rest."
            )
        super().__init__(in_shape, n_outputs, width=width)
        _, n_rows, n_columns = in_shape
        for name, layer in list(self.named_children()):
            if isinstance(layer, nn.Conv2d):
                size = (layer.in_channels, n_rows, n_columns)
                unshared = patterns.local(size, layer.out_channels, kernel=layer.kernel_size, padding=1)
                self.add_module(name, Tied(unshared, bias="none"))
            elif isinstance(layer, nn.MaxPool2d):
                n_rows, n_columns = n_rows // 2, n_columns // 2
