"""The curvature that Levenberg-Marquardt goes by, G = Aᵀ A, and its equations (G + d I) x = b, in the cheapest form.

A (R, n) has a row for each output of each sample. With fewer rows than weights, G is never formed: by the identity of
Woodbury (1950), (Aᵀ A + d I)⁻¹ b = (b - Aᵀ (A Aᵀ + d I)⁻¹ A b) / d takes a matrix (R, R). With more rows, G (n, n) is.
Where all weights belong to linear layers, A is not formed either: a row of it is δ aᵀ for each layer (see `Jacobian`),
so that the entry of the weights (o, i) and (o', i') of two layers is a sum over samples s of products,

    G[(o, i), (o', i')] = Σ_s (Σ_c δ[s, c, o] δ'[s, c, o']) (a[s, i] a'[s, i'])

over the outputs c: a product of two matrices that have a column for each pair of units, and for one layer with itself
only for each pair once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from commonweight.train.jacobian import Way

DUAL = 2
"""Weights for each row of the Jacobian, from which the equations of its rows are the cheaper ones."""
PAIRS_FROM = 400
"""Outputs times weights, from which products of pairs of units are cheaper than a Jacobian and its square."""
PAIR_VALUES = 1 << 19
"""Products of pairs of units that are held at once, so that they stay in the cache."""


class Primal:
    """G as a matrix (n, n), float64."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def largest(self) -> float:
        """The largest entry of the diagonal of G."""
        return float(self.matrix.diagonal().amax())

    def solve(self, damping: float, right: Tensor) -> Tensor:
        """x with (G + d I) x = b; 0 if rounding spoils that."""
        return solve(self.matrix, damping, right)

    def determined(self, decay: float) -> float:
        """Σ g / (g + λ) over the eigenvalues g of G: each direction counts as its share of the curvature."""
        return determined_weights(self.matrix, decay)


class Dual:
    """G = Aᵀ A by the rows A (R, n), float64, of which A Aᵀ (R, R) has the same eigenvalues but for zeros."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.gram = rows, rows @ rows.T

    def largest(self) -> float:
        """The largest entry of the diagonal of G."""
        return float(self.rows.square().sum(0).amax())

    def solve(self, damping: float, right: Tensor) -> Tensor:
        """x with (G + d I) x = b; 0 if rounding spoils that."""
        return (right - self.rows.T @ solve(self.gram, damping, self.rows @ right)) / damping

    def determined(self, decay: float) -> float:
        """Σ g / (g + λ) over the eigenvalues g of G: each direction counts as its share of the curvature."""
        return determined_weights(self.gram, decay)


def is_dual(n_rows: int, n: int) -> bool:
    """Whether a Jacobian (rows, n) is worked with by its rows."""
    return DUAL * n_rows <= n


def solve(matrix: Tensor, damping: float, right: Tensor) -> Tensor:
    """x with (G + d I) x = b, for G positive semidefinite but for rounding; 0 if that spoils G + d I."""
    damped = matrix.clone()
    damped.diagonal().add_(damping)
    factor, failed = torch.linalg.cholesky_ex(damped)
    return torch.zeros_like(right) if failed else torch.cholesky_solve(right[:, None], factor)[:, 0]


def determined_weights(matrix: Tensor, decay: float) -> float:
    """Σ g / (g + λ) = m - λ tr (G + λ I)⁻¹ for G (m, m)."""
    damped = matrix.clone()
    damped.diagonal().add_(decay)
    factor, failed = torch.linalg.cholesky_ex(damped)
    return len(matrix) - (0.0 if failed else decay * float(torch.cholesky_inverse(factor).trace()))


def add_products(matrix: Tensor, ways: Sequence[Way], scale: float) -> None:
    """Add to G (n, n) the sums over samples and outputs of the products of the ways of all layers, times a scale."""
    starts = [0]
    for way in ways:
        starts.append(starts[-1] + way.size)
    for k, way in enumerate(ways):
        for j in range(k, len(ways)):
            block = scale * (_with_itself(way) if j == k else _with_another(way, ways[j]))
            matrix[starts[k] : starts[k + 1], starts[j] : starts[j + 1]] += block
            if j > k:
                matrix[starts[j] : starts[j + 1], starts[k] : starts[k + 1]] += block.T


def _with_itself(way: Way) -> Tensor:
    """The block of one layer, float64, in the order of its weights; each pair of units is taken once."""
    given_IB, ways_COB = way.given, way.back
    n_in, n_out = len(given_IB), ways_COB.shape[1]
    sums = torch.zeros(n_out * (n_out + 1) // 2, n_in * (n_in + 1) // 2, dtype=torch.float64)
    step = max(64, PAIR_VALUES // max(sums.shape))
    for given, back in zip(torch.split(given_IB, step, 1), torch.split(ways_COB, step, 2), strict=True):
        pairs_in = torch.cat([given[i] * given[i:] for i in range(n_in)])
        pairs_out = torch.cat([(back[:, o : o + 1] * back[:, o:]).sum(0) for o in range(n_out)])
        sums += pairs_out @ pairs_in.T
    four = sums[_places(n_out).flatten()][:, _places(n_in).flatten()].view(n_out, n_out, n_in, n_in)
    return _ordered(four, way, way)


def _places(n: int) -> Tensor:
    """Where each of (n, n) pairs stands in a list of (0, 0), (0, 1) … (1, 1) … that has one of (i, j) and (j, i)."""
    places = torch.zeros(n, n, dtype=torch.int64)
    first, second = torch.triu_indices(n, n)
    places[first, second] = places[second, first] = torch.arange(len(first))
    return places


def _with_another(way: Way, other: Way) -> Tensor:
    """The block of two layers, float64, in the order of their weights."""
    n_out, m_out = way.back.shape[1], other.back.shape[1]
    n_in, m_in = len(way.given), len(other.given)
    sums = torch.zeros(n_out * m_out, n_in * m_in, dtype=torch.float64)
    parts = (way.given, other.given, way.back, other.back)
    step = max(64, PAIR_VALUES // max(sums.shape))
    for a, b, back, further in zip(*(torch.split(part, step, -1) for part in parts), strict=True):
        out = (back[:, :, None] * further[:, None]).sum(0)
        sums += out.flatten(0, 1) @ (a[:, None] * b).flatten(0, 1).T
    return _ordered(sums.view(n_out, m_out, n_in, m_in), way, other)


def _ordered(four: Tensor, way: Way, other: Way) -> Tensor:
    """Sums (O, O', I, I') as a matrix of the weights of both layers, each W row by row and then b."""
    flat = four.permute(0, 2, 1, 3).reshape(way.size, other.size)
    return flat[way.order()][:, other.order()]
