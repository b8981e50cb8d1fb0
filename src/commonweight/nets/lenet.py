"""LeNet: the digit reader of 1989, and LeNet-5 of 1998, with every connection and every tie as published.

All layers with weights are `Tied` patterns, so that the published tables of weights and connections come out of the
architecture: `cw.count(LeNet5(), torch.zeros(1, 1, 32, 32))`.
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import patterns
from commonweight.errors import NetError
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.patterns import Pattern
from commonweight.tied import Tied

C3_MAPS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip
"""The maps of S2 that each map of C3 looks at (LeCun et al. 1998, table I)."""

H2_MAPS = tuple(tuple((first + step) % 12 for step in range(8)) for first in range(12))
"""The 8 of 12 maps of H1 that each map of H2 looks at: 8 in a row, around the corner. The paper keeps its choice to
itself; this one uses each map of H1 equally often, which gives the published counts as any choice does."""

BITMAPS = """
..###.. ...##.. .#####. .#####. ....##. ####### ...###. ####### .#####. .#####.
.#...#. ..###.. ##...## ##...## ...###. ##..... ..##... ##...## ##...## ##...##
##...## .####.. .....## .....## ...###. ##..... .##.... .....## ##...## ##...##
##...## ...##.. .....## .....## ..####. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. .....## .....## ..#.##. ##..... ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. .##.##. ######. ######. ...##.. ..###.. ##..###
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. .##.##. .###.##
##...## ...##.. ..##... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## .##.... ##...## ....##.
.#...#. ...##.. ##..... ##...## ....##. ##...## .##.##. .##.... ##...## ...##..
..###.. .###### ####### .#####. ....##. .#####. ..###.. .##.... .#####. ..##...
"""
"""The ten target codes of LeNet-5, 7x12 pixels each, drawn for this project: any two differ in 18 pixels or more."""

RUBBISH = 4.0
"""j of LeNet-5's loss: the penalty at which an input counts as no digit at all. The paper leaves it open.

