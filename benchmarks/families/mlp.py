"""The multilayer perceptron beside scikit-learn's, each by its own default settings, of layers of the same size."""

from sklearn.neural_network import MLPClassifier, MLPRegressor

from families.case import Case, trained
from families.peers import scored

HIDDEN = (128, 64)
SHARES = "nothing"


def classifier(seed: int) -> MLPClassifier:
    return MLPClassifier(HIDDEN, random_state=seed, max_iter=500)


def regressor(seed: int) -> MLPRegressor:
    return MLPRegressor(hidden_layer_sizes=HIDDEN, random_state=seed, max_iter=500)


CASES = (
    *(
        Case("mlp", name, "accuracy", trained(name, "mlp"), "MLPClassifier", scored(name, classifier), SHARES)
        for name in ("digits", "mnist-5k")
    ),
    *(
        Case("mlp", name, "rmse", trained(name, "mlp", "rmse"), "MLPRegressor", scored(name, regressor), SHARES)
        for name in ("building", "abelone")
    ),
)
