"""From a pattern to the operator that a specialist would choose: a table of rules, tried in order.

Each rule looks at a simplified pattern and plans an operator, or passes. The last one, `gather`, takes any tie map.
Deleting this file may change speed, never an answer: every operator is tested against `reference`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor

from commonweight.codebook import Codebook
from commonweight.errors import PatternError, require_kind
from commonweight.hashing import Hashed
from commonweight.operators import coded, nested, products, windows
from commonweight.operators.plan import Plan, Run, fit
from commonweight.operators.sliding import Sliding, sliding
from commonweight.operators.spread import Spread, numbers
from commonweight.patterns import (
    Block,
    Circulant,
    Compose,
    Copies,
    Dense,
    Diagonal,
    Kron,
    Pattern,
    Single,
    Symmetric,
    Toeplitz,
    Transpose,
)
from commonweight.patterns import bias as bias_pattern
from commonweight.reordering import Reordered

# Measured, see docs/lowering.md: how many multiplications of a dense operator cost as much as one gathered connection,
GATHER_COST = 48
# how many matrix cells cost as much as one point of a Fourier transform,
FOURIER_COST = 160
# from how many units on a transform pays between two gathers, where a matrix would need none,
REORDERED_UNITS = 256
# from how many connections on a hashed matrix is written out by the kernels,
KERNEL_SIZE = 1 << 14
# and how much faster a plain matrix multiplies than operators that are vectorised over connections.
CONNECTED_COST = 8


@dataclass(frozen=True)
class Operator:
    """A way to compute y = W x for one pattern.

    Attributes:
        pattern: what it computes.
        bias: the kind of bias that it adds.
        rule: the name of the rule that chose it.
        operator: what does the work, by its full name.
        multiplications: for one sample, those with zeros included.
        bytes: weights and index tables held, with float32 weights.
        run: the same as calling the operator, without a detour.
    """

    pattern: Pattern
    bias: str
    rule: str
    operator: str
    multiplications: int
    bytes: int
    run: Run

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (B, *in_shape), weight of the pattern's shape, bias of its natural shape -> y (B, *out_shape)."""
        return self.run(x, weight, bias)

    def __reduce__(self) -> tuple[Callable[..., "Operator"], tuple[Pattern, str]]:
        """Copied as its notation: tables and closures are derived."""
        return lower, (self.pattern, self.bias)


def lower(pattern: Pattern, bias: str = "none") -> Operator:
    """The operator for a pattern.

    Args:
        pattern: any pattern.
        bias: the kind of bias that will be added: "none", "channel" or "unit".

    Raises:
        PatternError: no pattern, or no such kind of bias.

    Example:
        >>> from commonweight.patterns import conv2d
        >>> operator = lower(conv2d((1, 28, 28), 6, kernel=5))
        >>> operator.rule, operator.operator, operator.multiplications
        ('convolution', 'torch.nn.functional.conv2d', 86400)
    """
    require_kind(pattern, Pattern, "lower takes a pattern, such as patterns.dense(2, 3)", PatternError)
    require_kind(bias, str, "bias is 'none', 'unit' (one an output) or 'channel' (one a channel)", PatternError)
    operator = _living.get((pattern, bias))
    if operator is None:
        operator = _living[pattern, bias] = _planned(pattern, bias)
    return operator


# Layers of one pattern hold one operator, with its tables once; it goes with the last of them.
_living: WeakValueDictionary[tuple[Pattern, str], Operator] = WeakValueDictionary()


def _planned(pattern: Pattern, bias: str) -> Operator:
    bias_shape = None
    if bias_pattern(bias, pattern.out_shape) is not None:
        bias_shape = pattern.out_shape[:1] if bias == "channel" else pattern.out_shape
    rule, plan = _choose(pattern)
    fitted = fit(plan, pattern, bias_shape)
    n_bytes = 4 * pattern.n_weights + fitted.tables
    return Operator(pattern, bias, rule, plan.operator, plan.multiplications, n_bytes, fitted.run)


