"""Every error a user can meet, below one base class.

A message says what was given, what was expected and what to do, in one sentence. The command line prints it as it is
and exits with code 2.
"""

from numbers import Integral
from typing import Any

MAX_SEED = 2**32 - 1
"""The largest seed that every generator of random numbers takes."""


class CommonweightError(Exception):
    """Base of all errors that this library raises on purpose."""


def require_kind(value: Any, kinds: Any, expected: str, error: type[CommonweightError]) -> None:
    """Refuse what is not of any of the kinds, at the public boundary.

    Args:
        expected: who takes what, such as "lower takes a pattern".

    Raises:
        CommonweightError: as `error`.

    >>> require_kind(3, str, "A net has a name", NetError)
    Traceback (most recent call last):
    commonweight.errors.NetError: A net has a name; got int: 3.
    """
    if not isinstance(value, kinds):
        raise error(f"{expected}; got {_told(value)}.")


def require_whole(
    value: Any, name: str, error: type[CommonweightError], *, least: int = 0, most: int | None = None
) -> int:
    """What a caller gave as a whole number, as an int.

    Raises:
        CommonweightError: as `error`: no whole number, or one out of range.

    >>> require_whole(0, "top", DataError, least=1)
    Traceback (most recent call last):
    commonweight.errors.DataError: top is a whole number from 1; got int: 0.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        span = f"from {least}" if most is None else f"from {least} to {most:,}"
        raise error(f"{name} is a whole number {span}; got {_told(value)}.")
    return int(value)


def require_seed(seed: Any, error: type[CommonweightError]) -> int:
    """A seed for any generator of random numbers, as an int.

    Raises:
        CommonweightError: as `error`: none, or one that not every generator takes.
    """
    return require_whole(seed, "seed", error, most=MAX_SEED)


def _told(value: Any) -> str:
    """What kind of thing it is, and its beginning, on one line: a net or a tensor would be shown on several."""
    shown = " ".join(repr(value).split())
    return f"{type(value).__name__}: {shown:.60}"


class PatternError(CommonweightError):
    """A pattern or a tie map that cannot exist: sizes that do not fit, a weight that nothing uses."""


class TieError(CommonweightError):
    """A tie between tensors that does not hold, or cannot be made."""


class CensusError(CommonweightError):
    """A model whose connections cannot be counted with the inputs that were given."""


class DataError(CommonweightError):
    """Data that cannot be found, read, or learned from."""


class FileError(CommonweightError):
    """A file of ours that is missing, damaged, or cannot be written."""


class NetError(CommonweightError):
    """A network that does not exist under that name, or does not fit the data."""


class TrainError(CommonweightError):
    """Training settings that cannot be met, or a run that cannot go on."""


class DivergedError(TrainError):
    """A training whose loss is no number any more; `run` is what was recorded until then, with its diagnosis."""

    def __init__(self, sentence: str, run: Any) -> None:
        super().__init__(sentence)
        self.run = run


class ClaimError(CommonweightError):
    """A claim that does not exist, or a folder or file of claims that is not one."""


class KernelError(CommonweightError):
    """Tensors that a kernel cannot take, or kernels that this machine cannot run."""


class CompressError(CommonweightError):
    """Codebooks that cannot be had: numbers of values or rows, or layers to keep, that do not exist."""


class LabError(CommonweightError):
    """Something the lab was asked for that it cannot do, or a message to it that is none."""
