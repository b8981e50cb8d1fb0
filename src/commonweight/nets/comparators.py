"""What networks are compared with: support vectors, trees, naive Bayes, ridge and logistic regression, by scikit-learn.

They are scikit-learn's own, fitted by it; what is here lets `commonweight train DATA --net svm` treat them as any other
family. They have no weights of ours, so they are counted with none, and a run of theirs cannot be read again:
scikit-learn stores models only as pickles, which this project does not read.
"""

from typing import Any, NoReturn, Self

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from torch import Tensor, nn

from commonweight.errors import NetError

SMALLEST = 1e-12
"""Probabilities are kept from 0, so that a sure tree has a finite loss."""


class Fitted(nn.Module):
    """A fitted scikit-learn model as a module: log-probabilities or margins of the classes, or values of the targets.

    The class of the largest answer is the one that the model predicts. Of support vectors that need not be the class of
    the largest margin, as they decide by votes between pairs of classes: it is raised to be the largest.

    Args:
        model: fitted to rows of shape (N, F).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.scores_only = is_classifier(model) and not hasattr(model, "predict_proba")

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, n_outputs)."""
        rows = x.flatten(1).double().cpu().numpy()
        if hasattr(self.model, "predict_proba"):
            answers = np.log(np.maximum(self.model.predict_proba(rows), SMALLEST))
        elif is_classifier(self.model):
            margins = self.model.decision_function(rows)
            answers = (np.stack([-margins, margins], 1) if margins.ndim == 1 else margins).astype(np.float32)
            voted = np.searchsorted(self.model.classes_, self.model.predict(rows))
            answers[np.arange(len(rows)), voted] = np.nextafter(answers.max(1), np.float32(np.inf))
        else:
            answers = self.model.predict(rows).reshape(len(rows), -1)
        return torch.from_numpy(np.ascontiguousarray(answers)).float()


class Comparator:
    """A scikit-learn model with what `commonweight train` asks of an estimator; see `nets.estimators`.

    Args:
        model: an unfitted classifier or regressor.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the model to rows of shape (N, F) and their labels or targets."""
        self.model.fit(X, y if is_classifier(self.model) or y.shape[1] > 1 else y[:, 0])
        self.module_ = Fitted(self.model)
        self.structure_: dict[str, Any] = {}
        return self

    def get_params(self) -> dict[str, Any]:
        """The settings of the model."""
        parameters: dict[str, Any] = self.model.get_params(deep=False)
        return parameters

    def set_params(self, **parameters: Any) -> Self:
        """Change settings of the model."""
        self.model.set_params(**parameters)
        return self


def svm_classifier(random_state: int) -> Comparator:
    """Support vectors with a Gaussian kernel (Cortes & Vapnik 1995)."""
    return Comparator(SVC(random_state=random_state))


def svm_regressor(random_state: int) -> Comparator:
    """Support vectors with a Gaussian kernel and an insensitive zone (Drucker et al. 1997); one target, no chance."""
    return Comparator(SVR())


def tree_classifier(random_state: int) -> Comparator:
    """A decision tree that splits until leaves are pure (Breiman et al. 1984)."""
    return Comparator(DecisionTreeClassifier(random_state=random_state))


def tree_regressor(random_state: int) -> Comparator:
    """A decision tree of means (Breiman et al. 1984)."""
    return Comparator(DecisionTreeRegressor(random_state=random_state))


def naive_bayes(random_state: int) -> Comparator:
    """A Gaussian for each feature of each class, independent of the others; no chance."""
    return Comparator(GaussianNB())


def logistic(random_state: int) -> Comparator:
    """Logistic regression with an L2 penalty, by a quasi-Newton rule."""
    return Comparator(LogisticRegression(max_iter=1000, random_state=random_state))


def ridge(random_state: int) -> Comparator:
    """Linear regression with an L2 penalty (Hoerl & Kennard 1970)."""
    return Comparator(Ridge(random_state=random_state))


def unfitted(in_shape: tuple[int, ...], n_outputs: int) -> NoReturn:
    """Refuse to build what has no structure before it is fitted.

    Raises:
        NetError: always.
    """
    raise NetError(
        "Models of scikit-learn have no weights to count before they are fitted, and are not stored, for want of a "
        "file format that is safe to read: run `commonweight train` again."
    )
