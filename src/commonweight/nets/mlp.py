"""The multilayer perceptron: fully connected layers, nothing shared, for samples of any shape."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

from torch import nn

from commonweight.errors import NetError


class MLP(nn.Sequential):
    """x_k = f(W_k x_{k-1} + b_k) for each hidden layer k, then a linear output layer.

    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors" (1986); with ReLU:
    Glorot, Bordes, Bengio, "Deep sparse rectifier neural networks" (2011). Weights start as in torch's linear layers.

    Args:
        in_shape: of one sample; it is flattened.
        n_outputs: number of classes or values.
        hidden: units of each hidden layer; empty for a linear model.
        activation: makes f, a module that takes and gives any shape.

    Raises:
        NetError: a hidden layer without units.

    Example:
        >>> import torch
        >>> net = MLP((1, 8, 8), 10, hidden=(32,), activation=nn.Tanh)
        >>> net(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
        >>> [name for name, _ in net.named_children()]
        ['flat', 'hidden1', 'hidden1_state', 'output']
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        n_outputs: int,
        *,
        hidden: Sequence[int] = (128, 64),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        if any(units < 1 for units in hidden):
            raise NetError(f"Every hidden layer of an mlp needs at least 1 unit; got {tuple(hidden)}.")
        super().__init__()
        units = (prod(in_shape), *hidden)
        self.add_module("flat", nn.Flatten())
        for number, (before, after) in enumerate(pairwise(units), start=1):
            self.add_module(f"hidden{number}", nn.Linear(before, after))
            self.add_module(f"hidden{number}_state", activation())
        self.add_module("output", nn.Linear(units[-1], n_outputs))
