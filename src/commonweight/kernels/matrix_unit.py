"""y = x Wᵀ for a matrix W whose cells say which weight they hold, as an operator of torch: W is never written out.

For processors with a matrix unit (AMX), which multiplies bfloat16 numbers, many at a time. A float32 number is the sum
of three of them, so six such products are one of float32, with its rounding; see native/matrix_unit.hpp. Weights are
looked up where they are taken apart, and their gradient is added up where it is computed. Elsewhere the same is done
with W written out.
"""

from typing import Any

import torch
from torch import Tensor

from commonweight.errors import KernelError, require_kind
from commonweight.kernels.native_library import compiled, instructions, laid_out
from commonweight.kernels.sums import SortedIndex
from commonweight.sizes import WHOLE

SAMPLES = 32  # from so many on, of a product of so many multiplications, the unit is faster
MULTIPLICATIONS = 1 << 24


def on_matrix_unit(samples: int, cells: int) -> bool:
    """Whether this processor multiplies so many samples by a matrix of so many cells faster than by writing it out."""
    return samples >= SAMPLES and samples * cells >= MULTIPLICATIONS and instructions() == "amx"


def spread_product(x: Tensor, weight: Tensor, index: SortedIndex, columns: int, *, transposed: bool = False) -> Tensor:
    """y = x Wᵀ, or x W if transposed, for W = spread(θ, index) in rows of so many columns; differentiable.

    Args:
        x: inputs, shape (B, columns), or (B, rows) if transposed.
        weight: θ, shape (weights,), of the type of x.
        index: which weight each of the rows · columns cells holds, with which sign.
        columns: of W.
        transposed: whether W is multiplied as it is.

    Returns:
        y, shape (B, rows), or (B, columns) if transposed. On a matrix unit, in float32, products are within
        2⁻²⁰ |x θ| of the exact ones and their sums rounded as sums of float32 are; numbers below 10⁻³⁰ count with fewer
        bits there.

    Raises:
        KernelError: shapes or types that do not fit together.

    Source: float32 products from bfloat16 parts, Henry, Tang, Heinecke 2019, arXiv:1904.06376.

    Example:
        >>> from commonweight.kernels import sorted_index
        >>> index = sorted_index(torch.tensor([2, 1, 0, -2]), 2)  # W = [[θ₁, θ₀], [0, -θ₁]]
        >>> spread_product(torch.tensor([[1.0, 10.0]]), torch.tensor([3.0, 4.0]), index, columns=2)
        tensor([[ 34., -40.]])
    """
    require_kind(x, Tensor, "spread_product takes a tensor of inputs", KernelError)
    require_kind(weight, Tensor, "spread_product takes a tensor of weights", KernelError)
    require_kind(index, SortedIndex, "spread_product takes an index that sorted_index made", KernelError)
    require_kind(columns, WHOLE, "spread_product takes a number of columns", KernelError)
    cells = len(index.index)
    if columns < 1 or cells % columns:
        raise KernelError(f"The {cells:,} cells of a matrix lie in rows of equal length; got {columns:,} columns.")
    wanted = cells // columns if transposed else columns
    if x.ndim != 2 or x.shape[1] != wanted or weight.shape != (index.n_weights,) or x.dtype != weight.dtype:
        raise KernelError(
            f"spread_product takes inputs (samples, {wanted}) and weights ({index.n_weights},) of one type; got "
            f"{x.dtype} of shape {tuple(x.shape)} and {weight.dtype} of shape {tuple(weight.shape)}."
        )
    tables = (index.index, index.runs, index.positions, index.starts)
    y: Tensor = torch.ops.commonweight.spread_product(x, weight, *tables, columns, transposed)
    return y


_INDEX = "Tensor index, Tensor runs, Tensor positions, Tensor starts"
torch.library.define(
    "commonweight::spread_product", f"(Tensor x, Tensor weight, {_INDEX}, int columns, bool transposed) -> Tensor"
)
torch.library.define("commonweight::spread_product_sums", f"(Tensor x, Tensor grad, {_INDEX}) -> Tensor")


