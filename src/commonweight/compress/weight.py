"""`SharedWeight`: a weight that is its codebooks and its codes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import kernels
from commonweight.compress.nearest import AT_ONCE
from commonweight.errors import CompressError
from commonweight.operators.coded import product_like


class SharedWeight(nn.Module):
    """A weight of which each element is a value of its codebook: W[o, i] = values[⌊o / rows⌋, code[o, i]].

    Args:
        codes: which value each element is, shape (O, I), whole numbers below k.
        values: the codebooks, shape (codebooks, k), with k at most 256; codebook c serves the rows from c · rows on,
            with rows = ⌈O / codebooks⌉.
        shape: of the weight, (O, …), whose rows have I elements.

    Raises:
        CompressError: codes that are not of the shape of the weight, or that the codebooks have no value for.
        KernelError: codes below 0, or more than 256 values.

    Attributes:
        values: the parameter, trained by the adjoint: the gradient of a value is the sum over the elements that use it.
        words: the codes as `kernels.pack` lays them out, int32; a buffer.
        shadow: while codes are being trained, a parameter of the shape of the weight; see `train.finetune`.

    Example:
        >>> weight = SharedWeight(torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.tensor([[-1.0, 2.0]]), (2, 3))
        >>> weight()
        tensor([[-1.,  2.,  2.],
                [ 2., -1., -1.]], grad_fn=<ViewBackward0>)
    """

    words: Tensor
    shadow: nn.Parameter | None

    def __init__(self, codes: Tensor, values: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        k = values.shape[1] if values.ndim == 2 else 0
        if tuple(codes.shape) != (self.shape[0], self.columns) or (codes.numel() and int(codes.max()) >= k):
            raise CompressError(
                f"A weight of shape {self.shape} has codes of shape ({self.shape[0]}, {self.columns}) and codebooks of "
                f"shape (codebooks, k), with codes below k; got codes of shape {tuple(codes.shape)} and codebooks of "
                f"shape {tuple(values.shape)}."
            )
        self.bits = kernels.bits_for(k)
        self.values = nn.Parameter(values)
        parts = codes.split(max(1, AT_ONCE // self.columns))  # type: ignore[no-untyped-call]
        self.register_buffer("words", torch.cat([kernels.pack(part, self.bits) for part in parts]))
        self.register_parameter("shadow", None)

    @property
    def columns(self) -> int:
        """Elements of a row."""
        return torch.Size(self.shape[1:]).numel()

    @property
    def rows(self) -> int:
        """Neighbouring rows that share a codebook."""
        return -(-self.shape[0] // len(self.values))

    def codes(self) -> Tensor:
        """Which value each element is, shape (O, I), int32."""
        return kernels.unpack(self.words, self.columns, self.bits)

    def forward(self) -> Tensor:
        """The weight written out, differentiable by the values; by the shadow too, element by element, if it has one.

        The shadow adds 0 and takes the gradient of the element: the straight-through estimator (Bengio, Léonard,
        Courville 2013, arXiv:1308.3432).
        """
        matrix: Tensor = _WrittenOut.apply(self.words, self.values, self.columns, self.bits)  # type: ignore[no-untyped-call]
        weight = matrix.view(self.shape)
        return weight if self.shadow is None else weight + (self.shadow - self.shadow.detach())

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x Wᵀ + b without writing W out."""
        if self.shadow is not None:
            return F.linear(x, self(), bias)
        return product_like(x, self.words, self.values, bias, self.bits)

    @torch.no_grad()
    def follow_shadow(self) -> None:
        """Give each element the value that is nearest to its shadow, and make each value the mean of its shadows.

        One step of Lloyd's algorithm, from values in rising order to values in rising order; a value that no element
        takes stays as it is.
        """
        if self.shadow is None:
            return
        shadow = self.shadow.detach().flatten(1)
        between = (self.values[:, 1:] + self.values[:, :-1]) / 2
        owners = torch.arange(len(shadow), device=shadow.device) // self.rows
        self.words.copy_(kernels.pack(torch.searchsorted(between[owners], shadow), self.bits))
        size = (*self.values.shape, self.bits)
        sums = torch.ops.commonweight.codebook_sums(shadow, self.words, *size)
        uses = torch.ops.commonweight.codebook_sums(torch.ones_like(shadow), self.words, *size)
        self.values.copy_(torch.where(uses > 0, sums / uses.clamp(min=1), self.values))

    def extra_repr(self) -> str:
        """Shape and codebooks."""
        return f"{self.shape}, {len(self.values)} codebooks of {self.values.shape[1]}"


class _WrittenOut(torch.autograd.Function):
    """The matrix (O, I) of words and values; on the way back, for each value the sum over the elements that use it."""

    @staticmethod
    def forward(ctx: Any, words: Tensor, values: Tensor, columns: int, bits: int) -> Tensor:
        ctx.save_for_backward(words)
        ctx.codebooks, ctx.bits = values.shape, bits
        matrix: Tensor = torch.ops.commonweight.codebook_matrix(words, values, columns, bits)
        return matrix.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None]:
        (words,) = ctx.saved_tensors
        return None, torch.ops.commonweight.codebook_sums(grads[0], words, *ctx.codebooks, ctx.bits), None, None
