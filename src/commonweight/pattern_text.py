"""A pattern as text that a file can hold: its notation, and the arrays that the notation leaves out; read warily.

The notation of `codebook` and `reordered` has `<4 numbers, 1f0a…>` in the place of an array. Read back, each of these
takes the next of the arrays, which must be those that it was written for: the digest says so.
"""

import re
from collections.abc import Callable, Iterable
from operator import mul
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from commonweight import patterns
from commonweight.codebook import Codebook
from commonweight.errors import PatternError
from commonweight.hashing import Hashed
from commonweight.patterns import Block, Compose, Conv, Kron, Pattern
from commonweight.reordering import Reordered

MOST_CELLS = 1 << 22
"""Cells of a matrix whose pattern is read: 2048 × 2048. To write one out takes some 300 MB."""
LONGEST = 1 << 16
_DEEPEST = 64
_TOKEN = re.compile(r"\s*(?:([0-9]{1,9})(?![0-9])|([A-Za-z_][A-Za-z0-9_]*)|'([a-z]*)'|(<[^<>]*>)|([()\[\],=]))")
_LEAVES = "dense single toeplitz circulant diagonal symmetric antisymmetric table conv1d conv2d conv3d tiled local"
_NAMES = (*_LEAVES.split(), "transpose", "kron", "copies", "block", "compose")
_CALLS: dict[str, Callable[..., Pattern]] = {
    **{name: getattr(patterns, name) for name in _NAMES},
    "codebook": Codebook,
    "hashed": Hashed,
    "reordered": Reordered,
}


def arrays_of(pattern: Pattern) -> list[NDArray[Any]]:
    """What the notation of a pattern leaves out, in its order.

    >>> arrays_of(Reordered(patterns.circulant(2), [1, 0], [0, 1]))
    [array([1, 0]), array([0, 1])]
    """
    if isinstance(pattern, Codebook):
        return [pattern.codes]
    if isinstance(pattern, Reordered):
        return [*arrays_of(pattern.a), pattern.rows, pattern.columns]
    if isinstance(pattern, Kron | Compose):
        parts = [pattern.a, pattern.b]
    elif isinstance(pattern, Block):
        parts = list(pattern.parts)
    else:
        parts = [pattern.a] if hasattr(pattern, "a") else []
    return [array for part in parts for array in arrays_of(part)]


def read(notation: str, arrays: Iterable[NDArray[Any]] = (), most: int = MOST_CELLS) -> Pattern:
    """The pattern of a notation that anyone may have written.

    Time and memory are those of a matrix with the cells that are allowed, whatever the notation says.

    Args:
        notation: of at most 65,536 characters, as `str` gives it; `orbits`, which leaves out too much, is not read.
        arrays: what the notation leaves out, as `arrays_of` gives it.
        most: cells that the pattern, or a part of it, may have, at most 2^22; and the largest number in the notation.

    Raises:
        PatternError: no such notation, a pattern that cannot be or is too large, or other arrays than those.

    >>> pattern = Reordered(patterns.kron(patterns.dense(2, 3), patterns.circulant(2)), range(6), [4, 3, 1, 0], n_in=5)
    >>> read(str(pattern), arrays_of(pattern)) == pattern
    True
    """
    if len(notation) > LONGEST:
        raise PatternError(f"A pattern is read from at most {LONGEST:,} characters; got {len(notation):,}.")
    reader = _Reader(notation, list(arrays), min(most, MOST_CELLS))
    pattern = reader.value(0)
    if not isinstance(pattern, Pattern) or str(pattern) != notation or reader.arrays:
        raise PatternError(f"{notation[:200]!r} is not the notation of a pattern, or that of other arrays.")
    return pattern


class _Reader:
    """A place in the text of a notation, which moves on as the text is read."""

    def __init__(self, text: str, arrays: list[NDArray[Any]], most: int) -> None:
        self.text, self.at, self.arrays, self.most = text, 0, arrays, most

    def fail(self, expected: str) -> NoReturn:
        found = f"{self.text[self.at : self.at + 20]!r}" if self.at < len(self.text) else "the end"
        where = f"at character {self.at + 1}"
        raise PatternError(f"Cannot read the pattern {self.text[:80]!r}: expected {expected} {where}, found {found}.")

    def next(self) -> tuple[str, ...]:
        """The next number, name, word, hole and sign, of which all but one are empty; passed by."""
        token = _TOKEN.match(self.text, self.at) or self.fail("a call, a number or a sign")
        self.at = token.end()
        return token.groups(default="")

    def accept(self, sign: str) -> bool:
        found = self.text.startswith(sign, self.at)
        self.at += len(sign) * found
        return found

    def value(self, depth: int) -> Any:
        """A number, word, truth, array, tuple, list or pattern."""
        if depth > _DEEPEST:
            self.fail(f"at most {_DEEPEST} brackets within each other")
        start = self.at
        number, name, word, hole, sign = self.next()
        if number and int(number) <= self.most:
            return int(number)
        if name == "True":
            return True
        if name in _CALLS and self.accept("("):
            return self.call(name, depth)
        if hole and self.arrays:
            return self.arrays.pop(0)
        if sign in ("(", "["):
            values = self.values(")" if sign == "(" else "]", depth)
            return tuple(values) if sign == "(" else values
        if word:
            return word
        self.at = start
        self.fail("no further array" if hole else f"a pattern, a number of at most {self.most:,} or a list")

    def values(self, end: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not self.accept(end):
            if found and not self.accept(", "):
                self.fail(f"`, ` or `{end}`")
            found.append(self.value(depth + 1))
        return found

    def call(self, name: str, depth: int) -> Pattern:
        """The pattern that a call makes, behind its opening bracket."""
        given: list[Any] = []
        options: dict[str, Any] = {}
        while not self.accept(")"):
            if (given or options) and not self.accept(", "):
                self.fail("`, ` or `)`")
            keyword = re.compile("([a-z_]+)=").match(self.text, self.at)
            if keyword is None:
                given.append(self.value(depth + 1))
                continue
            self.at = keyword.end()
            options[keyword[1]] = self.value(depth + 1)
        try:
            pattern = _CALLS[name](*given, **options)
        except (TypeError, ValueError, OverflowError) as error:
            told = f"no {name} is made so ({error})"
            raise PatternError(f"Cannot read the pattern {self.text[:80]!r}: {told:.200}.") from error
        cells = pattern.n_full
        if isinstance(pattern, Conv):  # whose places and taps are gone through, too, along each axis
            cells = max(cells, *map(mul, pattern.out_shape[1:], pattern.kernel))
        if cells > self.most:
            raise PatternError(f"{pattern!s:.200} has {cells:,} cells; at most {self.most:,} are allowed here.")
        return pattern


def smallest(array: NDArray[Any]) -> NDArray[Any]:
    """The numbers of an array of indices in the fewest bytes that safetensors has for them."""
    kinds = (np.uint8, np.int16, np.int32, np.int64)
    return array.astype(next(kind for kind in kinds if array.max() <= np.iinfo(kind).max))