def _on_cpu(x: Tensor, weight: Tensor, index: Tensor, *tables: Any) -> Tensor:
    runs, positions, starts, columns, transposed = tables
    rows, samples = len(index) // columns, len(x)
    if x.dtype == torch.float32 and on_matrix_unit(samples, len(index)):
        inputs, theta, y = laid_out(x), laid_out(weight), x.new_empty(samples, columns if transposed else rows)
        numbers = (index.data_ptr(), rows, columns, len(weight), samples, transposed)
        addresses = (theta.data_ptr(), inputs.data_ptr(), y.data_ptr())
        if compiled().spread_product(*numbers, *addresses, torch.get_num_threads()):
            return y
    return _by_torch(x, weight, index, runs, positions, starts, columns, transposed)


def _by_torch(x: Tensor, weight: Tensor, index: Tensor, *tables: Any) -> Tensor:
    *others, columns, transposed = tables
    matrix: Tensor = torch.ops.commonweight.spread(weight, index, *others).view(-1, columns)
    return x @ matrix if transposed else x @ matrix.t()


def _sums_on_cpu(x: Tensor, grad: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    """The gradient of the weights: for each the sum of ±(gradᵀ x) over its cells; x (B, columns), grad (B, rows)."""
    (samples, columns), rows = x.shape, grad.shape[1]
    if x.dtype == torch.float32 and on_matrix_unit(samples, len(index)):
        inputs, grads, sums = laid_out(x), laid_out(grad), x.new_empty(len(starts) - 1)
        numbers = (index.data_ptr(), runs.data_ptr(), rows, columns, len(sums), samples)
        addresses = (grads.data_ptr(), inputs.data_ptr(), sums.data_ptr())
        if compiled().spread_adjoint(*numbers, *addresses, torch.get_num_threads()):
            return sums
    return _sums_by_torch(x, grad, index, runs, positions, starts)


def _sums_by_torch(x: Tensor, grad: Tensor, *tables: Tensor) -> Tensor:
    sums: Tensor = torch.ops.commonweight.adjoint((grad.t() @ x).reshape(-1), *tables)
    return sums


torch.library.impl("commonweight::spread_product", "cpu", _on_cpu)
torch.library.impl("commonweight::spread_product", "default", _by_torch)
torch.library.impl("commonweight::spread_product_sums", "cpu", _sums_on_cpu)
torch.library.impl("commonweight::spread_product_sums", "default", _sums_by_torch)


def _shape_only(x: Tensor, weight: Tensor, index: Tensor, *tables: Any) -> Tensor:
    *_, columns, transposed = tables
    return x.new_empty(x.shape[0], columns if transposed else index.shape[0] // columns)


torch.library.register_fake("commonweight::spread_product", _shape_only)


def _sums_shape(x: Tensor, grad: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    return x.new_empty(starts.shape[0] - 1)


torch.library.register_fake("commonweight::spread_product_sums", _sums_shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.columns, ctx.transposed = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *tables = ctx.saved_tensors
    ops = torch.ops.commonweight
    of_x = of_weight = None
    if ctx.needs_input_grad[0]:
        of_x = ops.spread_product(grad, weight, *tables, ctx.columns, not ctx.transposed)
    if ctx.needs_input_grad[1]:
        by_columns, by_rows = (grad, x) if ctx.transposed else (x, grad)
        of_weight = ops.spread_product_sums(by_columns, by_rows, *tables)
    return of_x, of_weight, *[None] * 6


def _remember_sums(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _sums_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, of_y, *tables = ctx.saved_tensors
    product, columns = torch.ops.commonweight.spread_product, x.shape[1]
    of_x = product(of_y, grad, *tables, columns, True) if ctx.needs_input_grad[0] else None
    of_grad = product(x, grad, *tables, columns, False) if ctx.needs_input_grad[1] else None
    return of_x, of_grad, *[None] * 4


# Each is the adjoint of the other, so that second derivatives are there, too.
torch.library.register_autograd("commonweight::spread_product", _backward, setup_context=_remember)
torch.library.register_autograd("commonweight::spread_product_sums", _sums_backward, setup_context=_remember_sums)
