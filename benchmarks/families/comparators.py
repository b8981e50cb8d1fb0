"""The comparators, each beside scikit-learn's own model on the same split.

They are scikit-learn's, so their scores must be its scores; what they come to is what the nets are to be compared with.
"""

from collections.abc import Callable
from typing import Any

from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from families.case import Case, trained
from families.peers import scored


def case(net: str, name: str, metric: str, make: Callable[[int], Any]) -> Case:
    peer = f"scikit-learn's own {type(make(0)).__name__}"
    return Case(net, name, metric, trained(name, net, metric), peer, scored(name, make), "no net", same_rule=False)


CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "logistic": lambda seed: LogisticRegression(max_iter=1000, random_state=seed),
    "naive_bayes": lambda seed: GaussianNB(),
    "svm": lambda seed: SVC(random_state=seed),
    "tree": lambda seed: DecisionTreeClassifier(random_state=seed),
}
REGRESSORS: dict[str, Callable[[int], Any]] = {
    "ridge": lambda seed: Ridge(random_state=seed),
    "svm": lambda seed: SVR(),
    "tree": lambda seed: DecisionTreeRegressor(random_state=seed),
}
CASES = (
    *(case(net, name, "accuracy", make) for net, make in CLASSIFIERS.items() for name in ("digits", "mnist-5k")),
    *(case(net, "abelone", "rmse", make) for net, make in REGRESSORS.items()),
    *(case(net, "building", "rmse", REGRESSORS[net]) for net in ("ridge", "tree")),
)
