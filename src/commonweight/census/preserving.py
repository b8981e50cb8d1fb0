"""Leave a model and the random generators exactly as they were, whatever its forward pass does."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn


class Preserved:
    """The parts of a model's state that a forward pass can change."""

    def __init__(self, model: nn.Module) -> None:
        self._training = [(module, module.training) for module in model.modules()]
        self._buffers = [(module, dict(module._buffers.items())) for module in model.modules()]
        self._values = [(buffer, buffer.clone()) for buffer in model.buffers()]
        self._parameters: dict[nn.Parameter, Tensor] = {}

    def before_write(self, parameters: Iterable[nn.Parameter]) -> None:
        """Keep the values of parameters that are about to be written to, as nn.Embedding(max_norm=...) does."""
        for parameter in parameters:
            if parameter not in self._parameters:
                self._parameters[parameter] = parameter.detach().clone()

    def restore(self) -> None:
        """Put back modes, buffers (as the same objects) and written parameters."""
        for module, training in self._training:
            module.training = training
        for module, buffers in self._buffers:
            if not isinstance(module, torch.jit.ScriptModule):  # whose buffers are fixed, all but their values
                module._buffers.clear()
                module._buffers.update(buffers)
        for tensor, values in chain(self._values, self._parameters.items()):
            if not tensor.is_meta and not torch.equal(tensor, values):
                with torch.no_grad():
                    tensor.copy_(values)


@contextmanager
def preserved(model: nn.Module) -> Iterator[Preserved]:
    """Restore training modes, buffers, parameters and the random state of torch, numpy and Python at the end."""
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    state, python, numpy = Preserved(model), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield state
        finally:
            state.restore()
            random.setstate(python)
            np.random.set_state(numpy)
