"""The comparators of scikit-learn: support vectors and a decision tree, beside each other."""

from families.case import Case, trained

CASES = tuple(
    Case("svm", name, "accuracy", trained(name, "svm"), "tree", trained(name, "tree"), "no net", same_rule=False)
    for name in ("digits", "mnist-5k")
)
