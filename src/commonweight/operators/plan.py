"""What a way to compute y = W x is: a plan, in shapes of its own, and how it is fitted to a pattern.

A plan takes weights that are already spread to the tensor it wants. B is the batch, everywhere in this package.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from commonweight.operators.spread import Spread
from commonweight.patterns import Pattern
from commonweight.sizes import Shape

Run = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Plan(NamedTuple):
    """One way to compute a linear map.

    Attributes:
        operator: what does the work, by its full name.
        run: (x, weight, bias) -> y, with x (B, *in_shape), weight as `spread` makes it, y (B, *out_shape).
        spread: takes the free weights there.
        multiplications: for one sample, those with zeros included.
        tables: bytes of the index tables beside the spread's.
        fuses_bias: whether run adds a bias of shape (out_shape[0],); if not, bias is None.
    """

    operator: str
    run: Run
    in_shape: Shape
    out_shape: Shape
    spread: Spread
    multiplications: int
    tables: int = 0
    fuses_bias: bool = False


def fit(plan: Plan, pattern: Pattern, bias_shape: Shape | None = None) -> Plan:
    """The plan in the shapes of a pattern, with a bias of this shape; as it is where nothing needs to be fitted."""
    inner, spread = plan.run, plan.spread
    # A bias for each channel of the pattern is one for each channel of the plan, or for some in a row of them.
    in_a_row, rest = divmod(plan.out_shape[0], pattern.out_shape[0])
    by_channel = plan.fuses_bias and bias_shape == pattern.out_shape[:1] and rest == 0
    fused = bias_shape is None or by_channel
    bias_ones = (1,) * (len(pattern.out_shape) - len(bias_shape or ()))

    def reshaped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch = x.shape[0]
        theirs = bias if fused else None
        if theirs is not None and in_a_row > 1:
            theirs = theirs[:, None].expand(-1, in_a_row).reshape(-1)
        y = inner(x.reshape(batch, *plan.in_shape), spread(weight), theirs)
        y = y.reshape(batch, *pattern.out_shape)
        return y if fused or bias is None else y + bias.reshape(*bias.shape, *bias_ones)

    # As little as is needed: each step costs as much as a small product.
    run: Run = reshaped
    if fused and (plan.in_shape, plan.out_shape) == (pattern.in_shape, pattern.out_shape):
        ready = spread.table is None and spread.shape == pattern.weight_shape
        run = inner if ready else lambda x, weight, bias: inner(x, spread(weight), bias)
    return Plan(
        plan.operator,
        run,
        pattern.in_shape,
        pattern.out_shape,
        Spread(pattern.weight_shape),
        plan.multiplications,
        plan.tables + (spread.table.bytes if spread.table else 0),
    )
