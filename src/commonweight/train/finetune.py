"""Training of a compressed net: the shared values by their gradient, and which weight uses which value.

`finetune` trains, `importance` says before compressing which elements the loss depends on.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from commonweight.atomic import own_tensors
from commonweight.compress import shared_weights
from commonweight.data.dataset import Data
from commonweight.errors import TrainError, require_kind, require_seed
from commonweight.measure.subject import require_data, require_net
from commonweight.train.objective import evaluate, loss_function, part_of
from commonweight.train.order import Order
from commonweight.train.settings import choose_settings

FISHER_BATCH = 16
FISHER_SAMPLES = 1024


def finetune(model: nn.Module, data: Data, *, epochs: int, lr: float = 2e-3, seed: int = 0) -> None:
    """Train a net that `compress.share` compressed, in place: shared values, biases and norms, by Adam.

    A shared value θ is a parameter, and its gradient is the sum over the elements that use it: ∂L/∂θ = Σ ∂L/∂W[o, i].
    The rate falls straight from `lr` to 0. The same seed gives the same weights.

    Codes stay, unless the weights have shadows (`compress.share(..., shadows=True)`): each element then has a number of
    its own that takes the gradient of the element, while the net computes with shared values; in the first half of the
    steps, codes and values follow the shadows after each step, by one step of Lloyd's algorithm. (Seldom is worse than
    never: the shadows run away from what the net computes with.) Then the shadows are dropped, and the values are
    trained as above.

    In the end the net has the weights that did best on the validation part after an epoch, or before the first one, if
    no training did it good: what lost nothing by being compressed is not made worse.

    Args:
        model: takes normalised samples of the data.
        data: trained on by its training part, chosen by its validation part.
        epochs: passes over it, at least 1.
        lr: largest learning rate.
        seed: of the order of samples, and of dropout.

    Sources: trained values, Han, Mao, Dally 2015 (arXiv:1510.00149), section 3.3. Shadows and the straight gradient,
    Courbariaux, Bengio, David 2015, "BinaryConnect" (arXiv:1511.00363), there with the two values ±1.

    Raises:
        TrainError: no net or data, no whole number of epochs, a rate that is not above 0, or a loss that is no longer
            finite.

    Example:
        >>> from commonweight import data, nets
        >>> from commonweight.compress import share
        >>> iris = data.load("iris")
        >>> net = nets.build("mlp", iris.in_shape, iris.n_outputs)
        >>> _ = share(net, k=4, per="tensor")
        >>> finetune(net, iris, epochs=60)
        >>> score(net, iris)["accuracy"] > 0.6
        True
    """
    require_kind(epochs, int, "finetune trains for a whole number of epochs", TrainError)
    require_kind(lr, Real, "finetune takes a number above 0 as lr", TrainError)
    settings = choose_settings(
        model,
        data,
        epochs=epochs,
        goal=None,
        optimizer="adam",
        lr=lr,
        batch_size=None,
        precision="auto",
        device="cpu",
        seed=seed,
    )
    part = part_of(data, data.train)
    order = Order(len(part), settings.batch_size, seed)
    steps = epochs * order.per_epoch
    loss_of = loss_function(model, data, settings.label_smoothing)
    of_bfloat16 = partial(torch.autocast, "cpu", torch.bfloat16)
    precision = of_bfloat16 if settings.precision == "bfloat16" else nullcontext
    optimizer = _optimizer(model, lr)
    best = Best(model, data)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - step / steps)
            chosen = order.batches(step, step + 1)[0]
            with precision():
                outputs = model(part.inputs[chosen])
            loss = loss_of(outputs, part.targets[chosen])
            if not bool(loss.isfinite()):
                raise TrainError(
                    f"The loss became {loss.item()} in step {step} of {steps}: lower lr, which was {lr:g}."
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if _reassign(model, step + 1, steps):
                optimizer = _optimizer(model, lr)
            if (step + 1) % order.per_epoch == 0:
                best.look()
    best.restore()
    model.eval()


class Best:
    """The weights of a net that have done best on the validation part so far, those of now to begin with."""

    def __init__(self, model: nn.Module, data: Data) -> None:
        self.model, self.data = model, data
        self.score = [-math.inf, -math.inf]
        self.look()

    def look(self) -> None:
        """Keep the weights of now if they do better: by accuracy and then loss, or by error."""
        scores = score(self.model, self.data, self.data.validation)
        found = [scores.get("accuracy", -scores.get("rmse", math.inf)), -scores["loss"]]
        if found > self.score:
            self.score = found
            self.kept = {name: tensor.detach().clone() for name, tensor in self._own()}

    @torch.no_grad()
    def restore(self) -> None:
        """Give the net the weights that did best; shadows are gone."""
        for weight in shared_weights(self.model).values():
            weight.shadow = None
        for name, tensor in self._own():
            tensor.copy_(self.kept[name])

    def _own(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, tensor) for name, tensor in own_tensors(self.model).items() if not name.endswith(".shadow"))


def importance(model: nn.Module, data: Data, *, seed: int = 0) -> dict[str, Tensor]:
    """How much the loss depends on each element of each parameter: the mean of the squared gradients of small batches.

        importance = E[g²] + mean(E[g²]) / 100

    for gradients g over batches of 16, from at most 1,024 samples of the training part: an estimate of the diagonal of
    the Fisher matrix, which stands for the second derivative. The second term lets no element count for nothing. Takes
    memory for two more models.

    Source: Choi, El-Khamy, Lee 2017 (arXiv:1612.01543). Deviation: squared gradients for the Hessian, as in the
    optimisers that they point to in section 3.4.

    Returns:
        A tensor for each parameter, by every name that it has; those that get no gradient are left out.

    Raises:
        NetError, DataError, TrainError: no net, no data, a seed out of range.
    """
    require_net(model)
    require_data(data)
    seed = require_seed(seed, TrainError)
    part = part_of(data, data.train)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(part)))[:FISHER_SAMPLES]
    loss_of = loss_function(model, data, 0.0)
    squares: dict[nn.Parameter, Tensor] = {}
    model.eval()
    for chosen in order.split(FISHER_BATCH):  # type: ignore[no-untyped-call]
        model.zero_grad()
        loss_of(model(part.inputs[chosen]), part.targets[chosen]).backward()  # type: ignore[no-untyped-call]
        for parameter in model.parameters():
            if parameter.grad is not None:
                squares.setdefault(parameter, torch.zeros_like(parameter.detach())).addcmul_(*[parameter.grad] * 2)
    model.zero_grad()
    named = model.named_parameters(remove_duplicate=False)
    return {
        name: squares[parameter] + squares[parameter].mean() / 100
        for name, parameter in named
        if parameter in squares and bool(squares[parameter].any())
    }


def score(model: nn.Module, data: Data, index: Tensor | None = None) -> dict[str, float]:
    """Scores on the test part, or on samples of other indices, in float32: loss and accuracy, or loss, rmse and r2.

    Raises:
        NetError, DataError: no net, no data.
        TrainError: indices that are no int64 tensor, shape (N,), of places in `data.x`.
    """
    require_net(model)
    require_data(data)
    index = data.test if index is None else index
    require_kind(index, Tensor, "Samples to score are a tensor of their indices, such as data.validation", TrainError)
    inside = index.dtype == torch.int64 and index.ndim == 1 and bool(((index >= 0) & (index < len(data.x))).all())
    if not inside or not len(index):
        raise TrainError(
            f"Samples to score are an int64 tensor (N,) of indices from 0 to {len(data.x) - 1:,}, at least one; got "
            f"{index.dtype} and shape {tuple(index.shape)}."
        )
    full: Callable[[], AbstractContextManager[object]] = nullcontext
    part = part_of(data, index)
    return evaluate(model, part, loss_function(model, data, 0.0), data, full)


def _optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Adam on everything that is trained now: of a weight with a shadow, that."""
    for weight in shared_weights(model).values():
        weight.values.requires_grad_(weight.shadow is None)
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)


def _reassign(model: nn.Module, step: int, steps: int) -> bool:
    """Bring codes and values up to their shadows, after each step of the first half; whether that was the last time."""
    with_shadow = [weight for weight in shared_weights(model).values() if weight.shadow is not None]
    if not with_shadow:
        return False
    last = step >= steps // 2
    for weight in with_shadow:
        weight.follow_shadow()
        if last:
            weight.shadow = None
    return last
