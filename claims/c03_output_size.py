"""A convolution over n inputs gives (n + 2·padding - filter)/stride + 1 outputs, rounded down.

The formula of the articles is half true: it leaves out that the quotient is rounded down, which decides wherever
the stride does not divide, and it has no dilation, which makes a filter of k reach over d·(k - 1) + 1 inputs. In
full: floor((n + 2·p - d·(k - 1) - 1)/s) + 1. AlexNet shows the first gap: by the paper's own figures (Krizhevsky et
al. 2012: side 224, filter 11, stride 4) the formula gives 54.25, and only a side of 227 gives the 55 that the paper
has.

With much padding and a large stride there are sizes at which every window lies on padding alone. Torch then returns
outputs that depend on nothing; a pattern, in which every weight has a connection, does not exist.

Criterion: for every n, filter, stride and dilation from 1 to 7 and every padding from 0 to 7, the formula in full
is the length that torch's convolution returns and that the pattern states, where any window meets an input; where
the filter reaches beyond the padded input, both refuse. The same in two dimensions for pairs drawn at random, and
the same length from max pooling for pairs that it accepts; and where the stride divides and the dilation is 1, the
formula of the articles gives the same number.
"""

import random
from itertools import product

import torch
from torch.nn import functional as F

from commonweight import patterns
from commonweight.claims import Result
from commonweight.errors import PatternError

UP_TO = 7
PAIRS = 2000
SEED = 3
KNOWN = {  # side, filter, stride, padding and the side that the publication states
    "LeNet-5, C1": (32, 5, 1, 0, 28),
    "LeNet-5, S2": (28, 2, 2, 0, 14),
    "AlexNet, as published": (224, 11, 4, 0, 55),
    "AlexNet, side 227": (227, 11, 4, 0, 55),
    "ResNet-50, first layer": (224, 7, 2, 3, 112),
    "ResNet-50, max pooling": (112, 3, 2, 1, 56),
}

Axis = tuple[int, int, int, int, int]  # n, filter, stride, padding, dilation


def in_full(axis: Axis) -> int:
    """The number of outputs; below 1 where the filter does not fit."""
    n, k, s, p, d = axis
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def meets_input(axis: Axis) -> bool:
    """Whether any position of the filter lies on an input in any window."""
    n, k, s, p, d = axis
    return any(0 <= out * s - p + tap * d < n for out in range(in_full(axis)) for tap in range(k))


def of_the_articles(axis: Axis) -> float:
    n, k, s, p, _ = axis
    return (n + 2 * p - k) / s + 1


def by_torch(axes: list[Axis]) -> list[int] | None:
    """Lengths that torch's convolution returns over one or two axes; None where it refuses."""
    n, k, s, p, d = map(list, zip(*axes, strict=True))
    convolve = (F.conv1d, F.conv2d)[len(axes) - 1]
    try:
        return list(convolve(torch.zeros(1, 1, *n), torch.zeros(1, 1, *k), None, s, p, d).shape[2:])
    except RuntimeError:
        return None


def by_pattern(axes: list[Axis]) -> list[int] | None:
    """Lengths that the pattern states; None where there is no such pattern."""
    n, k, s, p, d = map(list, zip(*axes, strict=True))
    convolution = (patterns.conv1d, patterns.conv2d)[len(axes) - 1]
    try:
        pattern = convolution((1, *n), 1, kernel=k, stride=s, padding=p, dilation=d)
    except PatternError:
        return None
    return list(pattern.out_shape[1:])


def by_pooling(axes: list[Axis]) -> list[int]:
    """Lengths that torch's max pooling returns over two axes."""
    n, k, s, p, d = map(list, zip(*axes, strict=True))
    return list(F.max_pool2d(torch.zeros(1, 1, *n), k, s, p, d).shape[2:])


def disagreements(axes: list[Axis]) -> int:
    """How many of torch and the pattern do not do what the formula in full says."""
    lengths = [in_full(axis) for axis in axes]
    fitting = lengths if min(lengths) >= 1 else None
    with_input = fitting if all(map(meets_input, axes)) else None
    return (by_torch(axes) != fitting) + (by_pattern(axes) != with_input)


def run() -> Result:
    sizes = range(1, UP_TO + 1)
    every = list(product(sizes, sizes, sizes, range(UP_TO + 1), sizes))
    fitting = [axis for axis in every if in_full(axis) >= 1]
    plain = [axis for axis in fitting if axis[4] == 1]
    whole = [axis for axis in plain if of_the_articles(axis).is_integer()]
    random_pairs = random.Random(SEED)
    pairs = [[random_pairs.choice(every), random_pairs.choice(every)] for _ in range(PAIRS)]
    poolable = [
        axis for axis in fitting if 2 * axis[3] <= axis[1]
    ]  # torch pools with no more padding than half a filter
    pooled = [[random_pairs.choice(poolable), random_pairs.choice(poolable)] for _ in range(PAIRS)]
    wrong = sum(disagreements([axis]) for axis in every) + sum(map(disagreements, pairs))
    wrong += sum(by_pooling(axes) != [in_full(axis) for axis in axes] for axes in pooled)
    differing = sum(of_the_articles(axis) != in_full(axis) for axis in whole)
    numbers = {
        "combinations in one dimension": len(every),
        "of these with an output": len(fitting),
        "of these without dilation": len(plain),
        "of these, articles' formula is a whole number": len(whole),
        "and then differs from the formula in full": differing,
        "pairs of combinations in two dimensions": len(pairs),
        "pairs of combinations pooled": len(pooled),
        "disagreements of torch or the pattern with the formula in full": wrong,
    }
    verdict = (
        f"Of {2 * (len(every) + len(pairs)) + len(pooled):,} answers of torch and the patterns, {wrong} differ from "
        f"the formula with rounding and dilation. As the articles write it, the formula is no whole number in "
        f"{len(plain) - len(whole):,} of the {len(plain):,} cases that have an output and no dilation, and wrong in "
        f"{differing} of the others. AlexNet's published side of 224 does not lead to its published 55."
    )
    return Result(wrong == differing == 0, verdict, numbers, published_layers())


def published_layers() -> list[list[str]]:
    """Layers of known networks: both formulas, and what the publication says."""
    rows = [["layer", "side", "filter", "stride", "padding", "articles' formula", "in full", "published"]]
    for name, (n, k, s, p, published) in KNOWN.items():
        axis = (n, k, s, p, 1)
        cells = (n, k, s, p, f"{of_the_articles(axis):g}", in_full(axis), published)
        rows.append([name, *map(str, cells)])
    return rows
