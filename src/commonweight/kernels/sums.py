"""The adjoint g[p] = Σ ± G[position] for any map of connections: the gradient of tied weights, as an operator of torch.

The connections are sorted by weight once. Each call then adds up in double precision, in an order that depends neither
on the threads nor on the run: the same gradient gives the same bits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from commonweight.errors import KernelError, require_kind
from commonweight.kernels.native_library import compiled, instructions, laid_out
from commonweight.sizes import WHOLE

RUN = 16  # positions that one number may do for


@dataclass(frozen=True)
class SortedIndex:
    """Where each weight is used.

    Attributes:
        index: for each position its weight p as p + 1, as -(p + 1) where it is subtracted, 0 for no weight; int32.
        runs: int32, for each 16 positions in a row the first number where they count on from it, 0 where they do not;
            empty where hardly any do.
        positions: sorted by weight, int32: a position, or ~position where the weight is subtracted.
        starts: int64, shape (weights + 1,): weight p is used at positions[starts[p]:starts[p + 1]].
    """

    index: Tensor
    runs: Tensor
    positions: Tensor
    starts: Tensor

    @property
    def n_weights(self) -> int:
        """How many weights there are."""
        return len(self.starts) - 1


def sorted_index(numbered: Tensor, n_weights: int) -> SortedIndex:
    """Sorts a numbered array: p + 1 where weight p stands, -(p + 1) for minus weight p, 0 for nothing.

    Raises:
        KernelError: not whole numbers, one beyond the weights, or more positions or weights than 32 bits tell apart.

    >>> sorted_index(torch.tensor([[2, 1], [0, -2]]), 2).positions.tolist()
    [1, 0, -4]
    """
    require_kind(numbered, Tensor, "sorted_index takes a tensor of numbers", KernelError)
    if not isinstance(n_weights, WHOLE) or n_weights < 0:
        raise KernelError(f"An index is one into 0 weights or more; got {n_weights!r}.")
    if numbered.is_floating_point() or numbered.is_complex() or numbered.dtype == torch.bool:
        raise KernelError(f"An index is made of whole numbers; got {numbered.dtype}.")
    if max(numbered.numel(), n_weights) >= 1 << 31:
        given = f"{numbered.numel():,} and {n_weights:,}"
        raise KernelError(f"An index has less than 2^31 positions and weights; got {given}.")
    flat = numbered.reshape(-1).long()
    low, high = map(int, flat.aminmax()) if flat.numel() else (0, 0)
    if max(-low, high) > n_weights:
        raise KernelError(f"An index into {n_weights:,} weights asks for weight {max(-low, high) - 1:,}.")
    weights, order = flat.abs().sort(stable=True)
    used = order[torch.searchsorted(weights, 1) :]
    positions = torch.where(flat[used] < 0, ~used, used).to(torch.int32)
    starts = torch.searchsorted(weights[len(weights) - len(used) :], torch.arange(1, n_weights + 2, device=flat.device))
    index = flat.to(torch.int32)
    return SortedIndex(index, _runs(index), positions, starts)


def _runs(index: Tensor) -> Tensor:
    sixteens = index[: len(index) // RUN * RUN].view(-1, RUN)
    first = sixteens[:, :1]
    counting = (sixteens == first + first.sign() * torch.arange(RUN, dtype=torch.int32, device=index.device)).all(1)
    runs = torch.where(counting, first[:, 0], 0)
    return runs if 2 * int(runs.count_nonzero()) > len(runs) else runs[:0]


def spread(weight: Tensor, index: SortedIndex) -> Tensor:
    """θ (weights,) -> what stands at each position: ±θ[p], or 0; differentiable, with `adjoint` as its gradient.

    Raises:
        KernelError: not as many weights as the index has, or truth values.

    >>> spread(torch.tensor([1.0, 5.0]), sorted_index(torch.tensor([2, 1, 0, -2]), 2))
    tensor([ 5.,  1.,  0., -5.])
    """
    require_kind(weight, Tensor, "spread takes a tensor of weights", KernelError)
    require_kind(index, SortedIndex, "spread takes an index that sorted_index made", KernelError)
    if weight.dtype == torch.bool:
        raise KernelError("Weights are numbers that have a sign; got torch.bool: say weight.float() before.")
    if weight.shape != (index.n_weights,):
        raise KernelError(f"An index into {index.n_weights:,} weights takes as many; got shape {tuple(weight.shape)}.")
    spread_out: Tensor = torch.ops.commonweight.spread(weight, index.index, index.runs, index.positions, index.starts)
    return spread_out


def adjoint(grad: Tensor, index: SortedIndex) -> Tensor:
    """G (positions,) -> g (weights,): for each weight the sum of ±G over the positions that use it.

    Raises:
        KernelError: a gradient that is not flat, or of another number of positions.

    >>> adjoint(torch.tensor([1.0, 2.0, 3.0, 4.0]), sorted_index(torch.tensor([2, 1, 0, -2]), 2))
    tensor([ 2., -3.])
    """
    require_kind(grad, Tensor, "adjoint takes a tensor of gradients", KernelError)
    require_kind(index, SortedIndex, "adjoint takes an index that sorted_index made", KernelError)
    if grad.shape != index.index.shape:
        raise KernelError(f"A gradient for {len(index.index):,} positions is flat; got shape {tuple(grad.shape)}.")
    sums: Tensor = torch.ops.commonweight.adjoint(grad, index.index, index.runs, index.positions, index.starts)
    return sums


_INDEX = "Tensor index, Tensor runs, Tensor positions, Tensor starts"
torch.library.define("commonweight::spread", f"(Tensor weight, {_INDEX}) -> Tensor")
torch.library.define("commonweight::adjoint", f"(Tensor grad, {_INDEX}) -> Tensor")


def _spread_by_torch(weight: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    """One look-up in -θ backwards, 0 and θ."""
    signed = torch.cat([-weight.flip(0), weight.new_zeros(1), weight])
    return signed.index_select(0, index + len(weight))


def _spread_on_cpu(weight: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    if instructions() == "off" or weight.dtype not in (torch.float32, torch.float64):
        return _spread_by_torch(weight, index, runs, positions, starts)
    native, weight = compiled(), laid_out(weight)
    run = native.spread_float32 if weight.dtype == torch.float32 else native.spread_float64
    out = weight.new_empty(index.shape)
    numbers = (index.data_ptr(), runs.data_ptr(), len(index), len(weight))
    run(*numbers, weight.data_ptr(), out.data_ptr(), torch.get_num_threads())
    return out


def _on_cpu(grad: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    if instructions() == "off" or grad.dtype not in (torch.float32, torch.float64):
        return _by_torch(grad, index, runs, positions, starts)
    native, grad, sums = compiled(), laid_out(grad), grad.new_empty(len(starts) - 1)
    run = native.adjoint_float32 if grad.dtype == torch.float32 else native.adjoint_float64
    numbers = (index.data_ptr(), runs.data_ptr(), len(index), positions.data_ptr(), starts.data_ptr(), len(sums))
    run(*numbers, grad.data_ptr(), sums.data_ptr(), torch.get_num_threads())
    return sums


def _by_torch(grad: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    wide = torch.promote_types(grad.dtype, torch.float64)  # complex numbers stay complex
    sums = torch.zeros(2 * len(starts) - 1, dtype=wide, device=grad.device)
    sums.index_add_(0, index + (len(starts) - 1), grad.to(wide))
    n = len(starts) - 1
    return (sums[n + 1 :] - sums[:n].flip(0)).to(grad.dtype)


torch.library.impl("commonweight::spread", "cpu", _spread_on_cpu)
torch.library.impl("commonweight::spread", "default", _spread_by_torch)
torch.library.impl("commonweight::adjoint", "cpu", _on_cpu)
torch.library.impl("commonweight::adjoint", "default", _by_torch)


def _spread_shape(weight: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    return weight.new_empty(index.shape)


torch.library.register_fake("commonweight::spread", _spread_shape)


def _adjoint_shape(grad: Tensor, index: Tensor, runs: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
    return grad.new_empty(starts.shape[0] - 1)


torch.library.register_fake("commonweight::adjoint", _adjoint_shape)


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _backward_of_spread(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None, None]:
    return torch.ops.commonweight.adjoint(grad, *ctx.saved_tensors), None, None, None, None


def _backward_of_adjoint(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None, None]:
    return torch.ops.commonweight.spread(grad, *ctx.saved_tensors), None, None, None, None


torch.library.register_autograd("commonweight::spread", _backward_of_spread, setup_context=_remember)
torch.library.register_autograd("commonweight::adjoint", _backward_of_adjoint, setup_context=_remember)
