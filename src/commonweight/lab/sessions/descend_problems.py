"""Problems of two weights, whose whole loss surface can be seen, and the update rules that race on it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from commonweight import data

FAR = 100.0
"""How often the reach of the surface a rule may be away before it counts as diverged."""

RULES = ("sgd", "momentum", "nesterov", "rmsprop", "adam")


@dataclass(frozen=True)
class Problem:
    """The mean of (answer - y)² over samples, as a function of two weights a and b.

    Attributes:
        answer: of a, b and x.
        written: the same as Python.
        samples: x and y of the training part of a split.
        written_samples: the same as Python.
        middle, reach: of the part of the plane that is shown: a and b from middle - reach to middle + reach.
    """

    answer: Callable[[Tensor, Tensor, Tensor], Tensor]
    written: str
    samples: Callable[[int], tuple[Tensor, Tensor]]
    written_samples: str
    middle: tuple[float, float]
    reach: tuple[float, float]


def _petals(seed: int) -> tuple[Tensor, Tensor]:
    iris = data.load("iris", seed=seed)
    return iris.x[iris.train, 2], iris.x[iris.train, 3]


def _scaled_petals(seed: int) -> tuple[Tensor, Tensor]:
    x, y = _petals(seed)
    return (x - x.mean()) / x.std(), (y - y.mean()) / y.std()


def _moons(seed: int) -> tuple[Tensor, Tensor]:
    moons = data.load("moons", seed=seed)
    return moons.x[moons.train], moons.y[moons.train].float()


_IRIS = """iris = data.load("iris", seed={seed})
x, y = iris.x[iris.train, 2], iris.x[iris.train, 3]  # length and width of petals, in cm"""

PROBLEMS = {
    "line": Problem(lambda a, b, x: a * x + b, "a * x + b", _petals, _IRIS, (0.4, 0.0), (1.4, 4.0)),
    "chain": Problem(
        lambda a, b, x: b * torch.tanh(a * x),
        "b * torch.tanh(a * x)",
        _scaled_petals,
        _IRIS + "\nx, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()",
        (0.0, 0.0),
        (3.0, 3.0),
    ),
    "neuron": Problem(
        lambda a, b, x: torch.sigmoid(a * x[:, 0] + b * x[:, 1]),
        "torch.sigmoid(a * x[:, 0] + b * x[:, 1])",
        _moons,
        'moons = data.load("moons", seed={seed})\nx, y = moons.x[moons.train], moons.y[moons.train].float()',
        (0.0, -2.0),
        (8.0, 10.0),
    ),
}


class TwoWeights(nn.Module):
    """The answer of a problem, with its two weights as one parameter."""

    def __init__(self, problem: Problem, start: tuple[float, float]) -> None:
        super().__init__()
        self.answer = problem.answer
        self.weight = nn.Parameter(torch.tensor(start))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ...) -> answers (B,)."""
        return self.answer(self.weight[0], self.weight[1], x)
