"""The multilayer perceptron: fully connected layers, nothing shared, for samples of any shape."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from numbers import Integral, Real
from typing import Any

from torch import nn

from commonweight.errors import NetError, require_kind
from commonweight.nets.activations import ACTIVATIONS
from commonweight.nets.sample_shape import output_number, sample_shape


class MLP(nn.Sequential):
    """x_k = f(W_k x_{k-1} + b_k) for each hidden layer k, then a linear output layer.

    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors" (1986); with ReLU:
    Glorot, Bordes, Bengio, "Deep sparse rectifier neural networks" (2011). Weights start as in torch's linear layers.

    The outputs are logits for classification: the cross entropy that trains them contains the softmax, in one step that
    neither overflows nor rounds to 0. With `softmax` the net takes it itself and gives log softmax(z); the softmax of
    that is softmax(z) again, so that loss, scores and reports stay as they are, and exp(net(x)) are probabilities.

    A hidden layer may have two more parts. Batch normalisation (Ioffe, Szegedy 2015) comes before f, and its shift is
    the bias. Dropout (Srivastava et al. 2014) comes after f: while training, each output is 0 with probability p, and
    divided by 1 - p otherwise.

    Args:
        in_shape: of one sample; it is flattened.
        n_outputs: number of classes or values.
        hidden: units of each hidden layer; empty for a linear model.
        activation: f, by its name in `commonweight.nets.activations`.
        softmax: whether the outputs are logarithms of probabilities that add up to 1.
        dropout: p, from 0 to below 1.
        batch_norm: whether the weighted sums are normalised over the batch.

    Raises:
        NetError: sizes that are no whole numbers from 1, a hidden layer without units, an unknown activation, or a
            dropout that is no such probability.

    Example, the net that MATLAB's `feedforwardnet(10)` makes:
        >>> import torch
        >>> net = MLP((13,), 1, hidden=(10,), activation="tanh")
        >>> net(torch.zeros(5, 13)).shape
        torch.Size([5, 1])
        >>> [name for name, _ in net.named_children()]
        ['flat', 'hidden1', 'hidden1_state', 'output']
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_outputs: int,
        *,
        hidden: Sequence[int] = (128, 64),
        activation: str = "relu",
        softmax: bool = False,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        given: Any = hidden
        if not isinstance(given, Sequence) or not all(
            isinstance(units, Integral) and int(units) >= 1 for units in given
        ):
            raise NetError(
                f"hidden is a list of the units of each hidden layer of an mlp, at least 1 in each, such as [64, 64]; "
                f"got {hidden!r}."
            )
        if activation not in ACTIVATIONS:
            raise NetError(f"The activation of an mlp is one of {', '.join(ACTIVATIONS)}; got {activation!r}.")
        require_kind(dropout, Real, "The dropout of an mlp is a number from 0 to below 1", NetError)
        if not 0 <= dropout < 1:
            raise NetError(f"The dropout of an mlp is a probability from 0 to below 1; got {dropout!r}.")
        super().__init__()
        units = (prod(in_shape), *hidden)
        self.add_module("flat", nn.Flatten())
        for number, (before, after) in enumerate(pairwise(units), start=1):
            self.add_module(f"hidden{number}", nn.Linear(before, after, bias=not batch_norm))
            if batch_norm:
                self.add_module(f"hidden{number}_norm", nn.BatchNorm1d(after))
            self.add_module(f"hidden{number}_state", ACTIVATIONS[activation]())
            if dropout:
                self.add_module(f"hidden{number}_dropout", nn.Dropout(dropout))
        self.add_module("output", nn.Linear(units[-1], n_outputs))
        if softmax:
            self.add_module("softmax", nn.LogSoftmax(1))
