"""The comparators of scikit-learn: support vectors and a decision tree, beside each other."""

from families.case import Case, trained

NONE = "none: no net"
CASES = (
    Case("svm", "digits", "accuracy", trained("digits", "svm"), "tree", trained("digits", "tree"), NONE),
    Case("svm", "mnist-5k", "accuracy", trained("mnist-5k", "svm"), "tree", trained("mnist-5k", "tree"), NONE),
)
