"""A view: what a network of some family shows of itself, as arrays with words; the report and the lab draw it.

A net that has more to show than its kernels has a method `views(inputs, targets) -> list[View]`, given the test part,
normalised. Nothing here draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


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
