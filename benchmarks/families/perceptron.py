"""The perceptron, averaged, beside scikit-learn's, which keeps the last weights of one class against the rest."""

from sklearn.linear_model import Perceptron

from families.case import Case, trained
from families.peers import scored

CASES = tuple(
    Case("perceptron", name, "accuracy", trained(name, "perceptron"), "Perceptron",
         scored(name, lambda seed: Perceptron(random_state=seed)), "nothing")
    for name in ("digits", "mnist-5k")
)  # fmt: skip
