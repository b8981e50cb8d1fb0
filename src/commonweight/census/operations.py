"""How many connections one tensor operation makes with the weights that it takes.

A rule for each kind of operation: products of matrices, convolutions, normalisations, lookups, elementwise operations,
weights placed among signals. What has no rule is not guessed.

Operations bear the names of PyTorch's own lowest common set ("aten::mm"), into which it takes apart all others
(F.linear, einsum, attention, compiled and scripted code) before they reach a device.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


class Operation:
    """One tensor operation: its name, its arguments by name, the tensors that go in, come out and are written to."""

    def __init__(self, function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        schema = function._schema
        self.name: str = schema.name
        self.pointwise = torch.Tag.pointwise in function.tags
        self.arguments: dict[str, Any] = {spec.name: spec.default_value for spec in schema.arguments}
        self.arguments |= {spec.name: value for spec, value in zip(schema.arguments, args, strict=False)} | dict(kwargs)
        self.inputs = _tensors(self.arguments)
        writes = {spec.name for spec in schema.arguments if spec.alias_info is not None and spec.alias_info.is_write}
        self.written = _tensors({name: self.arguments[name] for name in writes})
        self.outputs: list[Tensor] = []

    @property
    def ignores_values(self) -> bool:
        """Whether only the shape of the inputs matters, as in zeros_like and new_zeros."""
        return self.name.endswith("_like") or self.name.startswith("aten::new_")


class Use(NamedTuple):
    """What an operation does with one tensor of weights, in total over the batch.

    Attributes:
        weights: the tensor of weights.
        connections: multiplications with one of them.
        inputs: number of input units that they connect to the outputs; None for a bias, whose input is a constant 1.
        outputs: number of output units.
    """

    weights: Tensor
    connections: int
    inputs: int | None
    outputs: int


class Known(Protocol):
    """What a rule asks about tensors; `Ancestry` answers."""

    def origins(self, tensor: Tensor) -> Mapping[str, Any]: ...
    def is_signal(self, tensor: Tensor) -> bool: ...
    def is_fresh(self, tensor: Tensor) -> bool: ...
    def units(self, tensor: Tensor) -> int: ...
    def real(self, tensor: Tensor) -> list[range]: ...


Rule = Callable[[Operation, Known], list[Use]]

# Products over the last dimension of the first factor: name -> (first factor, second factor, what is added).
PRODUCTS = {
    "aten::mm": ("self", "mat2", None),
    "aten::addmm": ("mat1", "mat2", "self"),
    "aten::_addmm_activation": ("mat1", "mat2", "self"),
    "aten::bmm": ("self", "mat2", None),
    "aten::baddbmm": ("batch1", "batch2", "self"),
    "aten::mv": ("self", "vec", None),
    "aten::addmv": ("mat", "vec", "self"),
    "aten::dot": ("self", "tensor", None),
    "aten::vdot": ("self", "other", None),
    "aten::linear": ("input", "weight", "bias"),
    "aten::_cdist_forward": ("x1", "x2", None),
}
NORMS = {
    *("aten::native_layer_norm", "aten::native_group_norm", "aten::_fused_rms_norm"),
    *("aten::native_batch_norm", "aten::cudnn_batch_norm", "aten::miopen_batch_norm"),
    *("aten::_native_batch_norm_legit", "aten::_native_batch_norm_legit_no_training"),
    *("aten::_batch_norm_with_update", "aten::_batch_norm_no_update"),
}
CODED = "commonweight::codebook_product"
SUMS = {*PRODUCTS, "aten::convolution", "aten::_trilinear", CODED} - {"aten::_cdist_forward"}
"""Operations in which an output is a weighted sum of inputs."""
LOOKUPS = {"aten::embedding", "aten::_embedding_bag", "aten::_embedding_bag_forward_only"}
PLACEMENTS = {"aten::cat", "aten::stack"}
# Elementwise operations in which the weight is not multiplied with the signal but stands beside it, as a bias does.
ADDITIVE = {*(f"aten::{name}" for name in ("add", "add_", "sub", "sub_", "rsub", "where", "maximum", "minimum"))}


def meets_signal(operation: Operation, known: Known, preparing: bool) -> bool:
    """Whether weights meet a signal here. If not, weights are made into other weights (w.t(), b @ a, w * mask).

    Lookups and convolutions always take a signal: a constant in its place, such as positions 0, 1, 2..., is one. So is
    a constant made during the pass that enters a product, such as the zeros a recurrent net starts from, unless the
    model is `preparing` weights in a parametrisation.
    """
    if operation.name == "aten::embedding_renorm_" or not any(map(known.origins, operation.inputs)):
        return False
    if any(map(known.is_signal, operation.inputs)):
        return True
    if operation.name in LOOKUPS or operation.name == "aten::convolution":
        return bool(known.origins(operation.arguments["weight"]))
    if preparing:
        return False
    if operation.name in PRODUCTS:
        return any(known.is_fresh(operation.arguments[factor]) for factor in PRODUCTS[operation.name][:2] if factor)
    return operation.name in NORMS and not known.origins(operation.arguments["input"])


def uses(operation: Operation, known: Known) -> list[Use]:
    """The use of each tensor of weights that the operation takes, as far as a rule knows what it does with it."""
    rule = RULES.get(operation.name) or (_elementwise if operation.pointwise else None)
    return [] if rule is None else [use for use in rule(operation, known) if known.origins(use.weights)]


# A rule states the use of every tensor that could be one of weights; `uses` keeps those that are.


def _bias(weights: Tensor | None, outputs: int) -> list[Use]:
    return [] if weights is None else [Use(weights, outputs, None, outputs)]


def _product(operation: Operation, known: Known) -> list[Use]:
    """y[.., o] = Σ_i x[.., i] w[i, o] (or a distance): for each output as many connections as terms of the sum."""
    first_name, second_name, added_name = PRODUCTS[operation.name]
    first, second = operation.arguments[first_name], operation.arguments[second_name]
    added = operation.arguments[added_name] if added_name else None
    outputs = operation.outputs[0].numel()
    found = [
        Use(weights, outputs * first.shape[-1], known.units(signal), outputs)
        for weights, signal in ((first, second), (second, first))
    ]
    return found + _bias(added, outputs)


def _coded_product(operation: Operation, known: Known) -> list[Use]:
    """y[.., o] = Σ_i x[.., i] values[code[o, i]] + bias[o], by the library's own kernel."""
    x, values, bias = (operation.arguments[name] for name in ("x", "values", "bias"))
    outputs = operation.outputs[0].numel()
    return [Use(values, outputs * x.shape[-1], known.units(x), outputs), *_bias(bias, outputs)]


