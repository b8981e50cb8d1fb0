"""Whitening: values that vary together are turned into values that do not, each with variance 1.

    C = E Λ Eᵀ          covariance of the training part, after mean and scale of each feature
    pca  W = Λ^-½ Eᵀ    the principal components, the largest first
    zca  W = E Λ^-½ Eᵀ  turned back, so that each value stays as near as can be to the one it came from

Sources: Bell, Sejnowski, "The 'independent components' of natural scenes are edge filters" (1997); Kessy, Lewin,
Strimmer, "Optimal whitening and decorrelation" (2018): these are their PCA-cor and ZCA-cor.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from commonweight.atomic import read_tensors, write_tensors
from commonweight.errors import DataError, FileError

WAYS = ("pca", "zca")
TILE_SIDE = 8
MAX_VALUES = 4096
"""Values that are whitened together, at most: their matrix has 16 million entries."""
EPSILON = 0.01
"""Added to the variances of tiles, as Coates & Ng do: what is only noise in pictures is not blown up."""
_NOTHING = 1e-6
_BLOCK = 1 << 20
_MAX_BYTES = 4 * (MAX_VALUES**2 + MAX_VALUES) + (1 << 16)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The map z -> W (z - centre) of the values of a row, or of each tile of an image or a series.

    A row of a table is whitened whole. Directions in which the training part does not vary (variance below 10^-6 of the
    largest) become 0, as constant features do. An image (C, H, W) is cut into tiles without overlap, (C, h, w) with the
    largest divisors h of H and w of W up to 8, a series (C, L) into (C, l); one matrix, found from all tiles, serves
    all of them, with Λ + 0.01 in the place of Λ. So the matrix is small for images of any size (after Coates, Ng,
    "Learning feature representations with k-means", 2012; their patches overlap, and cannot be put together again).

    Attributes:
        matrix: W, float32, shape (D, D) for the D values of a row or a tile.
        centre: the mean row or tile, float32, shape (D,).
        tile: its shape, of as many axes as a sample.

    >>> z = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.5, -0.5], [-0.5, 0.5]])
    >>> white = Whitening.fit(z, "zca").apply(z)
    >>> (white.T @ white / 4).round(decimals=4)
    tensor([[1., 0.],
            [0., 1.]])
    """

    matrix: Tensor
    centre: Tensor
    tile: tuple[int, ...]

    @classmethod
    def fit(cls, z: Tensor, way: str) -> "Whitening":
        """Find it from the training part.

        Args:
            z: float32, shape (N, F), (N, C, L) or (N, C, H, W), with mean and scale removed.
            way: "pca" or "zca".

        Raises:
            DataError: more values in a row or a tile than `MAX_VALUES`.
        """
        channels, *sides = z.shape[1:]
        tile = (channels, *map(_side, sides))
        if prod(tile) > MAX_VALUES:
            raise DataError(
                f"whitening takes at most {MAX_VALUES:,} values together, but a row or tile of shape {tile} has "
                f"{prod(tile):,}; prepare these data by standard"
            )
        variance, directions, centre = _components(z, tile)
        if sides:
            shrink = (variance + EPSILON).rsqrt()
        else:
            varies = variance > _NOTHING * variance[0]
            shrink = torch.where(varies, variance, 1.0).rsqrt() * varies
        matrix = shrink[:, None] * directions.T
        if way == "zca":
            matrix = directions @ matrix
        return cls(matrix.float(), centre.float(), tile)

    def apply(self, z: Tensor) -> Tensor:
        """The whitened values: one sample or a batch, of the same shape, in its dtype and on its device."""
        tiles = (_tiles(z, self.tile) - self.centre.to(z)) @ self.matrix.to(z).T
        return _whole(tiles, self.tile, z.shape)

    def restore(self, z: Tensor) -> Tensor:
        """The inverse of `apply`, with the mean in directions in which the training part does not vary."""
        inverse = torch.linalg.pinv(self.matrix.double(), rtol=_NOTHING)
        tiles = _tiles(z, self.tile) @ inverse.to(z).T + self.centre.to(z)
        return _whole(tiles, self.tile, z.shape)

    def save(self, path: Path) -> None:
        """Write it as a safetensors file.

        Raises:
            FileError: it cannot be written.
        """
        tensors = {"matrix": self.matrix, "centre": self.centre}
        write_tensors(path, tensors, {"tile": json.dumps(list(self.tile))})

    @staticmethod
    def load(path: Path, in_shape: tuple[int, ...]) -> "Whitening":
        """Read what `save` wrote, for samples of shape `in_shape`.

        Raises:
            FileError: missing, too large, damaged, or of samples of another shape.
        """
        if path.is_file() and path.stat().st_size > _MAX_BYTES:
            raise FileError(f"{path} has {path.stat().st_size:,} bytes; a whitening has at most {_MAX_BYTES:,}.")
        tensors, metadata = read_tensors(path)
        try:
            tile = tuple(json.loads(metadata["tile"]))
            matrix, centre = tensors["matrix"], tensors["centre"]
            fits = len(tile) == len(in_shape) and all(n % k == 0 for n, k in zip(in_shape, tile, strict=True))
            sound = matrix.shape == (prod(tile), prod(tile)) and centre.shape == (prod(tile),)
            finite = all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in (matrix, centre))
        except (ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError) as error:
            raise FileError(f"{path} is no whitening ({error!r}): restore the run's file.") from error
        if not (fits and sound and finite):
            raise FileError(
                f"{path} whitens tiles of shape {tile} by a matrix of shape {tuple(matrix.shape)}, which does not fit "
                f"samples of shape {in_shape} or is not finite: restore the run's file."
            )
        return Whitening(matrix, centre, tile)