While the penalty of the right class is above j, the loss is just that penalty and pulls f6 towards the drawing (f6 at
rest has a penalty of 84). A large j lets go as soon as the right class is the best one, and learns worse: on
scikit-learn's digits j = 84 ends at 96.4 % of the test part, 20 at 98.3 %, 10 at 98.5 %, 4 at 98.8 %, 1 at 98.9 %
(AdamW, 30 epochs, mean of 5 seeds).
"""


class LeNet5(nn.Sequential):
    """Convolution, trainable subsampling, and a drawing of the digit as the answer: the origin of "shared weights".

    layer    what it is, its output               weights · connections
    c1       convolution 5x5, 6@28x28                 156 · 122,304
    s2       sum of 2x2, times a coefficient, 6@14x14  12 · 5,880
    c3       convolution 5x5 by a table, 16@10x10   1,516 · 151,600
    s4       as s2, 16@5x5                             32 · 2,000
    c5       convolution 5x5, 120@1x1              48,120 · 48,120
    f6       fully connected, 84                   10,164 · 10,164
    output   fixed codes, 10                            0 · 840

    The state of each unit up to f6 is f(a) = 1.7159 tanh(2/3 a), of its weighted sum a with a bias for each map.
    The output is y_i = Σ_j (x_j - w_ij)², the penalty of class i: the squared distance of f6 from a 7x12 drawing of the
    digit. `forward` gives scores -y, of shape (B, n_outputs), so that the best class has the largest.

    Weights start uniform in ±2.4 / fan-in of the unit. Learns by the loss of the paper's equation 9, see `loss`.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition" (1998), section
    II.B. Ours: the drawings, and the value of j. The input is 32x32 and grey; see `GreyImage` for others: they are
    resized to 28x28, as the paper's digits are, in a frame of 2.

    Args:
        in_shape: of the images, (channels, height, width).
        n_outputs: 2 to 10, the classes that there are drawings for.

    Raises:
        NetError: samples that are not images, more classes than drawings, or less than two.

    Example:
        >>> net = LeNet5((1, 8, 8))
        >>> net(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
        >>> net.c3.weight.shape  # 60 kernels of 5x5, for the 60 pairs of maps in the table
        torch.Size([60, 1, 1, 5, 5])
    """

    def __init__(self, in_shape: tuple[int, ...] = (1, 32, 32), n_outputs: int = 10) -> None:
        codes, n_outputs = digit_codes(), output_number(n_outputs)
        if not 2 <= n_outputs <= len(codes):
            raise NetError(
                f"lenet5 answers with a drawing of a digit and has {len(codes)}, so it tells 2 to {len(codes)} classes "
                f"apart; got {n_outputs}: use the net cnn."
            )
        layers: dict[str, nn.Module] = {
            "image": GreyImage(in_shape, size=32, inner=28),
            "c1": Tied(patterns.conv2d((1, 32, 32), 6, kernel=5)),
            "c1_state": ScaledTanh(),
            "s2": Tied(subsampling(6, 28)),
            "s2_state": ScaledTanh(),
            "c3": Tied(patterns.kron(patterns.table(C3_MAPS, 6), patterns.conv2d((1, 14, 14), 1, kernel=5))),
            "c3_state": ScaledTanh(),
            "s4": Tied(subsampling(16, 10)),
            "s4_state": ScaledTanh(),
            "c5": Tied(patterns.conv2d((16, 5, 5), 120, kernel=5)),
            "c5_state": ScaledTanh(),
            "flat": nn.Flatten(),
            "f6": Tied(patterns.dense(120, 84)),
            "f6_state": ScaledTanh(),
            "output": FixedCodes(codes[:n_outputs]),
        }
        super().__init__(OrderedDict(layers))
        start_as_published(self)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, *in_shape) -> scores (B, n_outputs), minus the penalty of each class."""
        penalties: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return -penalties

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch of y_D + log(exp(-j) + Σ_i exp(-y_i)), for the right class D (equation 9).

        It lowers the penalty of the right class and raises those of wrong ones that are not yet far above it; the
        constant j (`RUBBISH`) stands for everything that is no digit.

        Args:
            outputs: what `forward` gives, -y, shape (B, n_outputs).
            targets: classes, shape (B,).
        """
        right = outputs.gather(1, targets[:, None])
        rubbish = outputs.new_full((len(outputs), 1), -RUBBISH)
        return (torch.cat([outputs, rubbish], 1).logsumexp(1, keepdim=True) - right).mean()


class LeNet1989(nn.Sequential):
    """The network that read zip codes: shared kernels, but a bias for each unit.

    layer    what it is, its output                       weights · connections
    h1       convolution 5x5, stride 2, 12@8x8              1,068 · 19,968
    h2       the same, from 8 of the 12 maps, 12@4x4        2,592 · 38,592
    h3       fully connected, 30                            5,790 · 5,790
    output   fully connected, 10                              310 · 310

    The state of each unit is f(a) = 1.7159 tanh(2/3 a), that of the outputs too: targets are +1 for the right class and
    -1 for the others. A window that reaches over the border sees a background of -1, which counts as connections.
    Weights start uniform in ±2.4 / fan-in of the unit. Learns by the mean squared error, see `loss`.

    Source: LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel, "Backpropagation applied to handwritten zip code
    recognition" (1989). Ours: which 8 maps (`H2_MAPS`) and -1 around h1 as around the image, both of which the paper
    leaves open; and images that are normalised instead of scaled to [-1, 1]. See `GreyImage` for other sizes.

    Args:
        in_shape: of the images, (channels, height, width).
        n_outputs: number of classes, at least 2; the published net has 10.

    Raises:
        NetError: samples that are not images, or less than two classes.

    Example:
        >>> net = LeNet1989((1, 28, 28))
        >>> net(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
        >>> net.h1.weight.numel() + net.h1.bias.numel()
        1068
    """

    def __init__(self, in_shape: tuple[int, ...] = (1, 16, 16), n_outputs: int = 10) -> None:
        n_outputs = output_number(n_outputs)
        if n_outputs < 2:
            raise NetError(f"lenet1989 tells two or more classes apart; got {n_outputs}: use the net mlp for values.")
        # Windows of 5x5 centred on every second pixel reach 2 pixels over the border at one end and 1 at the other.
        h1 = patterns.conv2d((1, 19, 19), 12, kernel=5, stride=2)
        window = patterns.conv2d((1, 11, 11), 1, kernel=5, stride=2)
        layers: dict[str, nn.Module] = {
            "image": GreyImage(in_shape, size=16, inner=16),
            "image_border": nn.ConstantPad2d((2, 1, 2, 1), -1.0),
            "h1": Tied(h1, bias="unit"),
            "h1_state": ScaledTanh(),
            "h1_border": nn.ConstantPad2d((2, 1, 2, 1), -1.0),
            "h2": Tied(patterns.kron(patterns.table(H2_MAPS, 12), window), bias="unit"),
            "h2_state": ScaledTanh(),
            "flat": nn.Flatten(),
            "h3": Tied(patterns.dense(192, 30)),
            "h3_state": ScaledTanh(),
            "output": Tied(patterns.dense(30, n_outputs)),
            "output_state": ScaledTanh(),
        }
        super().__init__(OrderedDict(layers))
        start_as_published(self)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean of (state - target)² over batch and outputs, with targets +1 (right class) and -1.

        Args:
            outputs: what `forward` gives, shape (B, n_outputs).
            targets: classes, shape (B,).
        """
        return F.mse_loss(outputs, 2.0 * F.one_hot(targets, outputs.shape[1]).to(outputs) - 1.0)


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 tanh(2/3 a): f(±1) = ±1, where its second derivative is largest (LeCun et al. 1998, appendix A).

    >>> ScaledTanh()(torch.tensor([0.0, 1.0, -1.0])).round(decimals=3)
    tensor([ 0.,  1., -1.])
    """

    def forward(self, a: Tensor) -> Tensor:
        """Of any shape, unit by unit."""
        return 1.7159 * torch.tanh(a * (2 / 3))


class GreyImage(nn.Module):
    """Makes any image a grey square of the size that a LeNet reads, without weights.

    The channels are averaged. An image that has the size already stays as it is; any other is stretched to a square of
    `inner` pixels, bilinearly (over the area of the new pixels when it shrinks), and its edge pixels are repeated
    outwards up to `size`.

    Args:
        in_shape: (channels, height, width) of the images.
        size: height and width of what comes out.
        inner: height and width of a resized image within.

    Example:
        >>> GreyImage((3, 8, 8), size=32, inner=28)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 1, 32, 32])
    """

    def __init__(self, in_shape: tuple[int, ...], *, size: int, inner: int) -> None:
        super().__init__()
        in_shape = sample_shape(in_shape)
        if len(in_shape) != 3:
            raise NetError(
                f"A LeNet reads images of shape (channels, height, width), but the samples have shape {in_shape}: use "
                f"mlp."
            )
        self.size, self.inner, self.fits = size, inner, in_shape[1:] == (size, size)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, 1, size, size)."""
        grey = images.mean(1, keepdim=True)
        if self.fits:
            return grey
        resized = F.interpolate(grey, (self.inner, self.inner), mode="bilinear", antialias=True)
        return F.pad(resized, [(self.size - self.inner) // 2] * 4, mode="replicate")

    def extra_repr(self) -> str:
        """The sizes."""
        return f"size={self.size}, inner={self.inner}"


class FixedCodes(nn.Module):
    """Radial basis units with fixed centres: y_i = Σ_j (x_j - w_ij)², the squared distance from code i.

    The codes are no weights, since nothing trains them: `count` finds no weight, and a connection for each w_ij. They
    are kept in `state_dict`, so that a net that is made without memory and then loaded has them.

    Args:
        codes: w, shape (classes, units).

    Example:
        >>> FixedCodes(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))(torch.tensor([[1.0, 0.0]]))
        tensor([[1., 5.]])
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.pattern, self.bias_pattern = patterns.dense(codes.shape[1], codes.shape[0]), None
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, units) -> y (B, classes)."""
        return (x[:, None] - self.codes).square().sum(2)


def digit_codes() -> Tensor:
    """The codes of the digits 0 to 9, shape (10, 84): `BITMAPS` row by row, +1 for ink and -1 for paper."""
    digits = zip(*(line.split() for line in BITMAPS.split("\n") if line), strict=True)
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in "".join(rows)] for rows in digits])


def subsampling(maps: int, side: int) -> Pattern:
    """`maps` maps of side x side, each halved: the sum over 2x2 pixels, times a coefficient of the map.

    >>> subsampling(6, 28).n_weights, subsampling(6, 28).n_connections
    (6, 4704)
    """
    window = patterns.conv2d((1, side, side), 1, kernel=2, stride=2)
    return patterns.kron(patterns.diagonal(maps), patterns.compose(window, weights_of=patterns.single(1, 4)))


@torch.no_grad()
def start_as_published(net: nn.Module) -> None:
    """Draw all weights and biases uniformly from ±2.4 / F, F the connections into the unit that they lead to."""
    for layer in net.modules():
        if not isinstance(layer, Tied) or layer.bias is None or layer.bias_pattern is None:
            continue
        weights, biases = layer.pattern.tiemap(), layer.bias_pattern.tiemap()
        fan_in = np.bincount(weights.out)
        for parameter, tiemap in ((layer.weight, weights), (layer.bias, biases)):
            bound = np.empty(tiemap.n_weights)
            bound[tiemap.weight] = 2.4 / fan_in[tiemap.out]
            parameter.uniform_(-1, 1).mul_(torch.from_numpy(bound).to(parameter).reshape(parameter.shape))
