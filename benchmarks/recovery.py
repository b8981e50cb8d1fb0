"""What `suggest` says of dense matrices that hide a pattern: exactly, below noise, and with units in another order.

What      A random pattern of a family, random weights, written out as a float32 matrix under no name -> the suggestion.
Against   No peer is known; the target is absolute: 95 % of each family right where the units are in order.
How       Right is a suggestion that means the same connections with the same ties, whatever it is called. Noise is 1 %
          of the standard deviation of the weights, on every element, zeros included.
Result    benchmarks/results/recovery.md, with versions, hardware, date and n, written by this script:

    python benchmarks/recovery.py [--seeds 40]
"""

import argparse
import ast
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import setting, write_result

from commonweight import patterns as p
from commonweight.checkpoints import content_of
from commonweight.patterns import Pattern
from commonweight.reordering import Reordered
from commonweight.tiemap import TieMap
from commonweight.verdicts.suggest import suggest

NOISE = 0.01
TARGET = 0.95
FIRST = 3000  # the seeds before were looked at while the code was written
Random = np.random.Generator
Orders = tuple[Any, Any]  # rows and columns, one after another


def window(random: Random, axes: int, name: str) -> Pattern:
    """A convolution as people use them, or a locally connected layer: kernels larger than 1 that fit in."""
    make: Callable[..., Pattern] = getattr(p, name)
    sizes = random.integers(*((6, 11) if axes == 2 else (10, 25)), axes)
    kernel = random.integers(2, 4 if axes == 2 else 6, axes)
    channels = random.integers(1, 5, 2).tolist()
    options: dict[str, Any] = {"stride": int(random.integers(1, 3)), "padding": int(random.integers(0, 2))}
    return make((channels[0], *sizes.tolist()), channels[1], kernel=tuple(kernel.tolist()), **options)


def size(random: Random, low: int = 8, high: int = 48) -> int:
    return int(random.integers(low, high + 1))


def part(random: Random) -> Pattern:
    """Something small that is put side by side."""
    n = size(random, 7, 10)
    kinds = (p.dense(n, size(random, 4, 9)), p.circulant(n), p.symmetric(n), p.conv1d((2, n), 2, kernel=3))
    return kinds[random.integers(len(kinds))]


FAMILIES: dict[str, Callable[[Random], Pattern]] = {
    "dense": lambda r: p.dense(size(r), size(r)),
    "local": lambda r: window(r, int(r.integers(1, 3)), "local"),
    "conv1d": lambda r: window(r, 1, "conv1d"),
    "conv2d": lambda r: window(r, 2, "conv2d"),
    "circulant": lambda r: p.circulant(size(r)),
    "toeplitz": lambda r: p.toeplitz(size(r), size(r)),
    "symmetric": lambda r: p.symmetric(size(r)),
    "antisymmetric": lambda r: p.antisymmetric(size(r)),
    "copies": lambda r: p.copies(size(r, 2, 6), part(r)),
    "block": lambda r: p.block(*(part(r) for _ in range(size(r, 2, 4)))),
    "diagonal": lambda r: p.diagonal(size(r, 16)),
    "single": lambda r: p.single(size(r), size(r)),
}
OTHERS = ("codebook", "rows")  # few values, and rows that repeat: no pattern of the notation says which is which
NAMES = (*FAMILIES, *OTHERS)


def example(family: str, random: Random) -> tuple[np.ndarray, float, Pattern | int]:
    """A matrix, the standard deviation of its weights, and what it is: a pattern, or the number of different values."""
    if family in OTHERS:
        shape, k = (size(random, 24), size(random, 24)), size(random, 2, 8)
        values = np.sort(random.uniform(0.25, 1, k)).cumsum() * random.choice([-1, 1]) - 1
        lines = random.normal(size=(k, shape[1]))
        chosen = random.permutation(np.arange(shape[0] * shape[1]) % k).reshape(shape)
        return (values[chosen], float(values.std()), k) if family == "codebook" else (
            lines[random.permutation(np.arange(shape[0]) % k)], float(lines.std()), k
        )  # fmt: skip
    pattern = FAMILIES[family](random)
    weights = torch.from_numpy(random.normal(size=pattern.n_weights))
    matrix = pattern.tiemap().expand(weights).numpy()
    spread = float(weights.std()) if pattern.n_weights > 1 else abs(float(weights))  # one weight has its size alone
    return matrix, spread, pattern


