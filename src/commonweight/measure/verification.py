"""How well distances tell classes apart that nobody learned: are two samples of one class, and of which of five?"""

import numpy as np
from torch import Tensor

from commonweight.errors import DataError, require_seed, require_whole


def verification_auc(distance: Tensor, y: Tensor) -> float:
    """The probability that a pair of one class is nearer than a pair of two, ties counted half.

    This is the area under the ROC curve of the verdict "of one class" over all pairs (i, j), i ≠ j.

    Args:
        distance: shape (N, N), of sample j from sample i; the diagonal is not looked at.
        y: classes, shape (N,), two at least, one of them with two samples.

    >>> import torch
    >>> points = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    >>> verification_auc(torch.cdist(points, points), torch.tensor([0, 0, 1, 1]))
    1.0
    """
    from sklearn.metrics import roc_auc_score

    apart = ~np.eye(len(y), dtype=bool)
    same = (y[:, None] == y).numpy()[apart]
    return float(roc_auc_score(same, -distance.numpy()[apart]))


def one_shot_accuracy(distance: Tensor, y: Tensor, *, ways: int = 5, trials: int = 2000, seed: int = 0) -> float:
    """How often, of one example each of `ways` classes, the nearest is that of the class of a new sample.

    Source: Lake, Salakhutdinov, Gross, Tenenbaum, "One shot learning of simple visual concepts" (2011). Chance is
    1 / ways.

    Args:
        distance: shape (N, N), of example j from sample i.
        y: classes, shape (N,), each with two samples at least.
        ways: classes in a trial, drawn anew, with their examples and the sample, in each.
        trials: how many.
        seed: of what is drawn.

    Raises:
        DataError: fewer than 2 ways or more than there are classes, no trial, or a seed out of range.

    >>> import torch
    >>> points = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    >>> one_shot_accuracy(torch.cdist(points, points), torch.tensor([0, 0, 1, 1]), ways=2)
    1.0
    """
    generator = np.random.default_rng(require_seed(seed, DataError))
    trials = require_whole(trials, "trials", DataError, least=1)
    far, labels, right = distance.numpy(), y.numpy(), 0
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    ways = require_whole(ways, "ways", DataError, least=2, most=len(members))
    for _ in range(trials):
        first, *others = generator.choice(len(members), ways, replace=False)
        sample, example = generator.choice(members[first], 2, replace=False)
        examples = [example, *(generator.choice(members[other]) for other in others)]
        right += int(far[sample, examples].argmin() == 0)
    return right / trials
