"""A net as a function of one vector: all its trainable weights, each once, however many names and places use it.

What a shared weight is used for adds up by the chain rule, so every rule that works on this vector treats ties rightly.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import vmap

from commonweight.functional import call
from commonweight.kernels.chains import answers, chain_of

BLOCK = 4096
"""Samples that go through the net at once, so that memory does not grow with the data."""
POPULATION_VALUES = 1 << 24
"""Weights of a population that are worked out at once, in a block of samples."""


class FlatNet:
    """outputs(θ, x), for θ of shape (n,): the trainable parameters in the order of `named_parameters`, one by one.

    Args:
        model: is left alone until `write`; the function works on a copy of it as it is now, in the mode it is in.

    Example:
        >>> net = FlatNet(nn.Linear(3, 2))
        >>> net.outputs(torch.zeros(8), torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.copy = deepcopy(model)
        self.shapes = {name: weight.shape for name, weight in self.copy.named_parameters() if weight.requires_grad}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.n = sum(self.sizes)

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """What the net answers with the weights θ (n,) to the samples x (B, ...): shape (B, n_outputs)."""
        parts = zip(self.shapes.items(), torch.split(theta, self.sizes), strict=True)
        answers: Tensor = call(self.copy, {name: part.view(shape) for (name, shape), part in parts}, x)
        return answers

    def read(self) -> Tensor:
        """The weights of the model now, shape (n,)."""
        return torch.cat([weight.detach().flatten() for weight in self.weights])

    @torch.no_grad()
    def write(self, theta: Tensor) -> None:
        """Give the model the weights θ (n,)."""
        for weight, part in zip(self.weights, torch.split(theta, self.sizes), strict=True):
            weight.copy_(part.view(weight.shape))


class Objective:
    """L(θ): the mean loss over all samples, worked out in blocks of `BLOCK` samples.

    Args:
        net: the net as a function of θ.
        inputs: shape (N, ...).
        targets: shape (N, ...).
        loss: maps outputs and targets of a block to their mean loss.
        kind: "squares" if that is the mean squared error, "softmax" if it is the cross entropy, with label smoothing or
            without; "own" for any other.

    Example:
        >>> from torch.nn.functional import mse_loss
        >>> net = FlatNet(nn.Linear(1, 1))
        >>> objective = Objective(net, torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]]), mse_loss)
        >>> objective.value(torch.tensor([2.0, 0.0]))  # 2 x + 0 misses by 1 each time
        1.0
        >>> objective.gradient(torch.tensor([2.0, 0.0]))[1]
        tensor([-3., -2.])
    """

    def __init__(
        self,
        net: FlatNet,
        inputs: Tensor,
        targets: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        kind: str = "own",
    ) -> None:
        self.net, self.inputs, self.targets, self.loss, self.kind = net, inputs, targets, loss, kind

    def __len__(self) -> int:
        return len(self.inputs)

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Inputs and targets of each block, and its share of all samples."""
        for inputs, targets in zip(torch.split(self.inputs, size), torch.split(self.targets, size), strict=True):
            yield inputs, targets, len(inputs) / len(self.inputs)

    @torch.no_grad()
    def value(self, theta: Tensor) -> float:
        """L(θ)."""
        return sum(
            share * float(self.loss(self.net.outputs(theta, inputs), targets))
            for inputs, targets, share in self.blocks()
        )

    def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """L(θ) and ∂L/∂θ, shape (n,)."""
        theta, value = theta.detach().requires_grad_(), 0.0
        slope = torch.zeros_like(theta)
        for inputs, targets, share in self.blocks():
            loss = share * self.loss(self.net.outputs(theta, inputs), targets)
            slope += torch.autograd.grad(loss, theta)[0]
            value += float(loss.detach())
        return value, slope

    def hessian(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """The product v -> (∂²L/∂θ²) v at θ, by reverse mode twice (Pearlmutter 1994); it keeps every activation."""
        theta, slope = theta.detach().requires_grad_(), torch.zeros_like(theta)
        for inputs, targets, share in self.blocks():
            loss = share * self.loss(self.net.outputs(theta, inputs), targets)
            slope = slope + torch.autograd.grad(loss, theta, create_graph=True)[0]

        def product(v: Tensor) -> Tensor:
            return torch.autograd.grad(slope, theta, v, retain_graph=True, materialize_grads=True)[0]

        return product

    @torch.no_grad()
    def values(self, thetas: Tensor) -> Tensor:
        """L of each row of a population θ (P, n), shape (P,): all nets run as one batch, compiled or by `vmap`."""
        chain = chain_of(self.net.copy, self.inputs[:BLOCK])

        def one(theta: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
            return self.loss(self.net.outputs(theta, inputs), targets)

        together = max(1, POPULATION_VALUES // (self.net.n + BLOCK))
        every = vmap(one, in_dims=(0, None, None), chunk_size=together)
        parts = []
        for inputs, targets, share in self.blocks():
            if chain:
                told = vmap(self.loss, (0, None))(answers(chain, thetas, inputs), targets)
            else:
                told = every(thetas, inputs, targets)
            parts.append(share * told)
        return torch.stack(parts).sum(0)