def _components(z: Tensor, tile: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Variances, the largest first; directions, in columns; and the mean, of all tiles, in float64."""
    blocks = torch.split(z, max(1, _BLOCK // z[0].numel()))
    n_tiles = z.numel() // prod(tile)
    centre, covariance = torch.zeros(prod(tile), dtype=torch.float64), torch.zeros(prod(tile), prod(tile)).double()
    for block in blocks:
        centre += _tiles(block, tile).double().sum((0, 1)) / n_tiles
    for block in blocks:
        deviations = _tiles(block, tile).double().flatten(0, 1) - centre
        covariance += deviations.T @ deviations / n_tiles
    variance, directions = torch.linalg.eigh(covariance)
    variance, directions = variance.flip(0).clamp(min=0), directions.flip(1)
    # A direction and its opposite are the same component: the largest entry is made positive.
    sign = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return variance, directions * sign, centre


def _side(size: int) -> int:
    """The largest divisor up to `TILE_SIDE`."""
    return max(side for side in range(1, TILE_SIDE + 1) if size % side == 0)


def _tiles(z: Tensor, tile: tuple[int, ...]) -> Tensor:
    """Samples (*lead, C, H, W) cut into n tiles: (*lead, n, D); a row is one tile."""
    n_lead, axes = z.ndim - len(tile), range(len(tile))
    parts = [part for axis, side in enumerate(tile) for part in (z.shape[n_lead + axis] // side, side)]
    order = [*range(n_lead), *(n_lead + 2 * axis for axis in axes), *(n_lead + 2 * axis + 1 for axis in axes)]
    return z.reshape(*z.shape[:n_lead], *parts).permute(order).reshape(*z.shape[:n_lead], -1, prod(tile))


def _whole(tiles: Tensor, tile: tuple[int, ...], shape: torch.Size) -> Tensor:
    """Tiles (*lead, n, D) put together again to samples of `shape`."""
    n_axes = len(tile)
    n_lead = len(shape) - n_axes
    counts = [size // side for size, side in zip(shape[n_lead:], tile, strict=True)]
    order = [*range(n_lead), *(n_lead + axis + place for axis in range(n_axes) for place in (0, n_axes))]
    return tiles.reshape(*shape[:n_lead], *counts, *tile).permute(order).reshape(shape)
