"""What holds a net back from learning its samples by heart: at each step, something is added to it or taken from it.

    augment     images are shifted, turned, mirrored     see `commonweight.train.augment`
    noise       σ ε is added to the inputs, ε ~ N(0, 1)  Bishop 1995, "Training with noise is equivalent to Tikhonov
                                                         regularization": a penalty on how fast the outputs change
    l1          λ₁ Σ |θ| is added to the loss            Tibshirani 1996: many weights come near 0
    l2          λ₂/2 Σ θ² is added to the loss           Krogh & Hertz 1992: large weights have to be worth it
    max_norm    ‖w‖ ≤ c for the connections of a unit    Srebro, Rennie, Jaakkola 2005; Srivastava et al. 2014
    sparsity    a share s of each layer's weights is 0   Zhu & Gupta 2017, "To prune, or not to prune": the smallest

"Weights" are those with two axes or more, and those of `Tied` layers: neither biases nor scales of normalisations. A
weight that many connections use is one number, and counts once in l1, l2 and sparsity: a penalty is minus the logarithm
of what is believed of each weight, a Laplace or a normal distribution, and that is believed once. The norm of a unit is
taken over its connections, each counted, since it bounds what the unit can make of its inputs.

Sparsity is that of weights, not of activations. Dropout and batch normalisation are parts of a net (`dropout=`,
`batch_norm=` of mlp and cnn); label smoothing is a part of the loss; early stopping, of the loop.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from commonweight.equations import record
from commonweight.equations.living import aliases
from commonweight.tied import Tied
from commonweight.train.augment import augment
from commonweight.train.settings import Settings


class Regulariser:
    """What the settings hold a net back by.

    Args:
        model: the net that is trained.
        settings: see `Settings`.
        steps: of the whole training.
    """

    def __init__(self, model: nn.Module, settings: Settings, steps: int) -> None:
        self.settings, self.steps = settings, steps
        self.weights = weights_of(model)
        self.units = [] if settings.max_norm is None else [one for one in _units(model) if one.weight.requires_grad]

    def disturb(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) as the net is to see them in this step, by torch's own random state."""
        inputs = augment(inputs, self.settings.augment) if self.settings.augment else inputs
        return inputs + self.settings.noise * torch.randn_like(inputs) if self.settings.noise else inputs

    def penalty(self) -> Tensor:
        """λ₁ Σ |θ| + λ₂/2 Σ θ², differentiable."""
        l1, l2 = self.settings.l1, self.settings.l2
        return torch.stack([l1 * w.abs().sum() + l2 / 2 * w.square().sum() for w in self.weights]).sum()

    def pull(self) -> None:
        """Add the gradient of the penalty to the gradients of the weights."""
        if self.weights and (self.settings.l1 or self.settings.l2):
            self.penalty().backward()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def project(self, step: int) -> None:
        """Bring the weights back to what they are allowed after a step: the sparsity of that step, and the norms."""
        self.prune(self.weights, step)
        if self.settings.max_norm is not None:
            for units in self.units:
                units.bound(self.settings.max_norm)

    @torch.no_grad()
    def prune(self, weights: Iterable[Tensor], step: int) -> None:
        """Make the smallest of each weight 0: s (1 - (1 - 2 (step + 1) / steps)³) of them, and s from half-way on.

        What was 0 may come back while it grows faster than others shrink; with the rate, that comes to an end.
        """
        if not self.settings.sparsity:
            return
        done = min(1.0, 2 * (step + 1) / self.steps)
        share = self.settings.sparsity * (1 - (1 - done) ** 3)
        for weight in weights:
            n_zero = int(share * weight.numel())
            smallest = weight.abs().flatten().topk(n_zero, largest=False, sorted=False).indices
            weight.mul_(weight.new_ones(weight.numel()).index_fill_(0, smallest, 0.0).view(weight.shape))

    def is_settled(self, step: int) -> bool:
        """Whether weights that are kept after so many steps have the sparsity that was asked for."""
        return not self.settings.sparsity or 2 * step >= self.steps


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """The trainable weights of a model, each once: those with two axes or more, and those of `Tied` layers.

    >>> [tuple(weight.shape) for weight in weights_of(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))]
    [(2, 3)]
    """
    of_patterns = {id(module.weight) for module in model.modules() if isinstance(module, Tied)}
    return [w for w in model.parameters() if w.requires_grad and (w.ndim > 1 or id(w) in of_patterns)]


class _Rows:
    """Units whose connections are the rows of a weight: of linear layers, convolutions, recurrent ones, embeddings."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def bound(self, largest: float) -> None:
        """Scale rows down to norm ‖w‖ ≤ largest."""
        self.weight.copy_(self.weight.renorm(2, 0, largest))


class _Listed:
    """Units whose connections are listed: connection e leads to unit[e] and uses element index[e] of the weight."""

    def __init__(self, weight: Tensor, unit: Tensor, index: Tensor) -> None:
        self.weight, self.unit, self.index = weight, unit.to(weight.device), index.to(weight.device)
        self.n_units = int(unit.max()) + 1

    def bound(self, largest: float) -> None:
        """Multiply each weight by the least of largest / ‖w‖ over the units that use it, and 1.

        Then no unit is above, and weights that were one still are. Where units have no weight in common with others of
        another norm, this is the nearest point that is allowed.
        """
        flat = self.weight.flatten()
        squares = flat.new_zeros(self.n_units).index_add_(0, self.unit, flat[self.index].square())
        scale = largest / squares.sqrt()
        least = torch.ones_like(flat).scatter_reduce_(0, self.index, scale[self.unit], "amin")
        self.weight.mul_(least.view(self.weight.shape))


def _units(model: nn.Module) -> Iterable[_Rows | _Listed]:
    """The units of all layers, also of those that compute their weight from another's by a tie."""
    listed: set[int] = set()
    for module in model.modules():
        if isinstance(module, Tied):
            tiemap = module.pattern.tiemap()
            yield _Listed(module.weight, torch.tensor(tiemap.out), torch.tensor(tiemap.weight))
            listed.add(id(module.weight))
        elif isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            shape = (module.groups, module.in_channels // module.groups, -1, module.weight[0, 0].numel())
            units = torch.arange(module.out_channels).view(module.groups, 1, -1, 1).expand(shape)
            yield _Listed(module.weight, units.flatten(), torch.arange(module.weight.numel()))
            listed.add(id(module.weight))
        for alias in aliases(module).values():
            source = None if alias.root is None else record.parameter(alias.root, alias.equation.source)
            if source is not None and source.ndim > 1:
                numbers = torch.arange(1, source.numel() + 1).view(source.shape)
                index = alias.equation.apply(numbers).abs() - 1
                units = torch.arange(len(index)).view(-1, *(1,) * (index.ndim - 1)).expand_as(index)
                yield _Listed(source, units.flatten(), index.flatten())
    yield from (_Rows(weight) for weight in weights_of(model) if id(weight) not in listed)