def explain(pattern: Pattern, bias: str = "none") -> str:
    """What `lower` chooses for a pattern, what that costs, and the pattern's counts, in aligned lines.

    >>> from commonweight.patterns import conv2d
    >>> print(explain(conv2d((1, 28, 28), 6, kernel=5)))
    pattern          conv2d((1, 28, 28), 6, kernel=5)
    rule             convolution: one window, one kernel -> torch's convolution
    operator         torch.nn.functional.conv2d
    multiplications  86,400 a sample (gather: 86,400; fully connected: 2,709,504)
    bytes            600
    fully connected  2,709,504
    connections      86,400
    weights          150
    """
    chosen = lower(pattern, bias)
    meaning = next(rule.meaning for rule in RULES if rule.name == chosen.rule)
    added = bias_pattern(bias, pattern.out_shape)
    lines = {
        "pattern": pattern.notation,
        "rule": f"{chosen.rule}: {meaning}",
        "operator": chosen.operator,
        "multiplications": f"{chosen.multiplications:,} a sample (gather: {pattern.n_connections:,}; "
        f"fully connected: {pattern.n_full:,})",
        "bytes": f"{chosen.bytes:,}",
        "fully connected": f"{pattern.n_full:,}",
        "connections": f"{pattern.n_connections:,}",
        "weights": f"{pattern.n_weights:,}",
    }
    if added is not None:
        lines["bias"] = f"{bias}: {added.n_weights:,} weights, {added.n_connections:,} connections"
    return "\n".join(f"{key:<17}{value}" for key, value in lines.items())


def simplify(pattern: Pattern) -> Pattern:
    """The same units, connections and weights in the same order, written in a simpler way; shapes may differ."""
    if isinstance(pattern, Transpose):
        return _simplify_transpose(pattern)
    if isinstance(pattern, Copies):  # copies(1, a) -> a
        return simplify(pattern.a) if pattern.n == 1 else Copies(pattern.n, simplify(pattern.a))
    if isinstance(pattern, Block):  # block(a) -> a
        return simplify(pattern.parts[0]) if len(pattern.parts) == 1 else Block(*map(simplify, pattern.parts))
    if isinstance(pattern, Compose):  # compose(a, weights_of=dense) -> a
        a = simplify(pattern.a)
        if isinstance(pattern.b, Dense):
            return a
        return pattern if a is pattern.a else Compose(a, weights_of=pattern.b)
    if isinstance(pattern, Reordered):
        return _simplify_reordered(pattern)
    if isinstance(pattern, Kron):
        a, b = simplify(pattern.a), simplify(pattern.b)
        if a.n_full == 1 or b.n_full == 1:  # kron(1×1, b) -> b, kron(a, 1×1) -> a
            return b if a.n_full == 1 else a
        if isinstance(a, Copies):  # kron(copies(n, a), b) -> copies(n, kron(a, b))
            return simplify(Copies(a.n, Kron(a.a, b)))
        if isinstance(a, Block):  # kron(block(a, c), b) -> block(kron(a, b), kron(c, b))
            return simplify(Block(*(Kron(part, b) for part in a.parts)))
        if isinstance(a, Diagonal):  # kron(diagonal(n), b) -> block(b, b, ...), n times
            return Block(*[b] * a.n_in)
        return Kron(a, b)
    return pattern


def _simplify_transpose(pattern: Transpose) -> Pattern:
    a = pattern.a
    if isinstance(a, Transpose):  # aᵀᵀ -> a
        return simplify(a.a)
    if isinstance(a, Diagonal | Symmetric):  # aᵀ -> a
        return a
    if isinstance(a, Single):
        return Single(a.n_out, a.n_in)
    if isinstance(a, Kron):  # kron(a, b)ᵀ -> kron(aᵀ, bᵀ), and likewise for the others
        return simplify(Kron(Transpose(a.a), Transpose(a.b)))
    if isinstance(a, Copies):
        return simplify(Copies(a.n, Transpose(a.a)))
    if isinstance(a, Block):
        return simplify(Block(*map(Transpose, a.parts)))
    if isinstance(a, Compose):
        return simplify(Compose(Transpose(a.a), weights_of=a.b))
    if isinstance(a, Reordered):
        return simplify(Reordered(Transpose(a.a), a.columns, a.rows, n_out=a.n_in, n_in=a.n_out))
    return pattern


