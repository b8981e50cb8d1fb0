"""The statistics of each layer over one training step, taken by hooks that are gone afterwards.

Not every check takes them (`is_observed`), and of the batch some samples are enough. They are worked out by numpy,
whose operations cost a fraction of torch's on the few thousand numbers of a usual layer.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
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

TINY = float(np.finfo(np.float32).tiny)
Values = NDArray[np.float32]


class StepStatistics:
    """Watches one step, from `attach` to `detach`; `layers()` is complete once the step is done.

    Args:
        model: the net.
        due: whether there is anything to watch; if not, `layers()` is empty.
    """

    def __init__(self, model: nn.Module, due: bool = True) -> None:
        owned = ((name, module, _trainable(module)) for name, module in (model.named_modules() if due else ()))
        self.modules = [(name, module, weights) for name, module, weights in owned if weights]
        self.before = {name: _row(weights) for name, _, weights in self.modules}
        self.outputs: dict[str, Tensor] = {}
        self.fed: dict[str, Tensor] = {}
        self.handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Begin to look at what goes into each layer and comes out of it."""
        self.handles = [module.register_forward_hook(self._hook(name)) for name, module, _ in self.modules]

    def detach(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()

    def layers(self) -> tuple[LayerStatistics, ...]:
        """One entry for each module that has trainable weights of its own, in the order of the model."""
        if not self.modules:
            return ()
        with np.errstate(all="ignore"):  # a net that diverges is to be seen, not warned of
            return tuple(self._layer(*one) for one in self.modules)

    def signals(self) -> tuple[float, ...]:
        """For each of `layers()`, the deviation of its outputs from sample to sample: √ of the mean variance of a unit.

        Unlike the deviation of all outputs, it has no part in it from biases, which are the same for all samples.
        """
        return tuple(_signal(self.outputs[name]) if name in self.outputs else 0.0 for name, *_ in self.modules)

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor):
                self.outputs[name] = tensor.detach()[:SAMPLES]
            # What needs no gradient is the data itself, whose constant features are no units.
            if inputs and isinstance(inputs[0], Tensor) and inputs[0].requires_grad and inputs[0].ndim > 1:
                self.fed[name] = inputs[0].detach()[:SAMPLES]

        return hook

    def _layer(self, name: str, module: nn.Module, own: list[nn.Parameter]) -> LayerStatistics:
        before, weights = self.before[name], _row(own)
        gradients = [weight.grad for weight in own if weight.grad is not None]
        mean, std = _mean_and_deviation(weights)
        given = _array(self.outputs[name]) if name in self.outputs else np.zeros(1, np.float32)
        given_mean, given_std = _mean_and_deviation(given)
        dead, saturated = _states(module, _array(self.fed[name])) if name in self.fed else (0.0, 0.0)
        return LayerStatistics(
            name=name,
            weight_mean=mean,
            weight_std=std,
            weight_max=float(np.maximum.reduce(np.abs(weights))),
            gradient_norm=_norm(_row(gradients)) if gradients else 0.0,
            update_ratio=_norm(weights - before) / max(_norm(before), TINY),
            activation_mean=given_mean,
            activation_std=given_std,
            zero_fraction=(given.size - np.count_nonzero(given)) / given.size if name in self.outputs else 0.0,
            weight_quantiles=_quantiles(weights),
            dead_fraction=dead,
            saturated_fraction=saturated,
        )


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


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters(recurse=False) if weight.requires_grad and weight.numel()]


def _array(tensor: Tensor) -> Values:
    values: Values = tensor.to_dense().float().cpu().numpy()
    return values


def _row(tensors: Iterable[Tensor]) -> Values:
    """A copy of the values of some tensors, in one row."""
    return np.concatenate([_array(tensor.detach()).ravel() for tensor in tensors])


def _norm(row: Values) -> float:
    return sqrt(row @ row)


def _mean_and_deviation(values: Values) -> tuple[float, float]:
    row = values.ravel()
    mean = np.add.reduce(row) / row.size  # what `mean` does, without its Python
    return float(mean), _norm(row - mean) / sqrt(row.size)


def _share(mask: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(mask)) / mask.size


def _states(module: nn.Module, fed: Values) -> tuple[float, float]:
    """The shares of dead units (or channels) and of saturated values among what a layer is fed."""
    units = fed.ndim - 1 if isinstance(module, nn.Linear) else 1
    if fed.size < 2 * fed.shape[units]:
        return 0.0, 0.0
    others = tuple(axis for axis in range(fed.ndim) if axis != units)
    low_U, high_U = fed.min(others), fed.max(others)
    low, high = low_U.min(), high_U.max()
    edge = EDGE * (high - low)
    near = ((fed < low + edge) | (fed > high - edge)) & (fed != 0)
    return _share((low_U == 0) & (high_U == 0)), _share(near)


def _signal(outputs: Tensor) -> float:
    """Measured from the first sample: outputs that are all the same deviate by exactly 0, without rounding."""
    values = _array(outputs)
    return sqrt((values - values[:1]).var(0).mean())


def _quantiles(weights: Values) -> tuple[float, ...]:
    """The weights below which the shares `QUANTILES` lie, with linear interpolation."""
    sample = np.sort(weights[:: -(-len(weights) // QUANTILE_SAMPLE)])
    last, found = len(sample) - 1, []
    for share in QUANTILES:
        low = int(share * last)
        below, above = float(sample[low]), float(sample[min(low + 1, last)])
        found.append(below + (share * last - low) * (above - below))
    return tuple(found)
