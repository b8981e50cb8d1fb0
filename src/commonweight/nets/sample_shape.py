"""What a net is made for, checked: the shape of a sample and the number of outputs."""

from collections.abc import Sequence
from typing import Any

from commonweight.errors import NetError, require_kind, require_whole


def sample_shape(given: Any) -> tuple[int, ...]:
    """The shape of a sample as a tuple of ints.

    Raises:
        NetError: no sequence, or a size that is no whole number from 1.

    >>> sample_shape([1, 8, 0])
    Traceback (most recent call last):
    commonweight.errors.NetError: A size of in_shape is a whole number from 1; got int: 0.
    """
    require_kind(given, Sequence, "The shape of a sample is a tuple, such as (1, 28, 28)", NetError)
    return tuple(require_whole(size, "A size of in_shape", NetError, least=1) for size in given)


def output_number(given: Any) -> int:
    """The number of classes or values as an int.

    Raises:
        NetError: no whole number from 1.
    """
    return require_whole(given, "n_outputs", NetError, least=1)
