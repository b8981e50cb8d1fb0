"""The deep belief net by scikit-learn's conventions: greedy layers, wake-sleep, then backpropagation."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator

from commonweight.nets.deep_belief import DeepBeliefNet, learn_greedily, wake_and_sleep
from commonweight.nets.estimators import ModuleClassifier, batches, learn_labels, require_whole, seed_of

UPDATES = 800
"""Of backpropagation, at least."""


class DBNClassifier(ModuleClassifier):
    """A deep belief net that ends as a classifier, and still makes samples.

    Each layer learns for `max_iter` epochs as a restricted Boltzmann machine; wake-sleep tunes all together for
    `sleep_iter` epochs, the rate falling to 0; then backpropagation tunes, for `tuning_iter` epochs, a copy of the
    recognition weights and of the top machine that answers from then on. Its inputs are noisy, without which few
    samples are soon learned by heart (Bishop 1995; see `learn_labels`).

    Args:
        hidden: units of the layers; the last are those of the top machine.
        learning_rate, momentum: of contrastive divergence in the layers.
        sleep_rate: of wake-sleep.
        tuning_rate: of backpropagation.
        batch_size: samples of an update.
        max_iter, sleep_iter, tuning_iter: epochs; 0 leaves the last two out. Backpropagation takes more of them where
            few samples would leave it fewer than 800 updates.
        noise: deviation of what backpropagation adds to the inputs, which are scaled to [0, 1].
        random_state: of first weights, order and samples.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> DBNClassifier(hidden=(32, 32), random_state=0).fit(X, y).score(X, y) > 0.85
        True
    """

    def __init__(
        self,
        hidden: Sequence[int] = (256, 256),
        *,
        learning_rate: float = 0.1,
        momentum: float = 0.8,
        sleep_rate: float = 0.02,
        tuning_rate: float = 1e-2,
        batch_size: int = 20,
        max_iter: int = 30,
        sleep_iter: int = 20,
        tuning_iter: int = 40,
        noise: float = 0.2,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.sleep_rate = sleep_rate
        self.tuning_rate = tuning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.sleep_iter = sleep_iter
        self.tuning_iter = tuning_iter
        self.noise = noise
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from rows X of shape (N, F) and labels y of shape (N,).

        Raises:
            ValueError: values that are not finite, labels that are no classes or all alike, or a number out of range.
        """
        require_whole(self, 1, "batch_size", "max_iter")
        require_whole(self, 0, "sleep_iter", "tuning_iter")
        x, index = self.encode(X, y)
        seed = seed_of(self.random_state)
        generator = Generator().manual_seed(seed)
        self.structure_ = {"hidden": list(self.hidden)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = DeepBeliefNet((x.shape[1],), len(self.classes_), hidden=self.hidden)
            rows = net.interval.fit(x)(x)
            net.tie_directions()
            order = batches(len(rows), self.batch_size, self.max_iter, generator)
            top_rule = learn_greedily(
                net, rows, index, order, rate=self.learning_rate, momentum=self.momentum, generator=generator
            )
        net.untie_directions()
        order = batches(len(rows), self.batch_size, self.sleep_iter, generator)
        for step, batch in enumerate(order):
            rate = self.sleep_rate * (1 - step / len(order))
            top_rule.rate = rate
            wake_and_sleep(net, top_rule, rows[batch], index[batch], rate=rate, generator=generator)
        in_epoch = max(1, len(rows) // self.batch_size)
        tuning_iter = max(self.tuning_iter, -(-UPDATES // in_epoch)) if self.tuning_iter else 0
        net.copy_to_classifier()
        order = batches(len(rows), self.batch_size, tuning_iter, generator)
        learn_labels(net.classifier, rows, index, order, rate=self.tuning_rate, noise=self.noise, generator=generator)
        self.module_ = net.eval()
        self.n_iter_ = self.max_iter + self.sleep_iter + tuning_iter
        return self
