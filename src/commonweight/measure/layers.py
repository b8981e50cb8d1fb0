"""The statistics of each layer over one training step, taken by hooks that are gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from commonweight.measure.records import QUANTILES, LayerStatistics

QUANTILE_SAMPLE = 10_000
"""Quantiles of more weights than that are those of so many, evenly spaced: sorting millions would slow training."""

EDGE = 0.05
"""How near the end of its range, as a share of the range, a value counts as saturated."""


class StepStatistics:
    """Watches one step, from `attach` to `detach`; `layers()` is complete once the step is done."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = [
            (name, module)
            for name, module in model.named_modules()
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        ]
        self.before = {name: _flat(module) for name, module in self.modules}
        self.outputs: dict[str, Tensor] = {}
        self.fed: dict[str, Tensor] = {}
        self.handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Begin to look at what goes into each layer and comes out of it."""
        self.handles = [module.register_forward_hook(self._hook(name)) for name, module in self.modules]

    def detach(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()

    def layers(self) -> tuple[LayerStatistics, ...]:
        """One entry for each module that has trainable weights of its own, in the order of the model."""
        return tuple(self._layer(name, module) for name, module in self.modules)

    def signals(self) -> tuple[float, ...]:
        """For each of `layers()`, the deviation of its outputs from sample to sample: √ of the mean variance of a unit.

        Unlike the deviation of all outputs, it has no part in it from biases, which are the same for all samples.
        """
        return tuple(_signal(self.outputs[name]) if name in self.outputs else 0.0 for name, _ in self.modules)

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor):
                self.outputs[name] = tensor.detach()
            # What needs no gradient is the data itself, whose constant features are no units.
            if inputs and isinstance(inputs[0], Tensor) and inputs[0].requires_grad and inputs[0].ndim > 1:
                self.fed[name] = _by_unit(module, inputs[0].detach())

        return hook

    @torch.no_grad()
    def _layer(self, name: str, module: nn.Module) -> LayerStatistics:
        weights, before = _flat(module), self.before[name]
        gradients = [p.grad.flatten().float() for p in module.parameters(recurse=False) if p.grad is not None]
        outputs = self.outputs.get(name, weights.new_zeros(1)).float()
        dead, saturated = _states(self.fed[name]) if name in self.fed else (0.0, 0.0)
        return LayerStatistics(
            name=name,
            weight_mean=float(weights.mean()),
            weight_std=float(weights.std(correction=0)),
            weight_max=float(weights.abs().max()),
            gradient_norm=float(torch.cat(gradients).norm()) if gradients else 0.0,
            update_ratio=float((weights - before).norm() / before.norm().clamp_min(torch.finfo(torch.float32).tiny)),
            activation_mean=float(outputs.mean()),
            activation_std=float(outputs.std(correction=0)),
            zero_fraction=float((outputs == 0).float().mean()),
            dead_fraction=dead,
            saturated_fraction=saturated,
            weight_quantiles=_quantiles(weights),
        )


@contextmanager
def observe(model: nn.Module) -> Iterator[StepStatistics]:
    """Watch one step: forward, backward and update belong inside the block; read `layers()` after the update."""
    seen = StepStatistics(model)
    seen.attach()
    try:
        yield seen
    finally:
        seen.detach()


def _by_unit(module: nn.Module, x: Tensor) -> Tensor:
    """What a layer is fed, one row for each unit or channel: (U, values over batch and places)."""
    return x.movedim(-1 if isinstance(module, nn.Linear) else 1, 0).flatten(1)


def _states(units_UN: Tensor) -> tuple[float, float]:
    """The share of dead units and of saturated values."""
    if units_UN.shape[1] < 2:
        return 0.0, 0.0
    units_UN = units_UN.float()
    low_U, high_U = units_UN.aminmax(dim=1)
    low, high = low_U.min(), high_U.max()
    dead_U = (low_U == 0) & (high_U == 0)
    edge = EDGE * (high - low)
    near = ((units_UN - low < edge) | (high - units_UN < edge)) & (units_UN != 0)
    return float(dead_U.float().mean()), float(near.float().mean())


def _signal(outputs: Tensor) -> float:
    return float(outputs.float().var(0, correction=0).mean().sqrt())


def _quantiles(weights: Tensor) -> tuple[float, ...]:
    """The weights below which the shares `QUANTILES` lie, with linear interpolation."""
    sample = weights[:: -(-len(weights) // QUANTILE_SAMPLE)]
    return tuple(sample.quantile(sample.new_tensor(QUANTILES)).tolist())


def _flat(module: nn.Module) -> Tensor:
    """A copy of the module's own trainable weights, in one row."""
    own = [p.detach().flatten().float() for p in module.parameters(recurse=False) if p.requires_grad]
    return torch.cat(own).clone()