def _simplify_reordered(pattern: Reordered) -> Pattern:
    a, rows, columns = simplify(pattern.a), pattern.rows, pattern.columns
    if isinstance(a, Reordered):  # an order of an order -> one
        rows, columns = rows[a.rows], columns[a.columns]
        a = a.a
    if np.array_equal(rows, np.arange(pattern.n_out)) and np.array_equal(columns, np.arange(pattern.n_in)):
        return a  # nothing moves
    return Reordered(a, rows, columns, n_out=pattern.n_out, n_in=pattern.n_in)


class _Subject:
    """A simplified pattern that the rules look at; what is costly to find is found once, when a rule asks for it."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.bare = pattern.a if isinstance(pattern, Transpose) else pattern
        self.transposed = isinstance(pattern, Transpose)

    @cached_property
    def window(self) -> Sliding | None:
        """The pattern as one sliding window, unless its kernel would be almost empty."""
        window = sliding(self.pattern)
        return window if window and self.affordable(window.multiplications) else None

    def affordable(self, multiplications: int) -> bool:
        """Whether so many multiplications of a dense operator are cheaper than gathering the connections."""
        return multiplications <= GATHER_COST * self.pattern.n_connections


def _choose(pattern: Pattern) -> tuple[str, Plan]:
    """The name of the first rule that takes the pattern, and its plan."""
    subject = _Subject(simplify(pattern))
    plans = ((rule.name, rule.plan(subject)) for rule in RULES)
    return next((name, plan) for name, plan in plans if plan is not None)


def _part(pattern: Pattern) -> Plan:
    """The plan for a part of a pattern, in the part's natural shapes."""
    return fit(_choose(pattern)[1], pattern)


def _linear(it: _Subject) -> Plan | None:
    return products.linear(Spread(it.bare.weight_shape), it.transposed) if isinstance(it.bare, Dense) else None


def _scale(it: _Subject) -> Plan | None:
    return products.scale(it.pattern.n_in) if isinstance(it.pattern, Diagonal) else None


def _sum(it: _Subject) -> Plan | None:
    return products.total(it.pattern.n_in, it.pattern.n_out) if isinstance(it.pattern, Single) else None


def _fourier(it: _Subject) -> Plan | None:
    circular, (n_out, n_in) = isinstance(it.bare, Circulant), (it.bare.n_out, it.bare.n_in)
    if not isinstance(it.bare, Circulant | Toeplitz):
        return None
    if n_in * n_out < FOURIER_COST * products.fourier_length(n_in, n_out, circular):
        return None
    return products.fourier(n_in, n_out, circular=circular, transposed=it.transposed)


def _copies(it: _Subject) -> Plan | None:
    return nested.folded(it.pattern.n, _part(it.pattern.a)) if isinstance(it.pattern, Copies) else None


def _covering(it: _Subject) -> Plan | None:
    if it.window is None or it.window.groups > 1:
        return None
    covers = all(a.positions == 1 and (a.left, a.span, a.taps) == (0, a.size, a.size) for a in it.window.axes)
    return windows.covering(it.window) if covers else None


def _convolution(it: _Subject) -> Plan | None:
    if it.window is None or len(it.window.axes) > 3 or any(axis.residues > 1 for axis in it.window.axes):
        return None
    return (windows.transposed_convolution if it.window.transposed else windows.convolution)(it.window)


def _windows(it: _Subject) -> Plan | None:
    return windows.windows(it.window) if it.window else None


def _batched(it: _Subject) -> Plan | None:
    if not isinstance(it.pattern, Block) or not it.pattern.is_stack:
        return None
    n, part = len(it.pattern.parts), it.pattern.parts[0]
    name, plan = _choose(part)
    if name in ("linear", "matrix"):
        return products.batched(n, numbers(part), part.n_weights)
    return nested.stacked(n, fit(plan, part))


def _side_by_side(it: _Subject) -> Plan | None:
    return nested.side_by_side([_part(part) for part in it.pattern.parts]) if isinstance(it.pattern, Block) else None


def _composed(it: _Subject) -> Plan | None:
    if not isinstance(it.pattern, Compose):
        return None
    a, b = it.pattern.a, it.pattern.b
    name, plan = _choose(a)
    if name in ("linear", "matrix", "gather"):  # one gather does for both
        return None
    return fit(plan, a)._replace(spread=Spread(a.weight_shape, numbers(b)))


