"""What compressing cost and saved: for each weight error, bits and bytes, what was tied, and the totals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Line:
    """One weight.

    Attributes:
        name: as the state dict has it.
        shape: of the weight.
        values: in a codebook, or free weights of the pattern; 0 where the weight was left alone.
        codebooks: how many.
        error: relative, ‖W - W'‖ / ‖W‖ (Frobenius).
        max_error: max |W - W'|.
        bytes_before: of its elements.
        bytes_after: of its packed codes, to whole words of 32 bits, and its codebooks; or of the free weights of its
            pattern, and of the orders and codes in it.
        left: why it was left alone, if it was.
        pattern: its notation, if the weight is held by one.
    """

    name: str
    shape: tuple[int, ...]
    values: int
    codebooks: int
    error: float
    max_error: float
    bytes_before: int
    bytes_after: int
    left: str = ""
    pattern: str = ""

    @property
    def bits(self) -> float:
        """For each element, with its share of the codebooks."""
        n = 1
        for size in self.shape:
            n *= size
        return 8 * self.bytes_after / n


@dataclass(frozen=True)
class Followed:
    """Something that was tied first, or is held by what is equal in it; or could have been.

    Attributes:
        kind: as a suggestion has it (`commonweight.verdicts`); "layers" for neighbours that are one.
        name: of the tensor or layer that need not be stored any more as it is.
        text: the equation, or what the suggestion says.
        error: max |Δ| between values as they were and as they are tied.
        left: why it was not done, if it was not.
    """

    kind: str
    name: str
    text: str
    error: float
    left: str = ""

    def __str__(self) -> str:
        what = self.text if self.name in self.text else f"`{self.name}`: {self.text}"
        if self.left:
            return f"not followed, since {self.left}: {what}"
        return f"followed: {what}" + (f" (max |Δ| to their mean {self.error:.3g})" if self.error else "")


@dataclass(frozen=True)
class Report:
    """All weights, and what else there is.

    Attributes:
        lines: one for each weight that could be shared.
        rest: bytes of all other tensors (biases, norms, statistics, embeddings), each tied one once.
        tied: bytes of the tensors that are others now, and not stored any more.
        followed: what was tied, or was suggested and not tied.
        before, after: scores on the test part, where there are data: accuracy, or rmse and r2, and the loss.
    """

    lines: Sequence[Line]
    rest: int
    tied: int = 0
    followed: Sequence[Followed] = ()
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)

    @property
    def bytes_before(self) -> int:
        """Of all tensors as they were, each tied one once."""
        return self.rest + self.tied + sum(line.bytes_before for line in self.lines)

    @property
    def bytes_after(self) -> int:
        """Of all tensors as they are stored: packed codes, codebooks and the rest, without the header of a file."""
        return self.rest + sum(line.bytes_after for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """What `commonweight share --json` prints."""
        return {
            "layers": [asdict(line) | {"shape": list(line.shape), "bits": line.bits} for line in self.lines],
            "rest": self.rest,
            "tied": self.tied,
            "followed": [asdict(one) for one in self.followed],
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "before": self.before,
            "after": self.after,
        }

    def __str__(self) -> str:
        rows = [("weight", "shape", "bits", "error", "max |Δ|", "bytes before", "after")]
        for line in self.lines:
            told = (f"{line.bits:.2f}", f"{line.error:.4f}", f"{line.max_error:.3g}")
            sizes = (f"{line.bytes_before:,}", f"{line.bytes_after:,}")
            rows.append((line.name, "×".join(map(str, line.shape)), *(("", "", "") if line.left else told), *sizes))
        if self.tied:
            rows.append(("tied", "", "", "", "", f"{self.tied:,}", "0"))
        rows.append(("the rest", "", "", "", "", f"{self.rest:,}", f"{self.rest:,}"))
        rows.append(("sum", "", "", "", "", f"{self.bytes_before:,}", f"{self.bytes_after:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        text = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        text += map(str, self.followed)
        text += [f"{line.name} is left alone: {line.left}." for line in self.lines if line.left]
        for name, value in self.before.items():
            text.append(f"{name}: {value:.4f} before, {self.after[name]:.4f} after")
        ratio = self.bytes_before / max(1, self.bytes_after)
        return "\n".join([*text, f"{self.bytes_before:,} bytes became {self.bytes_after:,}: {ratio:.2f} times smaller"])


def errors(weight: Tensor, codes: Tensor, values: Tensor) -> tuple[float, float]:
    """‖W - W'‖ / ‖W‖ and max |W - W'| for a weight as codes (O, I) and codebooks, by rows: no second copy of it."""
    squares = total = largest = 0.0
    owners = torch.arange(len(weight), device=weight.device) // -(-len(weight) // len(values))
    for first in range(0, len(weight), 64):
        part = slice(first, first + 64)
        rows = weight[part].flatten(1).double()
        delta = rows - values[owners[part]].gather(1, codes[part].long())
        squares += float(delta.square().sum())
        total += float(rows.square().sum())
        largest = max(largest, float(delta.abs().max()))
    return (squares / total) ** 0.5 if total else 0.0, largest
