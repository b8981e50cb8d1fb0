"""The statistics of each layer over one training step, taken by hooks that are gone afterwards.

Taking them costs about as much as two steps of a small net. So not every check takes them (`is_observed`), and of the
batch some samples are enough.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from commonweight.measure.records import QUANTILES, LayerStatistics

QUANTILE_SAMPLE = 1_000
"""Quantiles of more weights than that are those of so many, evenly spaced: sorting millions would slow training."""

SAMPLES = 32
"""What goes into a layer and comes out of it is looked at for so many samples of the batch, the first ones."""

MOST_BETWEEN = 16
"""Checks from one that takes the statistics to the next, at most."""

EDGE = 0.05
"""How near the end of its range, as a share of the range, a value counts as saturated."""


class StepStatistics:
    """Watches one step, from `attach` to `detach`; `layers()` is complete once the step is done.

    Args:
        model: the net.
        due: whether there is anything to watch; if not, `layers()` is empty.
    """

    def __init__(self, model: nn.Module, due: bool = True) -> None:
        self.modules = [
            (name, module)
            for name, module in (model.named_modules() if due else ())
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
        return tuple(_named(name, row.tolist()) for (name, _), row in zip(self.modules, self._rows(), strict=True))

    def signals(self) -> tuple[float, ...]:
        """For each of `layers()`, the deviation of its outputs from sample to sample: √ of the mean variance of a unit.

        Unlike the deviation of all outputs, it has no part in it from biases, which are the same for all samples.
        """
        return tuple(_signal(self.outputs[name]) if name in self.outputs else 0.0 for name, _ in self.modules)

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor):
                self.outputs[name] = tensor.detach()[:SAMPLES]
            # What needs no gradient is the data itself, whose constant features are no units.
            if inputs and isinstance(inputs[0], Tensor) and inputs[0].requires_grad and inputs[0].ndim > 1:
                self.fed[name] = inputs[0].detach()[:SAMPLES]

        return hook

    @torch.no_grad()
    def _rows(self) -> list[Tensor]:
        """The values of each layer, in one row: few operations, and no value is read before all are worked out."""
        if not self.modules:
            return []
        weights, before = [_flat(module) for _, module in self.modules], list(self.before.values())
        gradients = torch._foreach_norm([_gradient(module) for _, module in self.modules])
        steps, sizes = torch._foreach_norm(torch._foreach_sub(weights, before)), torch._foreach_norm(before)
        rows = []
        for (name, module), own, gradient, step, size in zip(
            self.modules, weights, gradients, steps, sizes, strict=True
        ):
            mean, std = _mean_and_deviation(own)
            ratio = step / size.clamp_min(torch.finfo(torch.float32).tiny)
            given = _given(self.outputs[name].float()) if name in self.outputs else 3 * [torch.zeros_like(std)]
            fed = _states(module, self.fed[name].float()) if name in self.fed else 2 * [torch.zeros_like(std)]
            first = torch.stack([mean, std, own.abs().amax(), gradient, ratio, *given, *fed])
            rows.append(torch.cat([first, _quantiles(own)]))
        return rows


@contextmanager
def observe(model: nn.Module, due: bool = True) -> Iterator[StepStatistics]:
    """Watch one step: forward, backward and update belong inside the block; read `layers()` after the update."""
    seen = StepStatistics(model, due)
    seen.attach()
    try:
        yield seen
    finally:
        seen.detach()


def is_observed(check: int) -> bool:
    """Whether the check of this number, counted from 1, takes the statistics: two in each doubling, and every 16th.

    >>> [check for check in range(1, 50) if is_observed(check)]
    [1, 2, 3, 4, 6, 8, 12, 16, 23, 32, 46, 48]
    """
    return check % MOST_BETWEEN == 0 or (check**2).bit_length() > ((check - 1) ** 2).bit_length()


def _mean_and_deviation(values: Tensor) -> tuple[Tensor, Tensor]:
    mean = values.mean()
    return mean, (values - mean).norm() / values.numel() ** 0.5


def _given(outputs: Tensor) -> list[Tensor]:
    """Mean and deviation of what a layer gives, and the share that is exactly zero."""
    return [*_mean_and_deviation(outputs), 1 - outputs.count_nonzero() / outputs.numel()]


def _states(module: nn.Module, fed: Tensor) -> list[Tensor]:
    """The shares of dead units (or channels) and of saturated values among what a layer is fed."""
    units = fed.ndim - 1 if isinstance(module, nn.Linear) else 1
    others = [axis for axis in range(fed.ndim) if axis != units]
    if fed.numel() < 2 * fed.shape[units]:
        return [fed.new_zeros(()), fed.new_zeros(())]
    low_U, high_U = fed.amin(others), fed.amax(others)
    low, high = low_U.amin(), high_U.amax()
    dead_U = (low_U == 0) & (high_U == 0)
    edge = EDGE * (high - low)
    near = ((fed < low + edge) | (fed > high - edge)) & (fed != 0)
    return [dead_U.float().mean(), near.count_nonzero() / fed.numel()]


def _signal(outputs: Tensor) -> float:
    return float(outputs.float().var(0, correction=0).mean().sqrt())


def _quantiles(weights: Tensor) -> Tensor:
    """The weights below which the shares `QUANTILES` lie, with linear interpolation."""
    sample = weights[:: -(-len(weights) // QUANTILE_SAMPLE)]
    return sample.quantile(sample.new_tensor(QUANTILES))


def _flat(module: nn.Module) -> Tensor:
    """A copy of the module's own trainable weights, in one row."""
    own = [p.detach().flatten().float() for p in module.parameters(recurse=False) if p.requires_grad]
    return torch.cat(own)


def _gradient(module: nn.Module) -> Tensor:
    """The gradients of the module's own weights, in one row; 0 where there is none."""
    own = [p.grad.flatten().float() for p in module.parameters(recurse=False) if p.grad is not None]
    return torch.cat(own) if own else torch.zeros(1)


def _named(name: str, row: list[float]) -> LayerStatistics:
    mean, std, largest, gradient, ratio, given_mean, given_std, zero, dead, saturated, *quantiles = row
    return LayerStatistics(
        name=name,
        weight_mean=mean,
        weight_std=std,
        weight_max=largest,
        gradient_norm=gradient,
        update_ratio=ratio,
        activation_mean=given_mean,
        activation_std=given_std,
        zero_fraction=zero,
        weight_quantiles=tuple(quantiles),
        dead_fraction=dead,
        saturated_fraction=saturated,
    )
