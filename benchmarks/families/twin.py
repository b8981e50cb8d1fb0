"""Twins on faces, split by person: 30 people to learn from, 10 never seen."""

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from commonweight import count, data
from commonweight.measure.verification import one_shot_accuracy, verification_auc
from commonweight.nets.twin_estimators import TwinClassifier
from families.case import Case, Score, timed

PEOPLE, SEEN, COMPONENTS = 40, 30, 100


def portraits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Faces (N, 1, 112, 92) and people (N,): of those to learn from, then of those never seen."""
    faces = data.load("orl-faces")
    chosen = np.random.default_rng(seed).permutation(PEOPLE)[:SEEN]
    seen = torch.isin(faces.y, torch.from_numpy(chosen))
    x = (faces.x - faces.x[seen].mean()) / faces.x[seen].std()
    return x[seen], faces.y[seen], x[~seen], faces.y[~seen]


def judged(distance: Tensor, who: Tensor, metric: str, seed: int) -> float:
    """By the name of the metric."""
    return verification_auc(distance, who) if metric == "AUC" else one_shot_accuracy(distance, who, seed=seed)


def twins(seed: int, metric: str) -> Score:
    """As `TwinClassifier` learns by default."""
    x, y, new, who = portraits(seed)
    estimator = TwinClassifier(in_shape=tuple(x.shape[1:]), random_state=seed)
    seconds = timed(lambda: estimator.fit(x.flatten(1).numpy(), y.numpy()))
    twin = estimator.module_.twin
    with torch.no_grad():
        test = judged(twin.distance(new), who, metric, seed)
    census = count(twin, *[new[:1]] * len(twin.branches))
    return Score(test, seconds, census.weights, census.connections)


def pixels(seed: int) -> Score:
    """Euclidean distance of the portraits themselves."""
    _, _, new, who = portraits(seed)
    return Score(judged(torch.cdist(new.flatten(1), new.flatten(1)), who, "AUC", seed), 0.0)


def eigenfaces(seed: int) -> Score:
    """Euclidean distance of principal components, found on the people to learn from."""
    x, _, new, who = portraits(seed)
    model = PCA(COMPONENTS, svd_solver="full")
    seconds = timed(lambda: model.fit(x.flatten(1).numpy()))
    points = torch.from_numpy(model.transform(new.flatten(1).numpy()).astype(np.float32))
    return Score(judged(torch.cdist(points, points), who, "one-shot accuracy", seed), seconds)


SHARES = "two or three networks, all weights"
CASES = (
    Case(
        family="twin",
        data="orl-faces",
        metric="one-shot accuracy",
        ours=lambda seed: twins(seed, "one-shot accuracy"),
        peer=f"{COMPONENTS} eigenfaces (PCA)",
        theirs=eigenfaces,
        shares=SHARES,
        same_rule=False,
    ),
    Case(
        family="twin",
        data="orl-faces",
        metric="AUC",
        ours=lambda seed: twins(seed, "AUC"),
        peer="distance of pixels",
        theirs=pixels,
        shares=SHARES,
        same_rule=False,
    ),
)
