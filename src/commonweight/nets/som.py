"""The self-organising map: units on a grid, near ones alike, so that the grid shows how the data lie (Kohonen 1982).

A sample is won by the unit whose weights are nearest to it, and pulls at the weights of that unit and, less, of those
around it on the grid. Here are the grid, the search for winners, both rules of learning, the errors of a map and its
pictures; `som_estimators` fits maps by scikit-learn's conventions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight.errors import NetError
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.views import View

_BLOCK = 1 << 22
"""Distances worked out at a time, so that they stay in the cache."""
_SHOWN, _SIDE = 80, 560
"""Pixels along a side: of a map, at least half of that; of all pictures of units, at most."""
_HEIGHT = 3**0.5 / 2
"""Of a row of hexagons, where their width is 1."""


@dataclass(frozen=True)
class Grid:
    """Where the units are: unit k is in row k // columns and column k % columns, at distance 1 from the next.

    Args:
        rows, columns: at least 1 each.
        hexagonal: every other row is moved by half a unit, so that 6 units are at distance 1 of each; otherwise 4 are,
            and 4 more at √2.
        torus: the last row is next to the first one, the last column to the first one: no unit is at an edge.

    Raises:
        NetError: a grid without units, or a hexagonal torus of an odd number of rows, which do not fit together.

    >>> Grid(2, 3, hexagonal=False, torus=False).squared_distances(torch.tensor([0]))
    tensor([[0., 1., 4., 1., 2., 5.]])
    """

    rows: int
    columns: int
    hexagonal: bool
    torus: bool

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise NetError(f"A map has at least 1 row and 1 column of units; got {self.rows} × {self.columns}.")
        if self.hexagonal and self.torus and self.rows % 2:
            raise NetError(f"Hexagons close to a torus in an even number of rows; got {self.rows}: add one.")

    @property
    def units(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    def positions(self) -> Tensor:
        """Down and right of each unit: float32 of shape (units, 2)."""
        row, column = torch.arange(self.rows).float(), torch.arange(self.columns).float()
        down, right = torch.meshgrid(row, column, indexing="ij")
        if self.hexagonal:
            down, right = down * _HEIGHT, right + (down % 2) / 2
        return torch.stack([down, right], 2).reshape(-1, 2)

    def squared_distances(self, units: Tensor) -> Tensor:
        """From some units, shape (n,), to all, on the grid: shape (n, units)."""
        positions = self.positions()
        apart = (positions[units, None] - positions).abs()
        if self.torus:
            around = torch.tensor([self.rows * (_HEIGHT if self.hexagonal else 1.0), float(self.columns)])
            apart = torch.minimum(apart, (around - apart).abs())
        return apart.square().sum(2)

    def neighbours(self) -> Tensor:
        """Which units touch, the 6 around a hexagon or the 8 around a square: bool of shape (units, units)."""
        squared = self.squared_distances(torch.arange(self.units))
        return (squared > 0) & (squared < (1.1 if self.hexagonal else 2.1))

    def smooth(self, values_UF: Tensor, radius: float) -> Tensor:
        """Σ_j h(j, k) v_j for each unit k, h(j, k) = exp(-d² / 2 radius²) at their distance d on the grid.

        Of squares, h is the product of one h along the rows and one along the columns: two small matrix products.
        """
        if self.hexagonal:
            return _bell(self.squared_distances(torch.arange(self.units)), radius) @ values_UF
        along = [Grid(n, 1, hexagonal=False, torus=self.torus) for n in (self.rows, self.columns)]
        down, right = (_bell(line.squared_distances(torch.arange(line.units)), radius) for line in along)
        over_rows = down @ values_UF.reshape(self.rows, -1)
        return torch.matmul(right, over_rows.reshape(self.rows, self.columns, -1)).reshape(self.units, -1)


def _bell(squared_distances: Tensor, radius: float) -> Tensor:
    return torch.exp(squared_distances / (-2 * radius**2))


def winners(x: Tensor, weight: Tensor) -> Tensor:
    """The nearest unit of each sample, by one matrix product: ‖x - w‖² = ‖x‖² + 2 (‖w‖² / 2 - x·w).

    Both are taken from the mean of the units, so that far from 0 no digits are lost.

    Args:
        x: shape (N, F), NaN where a feature is missing.
        weight: shape (units, F).

    Returns:
        int64 of shape (N,).
    """
    centre = weight.mean(0)
    weight = weight - centre
    halves = weight.square() / 2
    lengths, negative = halves.sum(1), -weight.t()
    found = []
    for part in torch.split(x, max(1, _BLOCK // len(weight))):
        part = part - centre
        missing = part.isnan()
        if missing.any():
            scores = part.masked_fill(missing, 0) @ negative + (~missing).to(part) @ halves.t()
        else:
            scores = torch.addmm(lengths, part, negative)
        found.append(torch.from_numpy(scores.numpy().argmin(1)))  # several times as fast as torch's
    return torch.cat(found)


class SelfOrganisingMap(nn.Module):
    """A map whose units answer: the score of a class is -‖x - w_k‖² of the nearest unit k that answers with that class.

    So the class of the largest score is that with which the winner answers. A class with which no unit answers gets the
    score of the farthest unit. Distances are over the features that a sample has: those missing are NaN.

    Source: Kohonen, "Self-organized formation of topologically correct feature maps" (1982); batch rule, errors and
    labels: Kohonen, "Self-Organizing Maps" (2001).

    Args:
        in_shape: of one sample; it is flattened, to F features.
        n_outputs: number of classes.
        rows, columns, hexagonal, torus: see `Grid`.

    Attributes:
        weight: shape (units, F), at first normal with deviation 1.
        answers: the class of each unit, int64 of shape (units,).

    Raises:
        NetError: sizes that are no whole numbers from 1, or a grid that cannot be.

    Example:
        >>> net = SelfOrganisingMap((2,), 2, rows=1, columns=3)
        >>> net.weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
        >>> net.answers = torch.tensor([0, 1, 1])
        >>> net(torch.tensor([[1.0, 1.0], [float("nan"), 0.0]]))
        tensor([[-2., -0.],
                [-0., -1.]], grad_fn=<NegBackward0>)
    """

    answers: Tensor
    scores_only = True  # distances: their softmax is no probability

    def __init__(
        self,
        in_shape: Sequence[int],
        n_outputs: int,
        *,
        rows: int = 20,
        columns: int = 20,
        hexagonal: bool = False,
        torus: bool = False,
    ) -> None:
        super().__init__()
        self.grid = Grid(rows, columns, hexagonal, torus)
        self.n_outputs = output_number(n_outputs)
        self.weight = nn.Parameter(torch.randn(self.grid.units, prod(sample_shape(in_shape))))
        self.register_buffer("answers", torch.arange(self.grid.units) % self.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Scores, shape (B, n_outputs), of samples (B, *in_shape)."""
        squared = self.squared_distances(x)
        farthest = squared.amax(1, keepdim=True).expand(-1, self.n_outputs)
        return -farthest.scatter_reduce(1, self.answers.expand_as(squared), squared, "amin")

    def squared_distances(self, x: Tensor) -> Tensor:
        """‖x - w_k‖² over the features that a sample has: shape (B, units)."""
        x = x.flatten(1)
        missing = x.isnan()
        if not missing.any():
            return torch.cdist(x, self.weight, compute_mode="donot_use_mm_for_euclid_dist").square()
        x = x.masked_fill(missing, 0)
        squares = x.square().sum(1, keepdim=True) + F.linear((~missing).to(x), self.weight.square())
        return (squares - 2 * F.linear(x, self.weight)).clamp_min(0)

    @torch.no_grad()
    def winners(self, x: Tensor) -> Tensor:
        """The nearest unit of each sample: int64 of shape (B,)."""
        return winners(x.flatten(1), self.weight.detach())

    @torch.no_grad()
    def quantisation_error(self, x: Tensor) -> float:
        """The mean of ‖x - w_k‖ over samples, k being the winner of x."""
        x = x.flatten(1)
        nearest = self.weight[self.winners(x)]
        return float((x - nearest).nan_to_num(0).double().square().sum(1).sqrt().mean())

    @torch.no_grad()
    def topographic_error(self, x: Tensor) -> float:
        """The share of samples whose two nearest units do not touch on the grid (Kiviluoto 1996).

        Raises:
            NetError: a map of one unit.
        """
        if self.grid.units < 2:
            raise NetError("The topographic error is about the two nearest units; the map has only 1.")
        touch = self.grid.neighbours()
        step = max(1, _BLOCK // self.grid.units)
        parts = [self.squared_distances(part).topk(2, largest=False).indices for part in torch.split(x, step)]
        pairs = torch.cat(parts)
        return 1 - float(touch[pairs[:, 0], pairs[:, 1]].double().mean())

    @torch.no_grad()
    def u_matrix(self) -> Tensor:
        """How far the weights of each unit are from those it touches, at the mean: (rows, columns) (Ultsch 1990)."""
        touch = self.grid.neighbours()
        far = torch.cdist(self.weight, self.weight)
        return ((far * touch).sum(1) / touch.sum(1).clamp_min(1)).reshape(self.grid.rows, -1)

    def hit_map(self, x: Tensor) -> Tensor:
        """How many samples each unit wins: int64 of shape (rows, columns)."""
        return torch.bincount(self.winners(x), minlength=self.grid.units).reshape(self.grid.rows, -1)

    def component_planes(self) -> Tensor:
        """What the units hold of each feature: shape (F, rows, columns)."""
        return self.weight.detach().t().reshape(-1, self.grid.rows, self.grid.columns)

    @torch.no_grad()
    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """What to see of a map: U-matrix, hits and answers, and what its units hold."""
        answers = self.answers.reshape(self.grid.rows, -1)
        return [
            View(
                "U-matrix",
                "Each unit of the map in its place, the brighter the farther its weights are from those of its "
                "neighbours: bright ridges part dark clusters.",
                _enlarged(self.u_matrix()[None]),
                ["mean distance of each unit to its neighbours"],
            ),
            View(
                "Hits",
                "How many samples of the test part each unit wins: black for none.",
                _enlarged(self.hit_map(inputs)[None]),
                ["samples won by each unit"],
            ),
            View(
                "Answers",
                "Which units answer with which class, one picture for each class: classes lie together where the map "
                "keeps alike samples near each other.",
                _enlarged(torch.stack([answers == label for label in range(self.n_outputs)])),
                [f"units that answer with class {label}" for label in range(self.n_outputs)],
            ),
            self._units_or_planes(inputs.shape[1:]),
        ]

    def _units_or_planes(self, in_shape: torch.Size) -> View:
        """Of images, the weights of units as pictures, in their places; otherwise a map for each feature."""
        if len(in_shape) < 3:
            return View(
                "Component planes",
                "What the units hold of each feature, in their places: planes that look alike belong to features that "
                "go together.",
                _enlarged(self.component_planes()),
                [f"feature {number}" for number in range(self.weight.shape[1])],
                signed=True,
            )
        pictures = self.weight.reshape(self.grid.rows, self.grid.columns, *in_shape).mean(2)
        step = -(-max(self.grid.rows * in_shape[1], self.grid.columns * in_shape[2]) // _SIDE)
        shown = pictures[::step, ::step]
        rows, columns, height, width = shown.shape
        which = "each unit" if step == 1 else f"one unit in {step} along each side"
        return View(
            "Units",
            f"The weights of {which} as a picture, in its place on the map: neighbours are alike.",
            shown.transpose(1, 2).reshape(1, rows * height, columns * width),
            ["weights of units, in their places on the map"],
        )


def _enlarged(maps_NHW: Tensor) -> Tensor:
    """Each unit as a square of several pixels."""
    times = max(1, _SHOWN // max(maps_NHW.shape[1:]))
    return maps_NHW.float().repeat_interleave(times, 1).repeat_interleave(times, 2)
