"""Deep belief nets beside scikit-learn's net of the same layers, from random weights, by its own settings (relu)."""

from sklearn.neural_network import MLPClassifier

from families.case import Case, trained
from families.peers import scored


def same_layers(seed: int) -> MLPClassifier:
    return MLPClassifier((256, 256), random_state=seed)


SHARES = "one matrix up and down until wake-sleep parts them"
CASES = tuple(
    Case(
        "dbn",
        name,
        "accuracy",
        trained(name, "dbn"),
        "scikit-learn MLPClassifier, the same layers, relu",
        scored(name, same_layers),
        SHARES,
    )
    for name in ("digits", "mnist-5k")
)
