"""Samples as rows of values from 0 to 1: what Bernoulli units take as probabilities, and sigmoids give back."""

from math import prod
from typing import Self

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


class UnitInterval(nn.Module):
    """(x - least) / (most - least) for each feature, kept within [0, 1]; least and most are those of the training part.

    A feature that is constant in training becomes 0.

    Args:
        n_features: values of a sample, flat.

    Example:
        >>> interval = UnitInterval(2).fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
        >>> interval(torch.tensor([[2.0, 5.0], [9.0, 4.0]]))
        tensor([[0.5000, 0.0000],
                [1.0000, 0.0000]])
        >>> interval.restore(torch.tensor([[0.5, 0.0]]))
        tensor([[2., 5.]])
    """

    least: Tensor
    width: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("least", torch.zeros(n_features))
        self.register_buffer("width", torch.ones(n_features))

    def fit(self, x: Tensor) -> Self:
        """Take the least and the largest value of each feature of samples (N, ...)."""
        rows = x.flatten(1)
        self.least.copy_(rows.amin(0))
        width = rows.amax(0) - self.least
        self.width.copy_(torch.where(width > 0, width, 1.0))
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Samples (N, ...), flat or not -> rows (N, F) from 0 to 1."""
        return ((x.flatten(1) - self.least) / self.width).clamp(0, 1)

    def restore(self, rows: Tensor) -> Tensor:
        """Back to the units of the samples: (N, F) -> (N, F)."""
        return rows * self.width + self.least


def as_pictures(rows: Tensor, shape: Shape) -> Tensor:
    """Rows (N, F) drawn as samples of a shape: images in grey, series with a line for each channel, tables as one line.

    >>> as_pictures(torch.zeros(5, 12), (3, 2, 2)).shape, as_pictures(torch.zeros(5, 12), (12,)).shape
    (torch.Size([5, 2, 2]), torch.Size([5, 1, 12]))
    """
    samples = rows.detach().reshape(len(rows), *shape)
    return samples.mean(1) if len(shape) == 3 else samples.reshape(len(rows), prod(shape[:-1]), shape[-1])
