"""Which weight, with which sign, each cell of a tensor holds: numbers that combine, and the table that fetches them.

A *numbered* array says what stands in each cell: p + 1 for weight p, -(p + 1) for minus weight p, 0 for nothing.
Matrices of patterns and kernels of convolutions are numbered alike, so that a nesting of patterns becomes one array,
and one gather takes the free weights to the tensor that an operator wants.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from commonweight.patterns import Dense, Kron, Orbits, Pattern
from commonweight.tiemap import Index


def numbers(pattern: Pattern) -> Index:
    """The numbered matrix of a pattern, shape (O, I).

    >>> from commonweight.patterns import antisymmetric
    >>> numbers(antisymmetric(2)).tolist()
    [[0, 1], [-1, 0]]
    """
    if isinstance(pattern, Kron):  # without the list of all its connections
        a, b = numbers(pattern.a)[:, None, :, None], numbers(pattern.b)[:, None, :]
        return pairs(a, b, pattern.b.n_weights).reshape(pattern.n_out, pattern.n_in)
    if isinstance(pattern, Dense | Orbits):  # nor here: every cell holds a weight
        return pattern.index() + 1
    tiemap = pattern.tiemap()
    matrix = np.zeros(tiemap.n_full, dtype=np.int64)
    matrix[tiemap.cells] = tiemap.signs * (tiemap.weight + 1)
    return matrix.reshape(tiemap.n_out, tiemap.n_in)


def pairs(a: Index, b: Index, n_weights: int) -> Index:
    """Cells of `a` with cells of `b`, which has n_weights, as numpy broadcasts them: the weight pairs of `kron`.

    Signs multiply; a cell is empty when one of the two is.
    """
    if min(a.min(), b.min()) > 0:
        return (a - 1) * n_weights + b
    sign_a, sign_b = np.sign(a), np.sign(b)
    both: Index = sign_a * (np.abs(a) - 1) * n_weights * sign_b + sign_a * b
    return both


def substitute(a: Index, b: Index) -> Index:
    """Weight p of `a` becomes what stands in cell p of `b`: the ties of `compose`."""
    replaced: Index = np.sign(a) * b.ravel()[np.abs(a) - 1]
    return replaced


def repeat(part: Index, n: int, n_weights: int) -> Index:
    """`part`, n times along a new first axis, with n_weights weights of its own each time: the weights of `block`."""
    return np.sign(part) * (np.abs(part) + n_weights * np.arange(n).reshape(n, *(1,) * part.ndim))


class Table:
    """Whole numbers that an operator looks up: derived data, so neither a parameter nor a buffer.

    The numbers stay on the CPU and are copied to another device when they are first used there. Moving, emptying or
    loading a module therefore never touches them.
    """

    def __init__(self, values: NDArray[np.integer]) -> None:
        self._home = torch.from_numpy(np.ascontiguousarray(values, dtype=np.int32))
        self._placed: dict[torch.device, Tensor] = {}
        self.bytes = self._home.nbytes

    def beside(self, tensor: Tensor) -> Tensor:
        """The numbers on the device of a tensor."""
        return self._home if tensor.is_cpu else self._on(tensor.device)

    def _on(self, device: torch.device) -> Tensor:
        if device not in self._placed:
            placed = self._home.to(device)
            if type(placed) is not Tensor:  # a tracer's stand-in: not to be kept
                return placed
            self._placed[device] = placed
        return self._placed[device]


class Spread:
    """Takes the free weights to the tensor that an operator wants: cell c is sign[c] · θ[index[c]], or 0.

    Args:
        shape: the shape of that tensor.
        numbered: what stands in each of its cells, in any shape; None when cell p holds weight p: nothing moves.

    >>> Spread((2, 2), np.array([0, 1, -1, 0]))(torch.tensor([5.0]))
    tensor([[ 0.,  5.],
            [-5.,  0.]])
    """

    def __init__(self, shape: Sequence[int], numbered: Index | None = None) -> None:
        self.shape = tuple(shape)
        self.table: Table | None = None
        if numbered is None:
            return
        low, high = int(numbered.min()), int(numbered.max())
        if high == numbered.size and np.array_equal(numbered.ravel(), np.arange(1, high + 1)):
            return
        # The values to look up are θ, or 0 and θ, or -θ backwards, 0 and θ: as little as the cells need.
        self._holes, self._signed = low == 0, low < 0
        offset = max(-low, high) if self._signed else 0 if self._holes else -1
        self.table = Table(np.add(numbered.ravel(), offset, dtype=np.int32))

    def __call__(self, weight: Tensor) -> Tensor:
        """The tensor, from weights of any shape; differentiable."""
        if self.table is None:
            return weight if weight.shape == self.shape else weight.reshape(self.shape)
        theta = weight if weight.ndim == 1 else weight.flatten()
        if self._signed:
            theta = torch.cat([-theta.flip(0), pad(theta, (1, 0))])
        elif self._holes:
            theta = pad(theta, (1, 0))
        return theta.index_select(0, self.table.beside(theta)).view(*self.shape)  # faster than a tuple
