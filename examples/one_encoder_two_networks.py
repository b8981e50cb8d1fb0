"""Two networks that share an encoder: counted once, used twice; and the mistake that looks the same and is not.

Prints:

    one encoder, two uses: 1088 weights, 2176 connections
    a copy of it:          2176 weights, 2176 connections
    encoder of the second network moved by training the first: True
    its copy did: False
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

import commonweight as cw


class Pair(nn.Module):
    """How far apart two inputs are, each seen by its own network."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, F) -> (B,)."""
        return (self.left(x[:, 0]) - self.right(x[:, 1])).square().sum(1)


torch.manual_seed(0)
encoder = nn.Linear(16, 64)
twins, strangers = Pair(encoder, encoder), Pair(encoder, deepcopy(encoder))
for name, pair in (("one encoder, two uses:", twins), ("a copy of it:         ", strangers)):
    census = cw.count(pair, torch.zeros(1, 2, 16))
    print(f"{name} {census.weights} weights, {census.connections} connections")

rule = torch.optim.SGD(twins.left.parameters(), lr=0.1)
first = [pair.right.weight.detach().clone() for pair in (twins, strangers)]
twins(torch.randn(4, 2, 16)).mean().backward()
rule.step()
moved = [not torch.equal(pair.right.weight, old) for pair, old in zip((twins, strangers), first, strict=True)]
print("encoder of the second network moved by training the first:", moved[0])
print("its copy did:", moved[1])