def _swapped(it: _Subject) -> Plan | None:
    if not isinstance(it.pattern, Kron):
        return None
    a, b = it.pattern.a, it.pattern.b
    turned = Kron(b, a)
    plan = _convolution(_Subject(simplify(turned)))
    return nested.swapped(a, b, fit(plan, turned)) if plan else None


def _connected(it: _Subject) -> Plan | None:
    if not isinstance(it.pattern, Kron):
        return None
    a, part = it.pattern.a, _part(it.pattern.b)
    cost = CONNECTED_COST * a.n_connections * part.multiplications
    cheaper = cost < it.pattern.n_full and it.affordable(cost)
    return nested.connected(a.tiemap(), part) if cheaper else None


def _reordered(it: _Subject) -> Plan | None:
    if not isinstance(it.pattern, Reordered):
        return None
    name, plan = _choose(it.pattern.a)
    small = name == "fourier" and min(it.pattern.a.n_out, it.pattern.a.n_in) < REORDERED_UNITS
    if small or name in ("matrix", "gather"):  # whose own table says the order, too
        return None
    return nested.reordered(it.pattern, fit(plan, it.pattern.a))


def _codebook(it: _Subject) -> Plan | None:
    if not isinstance(it.pattern, Codebook) or it.pattern.k > 256:
        return None
    n_rows, n_codebooks = len(it.pattern.codes), it.pattern.weight_shape[0]
    if it.pattern.rows != -(-n_rows // n_codebooks):  # the kernel deals rows out evenly: 6 of 10 would be 5 and 5
        return None
    return coded.codebook(it.pattern)


def _hashed(it: _Subject) -> Plan | None:
    if not isinstance(it.bare, Hashed) or it.bare.n_full < KERNEL_SIZE:
        return None
    return coded.hashed((it.bare.n_out, it.bare.n_in), numbers(it.bare), it.bare.n_weights, it.transposed)


def _matrix(it: _Subject) -> Plan | None:
    if not it.affordable(it.pattern.n_full):
        return None
    return products.linear(Spread((it.pattern.n_out, it.pattern.n_in), numbers(it.pattern)))


def _gather(it: _Subject) -> Plan | None:
    return products.gather(it.pattern.tiemap())


@dataclass(frozen=True)
class Rule:
    """A name, what it takes and what that becomes, and the function that plans it or passes."""

    name: str
    meaning: str
    plan: Callable[[_Subject], Plan | None]


RULES = (
    Rule("linear", "dense or its transpose -> one product", _linear),
    Rule("scale", "diagonal -> elementwise product", _scale),
    Rule("sum", "single -> sum, times the weight", _sum),
    Rule("fourier", "large circulant or toeplitz -> product of spectra", _fourier),
    Rule("copies", "copies(n, a) -> a's operator, on n times the batch", _copies),
    Rule("covering", "one window, one position -> one product", _covering),
    Rule("convolution", "one window, one kernel -> torch's convolution", _convolution),
    Rule(
        "windows",
        "one window, a kernel for each position or residue -> gathered windows, one batched product",
        _windows,
    ),
    Rule("batched", "block of equal parts -> one batched product, or a's operator vectorised", _batched),
    Rule("side by side", "block of unequal parts -> each part's operator on its slice", _side_by_side),
    Rule("composed", "compose(a, weights_of=b) -> a's operator, on weights gathered by b", _composed),
    Rule("swapped", "kron(convolution, b) -> kron(b, convolution), units turned around", _swapped),
    Rule("connected", "kron(a, cheap b) -> b's operator for each connection of a, summed", _connected),
    Rule("reordered", "reordered(a, ...) -> a's operator, units gathered before and after", _reordered),
    Rule("codebook", "each weight a value of its row's codebook -> a product with packed codes", _codebook),
    Rule(
        "hashed",
        "large and hashed -> a product with weights that a kernel looks up, or writes out for one product",
        _hashed,
    ),
    Rule("matrix", "connections not too sparse -> the matrix, gathered, and one product", _matrix),
    Rule("gather", "anything -> each connection by itself", _gather),
)
