"""Self-organising maps by scikit-learn's conventions: `SOM` without labels, `SOMClassifier` with them.

Both take samples that lack features, as NaN. The net, its errors and pictures: `som`; the rules: `som_learning`.
"""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor

from commonweight.errors import NetError
from commonweight.nets.estimators import (
    Array,
    ModuleClassifier,
    batches,
    checked_pairs,
    checked_rows,
    require_whole,
    seed_of,
)
from commonweight.nets.som import SelfOrganisingMap
from commonweight.nets.som_learning import (
    learn_batch,
    learn_online,
    learn_vector_quantisation,
    principal_start,
    shrinking,
)

RULES = ("batch", "online")
TUNING_BATCH = 16
"""Samples whose pulls are summed in learning vector quantisation."""


class MapLearner(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share: a map that starts on the principal components and learns by either rule.

    Args:
        rows, columns: units of the grid.
        hexagonal, torus: see `som.Grid`.
        rule: "batch", all samples at once, or "online", one after the other in random order.
        max_iter: passes over the samples.
        radius: of the neighbourhood at first, in units of the grid; None for an eighth of the longer side, but at
            least 1.
        final_radius: at last. The smaller, the nearer are units to the samples, and the less alike to each other.
        learning_rate: of the online rule at first; it falls to a hundredth.
        random_state: of the search for the components, and of the order of samples.

    Attributes:
        module_: the map, a `som.SelfOrganisingMap`.
        structure_: keyword arguments that build an empty one.
        n_iter_: passes made.
        n_samples_seen_: samples that `partial_fit` was given since the last `fit`.
    """

    module_: SelfOrganisingMap
    structure_: dict[str, Any]

    def __init__(
        self,
        rows: int = 20,
        columns: int = 20,
        *,
        hexagonal: bool = False,
        torus: bool = False,
        rule: str = "batch",
        max_iter: int = 10,
        radius: float | None = None,
        final_radius: float = 0.5,
        learning_rate: float = 0.5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.rows = rows
        self.columns = columns
        self.hexagonal = hexagonal
        self.torus = torus
        self.rule = rule
        self.max_iter = max_iter
        self.radius = radius
        self.final_radius = final_radius
        self.learning_rate = learning_rate
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _begin(self, x: Tensor, n_outputs: int | None) -> None:
        """A map on the principal components of the samples; None: every unit answers for itself."""
        self._check_settings()
        _refuse_empty_rows(x)
        self.structure_ = {name: getattr(self, name) for name in ("rows", "columns", "hexagonal", "torus")}
        self._seed = seed_of(self.random_state)
        try:
            with torch.random.fork_rng(devices=[]):
                units = self.rows * self.columns
                self.module_ = SelfOrganisingMap((x.shape[1],), n_outputs or units, **self.structure_)
        except NetError as error:
            raise ValueError(str(error)) from error
        self.module_.weight.data = principal_start(x, self.module_.grid, self._seed)
        self.n_iter_ = self.n_samples_seen_ = 0

    def _learn(self, x: Tensor) -> None:
        """All passes of a fit."""
        weight, grid = self.module_.weight, self.module_.grid
        radius = max(1.0, max(self.rows, self.columns) / 8) if self.radius is None else self.radius
        if self.rule == "batch":
            weight.data = learn_batch(weight.data, x, grid, shrinking(radius, self.final_radius, self.max_iter))
        else:
            generator = torch.Generator().manual_seed(self._seed)
            order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(self.max_iter)])
            radii = torch.tensor(shrinking(radius, self.final_radius, len(order)))
            rates = torch.tensor(shrinking(self.learning_rate, self.learning_rate / 100, len(order)))
            weight.data = learn_online(weight.data, x[order], grid, radii, rates)
        self.n_iter_ = self.max_iter

    def _go_on(self, x: Tensor) -> None:
        """One pass of the online rule, with the last radius and rates learning_rate / (1 + samples seen / units)."""
        _refuse_empty_rows(x)
        grid = self.module_.grid
        seen = self.n_samples_seen_ + torch.arange(len(x))
        rates = self.learning_rate / (1 + seen / grid.units)
        radii = torch.full_like(rates, self.final_radius)
        self.module_.weight.data = learn_online(self.module_.weight.data, x, grid, radii, rates)
        self.n_samples_seen_ += len(x)

    def _check_settings(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule is {' or '.join(RULES)}; got {self.rule!r}.")
        require_whole(self, 1, "max_iter")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate is above 0 and at most 1; got {self.learning_rate}.")
        if self.final_radius <= 0 or (self.radius is not None and self.radius < self.final_radius):
            raise ValueError(
                f"The radius shrinks to a final_radius above 0; got {self.radius} and {self.final_radius}: raise "
                f"radius or lower final_radius."
            )


def _refuse_empty_rows(x: Tensor) -> None:
    empty = x.isnan().all(1).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(f"{len(empty)} of {len(x)} samples lack every feature, first in row {empty[0]}: drop them.")


class SOM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, MapLearner):  # type: ignore[misc]
    """A self-organising map of samples without labels: `predict` tells their units, `transform` distances to all.

    Arguments and further attributes are those of `MapLearner`.

    Attributes:
        labels_: the winner of each sample of `fit`, row · columns + column, int64 of shape (N,).

    Raises:
        ValueError: settings or a grid that cannot be, samples that are infinite or lack every feature.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x = load_iris().data
        >>> som = SOM(6, 9, random_state=0).fit(x)
        >>> som.transform(x).shape
        (150, 54)
        >>> som.module_.u_matrix().shape
        torch.Size([6, 9])
        >>> round(som.module_.quantisation_error(torch.tensor(x).float()), 2)
        0.24
    """

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn a map from rows of shape (N, F); `y` is not looked at."""
        x = checked_rows(self, X, reset=True)
        self._begin(x, None)
        self._learn(x)
        self.labels_ = self.module_.winners(x).numpy()
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn from some more rows by the online rule; the first ones of all lay the map on their components."""
        is_first = not hasattr(self, "module_")
        x = checked_rows(self, X, reset=is_first)
        if is_first:
            self._begin(x, None)
        self._go_on(x)
        self.labels_ = self.module_.winners(x).numpy()
        return self

    @torch.no_grad()
    def transform(self, X: ArrayLike) -> Array:
        """The distance of each sample to each unit, shape (N, units)."""
        check_is_fitted(self)
        return self.module_.squared_distances(checked_rows(self, X, reset=False)).sqrt().numpy()

    def predict(self, X: ArrayLike) -> Array:
        """The winner of each sample, row · columns + column: int64 of shape (N,)."""
        check_is_fitted(self)
        return self.module_.winners(checked_rows(self, X, reset=False)).numpy()

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Minus the quantisation error: the larger, the better."""
        check_is_fitted(self)
        return -self.module_.quantisation_error(checked_rows(self, X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.module_.grid.units


class SOMClassifier(ModuleClassifier, MapLearner):
    """A map learned without labels; then each unit answers with the class of most of the samples that it wins.

    A unit that wins no sample answers with the class of the unit, among those that do, with the nearest weights;
    Kohonen (2001) calls this calibration. At last the borders between classes are tuned by learning vector
    quantisation, which hardly disturbs the order of the map (`som_learning.learn_vector_quantisation`).

    Args:
        tuning_iter: passes of that; 0 for none.
        max_iter, others: those of `MapLearner`; its further attributes are had, too.

    Attributes:
        votes_: how many samples of each class each unit won, float32 of shape (units, C).

    Raises:
        ValueError: settings or a grid that cannot be, labels that are no classes or only one, samples that are infinite
            or lack every feature.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> SOMClassifier(6, 9, random_state=0).fit(x, y).score(x, y) > 0.95
        True
    """

    module_: SelfOrganisingMap

    def __init__(
        self,
        rows: int = 20,
        columns: int = 20,
        *,
        hexagonal: bool = False,
        torus: bool = False,
        rule: str = "batch",
        max_iter: int = 10,
        radius: float | None = None,
        final_radius: float = 0.3,
        learning_rate: float = 0.5,
        tuning_iter: int = 10,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            rows,
            columns,
            hexagonal=hexagonal,
            torus=torus,
            rule=rule,
            max_iter=max_iter,
            radius=radius,
            final_radius=final_radius,
            learning_rate=learning_rate,
            random_state=random_state,
        )
        self.tuning_iter = tuning_iter

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn a map from rows of shape (N, F), and the answers of its units from labels of shape (N,)."""
        require_whole(self, 0, "tuning_iter")
        x, index = self.encode(X, y)
        self._begin(x, len(self.classes_))
        self._learn(x)
        self.votes_ = torch.zeros(self.module_.grid.units, len(self.classes_))
        self._vote(x, index)
        net = self.module_
        generator = Generator().manual_seed(seed_of(self.random_state))
        order = batches(len(x), TUNING_BATCH, self.tuning_iter, generator)
        net.weight.data = learn_vector_quantisation(net.weight.detach(), net.answers, x, index, order)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Learn from some more rows by the online rule, and let their labels vote too.

        Args:
            X: shape (N, F).
            y: shape (N,).
            classes: all labels that will ever come; needed the first time.

        Raises:
            ValueError: no classes the first time, or labels that are not among them.
        """
        is_first = not hasattr(self, "module_")
        if is_first and classes is None:
            raise ValueError("The first partial_fit needs all labels that will ever come: give classes=[...].")
        x, y = checked_pairs(self, X, y, reset=is_first)
        if is_first:
            self.classes_ = np.unique(np.asarray(classes))
        unknown = np.setdiff1d(y, self.classes_).tolist()
        if unknown:
            raise ValueError(f"The label {unknown[0]!r} is none of the classes of the first partial_fit.")
        if is_first:
            self._begin(x, len(self.classes_))
            self.votes_ = torch.zeros(self.module_.grid.units, len(self.classes_))
        self._go_on(x)
        self._vote(x, torch.from_numpy(np.searchsorted(self.classes_, y)))
        return self

    def _vote(self, x: Tensor, index: Tensor) -> None:
        """Count the labels of the samples that each unit wins, and let it answer."""
        won = self.module_.winners(x)
        self.votes_.index_put_((won, index), torch.ones(len(x)), accumulate=True)
        voted = self.votes_.sum(1) > 0
        weight = self.module_.weight.detach()
        nearest = torch.cdist(weight, weight[voted]).argmin(1)
        nearest[voted] = torch.arange(int(voted.sum()))
        self.module_.answers = self.votes_[voted].argmax(1)[nearest]
