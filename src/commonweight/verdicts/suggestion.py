"""What a suggestion is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Suggestion:
    """Something that could be tied in the tensors that were looked at.

    Attributes:
        kind: "tie" and "layers", whose text is an equation that `commonweight.tie` takes; "permutation", a tie up to
            the order of rows, columns or neurons; "lines", rows or columns that occur more than once; "pattern", ties
            within one matrix; "codebook", few different values.
        names: the tensors that need not be stored any more as they are, then those that they are rebuilt from.
        text: the equation or the pattern. A pattern is that of the tensor as a matrix, whose rows are outputs.
        error: max |Δ| between the tensors as they are and rebuilt, 0 if exact.
        bytes_saved: what the names take now, less what is stored instead, indices and codebooks included.
    """

    kind: str
    names: tuple[str, ...]
    text: str
    error: float
    bytes_saved: int


@dataclass(frozen=True)
class Candidate:
    """A suggestion that competes with others for the tensors that it rebuilds, the first ones of its names."""

    suggestion: Suggestion
    rebuilt: tuple[str, ...]
