"""Plans made of the plan of a part: `copies`, `block`, `kron` and `reordered` of anything."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight.operators.plan import Plan
from commonweight.operators.spread import Spread, Table, pairs
from commonweight.patterns import Pattern
from commonweight.reordering import Reordered
from commonweight.tiemap import TieMap


def folded(n: int, part: Plan) -> Plan:
    """n uses of the same weights: n times the batch. (torch's linear product takes more leading axes by itself.)"""

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch = x.shape[0]
        return part.run(x.reshape(batch * n, *part.in_shape), weight, None).reshape(batch, n, *part.out_shape)

    return part._replace(
        run=part.run if part.run is F.linear else run,
        in_shape=(n, *part.in_shape),
        out_shape=(n, *part.out_shape),
        multiplications=n * part.multiplications,
    )


def stacked(n: int, part: Plan) -> Plan:
    """n parts of one kind, each with weights of its own: the operator of one, vectorised over all."""
    each = _vectorised(part)
    return part._replace(
        run=lambda x, weight, bias: each(x, weight),
        in_shape=(n, *part.in_shape),
        out_shape=(n, *part.out_shape),
        spread=Spread((n, *part.spread.shape)),
        multiplications=n * part.multiplications,
    )


def _vectorised(part: Plan) -> Callable[[Tensor, Tensor], Tensor]:
    """x (B, n, ...) and weight (n, ...) -> y (B, n, ...): the operator of a part, for n of its kind at once."""
    each = torch.func.vmap(lambda x, weight: part.run(x, weight, None), in_dims=(1, 0), out_dims=1)
    # Autocast does not reach into vmap: there, x can come in a lower precision than the weight.
    return lambda x, weight: each(x, weight.to(x.dtype))


def side_by_side(parts: Sequence[Plan]) -> Plan:
    """Parts of different kinds: each on its slice."""
    n_in, n_out, n_weights = (
        [prod(shape) for shape in shapes]
        for shapes in zip(*((part.in_shape, part.out_shape, part.spread.shape) for part in parts), strict=True)
    )

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch, outputs = x.shape[0], []
        for part, x_part, theta in zip(parts, torch.split(x, n_in, 1), torch.split(weight, n_weights), strict=True):
            y = part.run(x_part.reshape(batch, *part.in_shape), theta.reshape(part.spread.shape), None)
            outputs.append(y.reshape(batch, prod(part.out_shape)))
        return torch.cat(outputs, 1)

    operators = " + ".join(dict.fromkeys(part.operator for part in parts))
    multiplications, tables = sum(p.multiplications for p in parts), sum(p.tables for p in parts)
    return Plan(operators, run, (sum(n_in),), (sum(n_out),), Spread((sum(n_weights),)), multiplications, tables)


def connected(a: TieMap, part: Plan) -> Plan:
    """`kron(a, part)`: the operator of the part for each connection of a, vectorised, and summed into a's outputs."""
    inp, out = Table(a.inp), Table(a.out)
    each = _vectorised(part)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        terms = each(x.index_select(1, inp.beside(x)), weight)
        return terms.new_zeros(x.shape[0], a.n_out, *part.out_shape).index_add(1, out.beside(x), terms)

    n_weights = prod(part.spread.shape)
    numbered = pairs((a.signs * (a.weight + 1))[:, None], np.arange(1, n_weights + 1), n_weights)
    return part._replace(
        run=run,
        in_shape=(a.n_in, *part.in_shape),
        out_shape=(a.n_out, *part.out_shape),
        spread=Spread((a.n_connections, *part.spread.shape), numbered),
        multiplications=a.n_connections * part.multiplications,
        tables=part.tables + inp.bytes + out.bytes,
    )


def swapped(a: Pattern, b: Pattern, part: Plan) -> Plan:
    """`kron(a, b)` by the plan of `kron(b, a)`: the units of both are turned around, before and after."""

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch, theta = x.shape[0], weight.t().reshape(part.spread.shape).contiguous()  # torch's float64 needs that
        y = part.run(x.transpose(1, 2).reshape(batch, *part.in_shape), theta, None)
        return y.reshape(batch, b.n_out, a.n_out).transpose(1, 2)

    shapes = (a.n_in, b.n_in), (a.n_out, b.n_out)
    return part._replace(run=run, in_shape=shapes[0], out_shape=shapes[1], spread=Spread((a.n_weights, b.n_weights)))


def reordered(pattern: Reordered, part: Plan) -> Plan:
    """The operator of the part, between a gather of the inputs that it takes and one of the outputs that it gives."""
    place = np.full(pattern.n_out, len(pattern.rows))  # of an output without connections: a 0 behind those of the part
    place[pattern.rows] = np.arange(len(pattern.rows))
    inp, out = Table(pattern.columns), Table(place)
    empty = int(pattern.n_out > len(pattern.rows))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        batch = x.shape[0]
        y = part.run(x.index_select(1, inp.beside(x)).reshape(batch, *part.in_shape), weight, None)
        y = y.reshape(batch, len(pattern.rows))
        return (F.pad(y, (0, 1)) if empty else y).index_select(1, out.beside(y))

    return part._replace(
        run=run,
        in_shape=pattern.in_shape,
        out_shape=pattern.out_shape,
        tables=part.tables + inp.bytes + out.bytes,
        fuses_bias=False,
    )
