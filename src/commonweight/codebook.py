"""`codebook`: each weight of a matrix is one of the few values of its codebook, and a code says which."""

from hashlib import sha256

import numpy as np
from numpy.typing import ArrayLike

from commonweight.errors import PatternError
from commonweight.patterns import Pattern
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
        array = np.array(codes)
        if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.integer):
            given = f"{array.dtype} of shape {array.shape}"
            raise PatternError(f"codebook: codes are a matrix of whole numbers, one for each weight; got {given}.")
        n_out, n_in = array.shape
        if not 1 <= rows <= n_out:
            raise PatternError(f"codebook: 1 to {n_out} of {n_out} rows share a codebook; got {rows}.")
        if array.min() < 0 or array.max() >= k:
            raise PatternError(f"codebook: codes for {k} values lie in 0..{k - 1}; got {array.min()} to {array.max()}.")
        self.codes, self.k, self.rows = array.astype(np.int64), k, rows
        self.codes.setflags(write=False)
        groups = -(-n_out // rows)
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
