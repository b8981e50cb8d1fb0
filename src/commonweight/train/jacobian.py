"""The Jacobian of a net, sample by sample: ∂outputs/∂θ for all of its weights, as one vector."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from commonweight.train.flat import FlatNet

Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Jacobian:
    """(θ, x) -> ∂outputs/∂θ of shape (B, n_outputs, n), and the outputs (B, n_outputs).

    Where all weights belong to linear layers y = W a + b with one use each, one way back for each output gives
    ∂z/∂y = δ of all layers and samples, and ∂z/∂W = δ aᵀ, ∂z/∂b = δ: a dozen operations. For every other net it is
    reverse mode for each output of each sample (`jacrev` under `vmap`), traced once for each shape of x and then run
    as a plain list of operations, which takes a third of the time for small nets.

    Args:
        net: the net as a function of θ; no sample may have an effect on the outputs for another.

    Example, z = 2 x + 1 with θ = (2, 1):
        >>> z = Jacobian(FlatNet(nn.Linear(1, 1)))(torch.tensor([2.0, 1.0]), torch.tensor([[3.0], [4.0]]))
        >>> z[0].tolist(), z[1].tolist()
        ([[[3.0, 1.0]], [[4.0, 1.0]]], [[7.0], [9.0]])
    """

    def __init__(self, net: FlatNet) -> None:
        self.net = net
        self.layers = linear_layers(net.copy)
        self.traced: dict[torch.Size, Function] = {}

    def __call__(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.layers:
            found = self._through_layers(theta, x)
            if found is not None:
                return found
        if x.shape not in self.traced:

            def one(theta: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
                outputs = self.net.outputs(theta, sample[None])[0]
                return outputs, outputs

            every = vmap(jacrev(one, has_aux=True), in_dims=(None, 0))
            self.traced[x.shape] = make_fx(every)(theta, x)
        return self.traced[x.shape](theta, x)

    @torch.enable_grad()
    def _through_layers(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """By the linear layers; None where one of them is used twice or not at all, or along more axes."""
        uses: list[tuple[nn.Module, Tensor, Tensor]] = []

        def keep(module: nn.Module, given: Any, y: Tensor) -> None:
            uses.append((module, given[0].detach(), y))

        hooks = [layer.register_forward_hook(keep) for layer in self.layers]
        try:
            z = self.net.outputs(theta.detach().requires_grad_(), x)
        finally:
            for hook in hooks:
                hook.remove()
        if [use[0] for use in uses] != self.layers or any(use[2].ndim != 2 for use in uses):
            return None
        jacobian = theta.new_empty(len(x), z.shape[1], self.net.n)
        for output in range(z.shape[1]):
            ways = torch.autograd.grad(z[:, output].sum(), [use[2] for use in uses], retain_graph=True)
            parts = []
            for (layer, a_BI, _), way_BO in zip(uses, ways, strict=True):
                parts.append((way_BO[:, :, None] * a_BI[:, None, :]).flatten(1))
                if layer.bias is not None:
                    parts.append(way_BO)
            torch.cat(parts, 1, out=jacobian[:, output])
        return jacobian, z.detach()


def linear_layers(model: nn.Module) -> list[nn.Module]:
    """The linear layers of a model, if all of its parameters are theirs, each once and trained; else none."""
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    owned = [parameter for layer in layers for parameter in layer.parameters()]
    every = [parameter for _, parameter in model.named_parameters(remove_duplicate=False)]
    plain = len(every) == len(owned) == len(set(every)) and all(parameter.requires_grad for parameter in owned)
    return layers if plain else []  # type: ignore[return-value]
