"""Mean and scale of the training part, so that values meet the network near 0 with spread 1; or whitening."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from commonweight.data.whiten import WAYS, Whitening
from commonweight.errors import DataError, FileError

PREPARATIONS = ("standard", "mean", "none", *WAYS)

_BLOCK = 2**17
"""Values in a block, so that one in float64 stays in the cache."""
_SMALLEST_SCALE, _LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The affine map x -> (x - mean) / scale, whitened if asked for, and for regression the same for targets.

    The mean and the standard deviation (population, dividing by N) are taken for each channel of images and for each
    feature of tables, from the training part only: a statistic of the other parts would let the test leak into the
    training. What is constant in the training part has scale 1, so that it becomes 0.

    Attributes:
        mean, scale: float32, shape (C, 1, 1) for images, (F,) for tables.
        target_mean, target_scale: float32, shape (T,), or None for classification.
        whitening: what follows on mean and scale; None where nothing does.

    >>> x = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    >>> normalisation = Normalisation.fit(x, torch.tensor([0, 1]), train=torch.tensor([0, 1]))
    >>> normalisation.apply(x)
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    """

    mean: Tensor
    scale: Tensor
    target_mean: Tensor | None = None
    target_scale: Tensor | None = None
    whitening: Whitening | None = None

    @classmethod
    def fit(cls, x: Tensor, y: Tensor, train: Tensor, prepare: str = "standard") -> "Normalisation":
        """Statistics of `x[train]`, and of `y[train]` where targets are floating point.

        Args:
            x: float32, shape (N, C, H, W) or (N, F).
            y: int64 class indices of shape (N,), or float32 targets of shape (N, T).
            train: int64 indices of the training part.
            prepare: "standard" removes the mean and divides by the deviation; "mean" only removes the mean; "none"
                leaves samples as they are; "pca" and "zca" whiten what standard gives (see `Whitening`). Regression
                targets are always standardised.

        Raises:
            DataError: an unknown preparation, or samples too large to be whitened.
        """
        if prepare not in PREPARATIONS:
            raise DataError(f"data are prepared by one of {', '.join(PREPARATIONS)}, not by '{prepare}'")
        mean, scale = _mean_and_scale(x, train)
        if prepare in ("mean", "none"):
            mean, scale = mean if prepare == "mean" else torch.zeros_like(mean), torch.ones_like(scale)
        targets = _mean_and_scale(y, train) if y.is_floating_point() else (None, None)
        found = cls(mean, scale, *targets)
        if prepare in WAYS:
            found = replace(found, whitening=Whitening.fit(found.apply(x[train]), prepare))
        return found

    def apply(self, x: Tensor) -> Tensor:
        """(x - mean) / scale, whitened if asked for: one sample or a batch, on the device of `x`.

        In its dtype; whole numbers, such as pixels of 8 bits, give float32.
        """
        x = _floating(x)
        z = (x - self.mean.to(x)) / self.scale.to(x)
        return z if self.whitening is None else self.whitening.apply(z)

    def restore(self, z: Tensor) -> Tensor:
        """The inverse of `apply`, for one sample or a batch.

        What whitening takes away, because the training part does not vary there, comes back as its mean.
        """
        z = z if self.whitening is None else self.whitening.restore(z)
        return z * self.scale.to(z) + self.mean.to(z)

    def apply_target(self, y: Tensor) -> Tensor:
        """(y - target mean) / target scale; class indices stay as they are."""
        if self.target_mean is None or self.target_scale is None:
            return y
        y = _floating(y)
        return (y - self.target_mean.to(y)) / self.target_scale.to(y)

    def restore_target(self, y: Tensor) -> Tensor:
        """The inverse of `apply_target`: what the network says, in the units of the data."""
        if self.target_mean is None or self.target_scale is None:
            return y
        return y * self.target_scale.to(y) + self.target_mean.to(y)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; `from_json` gives back every float32 value exactly. The whitening has its own file.

        >>> Normalisation(torch.tensor([0.5]), torch.tensor([2.0])).to_json()
        {'shape': [1], 'mean': [0.5], 'scale': [2.0], 'target_mean': None, 'target_scale': None}
        """
        return {
            "shape": list(self.mean.shape),
            "mean": self.mean.flatten().tolist(),
            "scale": self.scale.flatten().tolist(),
            "target_mean": None if self.target_mean is None else self.target_mean.tolist(),
            "target_scale": None if self.target_scale is None else self.target_scale.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Normalisation":
        """Read back what `to_json` wrote; without the whitening.

        Raises:
            FileError: when an entry is missing, is no list of finite numbers, holds a scale that is not above 0, or has
                the wrong length.
        """
        shape = record.get("shape")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 1 for size in shape):
            raise FileError(
                f"the stored normalisation has shape {shape!r}, expected a list of positive whole numbers;"
                " restore the run's file"
            )
        size = math.prod(shape)
        mean = _stored(record, "mean", size).reshape(shape)
        scale = _stored(record, "scale", size, above=0).reshape(shape)
        if record.get("target_mean") is None:
            return cls(mean, scale)
        target_mean = _stored(record, "target_mean", None)
        return cls(mean, scale, target_mean, _stored(record, "target_scale", len(target_mean), above=0))


def _floating(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.float()


def _mean_and_scale(values: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of `values[train]` over all axes but the second, in one pass in float64.

    A block of n_b values gives n_b, mean_b and M_b, the sum of squared deviations from mean_b. Together they give
    M = Σ M_b + Σ n_b (mean_b - mean)² (Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for
    computing sample variances"), which loses no digits where the mean is large beside the deviation.

    Returns: two float32 tensors of the shape of one sample, with 1 for each axis that was averaged over.
    """
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    shares, means, variances, lowest, highest = [], [], [], [], []
    rows = max(1, _BLOCK // math.prod(values.shape[1:]))
    # numpy: torch's threads wait for each other longer than blocks of this size take.
    for index in np.split(train.numpy(), range(rows, len(train), rows)):
        block = values.numpy()[index].astype(np.float64)
        mean = block.mean(axes, keepdims=True)
        shares.append(len(index) / len(train))
        means.append(mean)
        lowest.append(block.min(axes, keepdims=True))
        highest.append(block.max(axes, keepdims=True))
        variances.append(np.square(block - mean).mean(axes, keepdims=True))
    block_means = np.concatenate(means)
    share = np.array(shares).reshape(-1, *[1] * (values.ndim - 1))
    mean = (share * block_means).sum(0)
    variance = (share * (np.concatenate(variances) + np.square(block_means - mean))).sum(0)
    scale = np.sqrt(variance).astype(np.float32)
    varies = (np.concatenate(highest).max(0) > np.concatenate(lowest).min(0)) & (scale >= _SMALLEST_SCALE)
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(np.where(varies, scale, np.float32(1)))


def _stored(record: Mapping[str, Any], key: str, size: int | None, above: float = -math.inf) -> Tensor:
    """float32 of shape (size,) from the list under `key` of finite numbers above a bound; size None: any but 0."""
    values = record.get(key)
    if (
        not isinstance(values, list)
        or not values
        or (size is not None and len(values) != size)
        or not all(isinstance(value, float | int) and above < value and abs(value) <= _LARGEST for value in values)
    ):
        expected = ("" if size is None else f"{size} ") + "finite numbers" + (" above 0" if above == 0 else "")
        raise FileError(f"the stored normalisation has no list of {expected} under '{key}'; restore the run's file")
    return torch.tensor(values, dtype=torch.float32)
