"""The meaning: which connections of a linear map use the same weight.

A weight is one trainable number. A connection is one multiplication that uses a weight. `TieMap` lists every connection
of a linear map from I input units to O output units, and for each connection the index of its weight. Everything else
in commonweight (notation, fast operators, counts, files) is defined by what it means here.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from commonweight.errors import PatternError, require_kind
from commonweight.sizes import WHOLE, integers, refuse_misfit, whole

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TieMap:
    """A linear map y = W x whose entries are P free weights, each used by any number of connections.

    Args:
        n_out, n_in, n_weights: O, I and P, at least 1 each. Every weight is used at least once.
        out, inp, weight: for each of the E connections its output unit in 0..O-1, its input unit in 0..I-1 and its
            weight in 0..P-1. No two connections join the same two units.
        sign: +1 or -1 for each connection; all +1 when omitted.

    The arrays are copied and made read-only: a tie map never changes.

    Raises:
        PatternError: sizes that are no whole numbers, more than 2^62 cells, arrays of different lengths, an index out
            of range, an unused weight, two connections between the same two units, or a sign that is not +1 or -1.

    Example:
        A kernel of two weights sliding over three inputs:

        >>> tiemap = TieMap(2, 3, 2, out=[0, 0, 1, 1], inp=[0, 1, 1, 2], weight=[0, 1, 0, 1])
        >>> tiemap.expand(torch.tensor([5.0, 7.0]))
        tensor([[5., 7., 0.],
                [0., 5., 7.]])
        >>> tiemap.users(1).tolist()
        [[0, 1], [1, 2]]
    """

    n_out: int
    n_in: int
    n_weights: int
    out: Index
    inp: Index
    weight: Index
    sign: NDArray[np.int8] | None

    def __init__(
        self,
        n_out: int,
        n_in: int,
        n_weights: int,
        out: ArrayLike,
        inp: ArrayLike,
        weight: ArrayLike,
        sign: ArrayLike | None = None,
    ) -> None:
        n_out, n_in, n_weights = whole("A tie map", n_out, n_in, n_weights)
        lists = {"out": (out, n_out), "inp": (inp, n_in), "weight": (weight, n_weights)}
        arrays = {name: _read_only(name, values, np.int64, 0, n - 1) for name, (values, n) in lists.items()}
        signs = None if sign is None else _read_only("sign", sign, np.int8, -1, 1)
        lengths = [len(array) for array in (*arrays.values(), signs) if array is not None]
        if len(set(lengths)) > 1:
            raise PatternError(f"A tie map has one entry for each connection in each list; got lists of {lengths}.")
        if signs is not None and not signs.all():
            raise PatternError("sign is +1 or -1; got 0: leave the connection out instead.")
        self.__dict__.update(arrays, n_out=n_out, n_in=n_in, n_weights=n_weights, sign=signs)  # around the freeze
        if self.n_full > 1 << 62 or n_weights > self.n_connections:
            raise PatternError(f"{self} cannot be: each weight needs a connection, and 2^62 cells are the most.")
        unused = np.flatnonzero(np.bincount(self.weight, minlength=n_weights) == 0)
        if len(unused):
            raise PatternError(
                f"Every weight is used at least once, but {len(unused)} of {n_weights} are not, the first is weight "
                f"{unused[0]}: number the weights that are used from 0 without gaps."
            )
        cells = np.sort(self.cells, kind="stable")  # fast on the sorted cells that patterns give
        if (doubled := cells[:-1][cells[1:] == cells[:-1]]).size:
            raise PatternError(
                f"Two connections join input {doubled[0] % n_in} to output {doubled[0] // n_in}: a connection has one "
                f"weight, so leave one of the two out."
            )

    @classmethod
    def from_matrix(cls, index: ArrayLike, sign: ArrayLike | None = None) -> "TieMap":
        """The tie map of a matrix of weight indices, shape (O, I); any number below 0 says that there is no connection.

        Raises:
            PatternError: no matrix of whole numbers, signs of another shape, or ties that cannot be.

        >>> TieMap.from_matrix([[0, 1], [1, 0]]).n_weights
        2
        """
        matrix = integers("A matrix of weight indices has a row of whole numbers for each output", index, 2)
        signs = matrix if sign is None else integers("Signs have a row of +1 and -1 for each output", sign, 2)
        if signs.shape != matrix.shape:
            raise PatternError(f"The signs have the shape of the indices, {matrix.shape}; got {signs.shape}.")
        out, inp = np.nonzero(matrix >= 0)
        signed = None if sign is None else signs[out, inp]
        return cls(matrix.shape[0], matrix.shape[1], int(matrix.max()) + 1, out, inp, matrix[out, inp], signed)

    @property
    def n_connections(self) -> int:
        """E, the number of connections: the weights that the same connections would have if none were shared."""
        return len(self.out)

    @property
    def n_full(self) -> int:
        """O · I, the connections of the fully connected map between the same units."""
        return self.n_out * self.n_in

    @property
    def cells(self) -> Index:
        """The place of each connection in the flattened matrix: out · I + inp, shape (E,)."""
        return self.out * self.n_in + self.inp

    @cached_property
    def uses(self) -> Index:
        """How many connections use each weight, shape (P,)."""
        return np.bincount(self.weight, minlength=self.n_weights)

    def users(self, weight: int) -> Index:
        """All connections that use one weight, as rows (out, inp), in the order of the map.

        Raises:
            PatternError: no such weight.
        """
        if not isinstance(weight, WHOLE) or not 0 <= weight < self.n_weights:
            raise PatternError(f"There is no weight {weight}: this map has weights 0 to {self.n_weights - 1}.")
        chosen = np.flatnonzero(self.weight == weight)
        return np.stack([self.out[chosen], self.inp[chosen]], axis=1)

    def expand(self, theta: torch.Tensor) -> torch.Tensor:
        """The matrix: W[out, inp] = sign · θ[weight], zero where there is no connection.

        θ of shape (..., P) gives W of shape (..., O, I). Differentiable; its gradient is `adjoint`.
        """
        refuse_misfit("θ", theta, self.n_weights)
        cells, weight, sign = self._tensors(theta)
        matrix = theta.new_zeros(*theta.shape[:-1], self.n_full)
        matrix = matrix.index_copy(-1, cells, theta[..., weight] * sign)
        return matrix.reshape(*theta.shape[:-1], self.n_out, self.n_in)

    def adjoint(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient rule: g[p] = Σ sign · G[out, inp] over the connections that use weight p.

        G of shape (..., O, I) gives g of shape (..., P). It is the transpose of `expand`: <expand(θ), G> =
        <θ, adjoint(G)>. If G is the derivative of a loss by W, then g is its derivative by θ: a shared weight moves by
        the sum of what its users ask for.
        """
        refuse_misfit("G", gradient, self.n_out, self.n_in)
        cells, weight, sign = self._tensors(gradient)
        parts = gradient.flatten(-2)[..., cells] * sign
        return parts.new_zeros(*parts.shape[:-1], self.n_weights).index_add(-1, weight, parts)

    def project(self, matrix: torch.Tensor) -> torch.Tensor:
        """The nearest tied matrix: the θ that minimises ‖expand(θ) - W‖², the mean over each weight's connections.

        W of shape (..., O, I) gives θ of shape (..., P), and project(expand(θ)) = θ.
        """
        return self.adjoint(matrix) / torch.from_numpy(self.uses).to(matrix)

    def canonical(self) -> "TieMap":
        """The same ties under standard names.

        Connections in order of (out, inp), weights numbered in the order in which they first occur, each first
        occurrence with sign +1. Two maps tie the same connections exactly if their canonical forms have equal arrays.
        """
        order = np.argsort(self.cells, kind="stable")
        weight, place, first = self.weight[order], np.arange(len(order)), np.empty(self.n_weights, dtype=np.int64)
        first[weight[::-1]] = place[::-1]  # written backwards, so that the first occurrence stays
        number = np.cumsum(first[weight] == place)[first] - 1
        sign = None
        if self.sign is not None:
            signs = self.sign[order]
            sign = signs * signs[first][weight]
        arrays = (self.out[order], self.inp[order], number[weight])
        return TieMap(self.n_out, self.n_in, self.n_weights, *arrays, sign)

    def same_ties(self, other: "TieMap") -> bool:
        """Whether both maps tie the same connections, whatever their weights are called."""
        require_kind(other, TieMap, "The ties of a map are compared with those of another TieMap", PatternError)
        ours, theirs = self.canonical(), other.canonical()
        compared = ("n_out", "n_in", "out", "inp", "weight", "signs")
        return all(np.array_equal(getattr(ours, x), getattr(theirs, x)) for x in compared)

    @property
    def signs(self) -> NDArray[np.int8]:
        """The sign of each connection, shape (E,), also where all are +1."""
        return np.ones(self.n_connections, dtype=np.int8) if self.sign is None else self.sign

    def __repr__(self) -> str:
        """Sizes only: the connections can be millions."""
        return f"TieMap({self.n_in} -> {self.n_out}, {self.n_connections} connections, {self.n_weights} weights)"

    def _tensors(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cells, weights and signs as tensors on the device of `like`; the signs in its type."""
        device = like.device
        cells, weight = torch.from_numpy(self.cells), torch.from_numpy(self.weight.copy())
        return cells.to(device), weight.to(device), torch.from_numpy(self.signs.copy()).to(like)


def _read_only(name: str, values: ArrayLike, dtype: type, low: int, high: int) -> NDArray[Any]:
    """A read-only copy of `values`, checked to be a list of whole numbers from low to high."""
    array = integers(f"{name} is a list of integers, one for each connection", values, 1)
    if array.min() < low or array.max() > high:
        raise PatternError(f"{name} runs from {low} to {high}; got {array.min()} to {array.max()}.")
    array = array.astype(dtype)
    array.setflags(write=False)
    return array
