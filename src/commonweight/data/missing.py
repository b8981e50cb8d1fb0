"""Missing values of a table: which features may lack them, and what stands in for them.

Where cells of a column are empty, the mean of its training part stands in, and a feature of 0 and 1 beside it says
where: that a value is missing may tell as much as the value. The name of that feature is all that has to be remembered.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SUFFIX = " is missing"
"""What the name of a feature that marks the gaps of another one ends with."""


def marked(features: Sequence[str]) -> Tensor:
    """Which features have one beside them that marks their gaps: bool, shape (F,).

    >>> marked(["age", "age is missing", "income"])
    tensor([ True, False, False])
    """
    known = set(features)
    return torch.tensor([name + SUFFIX in known for name in features], dtype=torch.bool)


def means(x: Tensor, features: Sequence[str]) -> Tensor:
    """The mean of what is there of each marked feature, 0 where nothing is; float32, shape (F,).

    >>> means(torch.tensor([[1.0, 0.0], [torch.nan, 1.0], [3.0, 0.0]]), ["age", "age is missing"])
    tensor([2., 0.])
    """
    return torch.where(marked(features), x.double().nanmean(0), 0).nan_to_num(0).float()


def fill(x: Tensor, features: Sequence[str], values: Tensor) -> Tensor:
    """Put values, shape (F,), where x, shape (N, F), lacks one of a marked feature.

    >>> fill(torch.tensor([[torch.nan, 1.0]]), ["age", "age is missing"], torch.tensor([40.0, 0.0]))
    tensor([[40.,  1.]])
    """
    return torch.where(x.isnan() & marked(features), values, x)
