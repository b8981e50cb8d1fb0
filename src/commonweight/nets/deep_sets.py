"""The layer of Deep Sets: what commutes with every permutation of the elements of a set."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight.errors import NetError, require_kind
from commonweight.sizes import WHOLE


class DeepSets(nn.Module):
    """y[e] = Λ x[e] + Γ · (mean of x over the set) + b, for each element e of a set.

    Zaheer et al., "Deep Sets", 2017, with the mean in place of the sum, so that a set may have any size n. These are
    all the linear maps that commute with all permutations: `patterns.orbits` of two generators of them ties the n × n
    matrix to two weights, one for the element itself (Λ + Γ / n) and one for each of the others (Γ / n).

    Args:
        in_features, out_features: of each element, at least 1.

    Attributes:
        own: Λ of shape (out_features, in_features).
        shared: Γ of the same shape.
        bias: b of shape (out_features,).

    Shapes: x (..., n, in_features) -> (..., n, out_features). Weights start uniform in ±1/√(2 · in_features).

    Raises:
        NetError: features that are no whole number of at least 1, or sets of another shape or type.

    Example:
        >>> layer, order = DeepSets(3, 5), torch.randperm(7)
        >>> x = torch.randn(2, 7, 3)
        >>> torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-6)
        True
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        if not all(isinstance(n, WHOLE) and n >= 1 for n in (in_features, out_features)):
            raise NetError(
                f"A layer of Deep Sets has whole numbers of features, at least 1; got {in_features!r} in and "
                f"{out_features!r} out."
            )
        self.own, self.shared = (nn.Parameter(torch.empty(out_features, in_features)) for _ in range(2))
        self.bias = nn.Parameter(torch.empty(out_features))
        bound = (2 * in_features) ** -0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """The formula above."""
        require_kind(x, Tensor, "A layer of Deep Sets takes sets, a tensor", NetError)
        if x.ndim < 2 or x.shape[-1] != self.own.shape[1]:
            expected = f"(..., n, {self.own.shape[1]})"
            raise NetError(f"This layer of Deep Sets takes sets of shape {expected}; got {tuple(x.shape)}.")
        try:
            return F.linear(x, self.own, self.bias) + F.linear(x.mean(-2, keepdim=True), self.shared)
        except RuntimeError as error:
            if x.dtype == self.own.dtype:
                raise
            raise NetError(
                f"This layer of Deep Sets has weights of {self.own.dtype} and cannot take sets of {x.dtype}: give both "
                f"one type, as layer.to({x.dtype}) or x.to({self.own.dtype}) does."
            ) from error
