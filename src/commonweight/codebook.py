"""`codebook`: each weight of a matrix is one of the few values of its codebook, and a code says which.

`learn` finds the codebooks and the codes that are nearest to a weight.
"""

from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from commonweight.errors import PatternError, require_kind
from commonweight.kernels import kmeans
from commonweight.patterns import Pattern
from commonweight.sizes import WHOLE, integers, whole
from commonweight.tiemap import Index


class Codebook(Pattern):
    """`codebook(codes, k, rows=1)`: W[o, i] = θ[⌊o / rows⌋, codes[o, i]].

    Args:
        codes: shape (O, I), whole numbers below k: which value of its codebook each connection uses.
        k: values in a codebook. Each is used at least once by the rows that have the codebook.
        rows: neighbouring outputs that share a codebook: 1, a codebook for each row; O, one for the whole matrix.

    The free weights are the codebooks, shape (⌈O / rows⌉, k); the codes are part of the pattern. See Han, Mao, Dally
    2015, "Deep Compression" (arXiv:1510.00149).

    >>> pattern = codebook([[0, 1, 1], [1, 0, 0]], k=2)
    >>> pattern.weight_shape, pattern.index().tolist()
    ((2, 2), [[0, 1, 1], [3, 2, 2]])
    """

    def __init__(self, codes: ArrayLike, k: int, rows: int = 1) -> None:
        array = integers("codebook: codes are a matrix of whole numbers, one for each weight", codes, 2)
        k, rows = whole("codebook", k, rows)
        n_out, n_in = array.shape
        if not 1 <= rows <= n_out:
            raise PatternError(f"codebook: 1 to {n_out} of {n_out} rows share a codebook; got {rows}.")
        if array.min() < 0 or array.max() >= k:
            raise PatternError(f"codebook: codes for {k} values lie in 0..{k - 1}; got {array.min()} to {array.max()}.")
        self.codes, self.k, self.rows = array.astype(np.int64), k, rows
        self.codes.setflags(write=False)
        groups = -(-n_out // rows)
        if groups * k > array.size:
            raise PatternError(
                f"codebook: {array.size:,} weights cannot use {groups:,} codebooks of {k:,} values; take fewer values, "
                "or share a codebook among more rows."
            )
        uses = np.bincount(self.index().ravel(), minlength=groups * k)
        if not uses.all():
            group, value = divmod(int(np.flatnonzero(uses == 0)[0]), k)
            raise PatternError(
                f"codebook: no code asks for value {value} of codebook {group}; take fewer than {k} values, or share "
                f"a codebook among more than {rows} rows."
            )
        digest = sha256(np.ascontiguousarray(self.codes).tobytes()).hexdigest()[:12]
        notation = f"codebook(<{n_out} x {n_in} codes, {digest}>, {k}, rows={rows})"
        super().__init__(notation, (n_in,), (n_out,), (groups, k), n_out * n_in)

    def index(self) -> Index:
        groups = np.arange(len(self.codes)) // self.rows
        index: Index = groups[:, None] * self.k + self.codes
        return index


codebook = Codebook


def learn(
    weight: Tensor, k: int, per: Literal["row", "tensor"] | int = "row", importance: Tensor | None = None
) -> tuple[Codebook, Tensor]:
    """The codebooks nearest to a weight: least Σ importance · (W[o, i] - θ[⌊o / rows⌋, codes[o, i]])² over codes and θ.

    Args:
        weight: shape (O, I), or (O, …) as convolutions have it, which counts as (O, product of the rest); finite.
        k: values in a codebook, at most the elements that share it.
        per: "row", a codebook for each row (each output channel of a convolution); "tensor", one for all; or how many
            neighbouring rows share one, 1 … O (the last codebook may have fewer).
        importance: shape of the weight, finite, not negative, and positive for one element of each codebook at least;
            None for 1 each. With the second derivative of the loss to each element, the sum is what replacing the
            weight adds to the loss, to second order.

    Returns:
        The pattern `codebook(codes, k, rows)` and its weights θ, shape pattern.weight_shape, of the type and on the
        device of the weight. In a convolution the pattern says what the kernel's weights are:
        `compose(conv2d(...), weights_of=pattern)`.

    Each codebook is the best that there is, not a local optimum: see `commonweight.kernels.kmeans`. Every value is
    used: where a codebook's elements have fewer than k distinct values (of importance above 0), values repeat, and
    equal elements are shared out among them. θ is rounded to the type of the weight after the search.

    Source: shared weights by k-means, Han, Mao, Dally 2015 (arXiv:1510.00149); second derivatives as importance, Choi,
    El-Khamy, Lee 2017 (arXiv:1612.01543). Deviation: those descend by Lloyd's algorithm.

    Raises:
        PatternError: no such weight, number of values, or way to share rows.
        KernelError: elements that are not finite, or importance that is negative, not finite, or 0 for a codebook.

    Example:
        >>> weight = torch.tensor([[0.9, 1.1, -2.0], [3.0, 5.0, 3.0]])
        >>> pattern, values = learn(weight, k=2)
        >>> pattern.codes.tolist(), values
        ([[1, 1, 0], [0, 1, 0]], tensor([[-2.,  1.],
                [ 3.,  5.]]))
    """
    require_kind(weight, Tensor, "learn takes a weight, a torch.Tensor", PatternError)
    require_kind(importance, Tensor | None, "The importance of a weight's elements is a tensor", PatternError)
    rows = _rows_that_share(weight, k, per)
    matrix = weight.detach().flatten(1)
    if importance is not None and importance.shape != weight.shape:
        raise PatternError(
            f"learn: importance has the shape of the weight, {tuple(weight.shape)}; got {tuple(importance.shape)}."
        )
    of_elements = None if importance is None else importance.detach().flatten(1)
    whole = len(matrix) // rows * rows
    codes, centres = [], []
    for part in (slice(0, whole), slice(whole, None)):  # the last codebook may have fewer rows
        if not len(matrix[part]):
            continue
        height = min(rows, len(matrix[part]))
        shape = (-1, height * matrix.shape[1])
        weights = None if of_elements is None else of_elements[part].reshape(shape)
        found = kmeans(matrix[part].reshape(shape), k, weights)
        codes.append(found.codes.reshape(-1, matrix.shape[1]).cpu())
        centres.append(found.centres.to(weight.dtype))
    return Codebook(torch.cat(codes).numpy(), k, rows), torch.cat(centres)


def _rows_that_share(weight: Tensor, k: int, per: Literal["row", "tensor"] | int) -> int:
    """How many rows share a codebook, if there can be such codebooks."""
    if weight.ndim < 2 or not weight.numel() or not weight.is_floating_point() or weight.is_meta:
        given = f"{weight.dtype} {tuple(weight.shape)} on {weight.device}"
        raise PatternError(f"learn: a weight is a tensor (O, I), or (O, …), of floating numbers; got {given}.")
    n_out, n_in = len(weight), weight[0].numel()
    rows = {"row": 1, "tensor": n_out}.get(per, 0) if isinstance(per, str) else per
    if not isinstance(rows, WHOLE) or not 1 <= rows <= n_out:
        raise PatternError(f"learn: per is 'row', 'tensor', or how many of {n_out:,} rows share; got {per!r}.")
    fewest = (n_out % rows or rows) * n_in
    if not isinstance(k, WHOLE) or not 1 <= k <= fewest:
        raise PatternError(
            f"learn: {k!r} values for a codebook of {fewest:,} elements; take 1 to {fewest:,} values, or let more rows "
            "share a codebook."
        )
    return rows
