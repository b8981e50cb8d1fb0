"""Soft weight sharing: a mixture of normal distributions, learned with the weights, pulls them into groups.

    cost = mean loss + τ/N Σ_θ -log p(θ),   p(θ) = Σ_j π_j N(θ; μ_j, σ_j²)

Weights near a μ are drawn to it, the more the narrower the distribution is; and the distributions move, narrow down and
gain or lose share by the gradient of the same cost. With τ = 1 this is the logarithm of a posterior: N losses, and what
is believed of the weights. In the end weights are in groups, and the nearest codebooks, one for each tensor, have a
value for each group: the layers become those of `commonweight.compress`, values and codes.

Sources: Nowlan & Hinton 1992, "Simplifying neural networks by soft weight-sharing"; Ullrich, Meeds, Welling 2017
(arXiv:1702.04008), who compress trained nets by it. Deviations: each weight tensor has a mixture of its own, since
layers differ in scale; the mixtures begin at the nearest codebooks (k-means) instead of evenly spread; σ has a least
value instead of a prior; no distribution is kept at 0 for pruning; and a weight ends at the nearest value instead of
the most probable one, since a wide distribution may lie around a narrow one.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.checkpoints import open_checkpoint
from commonweight.compress import Report, SharedWeight, share, shared_weights
from commonweight.data.dataset import Data
from commonweight.errors import TrainError
from commonweight.manifest import find
from commonweight.train.finetune import finetune
from commonweight.train.objective import loss_function, part_of
from commonweight.train.order import Order
from commonweight.train.settings import choose_settings

STRENGTH = 0.1
"""τ: with 1, the nets lose more by grouping than they need to; Ullrich, Meeds, Welling take less still."""
MIXTURE_RATE = 1e-2
NARROWEST = 1e-2
"""The least σ, in deviations of all weights of the tensor."""


class Mixture(nn.Module):
    """The distribution p of the weights of one tensor, in units of their deviation.

    Args:
        weight: the tensor.
        start: its nearest codebook; every value in use begins a distribution.
    """

    def __init__(self, weight: Tensor, start: SharedWeight) -> None:
        super().__init__()
        codes = start.codes().flatten().long()
        values, uses = start.values.detach()[0], torch.bincount(codes, minlength=start.values.shape[1])
        values, uses = values[uses > 0], uses[uses > 0]
        self.unit = float(weight.detach().std(correction=0)) or 1.0
        spread = (weight.detach().flatten() - start.values.detach()[0][codes]).square().mean().sqrt() / self.unit
        self.means = nn.Parameter(values / self.unit)
        self.log_deviations = nn.Parameter(torch.full_like(values, math.log(max(float(spread), 2 * NARROWEST))))
        self.logits = nn.Parameter((uses / uses.sum()).log())

    def forward(self, weight: Tensor) -> Tensor:
        """Σ -log p(θ), of weights of any shape."""
        log_deviations = self.log_deviations.clamp(min=math.log(NARROWEST))
        distances = (weight.flatten()[:, None] / self.unit - self.means) / log_deviations.exp()
        densities = self.logits.log_softmax(0) - log_deviations - distances.square() / 2 - math.log(2 * math.pi) / 2
        return -densities.logsumexp(1).sum()


def soft_share(
    model: nn.Module,
    data: Data,
    k: int,
    *,
    epochs: int | None = None,
    lr: float = 2e-3,
    strength: float = STRENGTH,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Train a net under soft weight sharing until its weights are in groups, and make codebooks of these, in place.

    Weights and mixtures learn by Adam, at rates that fall straight to 0. Then the shared values are trained for half as
    many epochs more (`finetune`), which keeps what does best on the validation part. The weights are those that
    `compress.share` makes codebooks of; a tied weight is in one mixture, once.

    Args:
        model: a net on the CPU, trained before.
        data: what it was trained on.
        k: distributions in a mixture, 1 … 256; some may end without a weight.
        epochs: under the mixture, at least 1; by default chosen from the size of the data.
        lr: largest learning rate of the weights.
        strength: τ.
        seed: of the order of samples.
        say: is handed a line for the user at every tenth of the way.

    Returns:
        What becoming codebooks cost and saved; its errors say how far the weights were from being in groups.

    Raises:
        CompressError: k out of range.
        TrainError: no weight that k values for a tensor would make smaller, a loss that is no longer finite, or
            settings that `finetune` refuses.

    Example:
        >>> from commonweight import data, nets
        >>> iris = data.load("iris")
        >>> net = nets.build("mlp", iris.in_shape, iris.n_outputs)
        >>> report = soft_share(net, iris, k=4, epochs=40)
        >>> net.hidden1.shared
        SharedWeight((128, 4), 1 codebooks of 4)
    """
    mixtures = _mixtures(model, k)
    part = part_of(data, data.train)
    given: dict[str, Any] = {"epochs": epochs, "goal": None, "optimizer": "adam", "lr": lr, "batch_size": None}
    settings = choose_settings(model, data, **given, precision="float32", device="cpu", seed=seed)
    loss_of = loss_function(model, data, settings.label_smoothing)
    order = Order(len(part), settings.batch_size, seed)
    steps = settings.epochs * order.per_epoch
    groups = [{"params": list(model.parameters()), "lr": lr}]
    groups += [{"params": list(mixture.parameters()), "lr": MIXTURE_RATE} for mixture in mixtures.values()]
    optimizer = torch.optim.Adam(groups, fused=True)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(steps):
            chosen = order.batches(step, step + 1)[0]
            belief = torch.stack([mixture(model.get_parameter(name)) for name, mixture in mixtures.items()]).sum()
            loss = loss_of(model(part.inputs[chosen]), part.targets[chosen]) + strength / len(part) * belief
            if not bool(loss.isfinite()):
                raise TrainError(f"The loss became {loss.item()} in step {step} of {steps}: lower lr from {lr:g}.")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            falling.step()
            if say and (step + 1) * 10 // steps > step * 10 // steps:
                passed = (step + 1) / order.per_epoch
                say(f"soft sharing  epoch {passed:6.2f} of {settings.epochs}  loss {loss.item():.4f}")
    if say:
        say(f"soft sharing  the groups become {k} values for each tensor, which are trained on")
    report = share(model, k, per="tensor")
    finetune(model, data, epochs=max(1, settings.epochs // 2), lr=lr, seed=seed)
    return report


def _mixtures(model: nn.Module, k: int) -> dict[str, Mixture]:
    """A mixture for each weight that can have a codebook, by its name."""
    copy = deepcopy(model)
    share(copy, k, per="tensor")
    starts = shared_weights(copy)
    if not starts:
        raise TrainError(
            f"Soft sharing by {k} values a tensor would make no weight of this net smaller: take fewer values."
        )
    return {name: Mixture(model.get_parameter(name), start) for name, start in starts.items()}


def is_shared(path: Path) -> bool:
    """Whether a file of weights has codebooks or patterns."""
    manifest = find(open_checkpoint(path).metadata)
    return bool(manifest and manifest.made)
