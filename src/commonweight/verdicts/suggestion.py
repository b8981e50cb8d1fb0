"""What a suggestion is."""

from dataclasses import dataclass
from typing import Literal

from commonweight.patterns import Pattern


@dataclass(frozen=True)
class Suggestion:
    """Something that could be tied in the tensors that were looked at.

    Attributes:
        kind: "tie" and "layers", whose text is an equation that `commonweight.tie` takes; "permutation", a tie up to
            the order of rows, columns or neurons; "lines", rows or columns that occur more than once; "pattern", ties
            within one matrix; "order", the same in another order of its rows and columns; "codebook", few different
            values.
        names: the tensors that need not be stored any more as they are, then those that they are rebuilt from.
        text: the equation; the pattern of the tensor as a matrix, whose rows are outputs, in the notation of
            `commonweight.patterns`; or, where `weight` is the tensor, the call that learns the codebook. In a pattern
            of the kind "order", `rows` and `columns` are those of `orders`. What no call does is said in words.
        error: max |Δ| between the tensors as they are and rebuilt, 0 if exact.
        bytes_saved: what the names take now, less what is stored instead, indices and codebooks included.
        pattern: of the tensor as a matrix, where the text is one.
        orders: of the kind "order" the rows and the columns of the matrix, one after another, that have the pattern
            within `reordered`; those left out are 0 or near it.
        codebook: of the kind "codebook" how many values, and who has a codebook, as `codebook.learn` takes them.
    """

    kind: str
    names: tuple[str, ...]
    text: str
    error: float
    bytes_saved: int
    pattern: Pattern | None = None
    orders: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    codebook: tuple[int, Literal["row", "tensor"]] | None = None


@dataclass(frozen=True)
class Candidate:
    """A suggestion that competes with others for the tensors that it rebuilds, the first ones of its names."""

    suggestion: Suggestion
    rebuilt: tuple[str, ...]
