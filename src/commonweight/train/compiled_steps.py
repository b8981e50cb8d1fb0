"""The steps between two checks by the compiled kernel, for small fully connected nets where it does what torch does.

It works on the weights, on the running average and on the state that torch's optimiser keeps, so that either can go on
where the other stopped: the first step and every step under observation are torch's.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from commonweight.data.dataset import Data
from commonweight.kernels.native_library import instructions
from commonweight.kernels.perceptron import Layer, Parameter, Rule, Samples, take_steps
from commonweight.train.choice import RESTRAINTS
from commonweight.train.jacobian import linear_layers
from commonweight.train.objective import Part, loss_kind
from commonweight.train.optimise import averaging_at, rate_at
from commonweight.train.settings import Settings
from commonweight.train.together import Team

RULES = ("adam", "adamw", "sgd", "momentum", "nesterov")
SMALL = 8_000_000
"""Weights times samples of a batch, up to which the kernel is ahead of torch, whose products are the faster ones."""
NAMES: dict[type[nn.Module], str] = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}


class CompiledSteps:
    """Steps of one training; see `compiled_steps`."""

    def __init__(
        self,
        chain: Sequence[tuple[nn.Linear, str]],
        averaged: Sequence[tuple[nn.Linear, str]],
        optimizer: torch.optim.Optimizer,
        settings: Settings,
        samples: Samples,
    ) -> None:
        self.chain, self.averaged = chain, averaged
        self.optimizer, self.settings, self.samples = optimizer, settings, samples
        self.steps_per_epoch = len(samples.inputs) // settings.batch_size

    def take(self, first: int, batches: Tensor) -> tuple[list[float], list[float]]:
        """Take steps, up to one whose loss is no finite number; some have been taken by the optimiser before.

        Args:
            first: number of the first one.
            batches: the samples of each, by number, shape (steps, batch_size).

        Returns:
            The loss and the `error_sum` of each.
        """
        steps, settings = range(first, first + len(batches)), self.settings
        rates = [rate_at(step, settings, self.steps_per_epoch) for step in steps]
        shares = [averaging_at(step, settings) for step in steps]
        layers = [
            Layer(self._parameter(layer.weight, average.weight), self._bias(layer, average), activation)
            for (layer, activation), (average, _) in zip(self.chain, self.averaged, strict=True)
        ]
        taken = take_steps(layers, self._rule(first), self.samples, batches, rates, shares)
        for state in self.optimizer.state.values():
            if "step" in state:
                state["step"] += len(taken[0])
        return taken

    def _bias(self, layer: nn.Linear, average: nn.Linear) -> Parameter | None:
        return None if layer.bias is None else self._parameter(layer.bias, average.bias)

    def _parameter(self, value: Tensor, average: Tensor) -> Parameter:
        state = self.optimizer.state[value]
        first = state.get("exp_avg", state.get("momentum_buffer"))
        return Parameter(value.detach(), first, state.get("exp_avg_sq"), average.detach())

    def _rule(self, done: int) -> Rule:
        group, settings = self.optimizer.param_groups[0], self.settings
        adam = "betas" in group
        beta1, beta2 = group["betas"] if adam else (group["momentum"], 0.0)
        decay = settings.weight_decay if settings.optimizer == "adamw" else 0.0
        return Rule(adam, beta1, beta2, group.get("eps", 0.0), group.get("nesterov", False), done, decay, settings.l2)


def compiled_steps(
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    part: Part,
    data: Data,
) -> CompiledSteps | None:
    """Steps by the kernel, or None where torch has to make them: another rule, net, loss, device or number format.

    Args:
        model, average: the net, and the copy that holds its running average.
        optimizer, settings, part, data: by what it is trained, and on what.
    """
    held_back = any(getattr(settings, name) for name in RESTRAINTS if name != "l2")
    if settings.optimizer not in RULES or held_back or loss_kind(model, data) == "own" or Team.current().size > 1:
        return None
    if settings.precision != "float32" or settings.device != "cpu" or instructions() == "off":
        return None
    chain = _chain(model)
    if not _covered(model, chain, part.inputs.shape, data.n_outputs):
        return None
    if settings.batch_size * sum(weight.numel() for weight in model.parameters()) > SMALL:
        return None
    scale = data.normalisation.target_scale
    unit = torch.ones(data.n_outputs) if scale is None else scale.float()
    samples = Samples(part.inputs.flatten(1).contiguous(), part.targets.contiguous(), unit, settings.label_smoothing)
    return CompiledSteps(chain, _chain(average), optimizer, settings, samples)


def _chain(model: nn.Module) -> list[tuple[nn.Linear, str]]:
    """Linear layers, each with the activation that follows, of a net that is a chain of them and nothing else."""
    if not isinstance(model, nn.Sequential) or type(model).forward is not nn.Sequential.forward:
        return []
    chain: list[tuple[nn.Linear, str]] = []
    for place, module in enumerate(model):
        if type(module) is nn.Linear:
            chain.append((module, "identity"))
        elif type(module) in NAMES and chain and chain[-1][1] == "identity":
            chain[-1] = (chain[-1][0], NAMES[type(module)])
        elif place > 0 or not _flattens(module):
            return []
    return chain if chain and chain[-1][1] == "identity" else []


def _flattens(module: nn.Module) -> bool:
    return type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)


def _covered(model: nn.Module, chain: Sequence[tuple[nn.Linear, str]], shape: Sequence[int], n_outputs: int) -> bool:
    """Whether the net is float32 numbers from inputs to outputs, each weight used once, with nobody looking on."""
    layers = [layer for layer, _ in chain]
    if not layers or linear_layers(model) != layers or (len(shape) > 2 and not _flattens(model[0])):  # type: ignore[index]
        return False
    sizes = [(prod(shape[1:]), layers[0].weight.shape[1]), (layers[-1].weight.shape[0], n_outputs)]
    sizes += [(before.weight.shape[0], after.weight.shape[1]) for before, after in pairwise(layers)]
    weights = [weight for layer in layers for weight in layer.parameters()]
    plain = all(weight.dtype == torch.float32 and weight.is_contiguous() for weight in weights)
    return plain and all(one == other for one, other in sizes) and not _watched(model, weights)


def _watched(model: nn.Module, weights: Sequence[Tensor]) -> bool:
    """Whether something of the user's is called as the net goes forward or backward."""
    of_modules = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "forward")
    of_weights = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return bool(
        _has_any_global_hook()  # type: ignore[no-untyped-call]
        or any(vars(module).get(name) for module in model.modules() for name in of_modules)
        or any(getattr(weight, name) for weight in weights for name in of_weights)
    )
