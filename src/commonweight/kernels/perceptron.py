"""Steps of mini-batch descent for a small multilayer perceptron by the compiled kernel: many of them in one call.

A step of such a net is some forty calls into torch, each of which takes longer than its sums. The kernel gathers the
samples of each step, goes forward and backward, moves the weights and their running average, and goes on to the next.
`train.compiled_steps` says when it stands in for torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from commonweight.kernels.native_library import compiled, instructions

ACTIVATIONS = ("identity", "relu", "tanh", "sigmoid")


@dataclass(frozen=True)
class Parameter:
    """A weight or a bias and what belongs to it, all float32, contiguous, of one shape.

    Attributes:
        value: moved in place, as are the others.
        first, second: both moments of Adam; of momentum only the first; None where the rule has none.
        average: the running average.
    """

    value: Tensor
    first: Tensor | None
    second: Tensor | None
    average: Tensor

    def addresses(self) -> list[int]:
        """Where they lie, 0 for none."""
        parts = (self.value, self.first, self.second, self.average)
        return [0 if tensor is None else tensor.data_ptr() for tensor in parts]


@dataclass(frozen=True)
class Layer:
    """f(W x + b).

    Attributes:
        weight: shape (outputs, inputs).
        bias: shape (outputs,), or None.
        activation: f, one of `ACTIVATIONS`; identity of the last layer.
    """

    weight: Parameter
    bias: Parameter | None
    activation: str

    def row(self) -> list[int]:
        """What the kernel has to know."""
        outputs, inputs = self.weight.value.shape
        of_bias = [0] * 4 if self.bias is None else self.bias.addresses()
        return [inputs, outputs, ACTIVATIONS.index(self.activation), *self.weight.addresses(), *of_bias]


@dataclass(frozen=True)
class Rule:
    """Adam (Kingma & Ba 2015); or else m <- beta1 m + g, and a step by m, or by g + beta1 m (Nesterov).

    Attributes:
        done: steps that the rule has made before.
        decay: λ of θ <- θ (1 - η λ) before each step, of the weights; biases have none.
        l2: of the penalty l2/2 θ² on the weights.
    """

    adam: bool
    beta1: float
    beta2: float
    epsilon: float
    nesterov: bool
    done: int
    decay: float
    l2: float


@dataclass(frozen=True)
class Samples:
    """What is learned from.

    Attributes:
        inputs: float32, shape (N, inputs), contiguous.
        targets: int64 classes (N,) for the cross entropy, or float32 (N, outputs) for squared errors; contiguous.
        scale: float32 (outputs,), the unit in which errors of values are told.
        smoothing: share of each target that is spread over all classes.
    """

    inputs: Tensor
    targets: Tensor
    scale: Tensor
    smoothing: float


def take_steps(
    layers: Sequence[Layer],
    rule: Rule,
    samples: Samples,
    chosen: Tensor,
    rates: Sequence[float],
    shares: Sequence[float],
) -> tuple[list[float], list[float]]:
    """Take steps, up to one whose loss is no finite number.

    Args:
        layers: from the inputs to the outputs.
        rule, samples: how to move, and by what.
        chosen: int64, shape (steps, batch): samples of each step.
        rates: learning rate of each step.
        shares: how far the average goes towards the weights after each.

    Returns:
        Of each step that was taken, the mean loss, and right answers or the sum of squared errors.
    """
    table = torch.tensor([layer.row() for layer in layers])
    numbers = torch.tensor([rates, shares], dtype=torch.float64)
    told, chosen = torch.empty_like(numbers), chosen.contiguous()
    of_classes = not samples.targets.is_floating_point()
    taken: int = compiled().perceptron_steps(
        instructions(),
        table.data_ptr(),
        len(layers),
        rule.decay,
        rule.l2,
        rule.adam,
        rule.nesterov,
        rule.beta1,
        rule.beta2,
        rule.epsilon,
        rule.done,
        samples.inputs.data_ptr(),
        samples.targets.data_ptr() if of_classes else 0,
        0 if of_classes else samples.targets.data_ptr(),
        samples.scale.data_ptr(),
        samples.smoothing,
        chosen.data_ptr(),
        numbers[0].data_ptr(),
        numbers[1].data_ptr(),
        *chosen.shape,
        told[0].data_ptr(),
        told[1].data_ptr(),
    )
    losses, errors = told[:, :taken].tolist()
    return losses, errors
