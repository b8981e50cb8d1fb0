"""Twins fitted by scikit-learn's conventions: they learn to compare, then recognise classes by enrolled examples."""

from math import ceil
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from commonweight.errors import NetError
from commonweight.nets.estimators import Array, ModuleClassifier, checked_pairs, require_whole, seed_of
from commonweight.nets.twin import Recogniser, Twin

SAMPLES = 4
"""At least so many samples of a class in a batch, where there are as many."""
SHIFT = 1 / 14
"""Images are moved by up to this share of their sides."""


class TwinClassifier(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ModuleClassifier):  # type: ignore[misc]
    """Twin networks that learn from the pairs of a batch, then answer with the nearest class mean; see `nets.twin`.

    `fit` learns the weights and enrols the training samples; `enrol` takes other classes, never seen in training,
    without learning; `transform` gives embeddings. A batch has P classes and K samples of each (Schroff 2015), each of
    which is embedded once and compared with all others. AdamW, the rate rises to `learning_rate` and falls to 0.

    Args:
        head: "contrastive", "triplet" or "binary".
        n_features: of an embedding.
        in_shape: of a sample, (C, H, W) for images, which get an encoder of convolutions; None for rows of a table.
        max_iter: epochs.
        batch_size: of up to a quarter as many classes.
        learning_rate: the largest.
        random_state: of the first weights, the batches and how images are moved.

    Attributes:
        module_: the net that says of which class a sample is.
        classes_: the labels that are enrolled, sorted.
        n_iter_: epochs.

    Raises:
        ValueError: no class of two samples, only one class, samples not of `in_shape`, or a number out of range.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> twins = TwinClassifier(max_iter=20, random_state=0).fit(x[y > 0], y[y > 0])
        >>> _ = twins.enrol(x[[0, 50, 100]], ["setosa", "versicolor", "virginica"])  # one example each, the first new
        >>> print(twins.predict(x[20:22]))
        ['setosa' 'setosa']
    """

    module_: Recogniser

    def __init__(
        self,
        *,
        head: str = "triplet",
        n_features: int = 64,
        in_shape: tuple[int, ...] | None = None,
        max_iter: int = 60,
        batch_size: int = 100,
        learning_rate: float = 2e-3,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.head = head
        self.n_features = n_features
        self.in_shape = in_shape
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn to compare, then enrol all samples.

        Args:
            X: shape (N, F).
            y: N labels; of some class there are two samples at least.
        """
        require_whole(self, 1, "n_features", "max_iter", "batch_size")
        x, index = self.encode(X, y)
        if not (torch.bincount(index) > 1).any():
            raise ValueError(
                f"Twins learn from pairs of one class, but each of the {len(self.classes_)} classes has only 1 sample "
                f"in {len(x)}: give two of some class at least, or enrol these after fitting to others."
            )
        in_shape = self.in_shape or (x.shape[1],)
        if int(np.prod(in_shape)) != x.shape[1]:
            raise ValueError(f"Samples of shape {tuple(in_shape)} do not have the {x.shape[1]} features that X has.")
        generator = torch.Generator().manual_seed(seed_of(self.random_state))
        self.structure_: dict[str, Any] = {"head": self.head, "n_features": self.n_features}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            try:
                self.module_ = Recogniser(in_shape, len(self.classes_), **self.structure_)
            except NetError as error:
                raise ValueError(str(error)) from error
        learn(
            self.module_.twin,
            x.reshape(-1, *in_shape),
            index,
            epochs=self.max_iter,
            batch_size=self.batch_size,
            rate=self.learning_rate,
            generator=generator,
        )
        self.module_.enrol(x, index, len(self.classes_))
        self.n_iter_ = self.max_iter
        return self

    def enrol(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Take other classes in place of those enrolled; nothing is learned.

        Args:
            X: shape (N, F).
            y: N labels, seen in training or not; one example of each is enough.
        """
        check_is_fitted(self, "module_")
        x, y = checked_pairs(self, X, y, reset=False)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        self.module_.enrol(x, torch.from_numpy(index.astype(np.int64)), len(self.classes_))
        return self

    @torch.no_grad()
    def transform(self, X: ArrayLike) -> Array:
        """Embeddings of length 1, shape (N, n_features)."""
        x = self.checked(X)
        embedding: Array = self.module_.eval().embed(x).numpy()
        return embedding

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.n_features


def learn(
    twin: Twin,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int = 60,
    batch_size: int = 100,
    rate: float = 2e-3,
    generator: torch.Generator,
) -> None:
    """Train twins, in place, on all pairs in batches of P classes × K samples.

    Args:
        twin: left in evaluation mode.
        x: shape (N, *in_shape); images are moved a little each time they are seen.
        y: class indices, shape (N,).
        epochs: how often as many samples as there are pass.
        batch_size: P · K, at most: P is the number of classes, but a quarter of this at most.
        rate: the largest learning rate; it rises for a tenth of the time, then falls to 0.
        generator: of batches and moves.
    """
    members = [(y == label).nonzero()[:, 0] for label in torch.unique(y)]
    n_classes = min(len(members), max(2, batch_size // SAMPLES))
    n_samples = max(2, batch_size // n_classes)
    steps = epochs * ceil(len(y) / (n_classes * n_samples))
    optimizer = torch.optim.AdamW(twin.parameters(), weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.1)
    twin.train()
    for _ in range(steps):
        chosen = torch.randperm(len(members), generator=generator)[:n_classes]
        batch = torch.cat([drawn(members[k], n_samples, generator) for k in chosen.tolist()])
        images = moved(x[batch], generator) if x.ndim == 4 else x[batch]
        optimizer.zero_grad()
        twin.pair_loss(images, y[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    twin.eval()


def drawn(members: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """At most n of these, at random."""
    return members[torch.randperm(len(members), generator=generator)[:n]]


def moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (B, C, H, W) moved by up to 1/14 of its sides, the edge repeated."""
    places = []
    for size in x.shape[2:]:
        reach = int(size * SHIFT)
        shift = torch.randint(-reach, reach + 1, (len(x), 1), generator=generator)
        places.append((torch.arange(size) + shift).clamp(0, size - 1))
    each = torch.arange(len(x))[:, None, None]
    return x[each, :, places[0][:, :, None], places[1][:, None]].permute(0, 3, 1, 2)
