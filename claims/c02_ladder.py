"""Local connections and shared weights take a layer from W·H·X·Y weights over W·H·F·F to F·F.

The layer leads from an image of W×H inputs to one map of X×Y units. The articles put 10^8 to 10^12 weights to the
full connection of images with sides of a hundred and more, and stop at F·F.

Half true in three places. W·H·F·F takes a window at each of the W·H inputs: that is exact only where the image is
closed to a ring; windows that end at the border are (W-F+1)·(H-F+1), and windows on the border lose what would lie
outside. F·F leaves out the bias and is for one map: K maps from C channels have K·(C·F·F + 1) weights. And the last
step saves memory, not multiplications: a shared layer has as many connections as the unshared one.

Criterion: at every side from 8 to 1000, with F = 5, the full connection has exactly W·H·X·Y weights and the shared
one exactly F·F; the unshared windows have exactly W·H·F·F weights on the ring, and at sides of 100 and more, at
most 10 % fewer with either kind of border; and on small images the connections listed one by one give the same
counts. And the shared layer has as many connections as the unshared one.
"""

from matplotlib.figure import Figure

from commonweight import patterns
from commonweight.claims import Result
from commonweight.patterns import Pattern

FILTER = 5
SIDES = (8, 16, 32, 64, 100, 316, 1000)
LISTED_SIDES = (5, 6, 8, 11)
BYTES_PER_WEIGHT = 4
BORDERS = {  # padding and its mode
    "windows inside": (0, "zeros"),
    "zeros around": (FILTER // 2, "zeros"),
    "ring": (FILTER // 2, "circular"),
}


def ladder(side: int, border: str) -> tuple[Pattern, Pattern, Pattern]:
    """The full connection, the windows with weights of their own and those that share, between the same units."""
    image, (padding, mode) = (1, side, side), BORDERS[border]
    local = patterns.local(image, 1, kernel=FILTER, padding=padding, padding_mode=mode)
    shared = patterns.conv2d(image, 1, kernel=FILTER, padding=padding, padding_mode=mode)
    return patterns.dense(local.n_in, local.n_out), local, shared


def by_formula(side: int, border: str) -> tuple[int, int, int]:
    """What the three should count, worked out here once more, with nothing from the library."""
    missing = (FILTER // 2) * (FILTER // 2 + 1)  # along one axis, the window positions that hang over the two ends
    out, met = {
        "windows inside": (side - FILTER + 1, (side - FILTER + 1) * FILTER),
        "zeros around": (side, side * FILTER - missing),
        "ring": (side, side * FILTER),
    }[border]
    return side**2 * out**2, met**2, FILTER**2


def wrong_counts(pattern: Pattern) -> int:
    """How many of the two counts differ from those of the connections listed one by one."""
    tiemap = pattern.tiemap()
    return (tiemap.n_weights != pattern.n_weights) + (tiemap.n_connections != pattern.n_connections)


def run() -> Result:
    rows = [["side", "full", "unshared, ring", "zeros around", "windows inside", "shared", "bytes if full"]]
    weights = {
        (side, border): tuple(pattern.n_weights for pattern in ladder(side, border))
        for side in SIDES
        for border in BORDERS
    }
    for side in SIDES:
        full, _, shared = weights[side, "ring"]
        local = [f"{weights[side, border][1]:,}" for border in ("ring", "zeros around", "windows inside")]
        rows.append([f"{side}", f"{full:,}", *local, f"{shared}", f"{full * BYTES_PER_WEIGHT:,}"])
    short = {key: 1 - local / (key[0] * FILTER) ** 2 for key, (_, local, _) in weights.items()}
    worst = max(shortfall for (side, _), shortfall in short.items() if side >= 100)
    listed = [pattern for side in LISTED_SIDES for border in BORDERS for pattern in ladder(side, border)]
    wrong = sum(counts != by_formula(*key) for key, counts in weights.items()) + sum(map(wrong_counts, listed))
    _, unshared, sharing = ladder(SIDES[-1], "ring")
    numbers = {
        "weights of the full connection, side 100": weights[100, "ring"][0],
        "weights of the full connection, side 1000": weights[1000, "ring"][0],
        "counts that differ from the exact formulas or the list": wrong,
        "largest shortfall from W·H·F·F at sides of 100 and more": worst,
        "connections of the shared layer, side 1000, ring": sharing.n_connections,
        "connections of the unshared layer, side 1000, ring": unshared.n_connections,
    }
    verdict = (
        f"{wrong} counts differ from W·H·X·Y, F·F, and the exact formula of each border between them. W·H·F·F is an "
        f"upper bound: with a border, the windows have up to {worst:.1%} fewer weights at sides of 100 and more, and "
        f"{short[8, 'windows inside']:.0%} fewer at side 8. At side 1000, sharing takes {unshared.n_weights:,} weights "
        f"to {sharing.n_weights}; the multiplications are {unshared.n_connections:,} before and "
        f"{sharing.n_connections:,} after."
    )
    holds = wrong == 0 and worst <= 0.1 and sharing.n_connections == unshared.n_connections
    return Result(holds, verdict, numbers, rows, draw(weights))


def draw(weights: dict[tuple[int, str], tuple[int, ...]]) -> Figure:
    """Weights against the side of the image, both on logarithmic axes."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    names = ("full: W·H·X·Y", f"local: W·H·F·F, F = {FILTER}", "shared: F·F")
    for rung, (name, marker) in enumerate(zip(names, "os^", strict=True)):
        axes.loglog(SIDES, [weights[side, "ring"][rung] for side in SIDES], marker=marker, label=name)
    axes.set(xlabel="side of the image, W = H = X = Y", ylabel="weights of one layer", ylim=(5, 3e12))
    axes.set_xticks(SIDES, [str(side) for side in SIDES])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
