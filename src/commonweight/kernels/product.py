"""The codebook product y = x Wᵀ + b with W[o, i] = values[⌊o · codebooks / O⌋, code[o, i]], as an operator of torch.

W is never written out on the way forward: the kernel reads a few bits for each weight and looks the values up in a
register, for many samples into a few rows that stay in the first cache. The gradient of a shared value is the sum over
the places that use it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight.errors import KernelError, require_kind
from commonweight.kernels.codes import FLOATS, WORDS, require_words, unpack
from commonweight.kernels.native_library import compiled, instructions, laid_out
from commonweight.kernels.transformed import transformed

ROWS_AT_ONCE = 1 << 22  # weights that are written out at a time, where that cannot be avoided
KERNEL_FLOATS = (torch.float32, torch.bfloat16)  # other types go through torch


def codebook_product(x: Tensor, words: Tensor, values: Tensor, bias: Tensor | None = None, *, bits: int) -> Tensor:
    """y = x Wᵀ + b for a matrix W of which each weight is one of its codebook's values.

    Args:
        x: inputs, shape (*lead, I), float32, bfloat16, float16 or float64.
        words: the packed codes of `codes.pack`, shape (O, W), int32.
        values: shape (codebooks, k) with k ≤ 2^bits; codebook c serves the rows c · r … c · r + r - 1 with
            r = ⌈O / codebooks⌉. The type of x. A code beyond the values stands for 0.
        bias: shape (O,), or None.
        bits: of a code.

    Returns:
        y of shape (*lead, O), in the type of x. bfloat16 is computed in float32 and rounded once.

    Raises:
        KernelError: shapes or types that do not fit together, or no such number of bits.

    Source: deep compression's shared weights (Han, Mao, Dally 2015, arXiv:1510.00149), multiplied where they lie.

    Example:
        >>> from commonweight.kernels.codes import pack
        >>> words = pack(torch.tensor([[0, 1, 1], [1, 0, 0]]), bits=1)
        >>> codebook_product(torch.tensor([1.0, 10.0, 100.0]), words, torch.tensor([[-1.0, 1.0]]), bits=1)
        tensor([ 109., -109.])
    """
    require_kind(x, Tensor, "codebook_product takes a tensor of inputs", KernelError)
    require_kind(values, Tensor, "codebook_product takes a tensor of codebooks", KernelError)
    if bias is not None:
        require_kind(bias, Tensor, "A bias is a tensor", KernelError)
    if not x.ndim:
        raise KernelError("Inputs have at least one axis; got a single number.")
    require_words(words, x.shape[-1], bits)
    rows = words.shape[0]
    if values.ndim != 2 or not 1 <= values.shape[1] <= 1 << bits or not 1 <= values.shape[0] <= max(1, rows):
        raise KernelError(
            f"Codes of {bits} bits for {rows:,} outputs take 1 to {rows:,} codebooks of at most "
            f"{1 << bits} values; got values of shape {tuple(values.shape)}."
        )
    if bias is not None and bias.shape != (rows,):
        raise KernelError(f"A bias for {rows:,} outputs has shape ({rows},); got {tuple(bias.shape)}.")
    dtype = x.dtype
    if dtype not in FLOATS or values.dtype != dtype or (bias is not None and bias.dtype != dtype):
        given = ", ".join(str(tensor.dtype) for tensor in (x, values, bias) if tensor is not None)
        raise KernelError(f"Inputs, values and bias have one floating type, of 16 to 64 bits; got {given}.")
    if transformed():
        return F.linear(x, written_out(words, values, x.shape[-1], bits), bias)
    y: Tensor = _PRODUCT(x, words, values, bias, bits)
    return y


def rows_per_codebook(n_rows: int, n_codebooks: int) -> int:
    """How many neighbouring rows share a codebook."""
    return max(1, -(-n_rows // n_codebooks))


def written_out(
    words: Tensor, values: Tensor, columns: int, bits: int, first: int = 0, last: int | None = None
) -> Tensor:
    """The rows first … last - 1 of W, shape (last - first, columns)."""
    per = rows_per_codebook(len(words), len(values))
    rows = torch.arange(len(words), device=words.device)[first:last] // per
    codes = unpack(words[first:last], columns, bits).long()
    return F.pad(values, (0, (1 << bits) - values.shape[1])).index_select(0, rows).gather(1, codes)


torch.library.define(
    "commonweight::codebook_product", "(Tensor x, Tensor words, Tensor values, Tensor? bias, int bits) -> Tensor"
)
_PRODUCT = torch.ops.commonweight.codebook_product.default


def _on_cpu(x: Tensor, words: Tensor, values: Tensor, bias: Tensor | None, bits: int) -> Tensor:
    # A call that finds the caches cold waits for each line that torch or Python reads here: no operator of torch and
    # no object more than it takes.
    chosen, dtype = instructions(), x.dtype
    (*lead, columns), rows, size = x.shape, words.shape[0], x.numel()
    if chosen == "off" or dtype not in KERNEL_FLOATS or not (size and rows):
        return _by_torch(x, words, values, bias, bits)
    inputs, words, table = _floats(x), laid_out(words), _table(values, bits)
    offsets = None if bias is None else _floats(bias)
    y = torch.empty(*lead, rows, dtype=torch.float32)
    done = compiled().codebook_product(
        chosen,
        bits,
        inputs.data_ptr(),
        words.data_ptr(),
        table.data_ptr(),
        *table.shape,
        0 if offsets is None else offsets.data_ptr(),
        y.data_ptr(),
        size // columns,
        rows,
        columns,
        1 if dtype == torch.bfloat16 else 3,
        torch.get_num_threads(),
    )
    if not done:
        return _by_torch(x, words, values, bias, bits)
    return y if dtype == torch.float32 else y.to(dtype)


def _floats(tensor: Tensor) -> Tensor:
    """Numbers of 32 bits, as the kernel reads them."""
    return laid_out(tensor if tensor.dtype == torch.float32 else tensor.float())


def _table(values: Tensor, bits: int) -> Tensor:
    """Codebooks as the kernel reads them; those of 8 bits with 256 values, so that no code asks beyond them."""
    if bits == 8 and values.shape[1] < 256:
        values = F.pad(values, (0, 256 - values.shape[1]))
    return _floats(values)


def _by_torch(x: Tensor, words: Tensor, values: Tensor, bias: Tensor | None, bits: int) -> Tensor:
    """The same, from W written out some rows at a time."""
    some = max(1, ROWS_AT_ONCE // max(1, x.shape[-1]))
    wide = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    parts = [
        x.to(wide) @ written_out(words, values.to(wide), x.shape[-1], bits, first, first + some).t()
        for first in range(0, len(words), some)
    ]
    y = torch.cat(parts, -1) if parts else x.new_zeros((*x.shape[:-1], 0), dtype=wide)
    return (y if bias is None else y + bias.to(wide)).to(x.dtype)


torch.library.impl("commonweight::codebook_product", "cpu", _on_cpu)
torch.library.impl("commonweight::codebook_product", "default", _by_torch)


def _shape_only(x: Tensor, words: Tensor, values: Tensor, bias: Tensor | None, bits: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], words.shape[0]))


torch.library.register_fake("commonweight::codebook_product", _shape_only)


torch.library.define(
    "commonweight::codebook_sums", "(Tensor grad, Tensor words, int codebooks, int k, int bits) -> Tensor"
)
torch.library.define("commonweight::codebook_matrix", "(Tensor words, Tensor values, int columns, int bits) -> Tensor")


def _matrix_on_cpu(words: Tensor, values: Tensor, columns: int, bits: int) -> Tensor:
    """W, shape (O, columns), in the type of the values; its rows may lie further apart than they are long."""
    chosen = instructions()
    if chosen == "off" or values.dtype not in KERNEL_FLOATS or not words.numel():
        return written_out(words, values, columns, bits)
    require_words(words, columns, bits)
    table, words = _table(values, bits), laid_out(words)
    matrix = torch.empty(len(words), words.shape[1] * (32 // bits), dtype=torch.float32)
    compiled().codebook_expand(
        chosen,
        bits,
        words.data_ptr(),
        table.data_ptr(),
        *table.shape,
        matrix.data_ptr(),
        len(words),
        words.shape[1] // WORDS,
        torch.get_num_threads(),
    )
    return matrix[:, :columns].to(values.dtype)


def _sums_on_cpu(grad: Tensor, words: Tensor, codebooks: int, k: int, bits: int) -> Tensor:
    """The gradient of the values, (codebooks, k), from that of W, (O, columns): sums over the uses of each value."""
    if instructions() == "off" or grad.dtype not in KERNEL_FLOATS or not words.numel():
        return _sums_by_torch(grad, words, codebooks, k, bits)
    columns = grad.shape[1]
    require_words(words, columns, bits)
    each = torch.empty(len(words), 1 << bits, dtype=torch.float64)
    matrix, words = _floats(grad), laid_out(words)
    compiled().codebook_sums(
        bits,
        matrix.data_ptr(),
        words.data_ptr(),
        each.data_ptr(),
        len(words),
        columns,
        words.shape[1] // WORDS,
        torch.get_num_threads(),
    )
    return _over_rows(each[:, :k], codebooks).to(grad.dtype)


def _sums_by_torch(grad: Tensor, words: Tensor, codebooks: int, k: int, bits: int) -> Tensor:
    codes = unpack(words, grad.shape[1], bits).long()
    each = torch.zeros(len(words), 1 << bits, dtype=torch.float64, device=grad.device)
    return _over_rows(each.scatter_add_(1, codes, grad.double())[:, :k], codebooks).to(grad.dtype)


def _over_rows(each: Tensor, codebooks: int) -> Tensor:
    """Sums of rows (O, k) over those that share a codebook: (codebooks, k)."""
    per = rows_per_codebook(len(each), codebooks)
    if per == 1:
        return each
    owners = torch.arange(len(each), device=each.device) // per
    return each.new_zeros(codebooks, each.shape[1]).index_add_(0, owners, each)


torch.library.impl("commonweight::codebook_matrix", "cpu", _matrix_on_cpu)
torch.library.impl("commonweight::codebook_matrix", "default", written_out)
torch.library.impl("commonweight::codebook_sums", "cpu", _sums_on_cpu)
torch.library.impl("commonweight::codebook_sums", "default", _sums_by_torch)


def _matrix_shape(words: Tensor, values: Tensor, columns: int, bits: int) -> Tensor:
    return values.new_empty(words.shape[0], columns)


torch.library.register_fake("commonweight::codebook_matrix", _matrix_shape)


def _sums_shape(grad: Tensor, words: Tensor, codebooks: int, k: int, bits: int) -> Tensor:
    return grad.new_empty(codebooks, k)


torch.library.register_fake("commonweight::codebook_sums", _sums_shape)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, Tensor | None, None]:
    """Into x through W, into each value the sum of what its uses receive, into the bias the sum over the batch."""
    x, words, values = ctx.saved_tensors
    ops = torch.ops.commonweight
    batch = grad.shape[:-1].numel()
    grad_BO = grad.reshape(batch, words.shape[0])
    of_x = of_values = of_bias = None
    if ctx.needs_input_grad[0]:
        of_x = grad @ ops.codebook_matrix(words, values, x.shape[-1], ctx.bits)
    if ctx.needs_input_grad[2]:
        matrix = grad_BO.t() @ x.reshape(batch, x.shape[-1])
        of_values = ops.codebook_sums(matrix, words, *values.shape, ctx.bits)
    if ctx.needs_input_grad[3]:
        of_bias = grad_BO.sum(0)
    return of_x, None, of_values, of_bias, None


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, words, values, _, ctx.bits = inputs
    ctx.save_for_backward(x, words, values)


torch.library.register_autograd("commonweight::codebook_product", _backward, setup_context=_remember)


def _remember_matrix(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    words, values, _, ctx.bits = inputs
    ctx.save_for_backward(words)
    ctx.shape = values.shape


def _matrix_backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
    return None, torch.ops.commonweight.codebook_sums(grad, *ctx.saved_tensors, *ctx.shape, ctx.bits), None, None


def _remember_sums(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, words, _, _, ctx.bits = inputs
    ctx.save_for_backward(words)
    ctx.columns = grad.shape[1]


def _sums_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    (words,) = ctx.saved_tensors
    return torch.ops.commonweight.codebook_matrix(words, grad, ctx.columns, ctx.bits), None, None, None, None


# Each is the adjoint of the other, so that second derivatives are there, too.
torch.library.register_autograd("commonweight::codebook_matrix", _matrix_backward, setup_context=_remember_matrix)
torch.library.register_autograd("commonweight::codebook_sums", _sums_backward, setup_context=_remember_sums)
