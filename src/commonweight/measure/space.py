"""How a net divides the space of its inputs, and how its hidden layers bend that space."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.errors import DataError, require_whole
from commonweight.measure.features import handed
from commonweight.measure.report.observe import observing
from commonweight.measure.subject import require_data

MOST_READ = 2000


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through the space of normalised inputs: point = origin + a·axes[0] + b·axes[1].

    Attributes:
        origin: flat (I,).
        axes: (2, I), orthonormal.
        points: (N, 2) where the test samples fall on it.
        share: how much of their variance the plane holds; 1 for data of two features.
    """

    origin: Tensor
    axes: Tensor
    points: Tensor
    share: float

    def grid(self, side: int, margin: float = 0.08) -> Tensor:
        """Coordinates (side, side, 2) around all points; the first index goes along the second axis.

        Raises:
            DataError: a side below 2.
        """
        side = require_whole(side, "side", DataError, least=2)
        low, high = self.points.amin(0), self.points.amax(0)
        room = margin * (high - low)
        ends = zip((low - room).tolist(), (high + room).tolist(), strict=True)
        a, b = (torch.linspace(start, stop, side) for start, stop in ends)
        return torch.stack([a.expand(side, side), b[:, None].expand(side, side)], 2)

    def inputs(self, coordinates: Tensor) -> Tensor:
        """(..., 2) -> normalised inputs (..., I)."""
        return self.origin + coordinates @ self.axes


def plane(data: Data) -> Plane:
    """The two features themselves, or the first two principal components of the normalised test samples."""
    require_data(data)
    x = data.normalisation.apply(data.x[data.test]).flatten(1)
    if x.shape[1] == 2:
        return Plane(torch.zeros(2), torch.eye(2), x, 1.0)
    origin, axes, points, share = principal_plane(x)
    return Plane(origin, axes, points, share)


def principal_plane(x_NF: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mean (F,), first two principal axes (2, F), coordinates (N, 2) and the share of the variance that they hold."""
    origin = x_NF.mean(0)
    _, sizes, axes = torch.linalg.svd(x_NF - origin, full_matrices=False)
    if len(axes) < 2:  # a layer of one unit has one axis: the other is zero
        axes = torch.nn.functional.pad(axes, (0, 0, 0, 2))
    axes, variances = axes[:2], [size * size for size in sizes.tolist()]
    share = sum(variances[:2]) / max(sum(variances), torch.finfo(sizes.dtype).tiny)
    return origin, axes, (x_NF - origin) @ axes.T, share


@dataclass(frozen=True, eq=False)
class Bent:
    """A plane of inputs as a layer is handed it by those before, drawn in the principal plane of what it is handed.

    Attributes:
        layer: its name; all layers before it did the bending.
        grid: (side, side, 2) where the crossings of a square grid of inputs come to lie.
        points: (N, 2) where the test samples come to lie.
        share: how much of the variance of the samples this plane holds.
        linear: how well a linear model, fitted on the training part, reads the target of the test part from there:
            accuracy, or R².
    """

    layer: str
    grid: Tensor
    points: Tensor
    share: float
    linear: float


def bent(model: nn.Module, data: Data, layer: str, side: int = 25) -> Bent:
    """How the layers before one bend space: a square grid of inputs and the test samples, as they come to it.

    Source: Goodfellow, Bengio, Courville, "Deep learning" (2016), 6.1: a hidden layer makes XOR linear.
    """
    flat = plane(data)
    with observing(model):
        x = data.normalisation.apply(data.x[data.test])
        seen = handed(model, layer, x).float().flatten(1)
        grid = flat.inputs(flat.grid(side)).reshape(side * side, *data.in_shape)
        crossings = handed(model, layer, grid).float().flatten(1)
        linear = readable(data, lambda x: handed(model, layer, x))
    origin, axes, points, share = principal_plane(seen)
    return Bent(layer, ((crossings - origin) @ axes.T).reshape(side, side, 2), points, share, linear)


def readable(data: Data, see: Callable[[Tensor], Tensor] = lambda x: x) -> float:
    """How well a linear model reads the target from what `see` makes of normalised samples: accuracy, or R².

    It is logistic regression, or ridge regression, fitted on at most 2,000 samples of the training part.
    """
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = data.task == "classification"
    reader = LogisticRegression(max_iter=2000) if classes else RidgeCV(np.logspace(-3, 3, 13))
    parts = data.train[:MOST_READ], data.test
    (x, y), (new, wanted) = ((_flat(see(data.normalisation.apply(data.x[p]))), data.y[p].numpy()) for p in parts)
    return float(make_pipeline(StandardScaler(), reader).fit(x, y).score(new, wanted))


def _flat(x: Tensor) -> NDArray[Any]:
    return x.float().flatten(1).numpy()


def regions(model: nn.Module, data: Data, side: int = 120) -> tuple[Tensor, Tensor, Tensor]:
    """What the net says on the plane of `plane(data)`.

    Returns:
        coordinates (side, side, 2); class (side, side), or the first target in its own units; and how sure it is, the
        probability of that class, or ones.
    """
    flat = plane(data)
    coordinates = flat.grid(side)
    inputs = flat.inputs(coordinates).reshape(side * side, *data.in_shape)
    with observing(model):
        outputs = torch.cat([model(part).float() for part in torch.split(inputs, 500)])
    if data.task == "regression":
        values = data.normalisation.restore_target(outputs)[:, 0]
        return coordinates, values.reshape(side, side), torch.ones(side, side)
    sure, answer = outputs.softmax(1).max(1)
    return coordinates, answer.reshape(side, side), sure.reshape(side, side)
