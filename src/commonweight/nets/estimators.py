"""What families with a learning rule of their own have in common: scikit-learn's conventions around a torch module.

`fit` learns a module, `module_`, which takes samples, flat or not, and gives a score for each class or a value for each
target. Everything else works on that module: `predict`, `cw.save`, `cw.count`, the report. `structure_` holds what
beside in_shape and n_outputs is needed to build an empty one, such as the number of centres.
"""

from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Generator, Tensor, nn
from torch.nn import functional as F

Array = NDArray[Any]


class ModuleEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Scores of a fitted module for rows of a table.

    Attributes:
        module_: the net that was fitted.
        structure_: keyword arguments with which the factory of the net makes an empty one of the same shape.
        n_features_in_: width of a row.
    """

    module_: nn.Module
    structure_: dict[str, Any]
    n_features_in_: int

    @torch.no_grad()
    def scores(self, X: ArrayLike) -> Tensor:
        """What the module says: shape (N, n_outputs).

        Args:
            X: shape (N, n_features_in_).

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: another width, or values that are not finite.
        """
        x = self.checked(X)
        outputs: Tensor = self.module_.eval()(x)
        return outputs

    def checked(self, X: ArrayLike) -> Tensor:
        """Check rows (N, n_features_in_) for a fitted module; what is wrong is raised as `scores` says."""
        check_is_fitted(self, "module_")
        return checked_rows(self, X, reset=False)


class ModuleClassifier(ClassifierMixin, ModuleEstimator):  # type: ignore[misc]
    """A classifier: labels of any kind in, labels out.

    Attributes:
        classes_: the labels, sorted; the order of the outputs of the module.
    """

    classes_: Array

    def encode(self, X: ArrayLike, y: ArrayLike) -> tuple[Tensor, Tensor]:
        """Check samples and labels, and note the classes.

        Returns:
            Samples as float32, shape (N, F), and the index of the class of each, int64 of shape (N,).

        Raises:
            ValueError: values that are not finite, labels that are no classes, or only one class.
        """
        x, y = checked_pairs(self, X, y, reset=True)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} tells classes apart, but y has only one class, {self.classes_[0]}: give "
                f"samples of two at least."
            )
        return x, torch.from_numpy(index.astype(np.int64))

    def decision_function(self, X: ArrayLike) -> Array:
        """Scores of the classes, shape (N, C); with two classes their difference, shape (N,)."""
        scores = self.scores(X).numpy()
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> Array:
        """softmax of the scores, shape (N, C)."""
        return self.scores(X).double().softmax(1).numpy()

    def predict(self, X: ArrayLike) -> Array:
        """The class of the largest score, shape (N,)."""
        index = self.scores(X).argmax(1).numpy()
        return np.asarray(self.classes_[index])


class ModuleRegressor(RegressorMixin, ModuleEstimator):  # type: ignore[misc]
    """A regressor: one target or several."""

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn should know: several targets are fine."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def encode(self, X: ArrayLike, y: ArrayLike) -> tuple[Tensor, Tensor]:
        """Check samples and targets.

        Returns:
            float32 of shapes (N, F) and (N, T).

        Raises:
            ValueError: values that are not finite, or lengths that differ.
        """
        x, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        values: Array = np.asarray(y, dtype=np.float32)
        self._is_flat = values.ndim == 1
        targets = torch.from_numpy(values.reshape(len(x), -1))
        return _tensor(x), targets

    def predict(self, X: ArrayLike) -> Array:
        """Values of the targets, of the shape that `y` had."""
        values = self.scores(X).numpy()
        return values[:, 0] if self._is_flat else values.astype(np.float64)  # as scikit-learn wants several targets


def checked_rows(estimator: BaseEstimator, X: ArrayLike, *, reset: bool) -> Tensor:
    """Rows as float32, shape (N, F): finite, but for NaN where the tag allow_nan is set.

    Args:
        reset: whether F is noted, as before the first fit; otherwise it must be what was noted.

    Raises:
        ValueError: other rows than these.
    """
    return _tensor(validate_data(estimator, X, reset=reset, dtype=np.float32, ensure_all_finite=_finite(estimator)))


def checked_pairs(estimator: BaseEstimator, X: ArrayLike, y: ArrayLike, *, reset: bool) -> tuple[Tensor, Array]:
    """Rows as `checked_rows` gives them, and a label for each."""
    x, labels = validate_data(estimator, X, y, reset=reset, dtype=np.float32, ensure_all_finite=_finite(estimator))
    return _tensor(x), labels


def _finite(estimator: BaseEstimator) -> bool | str:
    return "allow-nan" if get_tags(estimator).input_tags.allow_nan else True


def _tensor(rows: Array) -> Tensor:
    """Copied only where torch could not take them: read backwards, or not to be written."""
    return torch.from_numpy(np.require(rows, requirements=["C", "W"]))


def require_whole(estimator: BaseEstimator, least: int, *names: str) -> None:
    """Refuse parameters that are no whole numbers, or below the least that is of use.

    Raises:
        ValueError: the first one that is not.
    """
    for name in names:
        value = getattr(estimator, name)
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} is a whole number of at least {least}; got {value!r}.")


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """A seed for torch from scikit-learn's `random_state`.

    >>> seed_of(3) == seed_of(3)
    True
    """
    return int(check_random_state(random_state).randint(2**31 - 1))


def batches(n_samples: int, size: int, epochs: int, generator: Generator) -> list[Tensor]:
    """The indices of each batch of some epochs, in a new order for each epoch.

    >>> [len(batch) for batch in batches(5, 2, 2, Generator().manual_seed(0))]
    [2, 2, 1, 2, 2, 1]
    """
    orders = (torch.randperm(n_samples, generator=generator) for _ in range(epochs))
    return [batch for order in orders for batch in torch.split(order, size)]


def learn_labels(
    net: nn.Module, rows: Tensor, index: Tensor, order: list[Tensor], *, rate: float, noise: float = 0.0,
    generator: Generator | None = None,
) -> None:  # fmt: skip
    """Backpropagation of -log softmax(net(x))_y through all parameters that require it, by Adam.

    Args:
        net: maps rows (B, F) to scores (B, C).
        rows: shape (N, F).
        index: of the class of each row, shape (N,).
        order: the batches, by indices; the rate falls to 0 over them, by a straight line.
        rate: of learning, at first.
        noise: deviation of what is added to each value of a batch, drawn anew each time: it keeps answers from
            changing with small changes of the inputs (Bishop, "Training with noise is equivalent to Tikhonov
            regularization", 1995).
        generator: of the noise.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for step, batch in enumerate(order):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / len(order))
        optimizer.zero_grad()
        given = rows[batch]
        if noise:
            given = given + noise * torch.randn(given.shape, generator=generator)
        F.cross_entropy(net(given), index[batch]).backward()  # type: ignore[no-untyped-call]  # torch
        optimizer.step()
