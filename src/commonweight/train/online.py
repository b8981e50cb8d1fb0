"""Online learning: a net takes samples as they come, answers, learns from them, and forgets them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.errors import TrainError
from commonweight.train.objective import error_sum, loss_function, metric
from commonweight.train.settings import require_rate

RATE = 1e-3


@dataclass
class Sums:
    """What the answers to some samples add up to.

    Attributes:
        n: samples.
        loss: sum of their losses.
        errors: see `objective.error_sum`.
    """

    n: int = 0
    loss: float = 0.0
    errors: float = 0.0

    def add(self, other: "Sums") -> None:
        """Count the others too."""
        self.n, self.loss, self.errors = self.n + other.n, self.loss + other.loss, self.errors + other.errors


class OnlineLearner:
    """Adam (Kingma & Ba 2015) at a constant rate, a step for each `partial_fit`; memory does not grow.

    The samples are answered before they are learned, so that every one of them is a test of what was learned from those
    before: prequential scores (Dawid 1984).

    Args:
        model: a net that is trained by gradients, as for `fit`.
        data: what it is about: task, classes, and the statistics to normalise by, which stay as they are.
        lr: the rate.

    Raises:
        TrainError: a rate that is none.

    Example:
        >>> from commonweight import data, nets
        >>> iris = data.load("iris")
        >>> learner = OnlineLearner(nets.build("mlp", iris.in_shape, iris.n_outputs), iris)
        >>> learn = learner.partial_fit
        >>> first, second = ([learn(iris.x[i : i + 1], iris.y[i : i + 1]).errors for i in iris.train] for _ in "ab")
        >>> sum(first) < sum(second)  # more right answers when they come a second time
        True
    """

    def __init__(self, model: nn.Module, data: Data, lr: float = RATE) -> None:
        require_rate(lr)
        self.model, self.data = model, data
        self.loss: Callable[[Tensor, Tensor], Tensor] = loss_function(model, data, label_smoothing=0.0)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(weights, lr=lr, fused=True)

    def partial_fit(self, x: Tensor, y: Tensor) -> Sums:
        """Answer samples, then make one step that their loss falls by.

        A sample alone has no mean and no variance: batch normalisation takes its running ones for it, as it does to
        predict.

        Args:
            x: raw values, shape (B, *in_shape).
            y: class indices (B,), or raw targets (B, T).

        Returns:
            How good the answers were, before the step.

        Raises:
            TrainError: the loss is no longer finite.
        """
        self.model.train()
        if len(x) == 1:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        self.optimizer.zero_grad()
        targets = self.data.normalisation.apply_target(y)
        outputs = self.model(self.data.normalisation.apply(x))
        loss = self.loss(outputs, targets)
        if not bool(loss.isfinite()):
            raise TrainError(f"The loss became {loss.item()} while learning online: lower the rate with --lr.")
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return Sums(len(x), len(x) * loss.item(), float(error_sum(outputs, targets, self.data)))

    def score(self, sums: Sums) -> float:
        """Accuracy, or root mean squared error in units of the target."""
        return metric(sums.errors, sums.n, self.data)
