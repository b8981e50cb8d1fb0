"""The steps between two checks by the compiled kernel, for small fully connected nets where it does what torch does.

It works on the weights, on the running average and on the state that torch's optimiser keeps, so that either can go on
where the other stopped: the first step and every step under observation are torch's.
"""

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.kernels.chains import Chain, chain_of
from commonweight.kernels.perceptron import Layer, Parameter, Rule, Samples, take_steps
from commonweight.train.choice import RESTRAINTS
from commonweight.train.objective import Part, loss_kind
from commonweight.train.optimise import averaging_at, rate_at
from commonweight.train.settings import Settings
from commonweight.train.together import Team

RULES = ("adam", "adamw", "sgd", "momentum", "nesterov")


class CompiledSteps:
    """Steps of one training; see `compiled_steps`."""

    def __init__(
        self,
        chain: Chain,
        averaged: Chain,
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
    batch = part.inputs[: settings.batch_size]
    chain = [] if settings.precision != "float32" else chain_of(model, batch)
    if not chain or chain[-1][0].weight.shape[0] != data.n_outputs:
        return None
    scale = data.normalisation.target_scale
    unit = torch.ones(data.n_outputs) if scale is None else scale.float()
    samples = Samples(part.inputs.flatten(1).contiguous(), part.targets.contiguous(), unit, settings.label_smoothing)
    return CompiledSteps(chain, chain_of(average, batch), optimizer, settings, samples)
