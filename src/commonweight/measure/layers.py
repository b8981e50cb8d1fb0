"""The statistics of each layer over one training step, taken by hooks that are gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.measure.records import QUANTILES, LayerStatistics

QUANTILE_SAMPLE = 10_000
"""Quantiles of more weights than that are those of so many, evenly spaced: sorting millions would slow training."""


class StepStatistics:
    """What `observe` has seen; `layers()` is complete once the step is done."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = [
            (name, module)
            for name, module in model.named_modules()
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        ]
        self.before = {name: _flat(module) for name, module in self.modules}
        self.outputs: dict[str, Tensor] = {}

    def layers(self) -> tuple[LayerStatistics, ...]:
        """One entry for each module that has trainable weights of its own, in the order of the model."""
        return tuple(self._layer(name, module) for name, module in self.modules)

    @torch.no_grad()
    def _layer(self, name: str, module: nn.Module) -> LayerStatistics:
        weights, before = _flat(module), self.before[name]
        gradients = [p.grad.flatten().float() for p in module.parameters(recurse=False) if p.grad is not None]
        outputs = self.outputs.get(name, weights.new_zeros(1)).float()
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
            weight_quantiles=_quantiles(weights),
        )


@contextmanager
def observe(model: nn.Module) -> Iterator[StepStatistics]:
    """Watch one step: forward, backward and update belong inside the block; read `layers()` after the update."""
    seen = StepStatistics(model)

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor):
                seen.outputs[name] = tensor.detach()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in seen.modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _quantiles(weights: Tensor) -> tuple[float, ...]:
    """The weights below which the shares `QUANTILES` lie, with linear interpolation."""
    sample = weights[:: -(-len(weights) // QUANTILE_SAMPLE)]
    return tuple(sample.quantile(sample.new_tensor(QUANTILES)).tolist())


def _flat(module: nn.Module) -> Tensor:
    """A copy of the module's own trainable weights, in one row."""
    own = [p.detach().flatten().float() for p in module.parameters(recurse=False) if p.requires_grad]
    return torch.cat(own).clone()
