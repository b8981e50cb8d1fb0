"""Restricted Boltzmann machines by scikit-learn's conventions: features of rows, and a classifier."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor

from commonweight.nets.boltzmann import (
    VISIBLE,
    ContrastiveDivergence,
    LabelledNet,
    RestrictedBoltzmannMachine,
)
from commonweight.nets.estimators import ModuleClassifier, batches, checked_rows, learn_labels, require_whole, seed_of

Array = NDArray[Any]


class RBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Hidden units as features: what scikit-learn's BernoulliRBM does, in large batches, and with real-valued inputs.

    Args:
        n_components: H, the number of hidden units.
        visible: "bernoulli" for values from 0 to 1 (as for BernoulliRBM, this is not checked), or "gaussian".
        learning_rate, momentum, weight_decay: see `ContrastiveDivergence`.
        steps: of Gibbs sampling at each update.
        persistent: whether chains go on from batch to batch, one for each sample of a batch.
        batch_size: samples of an update.
        max_iter: epochs.
        random_state: of first weights, order and samples.

    Attributes:
        module_: the `RestrictedBoltzmannMachine`.
        components_, intercept_hidden_, intercept_visible_: its weights as arrays, shapes (H, F), (H,), (F,).

    Example:
        >>> X = np.array([[0.0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> RBM(n_components=2, random_state=0).fit(X).transform(X).shape
        (4, 2)
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: str = "bernoulli",
        learning_rate: float = 0.1,
        momentum: float = 0.8,
        weight_decay: float = 0.0,
        steps: int = 1,
        persistent: bool = False,
        batch_size: int = 50,
        max_iter: int = 10,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.steps = steps
        self.persistent = persistent
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn from rows X of shape (N, F), anew.

        Raises:
            ValueError: values that are not finite, or parameters out of range.
        """
        rows = checked_rows(self, X, reset=True)
        self._begin(rows)
        for batch in batches(len(rows), self.batch_size, self.max_iter, self._generator):
            self._rule.step(rows[batch])
        self.n_iter_ = self.max_iter
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn from one batch X of shape (N, F), going on from what is learned; the first one gives the offsets."""
        first = not hasattr(self, "module_")
        rows = checked_rows(self, X, reset=first)
        if first:
            self._begin(rows)
        self._rule.step(rows)
        return self

    def transform(self, X: ArrayLike) -> Array:
        """P(h = 1 | v) for each row: (N, F) -> (N, H)."""
        check_is_fitted(self, "module_")
        with torch.no_grad():
            return self.module_.hidden(checked_rows(self, X, reset=False)).numpy()

    def gibbs(self, v: ArrayLike) -> Array:
        """One step of Gibbs sampling, of h and then of v: (N, F) -> (N, F)."""
        check_is_fitted(self, "module_")
        return self.module_.gibbs(checked_rows(self, v, reset=False), self._generator).numpy()

    def score_samples(self, X: ArrayLike) -> Array:
        """An estimate of the log pseudo-likelihood of each row, by one random unit: (N, F) -> (N,).

        Raises:
            NetError: Gaussian visible units.
        """
        check_is_fitted(self, "module_")
        return self.module_.pseudo_likelihood(
            checked_rows(self, X, reset=False), Generator().manual_seed(self._seed)
        ).numpy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def components_(self) -> Array:
        """The weights, shape (H, F)."""
        return self.module_.weight.detach().numpy()

    @property
    def intercept_hidden_(self) -> Array:
        """The hidden biases, shape (H,)."""
        return self.module_.hidden_bias.detach().numpy()

    @property
    def intercept_visible_(self) -> Array:
        """The visible biases, shape (F,)."""
        return self.module_.visible_bias.detach().numpy()

    def _begin(self, rows: Tensor) -> None:
        """A machine without knowledge, and the state of the rule."""
        if self.visible not in VISIBLE:
            raise ValueError(f"visible is {' or '.join(VISIBLE)}; got {self.visible!r}.")
        require_whole(self, 1, "n_components", "steps", "batch_size", "max_iter")
        self._seed = seed_of(self.random_state)
        self._generator = Generator().manual_seed(self._seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            self.module_ = RestrictedBoltzmannMachine(rows.shape[1], self.n_components, visible=self.visible)
        self._n_features_out = self.n_components
        self._rule = ContrastiveDivergence(
            self.module_,
            rows.mean(0),
            rate=self.learning_rate,
            momentum=self.momentum,
            decay=self.weight_decay,
            steps=self.steps,
            chains=self.batch_size if self.persistent else 0,
            generator=self._generator,
        )


class RBMClassifier(ModuleClassifier):
    """A machine over samples and labels together: first taught what belongs together, then which label is right.

    Contrastive divergence raises P(v, y) for `max_iter` epochs, then the gradient of log P(y | v), which is exact, for
    `tuning_iter` epochs of Adam, its rate falling to 0.

    Source: Larochelle & Bengio, "Classification using discriminative restricted Boltzmann machines" (2008), whose two
    criteria are used here one after the other.

    Args:
        hidden: units.
        learning_rate, momentum: of contrastive divergence.
        tuning_rate: of Adam.
        batch_size: samples of an update.
        max_iter, tuning_iter: epochs; of the latter 0 leaves it out.
        random_state: of first weights, order and samples.

    Example:
        >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array(["a", "b"] * 20)
        >>> RBMClassifier(hidden=8, random_state=0).fit(X, y).predict(X[:2]).tolist()
        ['a', 'b']
    """

    def __init__(
        self,
        hidden: int = 256,
        *,
        learning_rate: float = 0.1,
        momentum: float = 0.8,
        tuning_rate: float = 3e-3,
        batch_size: int = 20,
        max_iter: int = 50,
        tuning_iter: int = 15,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.tuning_rate = tuning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tuning_iter = tuning_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from rows X of shape (N, F) and labels y of shape (N,).

        Raises:
            ValueError: values that are not finite, labels that are no classes or all alike, or a number out of range.
        """
        require_whole(self, 1, "hidden", "batch_size", "max_iter")
        require_whole(self, 0, "tuning_iter")
        x, index = self.encode(X, y)
        seed = seed_of(self.random_state)
        generator = Generator().manual_seed(seed)
        self.structure_ = {"hidden": self.hidden}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = LabelledNet((x.shape[1],), len(self.classes_), hidden=self.hidden)
        rows = net.interval.fit(x)(x)
        joined = net.machine.join(rows, index)
        rule = ContrastiveDivergence(
            net.machine, joined.mean(0), rate=self.learning_rate, momentum=self.momentum, generator=generator
        )
        for batch in batches(len(rows), self.batch_size, self.max_iter, generator):
            rule.step(joined[batch])
        order = batches(len(rows), self.batch_size, self.tuning_iter, generator)
        learn_labels(net.machine, rows, index, order, rate=self.tuning_rate)
        self.module_ = net.eval()
        self.n_iter_ = self.max_iter + self.tuning_iter
        return self
