"""Whether a net can learn from where it starts: no layer saturated, none all zero, so that no gradient is zero."""

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from commonweight.errors import TrainError, require_kind

NEAR = 0.05
"""A unit is saturated within this share of the range of its activation from one of its ends."""
RANGES = {"aten::sigmoid": (0.0, 1.0), "aten::tanh": (-1.0, 1.0)}
OTHERS = ("relu", "leaky_relu", "gelu", "silu", "elu", "softplus", "hardtanh")
ACTIVATIONS = {*RANGES, *(f"aten::{name}" for name in OTHERS)}
MOST_SATURATED = 0.5

WORDS = {
    "saturated": "At the start most units are at an end of their range, where the slope is nearly zero",
    "all zero": "At the start all outputs are zero",
    "alike": "At the start all units of a layer give the same, and will learn the same",
    "no gradient": "At the start the gradient of the weights is zero",
}
ADVICE = "begin by another rule, such as --init lsuv"


@dataclass(frozen=True)
class LayerStart:
    """One module at the start.

    Attributes:
        name, kind: its path and its class.
        std: deviation of what it gives, over units and samples.
        zero: share of what it gives that is exactly zero.
        alike: whether all its units (channels, where there are channels) give the same.
        saturated: share of the units of its sigmoids and tanhs that are at an end of their range; None if it has none.
        gradient: norm of the gradient of its own weights; None if it has none.
    """

    name: str
    kind: str
    std: float
    zero: float
    alike: bool
    saturated: float | None
    gradient: float | None

    def faults(self) -> tuple[str, ...]:
        """What of `WORDS` is true of it."""
        signs = {
            "saturated": self.saturated is not None and self.saturated > MOST_SATURATED,
            "all zero": self.zero == 1,
            "alike": self.alike and self.zero < 1,
            "no gradient": self.gradient == 0,
        }
        return tuple(name for name, holds in signs.items() if holds)


