"""`reordered`: a pattern whose units stand in another order, or among others that nothing is connected to."""

from hashlib import sha256

import numpy as np
from numpy.typing import ArrayLike

from commonweight.errors import PatternError, require_kind
from commonweight.patterns import Pattern
from commonweight.sizes import integers, whole
from commonweight.tiemap import Index, TieMap


class Reordered(Pattern):
    """`reordered(a, rows, columns)`: W[rows[r], columns[c]] = A[r, c], so that y[rows] = A x[columns].

    Args:
        a: the pattern that these rows and columns have, one after another; A is its matrix.
        rows, columns: different outputs, a.n_out in number, and different inputs, a.n_in in number.
        n_out, n_in: how many outputs and inputs there are; as many as a has when omitted. Those that `rows` and
            `columns` leave out have no connection.

    The free weights are those of a; the orders are part of the pattern. They are what a suggestion of
    `audit(suggest=True)` has as `orders`.

    >>> from commonweight.patterns import circulant
    >>> pattern = reordered(circulant(3), rows=[2, 0, 1], columns=[0, 1, 3], n_in=4)
    >>> pattern.index().tolist()
    [[1, 0, -1, 2], [2, 1, -1, 0], [0, 2, -1, 1]]
    """

    def __init__(
        self, a: Pattern, rows: ArrayLike, columns: ArrayLike, *, n_out: int | None = None, n_in: int | None = None
    ) -> None:
        require_kind(a, Pattern, "reordered takes a pattern, such as dense(2, 3)", PatternError)
        self.a = a
        out, inp = whole("reordered", a.n_out if n_out is None else n_out, a.n_in if n_in is None else n_in)
        self.rows, self.columns = _order("rows", rows, a.n_out, out), _order("columns", columns, a.n_in, inp)
        orders = (f"<{len(order)} numbers, {_digest(order)}>" for order in (self.rows, self.columns))
        notation = f"reordered({a}, {', '.join(orders)}{self.sizes(a, out, inp)})"
        super().__init__(notation, (inp,), (out,), a.weight_shape, a.n_connections)

    @staticmethod
    def sizes(a: Pattern, n_out: int, n_in: int) -> str:
        """How the notation says the number of units, where it is not that of a."""
        given = {"n_out": (n_out, a.n_out), "n_in": (n_in, a.n_in)}
        return "".join(f", {name}={n}" for name, (n, own) in given.items() if n != own)

    def _tiemap(self) -> TieMap:
        a = self.a.tiemap()
        units = (self.rows[a.out], self.columns[a.inp])
        return TieMap(self.n_out, self.n_in, a.n_weights, *units, a.weight, a.sign)


def _order(name: str, given: ArrayLike, count: int, n: int) -> Index:
    """So many different numbers from 0 to n-1, read-only."""
    order = integers(f"reordered: {name} are a list of whole numbers", given, 1).astype(np.int64)
    order.setflags(write=False)
    inside = order.min() >= 0 and order.max() < n
    if not inside or len(order) != count or len(np.unique(order)) < count:
        raise PatternError(
            f"reordered: {name} are {count:,} different numbers from 0 to {n - 1:,}, one for each that the pattern "
            f"has; got {len(order):,}, {len(np.unique(order)):,} of them different, from {order.min()} to "
            f"{order.max()}."
        )
    return order


def _digest(order: Index) -> str:
    return sha256(order.tobytes()).hexdigest()[:12]


reordered = Reordered
