"""`PatternWeight`: a weight that is the free weights of its pattern."""

from functools import cached_property

import torch
from torch import Tensor, nn

from commonweight.errors import CompressError
from commonweight.lower import Operator, lower
from commonweight.operators.spread import Spread, numbers
from commonweight.pattern_text import arrays_of, smallest
from commonweight.patterns import Pattern


class PatternWeight(nn.Module):
    """A weight whose matrix (O, product of the rest) has a pattern: W[o, i] = ± θ[its weight], or 0.

    Args:
        pattern: of the matrix.
        weights: θ, of shape pattern.weight_shape.
        shape: of the weight, (O, …).

    Raises:
        CompressError: shapes that do not go with the pattern.

    Attributes:
        weights: the parameter, trained by the adjoint: its gradient is the sum over the elements that use it.

    Example:
        >>> from commonweight.patterns import circulant
        >>> weight = PatternWeight(circulant(2), torch.tensor([1.0, 2.0]), (2, 2))
        >>> weight()
        tensor([[1., 2.],
                [2., 1.]], grad_fn=<ViewBackward0>)
        >>> weight.product(torch.tensor([[3.0, 0.0]]), None)
        tensor([[3., 6.]], grad_fn=<ViewBackward0>)
    """

    def __init__(self, pattern: Pattern, weights: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.pattern, self.shape = pattern, tuple(shape)
        matrix = (self.shape[0], torch.Size(self.shape[1:]).numel())
        if matrix != (pattern.n_out, pattern.n_in) or tuple(weights.shape) != pattern.weight_shape:
            raise CompressError(
                f"{pattern!s:.200} makes a weight of {pattern.n_out:,} rows of {pattern.n_in:,} elements of weights of "
                f"shape {pattern.weight_shape}; got a weight of shape {self.shape} and weights of shape "
                f"{tuple(weights.shape)}."
            )
        self.weights = nn.Parameter(weights)

    @classmethod
    def of(cls, weight: Tensor, pattern: Pattern) -> "PatternWeight | None":
        """A weight (O, …) that has a pattern, if it has it in each element."""
        numbered = torch.from_numpy(numbers(pattern)).flatten().to(weight.device)
        used = numbered != 0
        place, values = numbered[used], weight.flatten()[used]
        theta = weight.new_empty(pattern.n_weights)
        theta[place.abs() - 1] = torch.where(place > 0, values, -values)
        made = cls(pattern, theta.view(pattern.weight_shape), tuple(weight.shape))
        return made if torch.equal(made(), weight) else None

    @cached_property
    def operator(self) -> Operator:
        """What multiplies by it."""
        return lower(self.pattern)

    @cached_property
    def _spread(self) -> Spread:
        return Spread((self.pattern.n_out, self.pattern.n_in), numbers(self.pattern))

    @property
    def stored_bytes(self) -> int:
        """Of the free weights, and of the arrays that the notation leaves out."""
        return self.weights.nbytes + sum(smallest(array).nbytes for array in arrays_of(self.pattern))

    def forward(self) -> Tensor:
        """The weight written out, differentiable."""
        return self._spread(self.weights).view(self.shape)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x Wᵀ + b by the operator that `lower` chooses: x (*lead, I) -> (*lead, O)."""
        lead = x.shape[:-1]
        y = self.operator.run(x.reshape(lead.numel(), *self.pattern.in_shape), self.weights, None)
        y = y.reshape(*lead, self.pattern.n_out)
        return y if bias is None else y + bias

    def extra_repr(self) -> str:
        """Shape and pattern."""
        return f"{self.shape}, {self.pattern}"
