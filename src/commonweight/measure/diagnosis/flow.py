"""Which layers hand their outputs to which, seen in one forward pass: linear layers without an activation between."""

from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from commonweight.tied import Tied

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Tied)
HANDING_ON = (
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
)
"""Modules after which a linear layer is still one."""
SQUASHING = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Softplus, nn.Softsign)


class Flow:
    """Hooks on all modules without parts, for one forward pass.

    A tensor is known again by its memory, its size and its version, which an operation in place raises: what comes out
    of a function that is no module is unknown, and nothing is said of it.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Identity(), nn.Linear(3, 4), nn.ReLU())
    >>> with Flow(model) as flow:
    ...     outputs = model(torch.zeros(5, 2))
    >>> flow.straight(), flow.squashed(outputs)
    (('0 -> 2',), 'ReLU')
    """

    def __init__(self, model: nn.Module) -> None:
        self.leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
        self.origin: dict[tuple[int, int, int], str] = {}  # the linear layer that a tensor comes from
        self.made_by: dict[tuple[int, int, int], nn.Module] = {}
        self.pairs: list[str] = []
        self.cut: list[str] = []  # modules that hand no gradient back
        self.kept: list[Tensor] = []  # so that no memory is used twice
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> "Flow":
        self.handles = [module.register_forward_hook(self._hook(name)) for name, module in self.leaves]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self.handles:
            handle.remove()

    def straight(self) -> tuple[str, ...]:
        """Pairs "a -> b" of linear layers, each once."""
        return tuple(dict.fromkeys(self.pairs))

    def squashed(self, outputs: Tensor) -> str:
        """The class of the activation whose output this is; empty if it is of no known one."""
        module = self.made_by.get(_key(outputs))
        return type(module).__name__ if isinstance(module, SQUASHING) else ""

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not (inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)):
                return
            if inputs[0].requires_grad and not output.requires_grad:
                self.cut.append(name)
            before = self.origin.get(_key(inputs[0]), "")
            self.kept += [inputs[0], output]
            self.made_by[_key(output)] = module
            if isinstance(module, LINEAR):
                if before:
                    self.pairs.append(f"{before} -> {name}")
                self.origin[_key(output)] = name
            elif isinstance(module, HANDING_ON) and before:
                self.origin[_key(output)] = before
            elif not isinstance(module, HANDING_ON):
                self.origin.pop(_key(output), None)

        return hook


def _key(tensor: Tensor) -> tuple[int, int, int]:
    return tensor.data_ptr(), tensor.numel(), tensor._version