@dataclass(frozen=True)
class Start:
    """What `check_start` found: the layers in the order in which they ran. Printed, it is a table with its findings."""

    layers: tuple[LayerStart, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """A sentence for each fault, with the layers that have it; empty if the net can learn."""
        found = {fault: [layer.name for layer in self.layers if fault in layer.faults()] for fault in WORDS}
        return tuple(f"{words}: {_listed(found[fault])}; {ADVICE}." for fault, words in WORDS.items() if found[fault])

    def __str__(self) -> str:
        head = ("layer", "kind", "deviation", "zero", "saturated", "gradient")
        rows = [
            (
                layer.name,
                layer.kind,
                f"{layer.std:.3g}",
                f"{layer.zero:.0%}",
                "" if layer.saturated is None else f"{layer.saturated:.0%}",
                "" if layer.gradient is None else f"{layer.gradient:.3g}",
            )
            for layer in self.layers
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(f"{cell:{side}{width}}" for cell, width, side in zip(row, widths, "<<>>>>", strict=True)).rstrip()
            for row in (head, *rows)
        ]
        return "\n".join([*lines, *(self.findings or ("No layer is saturated, none is zero: it can learn.",))])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def check_start(
    model: nn.Module,
    batch: Tensor | tuple[Tensor, Tensor],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Start:
    """Run one batch forward and back through a copy of a net, and look at each layer. The net is left as it is.

    A layer is saturated if more than half of its units are: a sigmoid or tanh within 5 % of its range from one end.
    Beside these two conditions stands a third, of constant weights: all units of a layer alike.

    Args:
        model: any module; it runs in the mode it is in.
        batch: normalised inputs of shape (B, ...), alone or with their targets, what the loss compares with; without
            targets, gradients are those of the sum of squared outputs.
        loss: mean loss of outputs and targets; cross entropy for whole numbers, else the mean square, by default.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> _ = nn.init.uniform_(net[0].weight, 100, 200)
        >>> start = check_start(net, torch.eye(2))
        >>> start.layers[1].saturated
        1.0
        >>> start.findings[0].split(";")[0]
        'At the start most units are at an end of their range, where the slope is nearly zero: 1'
    """
    require_kind(model, nn.Module, "check_start takes a torch.nn.Module", TrainError)
    require_kind(batch, Tensor | tuple, "check_start takes a batch of inputs, or (inputs, targets)", TrainError)
    inputs, targets = (batch, None) if isinstance(batch, Tensor) else batch
    copy = deepcopy(model)
    copy.zero_grad()
    with torch.random.fork_rng(), torch.enable_grad():
        with _Watch(copy) as watch:
            outputs = copy(inputs)
        if targets is None:
            error = (outputs**2).sum()
        elif loss is not None:
            error = loss(outputs, targets)
        else:
            error = F.mse_loss(outputs, targets) if targets.is_floating_point() else F.cross_entropy(outputs, targets)
        if error.requires_grad:
            error.backward()
    return Start(tuple(map(_layer, watch.ran)))


@dataclass
class _Seen:
    """What was seen of one module: what it gave at its first call, and the units of its sigmoids and tanhs."""

    name: str
    module: nn.Module
    outputs: Tensor
    units: int
    ended: int


def _layer(seen: _Seen) -> LayerStart:
    outputs = seen.outputs.float()
    units = outputs.movedim(min(1, outputs.ndim - 1), 0).flatten(1)
    own = [parameter for parameter in seen.module.parameters(recurse=False) if parameter.requires_grad]
    slopes = [parameter.grad.float().norm() for parameter in own if parameter.grad is not None]
    norm = float(torch.stack(slopes).norm()) if slopes else 0.0
    return LayerStart(
        name=seen.name,
        kind=type(seen.module).__name__,
        std=float(outputs.std(correction=0)),
        zero=float((outputs == 0).float().mean()),
        alike=len(units) > 1 and bool((units == units[0]).all()),
        saturated=seen.ended / seen.units if seen.units else None,
        gradient=norm if own else None,
    )


class _Watch(TorchDispatchMode):
    """Takes down what modules give that have weights of their own or activate, in the order in which they end.

    Operations are seen below torch's functions, so that `torch.tanh` in a forward counts too.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = {module: name or type(model).__name__ for name, module in model.named_modules()}
        self.inside: list[nn.Module] = []
        self.units: dict[nn.Module, list[int]] = {}
        self.outputs: dict[nn.Module, Tensor] = {}

    def __enter__(self) -> "_Watch":
        self.hooks = ExitStack()
        for module in self.names:
            self.hooks.callback(module.register_forward_pre_hook(self._begin).remove)
            self.hooks.callback(module.register_forward_hook(self._end).remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self.hooks.close()

    @property
    def ran(self) -> list[_Seen]:
        """One for each module."""
        return [
            _Seen(self.names[module], module, outputs, *self.units.get(module, (0, 0)))
            for module, outputs in self.outputs.items()
            if module in self.units or any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        ]

    def _begin(self, module: nn.Module, args: Any) -> None:
        self.inside.append(module)

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        self.inside.pop()
        given = output[0] if isinstance(output, tuple) else output
        if isinstance(given, Tensor) and given.numel():
            self.outputs.setdefault(module, given.detach())
            if isinstance(module, nn.LSTM):  # one operation, of which only the end is seen
                self._activated(module, given.detach(), RANGES["aten::tanh"])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removesuffix("_")
        if name in ACTIVATIONS and self.inside:
            self._activated(self.inside[-1], out, RANGES.get(name))
        return out

    def _activated(self, module: nn.Module, out: Tensor, ends: tuple[float, float] | None) -> None:
        units = self.units.setdefault(module, [0, 0])
        if ends is not None:
            low, high = ends
            near = NEAR * (high - low)
            units[0] += out.numel()
            units[1] += int(((out <= low + near) | (out >= high - near)).sum())
