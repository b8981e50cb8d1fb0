"""How long `recognise` takes to name a map of 1024 × 1024 units, and `orbits` to tie 2^20 connections.

What      Connections of a pattern, shuffled, with renumbered weights -> its notation; a group -> the tie map of orbits.
Against   No peer is known; the targets are absolute: 1 s for each family, 2 s for `orbits`.
How       The answer is asserted to mean the same connections. Median of n runs, and the slowest.
Result    benchmarks/results/recognise.md, with versions, hardware, date and n, written by this script:

    python benchmarks/recognise.py [--repeats 5]
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from machine import setting, write_result

from commonweight import patterns as p
from commonweight.patterns import Pattern
from commonweight.recognise import recognise
from commonweight.tiemap import TieMap

FAMILIES = {
    "dense": p.dense(1024, 1024),
    "local": p.local((1, 32, 32), 1, kernel=3),
    "convolution": p.conv2d((4, 16, 16), 4, kernel=3, padding=1),
    "strided convolution": p.conv2d((1, 32, 32), 4, kernel=2, stride=2),
    "grouped convolution": p.conv2d((4, 16, 16), 4, kernel=3, padding=1, groups=2),
    "convolution 1-D": p.conv1d((1, 1024), 1, kernel=9, padding=4),
    "circulant": p.circulant(1024),
    "toeplitz": p.toeplitz(1024, 1024),
    "symmetric": p.symmetric(1024),
    "copies": p.copies(16, p.dense(64, 64)),
    "block": p.block(*[p.dense(64, 64)] * 16),
    "single": p.single(1024, 1024),
}


def shuffled(pattern: Pattern) -> TieMap:
    """The same connections in another order, their weights under other numbers."""
    random, tiemap = np.random.default_rng(0), pattern.tiemap()
    order, names = random.permutation(tiemap.n_connections), random.permutation(tiemap.n_weights)
    arrays = (tiemap.out[order], tiemap.inp[order], names[tiemap.weight[order]])
    return TieMap(tiemap.n_out, tiemap.n_in, tiemap.n_weights, *arrays, tiemap.signs[order])


def same(a: TieMap, b: TieMap) -> bool:
    """Whether two maps have the same connections and ties, whatever the numbers of their weights."""
    (out_a, inp_a, weight_a), (out_b, inp_b, weight_b) = (
        array[:, np.lexsort(array[1::-1])] for array in (np.stack([m.out, m.inp, m.weight]) for m in (a, b))
    )
    pairs = len(np.unique(weight_a * b.n_weights + weight_b))
    return np.array_equal(out_a, out_b) and np.array_equal(inp_a, inp_b) and pairs == a.n_weights == b.n_weights


def noise() -> TieMap:
    """Every pair of units connected, by one of 1,024 weights at random."""
    out, inp = np.divmod(np.arange(1 << 20), 1024)
    weight = np.random.default_rng(0).permutation(np.arange(1 << 20) % 1024)
    return TieMap(1024, 1024, 1024, out, inp, weight)


def seconds(call: Callable[[], object], repeats: int) -> tuple[list[float], object]:
    """The times of some calls, and what the last one returned."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - started)
    return times, found


def main() -> None:
    parser = argparse.ArgumentParser(description="Times recognise and orbits; writes the results file.")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each case")
    repeats = parser.parse_args().repeats
    rows = []

    def record(what: str, connections: int, found: object, times: list[float], target: float) -> None:
        verdict = "PASS" if max(times) <= target else "FAIL"
        rows.append(f"| {what} | {connections:,} | {found} | {median(times):.2f} | {max(times):.2f} | {verdict} |")
        print(rows[-1], flush=True)

    for name, pattern in FAMILIES.items():
        tiemap = shuffled(pattern)
        times, found = seconds(lambda tiemap=tiemap: recognise(tiemap), repeats)
        if not isinstance(found, Pattern) or not same(found.tiemap(), tiemap):
            raise SystemExit(f"{name}: {pattern} was taken for {found}.")
        shown = found.notation if len(found.notation) < 60 else f"{found.notation[:40]}…"
        record(name, tiemap.n_connections, f"`{shown}`", times, 1.0)
    tiemap = noise()
    times, found = seconds(lambda: recognise(tiemap), repeats)
    if found is not None:
        raise SystemExit(f"Noise was taken for {found}.")
    record("noise", tiemap.n_connections, "None", times, 1.0)

    shift = [*range(1, 1024), 0]
    times, tied = seconds(lambda: p.orbits([shift], [shift]).tiemap(), repeats)
    if not isinstance(tied, TieMap) or not same(tied, p.circulant(1024).tiemap()):
        raise SystemExit("The orbits of the shift are not circulant.")
    record("orbits of the shift of 1,024 units", 1 << 20, "1,024 weights", times, 2.0)

    text = f"""# Recognising a map, and tying the orbits of a group

Written by `python benchmarks/recognise.py --repeats {repeats}` on {setting()}.
Connections shuffled and weights renumbered before each family. Targets: 1 s each, 2 s for the orbits.

| map | connections | found | median s | slowest s | |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    write_result("recognise", text)


if __name__ == "__main__":
    main()
