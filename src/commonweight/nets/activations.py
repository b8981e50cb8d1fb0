"""What a unit makes of its weighted sum, by name: the activations that hidden layers are built with.

    step         1 where a ≥ 0, else 0            the first neurons; says only which side
    sgn          1 where a ≥ 0, else -1           the same, around 0
    sigmoid      1 / (1 + e^-a)                   a step that has a derivative, at most ¼: slow through many layers
    tanh         (e^a - e^-a) / (e^a + e^-a)      a sigmoid around 0: the choice for one or two small hidden layers
    relu         max(0, a)                        derivative 1 where the unit is active: the choice for deep nets
    leaky_relu   max(0.01 a, a)                   a relu that also learns where it is not active

The derivative of step and sgn is 0, so gradients say nothing through them. Going back, they are therefore taken for
their straight neighbours, (a + 1) / 2 and a, where |a| ≤ 1, and for constants elsewhere: the straight-through estimator
(Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic neurons", 2013) in the form of
Hubara et al., "Binarized neural networks" (2016). It finds weights, but worse ones than a smooth activation does.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Step(nn.Module):
    """1 where a ≥ 0, else 0; going back as (a + 1) / 2 cut off at 0 and 1.

    >>> a = torch.tensor([-2.0, -0.5, 0.0, 3.0], requires_grad=True)
    >>> y = Step()(a)
    >>> y.sum().backward()
    >>> y.tolist(), a.grad.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 0.0])
    """

    def forward(self, a: Tensor) -> Tensor:
        """Of any shape, unit by unit."""
        return through((a >= 0).to(a), ((a + 1) / 2).clamp(0, 1))


class Sign(nn.Module):
    """1 where a ≥ 0, else -1; going back as a cut off at -1 and 1.

    >>> Sign()(torch.tensor([-2.0, 0.0, 3.0])).tolist()
    [-1.0, 1.0, 1.0]
    """

    def forward(self, a: Tensor) -> Tensor:
        """Of any shape, unit by unit."""
        return through(torch.where(a >= 0, 1.0, -1.0).to(a), a.clamp(-1, 1))


def through(value: Tensor, neighbour: Tensor) -> Tensor:
    """A value that has the gradient of another tensor, exactly: the difference added to it is 0."""
    return value + (neighbour - neighbour.detach())


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "step": Step,
    "sgn": Sign,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
}
