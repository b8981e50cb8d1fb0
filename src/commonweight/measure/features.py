"""What the units of a layer answer to: the samples and windows that excite them most, and the input that would."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.errors import DataError, require_kind, require_seed, require_whole
from commonweight.measure.report.observe import observing
from commonweight.measure.subject import module_of, require_data, require_net

_BATCH = 250
_PROBES = 16
_STEPS, _STRIDE = 100, 0.2

Window = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Strongest:
    """The samples that a unit answers to most, from the strongest.

    Attributes:
        unit: its number in the layer: a channel of a convolution, a row of a fully connected layer.
        samples: (n,) places in `data.x`.
        values: (n,) its answer, before the activation function; of a channel the largest of all places.
        windows: for each sample what the unit saw there: a slice for each side, none for tables.
    """

    unit: int
    samples: Tensor
    values: Tensor
    windows: tuple[Window, ...]


def layers(model: nn.Module, data: Data) -> list[str]:
    """The layers with weights that answer a batch (B, ...) by one tensor (B, units, *places), in the order of the net.

    Raises:
        NetError: no net.
        DataError: no data, or not of the shape that the net takes.
    """
    require_net(model)
    require_data(data)
    weighted = [name for name, module in model.named_modules() if _is_weighted(module)]
    with observing(model):
        answers = _answers(model, weighted, data.normalisation.apply(data.x[data.train[:2]]))
    return [name for name, answer in answers.items() if answer.ndim > 1 and len(answer) == 2]


def _is_weighted(module: nn.Module) -> bool:
    """Whether it has weights of its own that make sums; those of a compressed layer lie in a module inside it."""
    own = any(weight.ndim > 1 or hasattr(module, "pattern") for weight in module.parameters(recurse=False))
    return own or isinstance(module, nn.Linear | nn.modules.conv._ConvNd)


def answers(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What a layer puts out for normalised samples: (B, *in_shape) -> (B, units, *places)."""
    return _answers(model, [layer], x)[layer]


