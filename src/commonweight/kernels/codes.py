"""Codes packed for the codebook product: which value of its codebook each weight of a matrix is.

With b = 1, 2, 3, 4 or 8 bits, a word of 32 bits holds per = ⌊32 / b⌋ codes, lowest bits first. Sixteen words make a
block of 16 · per columns: word j of block n holds the codes of the columns 16 · (n · per + k) + j for k = 0 … per - 1.
Rows are padded with zeros to whole blocks.
"""

import torch
from torch import Tensor

from commonweight.errors import KernelError, require_kind
from commonweight.sizes import WHOLE

WORDS = 16  # of a block
BITS = (1, 2, 3, 4, 8)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # those that torch computes with


def bits_for(k: int) -> int:
    """The bits of a code into a codebook of k values.

    Raises:
        KernelError: k is not in 1 … 256.
    """
    if not isinstance(k, WHOLE) or not 1 <= k <= 256:
        raise KernelError(f"A codebook has 1 to 256 values; got {k!r}.")
    return next(bits for bits in BITS if k <= 1 << bits)


def words_in_row(columns: int, bits: int) -> int:
    """The words of 32 bits that the codes of so many columns take: those of whole blocks.

    Raises:
        KernelError: no such number of bits.
    """
    if bits not in BITS or not isinstance(bits, int):
        raise KernelError(f"Codes have 1, 2, 3, 4 or 8 bits; got {bits!r}.")
    return -(-columns // (WORDS * (32 // bits))) * WORDS


def require_words(words: Tensor, columns: int, bits: int) -> None:
    """Refuse what are no packed codes of so many columns.

    Raises:
        KernelError: not such words, or no such number of bits.
    """
    in_row = words_in_row(columns, bits)
    require_kind(words, Tensor, "Packed codes are a tensor of words", KernelError)
    if words.ndim != 2 or words.shape[1] != in_row or words.dtype != torch.int32:
        raise KernelError(
            f"Codes of {bits} bits for {columns:,} columns are int32 words of shape (outputs, {in_row}); "
            f"got {words.dtype} of shape {tuple(words.shape)}."
        )


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes (O, I), whole numbers below 2^bits -> words (O, W), int32.

    Raises:
        KernelError: not a matrix of whole numbers, no such number of bits, or a code that does not fit.

    >>> pack(torch.tensor([[3, 1]]), bits=2)[0, :3].tolist()
    [3, 1, 0]
    """
    require_kind(codes, Tensor, "pack takes a tensor of codes", KernelError)
    if codes.ndim != 2 or codes.is_floating_point() or codes.is_complex():
        raise KernelError(f"Codes are a matrix of whole numbers; got {codes.dtype} of shape {tuple(codes.shape)}.")
    rows, columns = codes.shape
    in_row, per = words_in_row(columns, bits), 32 // bits
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < 1 << bits:
        raise KernelError(
            f"Codes of {bits} bits lie in 0 … {(1 << bits) - 1}; got {int(codes.min())} to {int(codes.max())}."
        )
    words = torch.zeros(rows, in_row // WORDS, WORDS, dtype=torch.int32, device=codes.device)
    padded = torch.zeros(rows, in_row * per, dtype=torch.uint8, device=codes.device)
    padded[:, :columns] = codes
    for k, each in enumerate(padded.view(rows, in_row // WORDS, per, WORDS).unbind(2)):
        words |= each.int() << (bits * k)
    return words.view(rows, in_row)


def unpack(words: Tensor, columns: int, bits: int) -> Tensor:
    """The codes (O, columns), int32, of packed words (O, W).

    Raises:
        KernelError: no such number of bits, or no words for so many columns.

    >>> unpack(pack(torch.tensor([[3, 1]]), bits=2), columns=2, bits=2).tolist()
    [[3, 1]]
    """
    require_kind(columns, WHOLE, "unpack takes a number of columns", KernelError)
    require_words(words, columns, bits)
    (rows, in_row), per = words.shape, 32 // bits
    shifts = torch.arange(per, dtype=torch.int32, device=words.device)[:, None] * bits
    codes = (words.view(rows, in_row // WORDS, 1, WORDS) >> shifts) & ((1 << bits) - 1)
    return codes.reshape(rows, in_row * per)[:, :columns]
