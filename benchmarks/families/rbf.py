"""Radial basis functions beside scikit-learn's support vector machines, by the default settings of both.

They are the fair peer: the same function, a sum of Gaussians around centres, with one width; but their centres are
training samples, chosen with the targets in sight. Kernel ridge regression takes all samples as centres, and leaves
width and penalty to the user: its defaults are a worse peer, and searching for good ones takes minutes.
"""

from sklearn.multioutput import MultiOutputRegressor
from sklearn.svm import SVC, SVR

from families.case import Case, trained
from families.peers import scored

SHARES = "one width for all units"
CASES = (
    *(
        Case("rbf", name, "accuracy", trained(name, "rbf"), "SVC", scored(name, lambda seed: SVC()), SHARES,
             same_rule=False)
        for name in ("digits", "mnist-5k")
    ),
    Case("rbf", "building", "rmse", trained("building", "rbf", "rmse"), "SVR, one a target",
         scored("building", lambda seed: MultiOutputRegressor(SVR())), SHARES, same_rule=False),
    Case("rbf", "abelone", "rmse", trained("abelone", "rbf", "rmse"), "SVR",
         scored("abelone", lambda seed: SVR()), SHARES, same_rule=False),
)  # fmt: skip
