"""What a net says about the test part, and what can be seen inside it; the net is left as it was found."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.measure.subject import require_net
from commonweight.numerals import number, percent

_BATCH = 128


@dataclass(frozen=True)
class Answers:
    """The net on the test part of N samples.

    Attributes:
        index: (N,) where in `data.x` each sample is.
        target: (N,) classes, or (N, T) in units of the data.
        predicted: of the same shape.
        scores: (N, K) what the net put out for each class; empty for regression.
        scores_only: whether these are only scores (the net says so by an attribute of that name), not logits, whose
            softmax are probabilities.
    """

    index: Tensor
    target: Tensor
    predicted: Tensor
    scores: Tensor
    scores_only: bool = False

    @property
    def probability(self) -> Tensor:
        """(N, K) of each class, of logits."""
        return self.scores.softmax(1)

    def sure(self, place: int, label: int, digits: int = 0) -> str:
        """How sure the net was of a class at one sample: its probability, or its score where there are only scores.

        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> Answers(logits, logits, logits, logits).sure(0, 1), Answers(logits, logits, logits, logits, True).sure(0, 1)
        ('50\xa0%', 'score 0')
        """
        if self.scores_only:
            return f"score {number(float(self.scores[place, label]), 3)}"
        return percent(float(self.scores[place].softmax(0)[label]), digits)

    @property
    def right(self) -> Tensor:
        """(N,) whether the class is right."""
        return self.predicted == self.target

    @property
    def error(self) -> Tensor:
        """(N, T) prediction minus target."""
        return self.predicted - self.target


@dataclass(frozen=True)
class Stage:
    """What one layer put out for one sample: (C, H, W) maps, or (F,) values."""

    name: str
    kind: str
    values: Tensor


@dataclass(frozen=True)
class Kernels:
    """The weights of a layer as small images, (n, H, W).

    Attributes:
        kind: its pattern, or the class of the module.
        across: input channels side by side for each output; 1 where that has no meaning.
        whole: whether each image covers the whole input, as a fully connected layer on images has it.
    """

    name: str
    kind: str
    values: Tensor
    across: int
    whole: bool


@contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; afterwards each module has the mode it had."""
    require_net(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def respond(model: nn.Module, x: Tensor, data: Data) -> Tensor:
    """Outputs for raw samples (N, *in_shape): logits, or values in units of the target, float32 (N, K)."""
    like = next(model.parameters(), x)
    parts = [model(data.normalisation.apply(part).to(like)).float().cpu() for part in torch.split(x, _BATCH)]
    return data.normalisation.restore_target(torch.cat(parts))


def ask(model: nn.Module, data: Data) -> Answers:
    """The answers on the test part."""
    outputs = respond(model, data.x[data.test], data)
    target = data.y[data.test]
    if data.task == "regression":
        return Answers(data.test, target, outputs, outputs.new_empty(0))
    return Answers(data.test, target, outputs.argmax(1), outputs, getattr(model, "scores_only", False))


def stages(model: nn.Module, x: Tensor, data: Data) -> list[Stage]:
    """The outputs of the layers for one raw sample (*in_shape), in the order of computation.

    A layer is a module that computes by itself: one without modules inside, or one with a pattern. Layers that change
    nothing (dropout, flattening) are left out, and so are outputs that are not one tensor.
    """
    seen: list[Stage] = []
    before = [data.normalisation.apply(x)]

    def remember(name: str, module: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and len(output) == 1 and output.numel() > 1:
            values = output[0].detach().float().cpu().clone()  # a layer that works in place must not change it
            values = values.flatten() if prod(values.shape[1:]) == 1 else values
            values = values[None] if values.ndim == 2 else values.flatten(0, -3) if values.ndim > 3 else values
            if values.ndim in (1, 3) and not torch.equal(before[-1].flatten(), values.flatten()):
                seen.append(Stage(name, type(module).__name__, values))
                before.append(values)

    layers = [(name, m) for name, m in model.named_modules() if hasattr(m, "pattern") or not any(m.children())]
    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: remember(name, module, output))
        for name, module in layers
    ]
    try:
        respond(model, x[None], data)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def kernels(model: nn.Module, in_shape: tuple[int, ...], order: list[str]) -> list[Kernels]:
    """The layers whose weights are images, by their place in `order` (names of layers as computed).

    These are weights with four axes or more, the last two of which are a window of more than one pixel: convolutions,
    transposed ones, and patterns of them (60 windows of LeNet-5's table ⊗ kernel). A first layer that is fully
    connected to an image is one too: each row of its matrix is an image.
    """
    found, is_first = [], True
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        weight, may_see_image = own.get("weight"), is_first
        is_first = is_first and not own
        if weight is None:
            continue
        values, kind = weight.detach().float().cpu(), str(getattr(module, "pattern", type(module).__name__))
        if values.ndim >= 4 and prod(values.shape[-2:]) > 1:
            across = values.shape[1] if values.ndim == 4 else 1
            found.append(Kernels(name, kind, values.reshape(-1, *values.shape[-2:]), across, whole=False))
        elif values.ndim == 2 and len(in_shape) == 3 and values.shape[1] == prod(in_shape) and may_see_image:
            channels, *window = in_shape
            found.append(Kernels(name, kind, values.reshape(-1, *window), channels, whole=True))
    rank = {name: place for place, name in reversed(list(enumerate(order)))}
    return sorted(found, key=lambda kernels: rank.get(kernels.name, len(rank)))


def weights(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The weights of each layer by name, flat: matrices, kernels and what patterns use, without biases and norms.

    What several layers share stands with the first of them.
    """
    found, known = [], set()
    for layer, module in model.named_modules():
        for name, parameter in module.named_parameters(layer, recurse=False):
            is_weight = parameter.ndim > 1 or (hasattr(module, "pattern") and name.endswith("weight"))
            if is_weight and id(parameter) not in known:
                known.add(id(parameter))
                found.append((name.removesuffix(".weight"), parameter.detach().float().cpu().flatten()))
    return found
