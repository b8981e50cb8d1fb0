"""A view: what a network of some family shows of itself, as arrays with words; the report and the lab draw it.

A net that has more to show than its kernels has a method `views(inputs, targets) -> list[View]`, given the test part,
normalised, and called without gradients. Nothing here draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def spread(n: int, most: int) -> Tensor:
    """Places of at most so many of n samples, evenly spread: a test part may have its classes one after the other.

    >>> spread(100, 4).tolist(), spread(2, 4).tolist()
    ([0, 33, 66, 99], [0, 1])
    """
    return torch.linspace(0, n - 1, min(n, most)).long()


@dataclass(frozen=True, eq=False)
class View:
    """Pictures that belong together, under one heading.

    Attributes:
        title: the heading, a few words.
        caption: a sentence that says in words what is to be seen.
        images: shape (N, H, W), the pictures; values that are not finite are drawn as nothing.
        labels: what each picture is, read by pointing at it; empty for none.
        signed: zero is drawn as the page itself, positive values orange, negative ones blue; otherwise values run from
            the least (black) to the largest (white) of all pictures of the view.
    """

    title: str
    caption: str
    images: Tensor
    labels: Sequence[str] = ()
    signed: bool = False
