"""Count the weights and connections of any `nn.Module` by watching one real forward pass.

A weight is one trainable number: an element of an `nn.Parameter` with `requires_grad`. A connection is one
multiplication that uses a weight, or would if the layer's numbers were not fixed; a bias is a connection to a constant
1. This is how LeCun, Bottou, Bengio and Haffner (1998) count LeNet-5: C1 has 156 weights and 122,304 connections.

What counts as a connection, for one sample:
    product (linear, attention projections, x @ w)    for each output as many as terms in its sum
    convolution                                       every tap that falls on a real input, not on zero padding, be it
                                                      its own or put there right before
    recurrent net, at each time step                  every weight of the cell once
    embedding, as a product with a one-hot input      one for each element looked up
    batch and layer norm, PReLU, scale, bias          one for each element and parameter
    the score products of attention                   none: they use no weight

What counts as fully connected: every input unit of the operation to every output unit, with one bias for each output
where there is a bias. A linear map used at L positions is thus compared with an (L · in) x (L · out) matrix, an
embedding with an (L · V) x (L · E) one. Calls, and the time steps of recurrent nets, are layers of their own in the
unrolled net: each is connected in full to itself, and they add up.

A module can say in closed form how it is connected, as `commonweight.Tied` does: with an attribute `pattern` that has
the whole numbers n_in, n_out, n_connections and n_weights, and an attribute `bias_pattern` (the same, or None). Each
call then counts n_connections (and those of the bias) for every n_in values that come in, and nothing inside its
forward is looked at, except which parameters it uses. What it computes with fixed numbers, such as the RBF output of
LeNet-5, has connections and no weights.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from fractions import Fraction
from itertools import chain
from math import ceil, floor
from operator import add
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

from commonweight.census.origins import Ancestry
from commonweight.census.preserving import preserved
from commonweight.census.result import Census, Layer, ParameterCount, ParameterUse
from commonweight.census.watching import Watch
from commonweight.errors import CensusError

__all__ = ["Census", "Layer", "ParameterCount", "ParameterUse", "count"]


def count(model: nn.Module, *example_inputs: Any, batch_dim: int | None = 0, **kwargs: Any) -> Census:
    """Count a model's weights, connections and uses, layer by layer, by watching `model(*example_inputs, **kwargs)`.

    The pass runs in evaluation mode and without gradients; afterwards training modes, buffers, parameters and random
    generators are as they were. It also runs on the meta device, where a model of any size takes no memory.

    Args:
        model: any module, of this library or not.
        example_inputs, kwargs: what the model's forward takes. One sample is enough; of a batch the mean is counted.
            What does not depend on the inputs (an embedding of positions 0, 1, 2...) counts once, not once a batch.
        batch_dim: the dimension of the samples in the first input tensor: 0 by default, 1 for recurrent nets with
            batch_first=False, None when the inputs are one sample without such a dimension.

    Raises:
        CensusError: no module, no example input, an empty batch, lazy parameters that have no shape yet, or a forward
            pass that fails on these inputs.

    Example:
        >>> import torch
        >>> census = count(nn.Sequential(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)), torch.zeros(1, 1, 32, 32))
        >>> census.full, census.connections, census.weights
        (4821600, 122304, 156)
        >>> print(census)
        layer  kind    fully connected  → locally connected  → shared  uses
        -------------------------------------------------------------------
        0      Conv2d        4,821,600              122,304       156     1
        -------------------------------------------------------------------
        sum                  4,821,600              122,304       156
        A weight has 784.0 connections on average, all of them in its own layer.
    """
    _check_model(model)
    tensors, packed = _input_tensors((example_inputs, kwargs))
    batch = packed or _batch_size(model, tensors, batch_dim)
    parameters = dict(model.named_parameters())
    names = {module: name or type(model).__name__ for name, module in model.named_modules()}
    ancestry = Ancestry(parameters, batch, batch_dim)
    for tensor in tensors:
        ancestry.add_signal(tensor, bool(packed) or batch in tensor.shape)
    with preserved(model) as state:
        watch = Watch(names, ancestry, batch, batch_dim, state)
        try:
            for module in names:
                module.training = False
            with watch.watching():
                model(*example_inputs, **kwargs)
        except Exception as error:
            came = ", ".join(f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}" for tensor in tensors)
            raise CensusError(
                f"The forward pass of {type(model).__name__} failed on inputs of shape {came}: "
                f"{type(error).__name__}: {str(error).rstrip('.')}. Give inputs that model(...) takes."
            ) from error
    return _census(model, names, watch)


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise CensusError(f"count takes a torch.nn.Module and inputs for it; got {type(model).__name__} as the model.")
    lazy = [name for name, value in model.named_parameters() if isinstance(value, UninitializedParameter)]
    if lazy:
        raise CensusError(
            f"{type(model).__name__} has {len(lazy)} lazy parameters, the first is {lazy[0]}, that have no shape yet: "
            f"call the model once on its inputs, then count."
        )


def _batch_size(model: nn.Module, tensors: list[Tensor], batch_dim: int | None) -> int:
    if not tensors:
        raise CensusError(
            f"count watches a real forward pass and got no input tensor: give what {type(model).__name__} takes, "
            f"for instance count(model, torch.zeros(1, 3, 32, 32))."
        )
    shape = tuple(tensors[0].shape)
    if batch_dim is None:
        return 1
    if not isinstance(batch_dim, int) or not -len(shape) <= batch_dim < len(shape):
        raise CensusError(
            f"The first input has shape {shape} and no dimension {batch_dim!r} for the samples: give a batch, or "
            f"batch_dim=None for a single sample."
        )
    if shape[batch_dim] == 0:
        raise CensusError(f"The first input has shape {shape}, a batch of no samples: give at least one.")
    return shape[batch_dim]


def _input_tensors(values: object) -> tuple[list[Tensor], int]:
    """All tensors in nested inputs, and the batch size of the first packed sequence among them (0 if there is none)."""
    tensors: list[Tensor] = []
    packed = 0
    for leaf in tree_leaves(values, is_leaf=lambda value: isinstance(value, PackedSequence)):
        if isinstance(leaf, Tensor):
            tensors.append(leaf)
        elif isinstance(leaf, PackedSequence):
            tensors.append(leaf.data)
            packed = packed or int(leaf.batch_sizes[0])
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            inside, inside_packed = _input_tensors(vars(leaf))
            tensors += inside
            packed = packed or inside_packed
    return tensors, packed


@dataclass
class _Sum:
    """What a layer or a parameter adds up to."""

    connections: Fraction = Fraction(0)
    full: Fraction = Fraction(0)
    uses: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    summed: list[Fraction] = field(default_factory=lambda: [Fraction(0)] * 3)

    def fan(self, side: int) -> float:
        """Connections in weighted sums, for each of their inputs (side 0) or outputs (side 1)."""
        return float(self.summed[2] / self.summed[side]) if self.summed[side] else 0.0


def _census(model: nn.Module, names: dict[nn.Module, str], watch: Watch) -> Census:
    """Add up what was seen: by layer, where uses are by parameter, and by parameter, where uses are by layer."""
    parameters = dict(model.named_parameters())
    by_layer: dict[str, _Sum] = defaultdict(_Sum)
    by_parameter: dict[str, _Sum] = {name: _Sum() for name in parameters}
    owner: dict[str, str] = {}
    for record in watch.records:
        layer = by_layer[record.layer]
        layer.connections += record.connections
        layer.full += record.full
        for name, (share, cover) in record.origins.items():
            by_parameter[name].connections += record.connections * share
            if any(record.joined):
                shares = [share * number for number in (*record.joined, record.connections)]
                by_parameter[name].summed = [*map(add, by_parameter[name].summed, shares)]
            by_parameter[name].uses[record.layer] += cover * record.times
            layer.uses[name] += cover * record.times
            owner.setdefault(name, record.layer)
    for name in parameters:
        if name not in owner:
            owner[name] = _home(model, names, name)
            by_layer[owner[name]].uses[name] += 0
    kinds = {name: type(module).__name__ for module, name in names.items()}
    layers = tuple(_layer(name, kinds[name], total, parameters, owner, watch) for name, total in by_layer.items())
    return Census(
        weights=sum(map(_trainable, parameters.values())),
        connections=sum(layer.connections for layer in layers),
        full=sum(layer.full for layer in layers),
        layers=layers,
        parameters=_parameters(model, by_parameter),
        notes=(*watch.notes, *_remarks(parameters, watch, by_layer)),
    )


def _home(model: nn.Module, names: dict[nn.Module, str], parameter: str) -> str:
    """The module that holds a parameter."""
    return names[model.get_submodule(parameter.rpartition(".")[0])]


def _trainable(parameter: nn.Parameter) -> int:
    return parameter.numel() if parameter.requires_grad else 0


def _whole(number: Fraction) -> int:
    return floor(number + Fraction(1, 2))


def _layer(
    name: str, kind: str, total: _Sum, parameters: dict[str, nn.Parameter], owner: dict[str, str], watch: Watch
) -> Layer:
    shared = tuple(used for used in total.uses if owner[used] != name)
    in_shape, out_shape = watch.shapes.get(name, (None, None))
    return Layer(
        name=name,
        kind=kind,
        weights=sum(_trainable(parameters[used]) for used in total.uses if used not in shared),
        connections=_whole(total.connections),
        full=_whole(total.full),
        uses=max([watch.steps.get(name, 0), *map(ceil, total.uses.values())]),
        in_shape=in_shape,
        out_shape=out_shape,
        parameters=tuple(total.uses),
        shared=shared,
    )


def _parameters(model: nn.Module, totals: dict[str, _Sum]) -> tuple[ParameterCount, ...]:
    aliases: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(parameter, []).append(name)
    return tuple(
        ParameterCount(
            name=names[0],
            aliases=tuple(names[1:]),
            shape=tuple(parameter.shape),
            weights=_trainable(parameter),
            connections=_whole(totals[names[0]].connections),
            uses=tuple(ParameterUse(layer, ceil(n)) for layer, n in totals[names[0]].uses.items()),
            fan_in=totals[names[0]].fan(1),
            fan_out=totals[names[0]].fan(0),
        )
        for parameter, names in aliases.items()
    )


def _remarks(parameters: dict[str, nn.Parameter], watch: Watch, layers: dict[str, _Sum]) -> Iterator[str]:
    """What a reader of the numbers must know."""
    frozen = [parameter.numel() for parameter in parameters.values() if not parameter.requires_grad]
    if frozen:
        yield f"{sum(frozen):,} frozen numbers (requires_grad=False) have connections but are no weights."
    joined = [tuple(record.origins) for record in watch.records if sum(o.share for o in record.origins.values()) > 1]
    if joined:
        yield (
            f"{', '.join(dict.fromkeys(chain.from_iterable(joined)))} are made into common weights before they meet an "
            f"input: each parameter lists the connections of all of these."
        )
    uneven = [name for name, total in layers.items() if total.connections.denominator > 1]
    if uneven:
        yield f"Samples differ in the connections of {', '.join(uneven)}: the mean is given, rounded."
