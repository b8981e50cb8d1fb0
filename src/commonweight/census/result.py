"""The result of a count: totals, layers and parameters, as data, as JSON and as a table for people."""

from dataclasses import dataclass
from typing import Any, NamedTuple

Shape = tuple[int, ...]


class ParameterUse(NamedTuple):
    """How often a module used a parameter: time steps, twins, repeated layers.

    A use is one operation with the whole of the parameter; operations with parts of it (the gates of a recurrent cell
    cut out of one matrix) add up.
    """

    module: str
    calls: int


@dataclass(frozen=True)
class ParameterCount:
    """One parameter of the model.

    Attributes:
        name, aliases: the first of its names in the model, and the others.
        shape: its shape.
        weights: its trainable numbers; 0 when it is frozen (requires_grad=False).
        connections: the multiplications for one sample that it takes part in.
        uses: the modules that use it, in order; empty when the forward pass does not.
        fan_in, fan_out: its connections that end in one output unit, and that leave one input unit, at the mean over
            the units of all layers that use it; 0 where it is in no weighted sum, as biases and gains are.
    """

    name: str
    aliases: tuple[str, ...]
    shape: Shape
    weights: int
    connections: int
    uses: tuple[ParameterUse, ...]
    fan_in: float
    fan_out: float


@dataclass(frozen=True)
class Layer:
    """One module that uses weights itself, and its ladder from fully connected to shared.

    Attributes:
        name, kind: path in the model (of the model itself: its class), and class of the module.
        full: fully connected: connections if every input unit had one to every output unit, with a bias for each.
        connections: locally connected: connections for one sample, as many weights if nothing were shared.
        weights: shared: the free weights that this layer is the first to use.
        uses: how often the layer was used: calls, time steps, twins. 0 for parameters that the pass does not use.
        in_shape, out_shape: one sample as it enters and leaves the module at its first call; None when not a tensor.
        parameters: names of the parameters used.
        shared: those of them that an earlier layer used first, and to which their weights are counted.
    """

    name: str
    kind: str
    weights: int
    connections: int
    full: int
    uses: int
    in_shape: Shape | None
    out_shape: Shape | None
    parameters: tuple[str, ...]
    shared: tuple[str, ...]


@dataclass(frozen=True)
class Census:
    """The weights and connections of a model, counted for one sample.

    Attributes:
        weights: trainable numbers, each counted once however many names or users it has.
        connections: multiplications for one sample that use a weight.
        full: the same layers fully connected.
        layers: in the order of their first use; last those whose parameters the pass does not use.
        parameters: in the model's order.
        notes: what the numbers do not say, a sentence each.
    """

    weights: int
    connections: int
    full: int
    layers: tuple[Layer, ...]
    parameters: tuple[ParameterCount, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The stable summary that `commonweight count --json` prints."""
        keys = ("name", "weights", "connections", "full", "uses")
        return {
            "weights": self.weights,
            "connections": self.connections,
            "full": self.full,
            "layers": [{key: getattr(layer, key) for key in keys} for layer in self.layers],
        }

    def __str__(self) -> str:
        head = ("layer", "kind", "fully connected", "→ locally connected", "→ shared", "uses", "")
        owners = [f"= {', '.join(layer.shared)}" if layer.shared else "" for layer in self.layers]
        body = [
            (layer.name, layer.kind, *_numbers(layer), f"{layer.uses:,}", owner)
            for layer, owner in zip(self.layers, owners, strict=True)
        ]
        total = ("sum", "", *_numbers(self), "", "")
        widths = [max(map(len, column)) for column in zip(head, *body, total, strict=True)]
        lines = []
        for row in (head, *body, total):
            cells = zip(row, widths, "<<>>>><", strict=True)
            lines.append("  ".join(f"{cell:{side}{width}}" for cell, width, side in cells).rstrip())
        rule = "-" * len(lines[0])
        table = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
        return "\n".join([*table, self._sharing(), *(f"Note: {note}" for note in self.notes)])

    def _sharing(self) -> str:
        """One line on the parameters that serve more than one module, or else on the sharing within layers."""
        shared = [parameter for parameter in self.parameters if len(parameter.uses) > 1]
        if not shared:
            connections = sum(layer.connections for layer in self.layers if layer.weights)
            if connections <= self.weights:
                return "No weight is shared: each has one connection at most."
            mean = connections / self.weights
            return f"A weight has {mean:,.1f} connections on average, all of them in its own layer."
        users = "; ".join(f"{p.name} ({', '.join(use.module for use in p.uses)})" for p in shared[:3])
        more = f"; and {len(shared) - 3:,} more" if len(shared) > 3 else ""
        return f"Shared between layers: {users}{more}."


def _numbers(ladder: Layer | Census) -> tuple[str, str, str]:
    return f"{ladder.full:,}", f"{ladder.connections:,}", f"{ladder.weights:,}"
