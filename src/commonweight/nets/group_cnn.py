"""The convolutional nets that answer the same however an image is turned: p4_cnn and p4m_cnn."""

from functools import partial

from torch import nn

from commonweight.errors import NetError, require_kind, require_whole
from commonweight.nets.equivariant import P4, P4M, GroupPool, PlaneGroup, plane_conv
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.tied import Tied

STAGES = 3
SMALLEST = 2**STAGES


class GroupCNN(nn.Sequential):
    """`CNN` with the convolutions of a group of turns, and outputs that no turn changes.

        (C, H, W) -> (width, |G|, H/2, W/2) -> (2·width, |G|, H/4, W/4) -> (4·width, |G|, H/8, W/8) -> n_outputs

    A stage is a 3×3 group convolution (Cohen & Welling, "Group Equivariant Convolutional Networks", 2016; padding 1),
    max pooling, batch normalisation (one mean and deviation for all maps of a field) and ReLU. Sides are halved and
    rounded down; on an odd side the windows of the pooling are 3 wide, so that they lie evenly. Then come the largest
    of the maps of each field, the mean over positions, and one linear layer.

    Free weights: 9·width·(C + 10·|G|·width) in the convolutions, 14·width in the normalisations and
    n_outputs·(4·width + 1) in the linear layer.

    Args:
        group: `equivariant.P4` or `P4M`; `P1` for the same net without turns.
        in_shape: (C, H, W) of one image, H and W at least 8. A quarter turn takes H×W to W×H.
        n_outputs: number of classes or values.
        width: fields of the first stage, at least 1.

    Shapes: x (B, C, H, W) -> (B, n_outputs).

    Raises:
        NetError: no group, samples that are not images, images smaller than 8×8, or a width or a number of outputs
            below 1.

    Example:
        >>> import torch
        >>> net = GroupCNN(P4M, (1, 28, 28), 10).eval()
        >>> x = torch.randn(2, 1, 28, 28)
        >>> torch.allclose(net(x), net(x.rot90(1, (2, 3))), atol=1e-5)
        True
    """

    def __init__(self, group: PlaneGroup, in_shape: tuple[int, ...], n_outputs: int, *, width: int = 8) -> None:
        require_kind(group, PlaneGroup, "GroupCNN takes a group: P4, P4M or P1", NetError)
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        width = require_whole(width, "width", NetError, least=1)
        if len(in_shape) != 3:
            raise NetError(
                f"A {group.name}_cnn takes images of shape (channels, height, width), but the samples have shape "
                f"{in_shape}: use mlp."
            )
        _, *sides = in_shape
        if min(sides) < SMALLEST:
            raise NetError(
                f"A {group.name}_cnn needs images of at least {SMALLEST}×{SMALLEST} pixels; got {sides[0]}×{sides[1]}: "
                f"enlarge them, or use mlp."
            )
        super().__init__()
        shape: tuple[int, ...] = in_shape
        for stage in range(1, STAGES + 1):
            fields = width * 2 ** (stage - 1)
            pattern = plane_conv(group, shape, fields, kernel=3, padding=1)
            window = tuple(2 + side % 2 for side in sides)
            sides = [(side - over) // 2 + 1 for side, over in zip(sides, window, strict=True)]
            self.add_module(f"conv{stage}", Tied(pattern, bias="none"))
            self.add_module(f"conv{stage}_pool", nn.MaxPool3d((1, *window), stride=(1, 2, 2)))
            self.add_module(f"conv{stage}_norm", nn.BatchNorm3d(fields))
            self.add_module(f"conv{stage}_state", nn.ReLU())
            shape = (fields, group.order, *sides)
        self.add_module("field", GroupPool("max"))
        self.add_module("positions", nn.AdaptiveAvgPool2d(1))
        self.add_module("flat", nn.Flatten())
        self.add_module("output", nn.Linear(shape[0], n_outputs))


P4CNN, P4MCNN = partial(GroupCNN, P4), partial(GroupCNN, P4M)