def _bilinear(operation: Operation, known: Known) -> list[Use]:
    """y_o = Σ_ij a_i w_oij b_j: the products a_i b_j are the inputs."""
    a, weights, b = (operation.arguments[name] for name in ("i1", "i2", "i3"))
    rows = a.shape[0]
    return [Use(weights, rows * weights.numel(), rows * a.shape[1] * b.shape[1], operation.outputs[0].numel())]


def _convolution(operation: Operation, known: Known) -> list[Use]:
    """Every tap that falls on a real input, of every channel, at every position."""
    take = operation.arguments
    x, weights, (y,) = take["input"], take["weight"], operation.outputs
    axes = range(x.ndim - 2)
    taps = 1
    for axis in axes:
        stride, padding, dilation = (_at(take[name], axis) for name in ("stride", "padding", "dilation"))
        real, out = known.real(x)[axis + 2], range(y.shape[axis + 2])
        moving, inside = (real, out) if take["transposed"] else (out, real)
        taps *= real_taps(moving, weights.shape[axis + 2], stride, padding, dilation, inside)
    connections = x.shape[0] * prod(weights.shape[:2]) * taps
    kernels = Use(weights, connections, known.units(x), y.numel())
    return [*_bias(x, x.numel()), kernels, *_bias(take["bias"], y.numel())]


def real_taps(moving: range, kernel: int, stride: int, padding: int, dilation: int, inside: range) -> int:
    """Number of pairs (p in moving, t in range(kernel)) with p · stride - padding + t · dilation in `inside`.

    >>> real_taps(range(5), kernel=3, stride=1, padding=1, dilation=1, inside=range(5))
    13
    """
    total = 0
    for shift in range(-padding, kernel * dilation - padding, dilation):
        first = max(moving.start, -((shift - inside.start) // stride))
        stop = min(moving.stop, -((shift - inside.stop) // stride))
        total += max(0, stop - first)
    return total


def _at(sizes: list[int], axis: int) -> int:
    """PyTorch also takes one number for all axes."""
    return sizes[axis] if len(sizes) > 1 else sizes[0]


def _norm(operation: Operation, known: Known) -> list[Use]:
    """y = γ x̂ + β: one multiplication and one bias for each element."""
    outputs, gain = operation.outputs[0].numel(), operation.arguments["weight"]
    scale = [] if gain is None else [Use(gain, outputs, known.units(operation.arguments["input"]), outputs)]
    return scale + _bias(operation.arguments.get("bias"), outputs)


def _lookup(operation: Operation, known: Known) -> list[Use]:
    """A row for each index: a one-hot input times the table, of which each output uses one connection."""
    table, y = operation.inputs[0], operation.outputs[0]
    index = _tensors([operation.arguments.get(name) for name in ("indices", "index")])
    if any(tensor.dtype in (torch.bool, torch.uint8) for tensor in index):
        return []
    positions = max(tensor.numel() for tensor in index)
    if operation.name in LOOKUPS - {"aten::embedding"}:
        return [Use(table, positions * table.shape[1], y.shape[0] * table.shape[0], y.numel())]
    entries = table.numel() * positions // max(y.numel(), 1)
    return [Use(table, y.numel(), positions * entries, y.numel())]


def _placement(operation: Operation, known: Known) -> list[Use]:
    """Weights that become units beside others, such as a class token: connections to a constant 1."""
    return [use for tensor in operation.arguments["tensors"] for use in _bias(tensor, tensor.numel())]


def _copy(operation: Operation, known: Known) -> list[Use]:
    return _bias(operation.arguments["src"], operation.arguments["self"].numel())


def _elementwise(operation: Operation, known: Known) -> list[Use]:
    """Each output uses one element of each tensor of weights."""
    outputs = operation.outputs[0].numel()
    signals = [known.units(tensor) for tensor in operation.inputs if not known.origins(tensor)]
    inputs = None if operation.name in ADDITIVE else max(signals)
    return [Use(tensor, outputs, inputs, outputs) for tensor in operation.inputs]


RULES: dict[str, Rule] = {
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(NORMS, _norm),
    **dict.fromkeys(LOOKUPS | {"aten::index", "aten::index_select"}, _lookup),
    **dict.fromkeys(PLACEMENTS, _placement),
    **dict.fromkeys(ADDITIVE | {"aten::_prelu_kernel"}, _elementwise),
    CODED: _coded_product,
    "aten::_trilinear": _bilinear,
    "aten::convolution": _convolution,
    "aten::copy_": _copy,
}


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
