"""What each use of a parameter adds to its gradient, whoever uses it: twins, time steps, layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


def each_use(parameter: nn.Parameter, loss: Callable[[], Tensor]) -> Tensor:
    """The gradient by use, in the order of the pass: shape (uses, *parameter.shape). Their sum is the gradient.

    Args:
        loss: runs the pass, and gives one number.

    >>> w = nn.Parameter(torch.tensor([2.0]))
    >>> each_use(w, lambda: (3 * w + w * w).sum())
    tensor([[3.],
            [2.],
            [2.]])
    """
    with torch.enable_grad(), _Uses(parameter) as uses:
        torch.autograd.backward(loss())
    return torch.stack([view.grad for view in uses.views if view.grad is not None])


class _Uses(TorchFunctionMode):
    """Hands each call that takes the parameter a view of its own instead; a look at its shape gets no gradient."""

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__()
        self.parameter, self.views = parameter, list[Tensor]()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*tree_map(self._own, args), **tree_map(self._own, kwargs or {}))

    def _own(self, value: Any) -> Any:
        if value is not self.parameter:
            return value
        view = self.parameter.view_as(self.parameter)
        view.retain_grad()
        self.views.append(view)
        return view