def handed(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What a layer is given by those before it, after their activation functions: (B, *in_shape) -> (B, ...)."""
    seen: list[Tensor] = []
    handle = module_of(model, layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    _forward(model, x, [handle])
    return seen[-1]


def _answers(model: nn.Module, names: Sequence[str], x: Tensor) -> dict[str, Tensor]:
    """The outputs of modules in a forward pass, in the order in which they come; those that are one tensor."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen[name] = output.clone()  # a layer after it that works in place must not change it

        return hook

    _forward(model, x, [module_of(model, name).register_forward_hook(keep(name)) for name in names])
    return seen


def _forward(model: nn.Module, x: Tensor, handles: Sequence[Any]) -> None:
    """A pass under hooks, which are taken away."""
    try:
        require_kind(x, Tensor, "The samples of a net are a tensor", DataError)
        model(x.to(next(model.parameters(), x)))
    except RuntimeError as error:
        told = str(error).partition("\n")[0]  # torch goes on with a trace of its own
        raise DataError(f"Samples of shape {tuple(x.shape[1:])} do not fit this net ({told}).") from error
    finally:
        for handle in handles:
            handle.remove()


def strongest(model: nn.Module, data: Data, layer: str, top: int = 8) -> list[Strongest]:
    """For each unit of a layer the samples of the test part that it answers to most, and the windows that it saw.

    Source: Zeiler & Fergus, "Visualizing and understanding convolutional networks" (2014), without their projection
    back: the windows are cut from the samples themselves.

    Args:
        top: how many samples a unit, at least 1.

    Raises:
        NetError: no net, or no such layer.
        DataError: no data, or a number of samples below 1.
    """
    require_data(data)
    top = require_whole(top, "top", DataError, least=1)
    largest, at = [], []
    with observing(model):
        for part in torch.split(data.test, _BATCH):
            seen = answers(model, layer, data.normalisation.apply(data.x[part]))
            best, place = seen.flatten(2).max(2) if seen.ndim > 2 else (seen, torch.zeros_like(seen, dtype=torch.int64))
            largest.append(best.float())
            at.append(place)
    values, places = torch.cat(largest), torch.cat(at)
    order = values.argsort(0, descending=True)[:top]
    fields: dict[int, Window] = {}
    found = []
    for unit in range(values.shape[1]):
        first = order[:, unit]
        for place in places[first, unit].tolist():
            if place not in fields:
                fields[place] = receptive_field(model, layer, data.in_shape, place)
        windows = tuple(fields[place] for place in places[first, unit].tolist())
        found.append(Strongest(unit, data.test[first], values[first, unit], windows))
    return found


def receptive_field(model: nn.Module, layer: str, in_shape: tuple[int, ...], place: int) -> Window:
    """The window of the input that the units at one place of a layer look at, a slice for each side of the input.

    Places are counted row by row, from 0; a fully connected layer has only place 0.

    It is measured and not derived, so that it holds for any net: the box around every input value for which the
    derivative ∂(answer at the place)/∂(value) is not zero for one of some random samples.

    Raises:
        NetError: no net, or no such layer.
        DataError: a shape that is no tuple of sizes or does not fit the net, or a place that the layer does not have.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3))
    >>> receptive_field(net, "2", (1, 16, 16), 1)
    (slice(0, 8, None), slice(2, 10, None))
    """
    require_kind(in_shape, tuple, "The shape of one sample is a tuple, such as (1, 28, 28)", DataError)
    in_shape = tuple(require_whole(size, "A size of in_shape", DataError, least=1) for size in in_shape)
    x = torch.randn(_PROBES, *in_shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with observing(model), torch.enable_grad():
        seen = answers(model, layer, x)
        by_place = seen.flatten(2) if seen.ndim > 2 else seen[..., None]
        at = by_place[..., require_whole(place, "place", DataError, most=by_place.shape[2] - 1)]
        (slope,) = torch.autograd.grad(at.abs().sum(), x)
    reached = (slope != 0).flatten(0, 1).any(0)
    window = []
    for axis in range(reached.ndim):
        others = [other for other in range(reached.ndim) if other != axis]
        along = (reached.any(others) if others else reached).nonzero().flatten().tolist() or [0]
        window.append(slice(along[0], along[-1] + 1))
    return tuple(window)


def favourites(model: nn.Module, data: Data, layer: str, units: Sequence[int], seed: int = 0) -> Tensor:
    """For each unit the input it would answer to most, of all inputs as large as a usual sample.

    x* = argmax_{‖x‖ = ρ} a_u(x), with ρ the mean norm of normalised training samples, by 100 steps of gradient ascent
    from noise: x ← ρ (x + 0.2 ρ g/‖g‖) / ‖·‖. Of a channel it is the answer at the middle place.

    Source: Erhan, Bengio, Courville, Vincent, "Visualizing higher-layer features of a deep network" (2009).

    Returns:
        Normalised inputs, (len(units), *in_shape).

    Raises:
        NetError: no net, or no such layer.
        DataError: no data, units that the layer does not have, or a seed out of range.
    """
    require_data(data)
    require_kind(units, list | tuple | range, "Units are a list of numbers", DataError)
    generator = torch.Generator().manual_seed(require_seed(seed, DataError))
    samples = data.normalisation.apply(data.x[data.train[:1000]])
    with observing(model):
        last = answers(model, layer, samples[:1]).shape[1] - 1
    units = [require_whole(unit, "A unit", DataError, most=last) for unit in units]
    size = samples.flatten(1).norm(dim=1).mean()
    x = size * _unit(torch.randn(len(units), *data.in_shape, generator=generator))
    chosen = torch.arange(len(units)), torch.tensor(units)
    with observing(model), torch.enable_grad():
        for _ in range(_STEPS):
            x.requires_grad_()
            (slope,) = torch.autograd.grad(middle(answers(model, layer, x))[chosen].sum(), x)
            x = size * _unit(x.detach() / size + _STRIDE * _unit(slope))
    found: Tensor = x.detach()
    return found


def middle(seen: Tensor) -> Tensor:
    """Of answers (B, units, *places) those at the middle place: (B, units)."""
    while seen.ndim > 2:
        seen = seen[:, :, seen.shape[2] // 2]
    return seen


def _unit(x: Tensor) -> Tensor:
    """Each sample divided by its norm; zero stays zero."""
    norm: Tensor = x.flatten(1).norm(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
    return x / norm.reshape(-1, *[1] * (x.ndim - 1))
