"""The Jacobian of a net, sample by sample: ∂outputs/∂θ for all of its weights, as one vector."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from commonweight.train.flat import FlatNet

Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Way:
    """What ∂outputs/∂θ is made of, for a linear layer y = W a + b used once: ∂z/∂W = δ aᵀ and ∂z/∂b = δ with δ = ∂z/∂y.

    Attributes:
        given: a, shape (I, B), with a further row of ones for the bias if there is one.
        back: δ, shape (C, O, B), for each output c of the net.
        has_bias: whether there is that row.
    """

    given: Tensor
    back: Tensor
    has_bias: bool

    @property
    def size(self) -> int:
        """Weights of the layer, with its bias."""
        return len(self.given) * self.back.shape[1]

    def order(self) -> Tensor:
        """Where each weight stands in a matrix (O, I): W row by row, then b, which is its last column."""
        places = torch.arange(self.size).view(-1, len(self.given))
        return torch.cat([places[:, :-1].flatten(), places[:, -1]]) if self.has_bias else places.flatten()

    def jacobian(self) -> list[Tensor]:
        """∂z/∂W of shape (B, C, O I), and ∂z/∂b of shape (B, C, O) if there is a bias."""
        back_BCO = self.back.permute(2, 0, 1)
        given_IB = self.given[:-1] if self.has_bias else self.given
        of_weight = (back_BCO[..., None] * given_IB.T[:, None, None, :]).flatten(2)
        return [of_weight, back_BCO] if self.has_bias else [of_weight]


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
        found = self.ways(theta, x)
        if found is not None:
            return torch.cat([part for way in found[0] for part in way.jacobian()], 2), found[1]
        if x.shape not in self.traced:

            def one(theta: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
                outputs = self.net.outputs(theta, sample[None])[0]
                return outputs, outputs

            every = vmap(jacrev(one, has_aux=True), in_dims=(None, 0))
            self.traced[x.shape] = make_fx(every)(theta, x)
        return self.traced[x.shape](theta, x)

    @torch.enable_grad()
    def ways(self, theta: Tensor, x: Tensor) -> tuple[list[Way], Tensor] | None:
        """The ways through the linear layers in the order of θ, and the outputs (B, n_outputs).

        None where there are other weights, or a layer is used twice, not at all, or along more axes.
        """
        if not self.layers:
            return None
        uses: list[tuple[nn.Module, Tensor, Tensor]] = []

        def keep(module: nn.Module, given: Any, y: Tensor) -> None:
            uses.append((module, given[0].detach(), y))

        hooks = [layer.register_forward_hook(keep, prepend=True) for layer in self.layers]
        try:
            z = self.net.outputs(theta.detach().requires_grad_(), x)
        finally:
            for hook in hooks:
                hook.remove()
        if [use[0] for use in uses] != self.layers or any(use[2].ndim != 2 for use in uses):
            return None
        sums = [y for _, _, y in uses]
        back = [torch.autograd.grad(column.sum(), sums, retain_graph=True) for column in z.unbind(1)]
        found = []
        for (layer, a_BI, _), ways_CBO in zip(uses, zip(*back, strict=True), strict=True):
            ones = [] if layer.bias is None else [a_BI.new_ones(1, len(a_BI))]
            ways_COB = torch.stack([way.T for way in ways_CBO])
            found.append(Way(torch.cat([a_BI.T, *ones]), ways_COB, bool(ones)))
        return found, z.detach()


def linear_layers(model: nn.Module) -> list[nn.Module]:
    """The linear layers of a model, if all of its parameters are theirs, each once and trained; else none."""
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    owned = [parameter for layer in layers for parameter in layer.parameters()]
    every = [parameter for _, parameter in model.named_parameters(remove_duplicate=False)]
    plain = len(every) == len(owned) == len(set(every)) and all(parameter.requires_grad for parameter in owned)
    return layers if plain else []  # type: ignore[return-value]