def said_of(matrix: np.ndarray) -> tuple[str, Orders | None]:
    """The pattern that is suggested for a matrix by itself, or the empty text, and in which order it has it."""
    tensor = torch.from_numpy(matrix.astype(np.float32))
    found = suggest({"w": tuple(tensor.shape)}, {"w": tensor}.__getitem__, {"w": content_of(tensor)})
    if not found:
        return "", None
    one = found[0]
    return str(one.pattern.a) if isinstance(one.pattern, Reordered) else one.text, one.orders


def built(text: str) -> Pattern:
    """The pattern of a notation."""

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            options = {str(word.arg): value(word.value) for word in node.keywords}
            return getattr(p, node.func.id)(*map(value, node.args), **options)
        return ast.literal_eval(node)

    return value(ast.parse(text, mode="eval").body)


def family_of(text: str) -> str:
    """The row of the table that a suggestion belongs to."""
    if not text:
        return "dense"
    if "codebook" in text or "different" in text:
        return "codebook" if "learn" in text else "rows"
    name = text.partition("(")[0]
    return name if name in FAMILIES else "other"


def is_right(text: str, orders: Orders | None, truth: Pattern | int, hidden: Orders) -> bool:
    """Whether a suggestion says what the matrix is whose rows and columns are these of the truth."""
    if isinstance(truth, int):
        return f"k={truth}," in text or f"k={truth})" in text or f" {truth} different" in text
    if family_of(text) in OTHERS:
        return False
    said = (built(text) if text else p.dense(truth.n_in, truth.n_out)).tiemap()
    rows, columns = hidden
    if orders is not None:
        rows, columns = rows[list(orders[0])], columns[list(orders[1])]
    found = (said.n_weights, rows[said.out], columns[said.inp], said.weight, said.sign)
    return TieMap(truth.n_out, truth.n_in, *found).same_ties(truth.tiemap())


def table(counts: Counter[tuple[str, str]], right: Counter[str], seeds: int) -> str:
    """True families down, suggested ones across, the part that is exactly right at the end."""
    columns = [*NAMES, "other"]
    lines = ["| truth | " + " | ".join(columns) + " | right |", "| --- " * (len(columns) + 2) + "|"]
    for name in NAMES:
        if any(counts[name, column] for column in columns):
            cells = " | ".join(str(counts[name, column] or "") for column in columns)
            lines.append(f"| {name} | {cells} | {right[name] / seeds:.0%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts which patterns are found again; writes the results file.")
    parser.add_argument("--seeds", type=int, default=40, help="matrices of each family")
    parser.add_argument("--ordered", action="store_true", help="leave out the hidden orders")
    parser.add_argument("--show", action="store_true", help="print what is not right")
    arguments = parser.parse_args()
    seeds, sections, worst = arguments.seeds, [], 1.0
    for title, noise, hidden in (
        ("Exact", 0.0, False),
        ("With 1 % of noise", NOISE, False),
        ("Rows and columns in another order", 0.0, True),
        ("Rows and columns in another order, with 1 % of noise", NOISE, True),
    ):
        if hidden and arguments.ordered:
            continue
        counts: Counter[tuple[str, str]] = Counter()
        right: Counter[str] = Counter()
        for number, name in enumerate(NAMES):
            for seed in range(seeds):
                random = np.random.default_rng([number, FIRST + seed])
                matrix, spread, truth = example(name, random)
                matrix = matrix + noise * spread * random.normal(size=matrix.shape)
                rows, columns = (random.permutation(n) if hidden else np.arange(n) for n in matrix.shape)
                text, found = said_of(matrix[np.ix_(rows, columns)])
                ok = is_right(text, found, truth, (rows, columns))
                # What one and the same map is called is no confusion.
                counts[name, name if ok else family_of(text)] += 1
                right[name] += ok
                if arguments.show and not ok:
                    print(f"{title} {name} {seed}: {truth} -> {text or 'nothing'}"[:230], flush=True)
        sections.append(f"## {title}\n\n{table(counts, right, seeds)}")
        print(sections[-1], flush=True)
        worst = worst if hidden else min(worst, *(right[name] / seeds for name in NAMES))
    verdict = "PASS" if worst >= TARGET else "FAIL"
    write_result(
        "recovery",
        f"""# Patterns found again in dense matrices

Written by `python benchmarks/recovery.py --seeds {seeds}` on {setting()}.
{seeds} matrices of each family, of random sizes. Right: the suggestion means exactly the same connections and ties.
Target: 95 % of each family without another order; the worst has {worst:.0%}: {verdict}.

{(chr(10) * 2).join(sections)}
""",
    )


if __name__ == "__main__":
    main()
