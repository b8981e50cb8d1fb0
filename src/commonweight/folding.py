"""Batch normalisation folded away: in a net that no longer learns, it is a part of the layer before it.

    a = γ / √(variance + ε);   (W x + b - mean) a + β = (a W) x + (b - mean) a + β

with a for each output or channel (Jacob et al. 2018, arXiv:1712.05877, section 3.2). Pooling between the two lets a
through where it takes averages, and where it takes the largest value if every a is positive.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def fold_norms(graph: Any) -> int:
    """Fold what can be folded of a graph of onnx_ir, in place; returns how many normalisations are gone.

    A normalisation stays where the layer before it is none whose weight is in the file, or where that weight, or the
    output of the layer, is used elsewhere, too. A bias that a layer gets by this is called as torch would call it.
    """
    return sum(_fold(graph, node) for node in list(graph) if node.op_type == "BatchNormalization")


def _fold(graph: Any, norm: Any) -> bool:
    if not all(value.is_initializer() for value in norm.inputs[1:]) or norm.outputs[0].is_graph_output():
        return False
    gamma, beta, mean, variance = (value.const_value.numpy().astype(np.float64) for value in norm.inputs[1:])
    epsilon = norm.attributes["epsilon"].as_float() if "epsilon" in norm.attributes else 1e-5
    factor = gamma / np.sqrt(variance + epsilon)
    layer = _before(norm, positive=bool((factor > 0).all()))
    if layer is None:
        return False
    weight = layer.inputs[1]
    old = weight.const_value.numpy()
    bias = layer.inputs[2].const_value.numpy() if len(layer.inputs) > 2 else np.zeros(len(old))
    _set(weight, (old * factor.reshape(-1, *[1] * (old.ndim - 1))).astype(old.dtype))
    shift = ((bias - mean) * factor + beta).astype(old.dtype)
    if len(layer.inputs) > 2:
        _set(layer.inputs[2], shift)
    else:
        _add_bias(graph, layer, shift)
    norm.outputs[0].replace_all_uses_with(norm.inputs[0])
    given = list(norm.inputs[1:])
    graph.remove(norm, safe=True)
    for value in given:
        if not value.uses():
            graph.initializers.pop(value.name, None)
    return True


def _before(norm: Any, *, positive: bool) -> Any:
    """The layer whose outputs are normalised, past pooling, if it can take the normalisation in."""
    value = norm.inputs[0]
    while True:
        node = value.producer()
        if node is None or len(value.uses()) > 1 or value.is_graph_output():
            return None
        if not (node.op_type == "MaxPool" and positive) and not (node.op_type == "AveragePool" and not _pads(node)):
            return node if _is_layer(node) else None
        value = node.inputs[0]


def _pads(pool: Any) -> bool:
    """Whether zeros from outside may be averaged with the rest."""
    given = {name: attribute.value for name, attribute in pool.attributes.items()}
    return any(given.get("pads", ())) or bool(given.get("ceil_mode", 0))


def _is_layer(node: Any) -> bool:
    """Whether a node is a product with a weight, outputs first, and a bias, which it alone uses and the file holds."""
    if node.op_type == "Gemm":
        given = {"transB": 0, **{name: attribute.value for name, attribute in node.attributes.items()}}
        usual = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}  # as torch writes a linear layer
        if any(given.get(name, value) != value for name, value in usual.items()):
            return False
    elif node.op_type != "Conv":
        return False
    return all(value.is_initializer() and len(value.uses()) == 1 for value in node.inputs[1:])


def _set(value: Any, numbers: Numbers) -> None:
    import onnx_ir

    value.const_value = onnx_ir.tensor(numbers, name=value.name)


def _add_bias(graph: Any, layer: Any, shift: Numbers) -> None:
    """Give a layer a bias, under a name that is free."""
    import onnx_ir

    name = layer.inputs[1].name.removesuffix("weight") + "bias"
    while name in graph.initializers:
        name += "_"
    tensor = onnx_ir.tensor(shift, name=name)
    kind, shape = onnx_ir.TensorType(tensor.dtype), onnx_ir.Shape(shift.shape)
    bias = onnx_ir.Value(name=name, shape=shape, type=kind, const_value=tensor)
    graph.initializers[name] = bias
    layer.resize_inputs(3)
    layer.replace_input_with(2, bias)
