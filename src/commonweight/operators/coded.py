"""Plans for weights that are looked up: by a hash, or by codes into codebooks. They run on the kernels."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight import kernels
from commonweight.codebook import Codebook
from commonweight.operators.plan import Plan
from commonweight.operators.spread import Spread, Table
from commonweight.tiemap import Index


class SortedSpread(Spread):
    """A spread of many cells in no order: written out, and summed on the way back, by the kernels."""

    def __init__(self, shape: Sequence[int], numbered: Index, n_weights: int) -> None:
        super().__init__(shape, numbered)
        self.index = kernels.sorted_index(torch.from_numpy(numbered), n_weights)

    def __call__(self, weight: Tensor) -> Tensor:
        """The tensor, from weights of any shape; differentiable."""
        if not weight.is_cpu or kernels.transformed():
            return super().__call__(weight)
        return kernels.spread(weight.reshape(-1), self.index).view(*self.shape)


def hashed(shape: tuple[int, int], numbered: Index, n_weights: int, transposed: bool) -> Plan:
    """y = W x, for W of shape (O, I), or (I, O) if transposed: on a matrix unit W is never written out."""
    n_out, n_in = shape[::-1] if transposed else shape
    matrix, cells = SortedSpread(shape, numbered, n_weights), numbered.size

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _plain(x, weight) and kernels.on_matrix_unit(len(x), cells):
            y = kernels.spread_product(x, weight, matrix.index, shape[1], transposed=transposed)
            return y if bias is None else y + bias
        written_out = matrix(weight)
        return F.linear(x, written_out.t() if transposed else written_out, bias)

    tables = matrix.table.bytes if matrix.table else 0
    weights = Spread((n_weights,))
    return Plan("commonweight.kernels.spread_product", run, (n_in,), (n_out,), weights, n_out * n_in, tables, True)


def _plain(*tensors: Tensor) -> bool:
    """Whether the tensors are numbers of 32 bits on the CPU, which nothing but autograd looks at."""
    usual = all(tensor.is_cpu and tensor.dtype == torch.float32 for tensor in tensors)
    if not usual or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return not kernels.transformed()


def codebook(pattern: Codebook) -> Plan:
    """y = x Wᵀ where W is never written out: a few bits for each weight, and the values in a register."""
    bits = kernels.bits_for(pattern.k)
    packed = kernels.pack(torch.from_numpy(np.array(pattern.codes)), bits)
    words = Table(packed.numpy())

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return product_like(x, words.beside(x), weight, bias, bits)

    weights = Spread(pattern.weight_shape)
    sizes = (pattern.in_shape, pattern.out_shape, weights, pattern.n_connections)
    return Plan("commonweight.kernels.codebook_product", run, *sizes, tables=words.bytes, fuses_bias=True)


def product_like(x: Tensor, words: Tensor, values: Tensor, bias: Tensor | None, bits: int) -> Tensor:
    """`kernels.codebook_product` in the type of x, whatever that of the values and the bias."""
    if values.dtype != x.dtype:  # a conversion that changes nothing would cost as much as the product's checks
        values = values.to(x.dtype)
    if bias is not None and bias.dtype != x.dtype:
        bias = bias.to(x.dtype)
    return kernels.codebook_product(x, words, values, bias, bits=bits)
