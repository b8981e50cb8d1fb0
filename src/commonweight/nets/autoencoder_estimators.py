"""Autoencoders by scikit-learn's conventions: layers learned greedily, then reconstruction and answer together."""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor
from torch.nn import functional as F

from commonweight.nets.autoencoder import Autoencoder, corrupt, learn_layers, reconstruction_loss
from commonweight.nets.estimators import (
    Array,
    ModuleClassifier,
    ModuleEstimator,
    ModuleRegressor,
    batches,
    require_whole,
    seed_of,
)


class _AutoencoderEstimator(ModuleEstimator):
    """What both tasks have in common.

    Args:
        hidden: units of the layers of the encoder; the last are those of the code.
        tied: whether the decoder uses the weights of the encoder.
        noise: the share of values that is set to 0 in training, to be restored; 0 for none.
        weight: of the answer's loss beside that of the reconstruction, which is summed over the inputs.
        learning_rate: of Adam; it falls to 0.
        batch_size: samples of an update.
        layer_iter: epochs of greedy pretraining of each layer; 0 for none.
        max_iter: epochs of all layers together.
        random_state: of first weights, order and noise.
    """

    module_: Autoencoder

    def __init__(
        self,
        hidden: Sequence[int] = (256, 32),
        *,
        tied: bool = True,
        noise: float = 0.0,
        weight: float = 10.0,
        learning_rate: float = 5e-3,
        batch_size: int = 20,
        layer_iter: int = 5,
        max_iter: int = 30,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.tied = tied
        self.noise = noise
        self.weight = weight
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.layer_iter = layer_iter
        self.max_iter = max_iter
        self.random_state = random_state

    def codes(self, X: ArrayLike) -> Array:
        """The codes of rows: (N, F) -> (N, units)."""
        x = self.checked(X)
        with torch.no_grad():
            return np.asarray(self.module_.encode(self.module_.interval(x)))

    def reconstruct(self, X: ArrayLike) -> Array:
        """Rows through the code and back: (N, F) -> (N, F)."""
        x = self.checked(X)
        with torch.no_grad():
            return np.asarray(self.module_.reconstruct(x))

    def _learn(
        self, x: Tensor, targets: Tensor, n_outputs: int, answer_loss: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        require_whole(self, 1, "batch_size", "max_iter")
        require_whole(self, 0, "layer_iter")
        seed = seed_of(self.random_state)
        generator = Generator().manual_seed(seed)
        self.structure_ = {"hidden": list(self.hidden), "tied": self.tied}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Autoencoder((x.shape[1],), n_outputs, hidden=self.hidden, tied=self.tied)
        rows = net.interval.fit(x)(x)
        order = batches(len(rows), self.batch_size, self.layer_iter, generator)
        learn_layers(net, rows, order, rate=self.learning_rate, noise=self.noise, generator=generator)
        optimizer = torch.optim.Adam(net.parameters(), lr=self.learning_rate)
        order = batches(len(rows), self.batch_size, self.max_iter, generator)
        for step, batch in enumerate(order):
            optimizer.param_groups[0]["lr"] = self.learning_rate * (1 - step / len(order))
            code = net.encode(corrupt(rows[batch], self.noise, generator))
            loss = reconstruction_loss(net.decode(code), rows[batch])
            loss = loss + self.weight * answer_loss(net.output(code), targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch
            optimizer.step()
        self.module_ = net.eval()
        self.n_iter_ = self.layer_iter + self.max_iter


class AutoencoderClassifier(ModuleClassifier, _AutoencoderEstimator):
    """An autoencoder whose code also tells classes apart: reconstruction + weight · cross entropy is made small.

    See `Autoencoder` for the formulas and the sources.

    Example:
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array(["a", "b"] * 20)
        >>> AutoencoderClassifier(hidden=(4,), random_state=0).fit(X, y).predict(X[:2]).tolist()
        ['a', 'b']
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from rows X of shape (N, F) and labels y of shape (N,).

        Raises:
            ValueError: values that are not finite, labels that are no classes or all alike, or a number out of range.
        """
        x, index = self.encode(X, y)
        self._learn(x, index, len(self.classes_), F.cross_entropy)
        return self


class AutoencoderRegressor(ModuleRegressor, _AutoencoderEstimator):
    """An autoencoder whose code also predicts: reconstruction + weight · mean squared error is made small.

    See `Autoencoder` for the formulas and the sources.

    Example:
        >>> X = np.linspace(0, 1, 40).reshape(20, 2)
        >>> AutoencoderRegressor(hidden=(8,), random_state=0).fit(X, X[:, 0]).predict(X).shape
        (20,)
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from rows X of shape (N, F) and targets y of shape (N,) or (N, T).

        Raises:
            ValueError: values that are not finite, lengths that differ, or a number out of range.
        """
        x, targets = self.encode(X, y)
        self._learn(x, targets, targets.shape[1], F.mse_loss)
        return self
