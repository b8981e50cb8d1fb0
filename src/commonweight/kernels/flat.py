"""Codes of a whole weight in one row of words, as files have them: padded once, not for each row."""

from math import prod

import torch
from torch import Tensor

from commonweight.errors import KernelError
from commonweight.kernels.codes import pack, unpack, words_in_row
from commonweight.kernels.product import rows_per_codebook

AT_ONCE = 1 << 20


def flat_words(codes: Tensor, bits: int) -> Tensor:
    """Codes of any shape -> words (1, W), int32, as `pack` lays out one row.

    >>> flat_words(torch.tensor([[3, 1], [2, 0]]), bits=2).shape
    torch.Size([1, 16])
    """
    return pack(codes.reshape(1, -1), bits)


def flat_codes(words: Tensor, values: Tensor, shape: tuple[int, ...], bits: int) -> Tensor:
    """The codes (O, I), int32, of a weight of this shape (O, …), of words that anyone may have written.

    Raises:
        KernelError: words or codebooks that do not fit the shape or each other, or a code without a value.

    >>> words = flat_words(torch.tensor([[3, 1], [2, 0]]), bits=2)
    >>> flat_codes(words, torch.zeros(1, 4), (2, 2), bits=2).tolist()
    [[3, 1], [2, 0]]
    """
    n_words = words_in_row(prod(shape), bits)
    if words.dtype != torch.int32 or tuple(words.shape) != (1, n_words):
        given = f"{words.dtype} of shape {tuple(words.shape)}"
        raise KernelError(
            f"Codes of {bits} bits for a weight of shape {shape} are int32 of shape (1, {n_words}); got {given}."
        )
    codebooks, k = values.shape if values.ndim == 2 else (0, 0)
    even = codebooks and -(-shape[0] // rows_per_codebook(shape[0], codebooks)) == codebooks
    if not values.is_floating_point() or values.element_size() < 2 or not even or not 1 <= k <= 1 << bits:
        given = f"{values.dtype} of shape {tuple(values.shape)}"
        raise KernelError(
            f"Codes of {bits} bits for {shape[0]:,} rows take floating codebooks that serve equally many of them, with "
            f"at most {1 << bits} values; got {given}."
        )
    codes = unpack(words, prod(shape), bits).view(shape[0], -1)
    if int(codes.max()) >= k:
        raise KernelError(f"A codebook of {k} values has no value for code {int(codes.max())}.")
    return codes


def written_out(words: Tensor, values: Tensor, shape: tuple[int, ...], bits: int) -> Tensor:
    """The weight of this shape, of words and codebooks (codebooks, k) that anyone may have written.

    Raises:
        KernelError: see `flat_codes`.

    >>> words = flat_words(torch.tensor([[1, 1], [0, 1]]), bits=1)
    >>> written_out(words, torch.tensor([[-1.0, 2.0]]), (2, 2), bits=1)
    tensor([[ 2.,  2.],
            [-1.,  2.]])
    """
    codes = flat_codes(words, values, shape, bits)
    rows = torch.arange(shape[0]) // rows_per_codebook(shape[0], len(values))
    weight = values.new_empty(codes.shape)
    step = max(1, AT_ONCE // codes.shape[1])
    for first in range(0, len(codes), step):
        part = slice(first, first + step)
        torch.gather(values[rows[part]], 1, codes[part].long(), out=weight[part])
    return weight.view(shape)
