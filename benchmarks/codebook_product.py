"""The codebook product against dense products, the gather, and the 4-bit product of onnxruntime.

What      y = x Wᵀ where each row of W takes its weights from a codebook of its own: `kernels.codebook_product`.
Against   torch's F.linear in float32 and bfloat16; `gather`, which looks W up and multiplies by it at each call; and
          onnxruntime's MatMulNBits (4 bits, blocks of 32 weights, accuracy level 4), which rounds weights and inputs.
Targets   4096² and 8192², 4 bits, one sample: 12 times F.linear in float32, 5 times in bfloat16, 100 times the gather,
          2 times MatMulNBits; 16 samples: 2 times F.linear, 64 and 256 samples: as fast; relative error at most 1e-5.
          Codes that are in no cache, also of 16384²: 0.8 of the speed at which a sum reads as many such bytes.
How       One process, two threads. Contenders take turns, each after a pause in which the threads of the one before
          stop looking for work, with calls before the clock starts; median of the turns' medians, and their range.
          "Fresh" reads 256 MB between calls, so that hardly anything of W is left in a cache.
Result    benchmarks/results/codebook_product.md and .svg, with versions, hardware, date and n, written by this script:

    python benchmarks/codebook_product.py [--turns 7]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from machine import setting, write_result
from torch import Tensor
from torch.nn import functional as F

from commonweight.kernels import bits_for, codebook_product, pack
from commonweight.kernels.native_library import instructions

FLUSH = torch.ones(1 << 26)  # 256 MB
READING = "a sum over as many bytes"
TARGETS = {"F.linear float32": 12.0, "F.linear bfloat16": 5.0, "gather": 100.0, "MatMulNBits": 2.0}
BATCH_TARGETS = {4: None, 16: 2.0, 64: 1.0, 256: 1.0}


class Case:
    """A matrix of n × n codes, and every way to multiply by it."""

    def __init__(self, n: int, k: int, batch: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.n, self.bits = n, bits_for(k)
        self.x = torch.randn(batch, n, generator=generator)
        codes = torch.randint(k, (n, n), generator=generator, dtype=torch.uint8)
        self.values = torch.randn(n, k, generator=generator)
        self.words = torch.cat([pack(part, self.bits) for part in codes.split(1024)])
        self.codes = codes.long() if n <= 8192 else None
        self.matrix = torch.cat(
            [v.gather(1, c.long()) for v, c in zip(self.values.split(1024), codes.split(1024), strict=True)]
        )

    def ours(self) -> Tensor:
        return codebook_product(self.x, self.words, self.values, bits=self.bits)

    def calls(self) -> dict[str, Callable[[], object]]:
        half, half_matrix = self.x.bfloat16(), self.matrix.bfloat16()
        return {
            "codebook": self.ours,
            "F.linear float32": lambda: F.linear(self.x, self.matrix),
            "F.linear bfloat16": lambda: F.linear(half, half_matrix),
        }

    def gather(self) -> Tensor:
        assert self.codes is not None
        return F.linear(self.x, self.values.gather(1, self.codes))

    def error(self) -> float:
        """The largest error, relative to the largest output."""
        exact = torch.cat([self.x.double() @ part.double().t() for part in self.matrix.split(1024)], 1)
        return float((self.ours().double() - exact).abs().max() / exact.abs().max())


def matmul_nbits(case: Case) -> Callable[[], object]:
    """onnxruntime's 4-bit product with weights of the same size; its codes are random, its speed does not read them."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    n, random = case.n, np.random.default_rng(0)
    packed = random.integers(0, 256, (n, n // 32, 16), dtype=np.uint8)
    scales = random.random(n * n // 32, dtype=np.float32)
    tensors = [onnx.numpy_helper.from_array(packed, "B"), onnx.numpy_helper.from_array(scales, "scales")]
    options = {"K": n, "N": n, "bits": 4, "block_size": 32, "accuracy_level": 4}
    node = helper.make_node("MatMulNBits", ["A", "B", "scales"], ["Y"], domain="com.microsoft", **options)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, n]) for name in "AY"]
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    inputs = {"A": case.x.numpy()}
    return lambda: session.run(None, inputs)


def take_turns(calls: dict[str, Callable[[], object]], turns: int, fresh: bool = False) -> dict[str, list[float]]:
    """The median milliseconds of a call in each turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            time.sleep(0.02)
            started = time.perf_counter()
            call()
            repeats = max(3, min(40, int(0.03 / (time.perf_counter() - started))))
            each = []
            for _ in range(repeats):
                if fresh:
                    FLUSH.sum()
                started = time.perf_counter()
                call()
                each.append(1000 * (time.perf_counter() - started))
            times[name].append(median(each[repeats // 3 :]))
    return times


def shown(times: list[float]) -> str:
    return f"{median(times):.3g} ({min(times):.3g} to {max(times):.3g})"


def measure(n: int, k: int, batch: int, turns: int, fresh: bool = False) -> tuple[dict[str, list[float]], float]:
    case = Case(n, k, batch)
    calls = case.calls()
    if k == 16 and n in (4096, 8192) and batch == 1:
        calls |= {"gather": case.gather, "MatMulNBits": matmul_nbits(case)}
    if fresh:
        as_many = torch.ones_like(case.words, dtype=torch.float32)
        calls[READING] = as_many.sum
    return take_turns(calls, turns, fresh), case.error()


def bandwidth() -> float:
    """Gigabytes a second that two threads read from memory: the best of several sums over 256 MB."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        FLUSH.sum()
        times.append(time.perf_counter() - started)
    return FLUSH.nbytes / 1e9 / min(times)


def multiplications() -> float:
    """How many float32 numbers two threads multiply and add in a second: the best of several products in the cache."""
    n, times = 768, []
    a = torch.ones(n, n)
    for _ in range(30):
        started = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - started)
    return n**3 / min(times)


def loop() -> float:
    """Milliseconds that the kernel's loop alone would take for 4096², with codes that are in the second cache.

    From two products of which one has 512 rows more, so that the call and the start of the threads drop out.
    """
    case, rows = Case(4096, 16, 1), (512, 1024)
    calls: dict[str, Callable[[], object]] = {
        str(n): partial(codebook_product, case.x, case.words[:n], case.values[:n], bits=case.bits) for n in rows
    }
    few, more = (min(times) for times in take_turns(calls, 7).values())
    return (more - few) * 4096 / (rows[1] - rows[0])


def bounds(read: float, rate: float, warm: dict[int, dict[str, list[float]]], turns: int) -> str:
    """What no product of this kind can be faster than on this machine, measured in this run."""
    least = " and ".join(f"{1000 * n * n / rate:.3f} ms ({n}²)" for n in warm)
    reading = 8192 * 8192 / 2e6 / read
    most = ", ".join(f"{median(warm[8192][peer]) / reading:.1f} times {peer}" for peer in TARGETS)
    empty = take_turns(Case(128, 16, 1).calls() | {READING: torch.ones(2048).sum}, turns, fresh=True)
    ours, linear, total = (f"{median(empty[name]):.3f} ms" for name in ("codebook", "F.linear float32", READING))
    return f"""Multiplying and adding float32 numbers: {rate / 1e9:.0f} · 10⁹ a second in a product of torch. At that
rate one multiplication for each weight takes {least}. MatMulNBits at accuracy level 4
multiplies integers of 8 bits instead: a product in float32 cannot be twice as fast as that. The kernel's loop alone,
its codes in the second cache, takes {loop():.3f} ms (4096²): looking up and shifting need units that multiplying needs.

The {8192 * 8192 / 2e6:.1f} MB of codes of 8192² take {reading:.2f} ms to read from memory. What no cache holds of them
comes no faster: from memory alone, at most {most}.

What drives codes out of the caches drives Python, torch and this package out, too. A fresh product of 128² takes
{ours}, F.linear {linear}, a sum over as many bytes {total}: the call alone, in all that is called fresh below.
It weighs least beside the 134 MB of codes of 16384²: compare the sweep, where nothing is read between calls."""


def row(what: str, times: dict[str, list[float]], peer: str, target: float | None) -> str:
    ratios = [theirs / ours for theirs, ours in zip(times[peer], times["codebook"], strict=True)]
    ratio = median(ratios)
    verdict = "" if target is None else "PASS" if ratio >= target else "FAIL"
    wanted = "" if target is None else f"{target:g}"
    cells = [what, shown(times["codebook"]), f"{peer} {shown(times[peer])}", f"{ratio:.1f}", wanted, verdict]
    print(line := "| " + " | ".join(cells) + " |", flush=True)
    return line


def figure(sweep: dict[int, dict[str, list[float]]], path: Path) -> None:
    """Times a product of one sample takes, over the size of the matrix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, style in zip(("F.linear float32", "F.linear bfloat16", "codebook"), ("s--", "^:", "o-"), strict=True):
        axes.plot(list(sweep), [median(times[name]) for times in sweep.values()], style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="n, of an n × n matrix", ylabel="milliseconds, one sample")
    axes.set_xticks(list(sweep), [str(n) for n in sweep])
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    drawing.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the codebook product; writes the result files.")
    parser.add_argument("--turns", type=int, default=7, help="turns of each contender")
    turns = parser.parse_args().turns
    rows, warm, sweep, worst, fresh_rates = [], {}, {}, 0.0, []
    with torch.no_grad():
        read, rate = bandwidth(), multiplications()
        for n in (4096, 8192):
            times, error = measure(n, 16, 1, turns)
            warm[n], worst = times, max(worst, error)
            rows += [row(f"{n}², 4 bits, 1 sample", times, peer, target) for peer, target in TARGETS.items()]
        for n in (4096, 8192, 16384):
            fresh, error = measure(n, 16, 1, turns, fresh=True)
            worst = max(worst, error)
            rows.append(row(f"{n}², 4 bits, 1 sample, fresh", fresh, "F.linear float32", None))
            rows.append(row(f"{n}², 4 bits, 1 sample, fresh", fresh, READING, 0.8))
            fresh_rates.append((n, n * n / 2e6 / median(fresh["codebook"])))
        for batch, target in BATCH_TARGETS.items():
            times, error = measure(4096, 16, batch, turns)
            worst = max(worst, error)
            rows.append(row(f"4096², 4 bits, {batch} samples", times, "F.linear float32", target))
        for k in (2, 4, 8, 256):
            times, error = measure(4096, k, 1, turns)
            worst = max(worst, error)
            rows.append(row(f"4096², {bits_for(k)} bits, 1 sample", times, "F.linear float32", None))
        for n in (256, 512, 1024, 2048, 4096, 8192, 16384):
            sweep[n], _ = measure(n, 16, 1, max(3, turns // 2))
            rows.append(row(f"sweep: {n}², 4 bits, 1 sample", sweep[n], "F.linear float32", None))
        bound = bounds(read, rate, warm, turns)
    figure(sweep, Path(__file__).parent / "results" / "codebook_product.svg")
    rates = "; ".join(f"{n}²: {speed:.1f} GB/s, {speed / read:.2f} of it" for n, speed in fresh_rates)
    text = f"""# The codebook product

Written by `python benchmarks/codebook_product.py --turns {turns}` on {setting()}, kernels: {instructions()}.
Milliseconds of a call: median of {turns} turns, and their range. The ratio is the median over turns.

Reading 256 MB: {read:.1f} GB/s. Packed codes that are in no cache: {rates}.
{bound}
Largest relative error against double precision: {worst:.1e} (target 1e-5).

| case | codebook ms | peer ms | ratio | target | |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![milliseconds over the size of the matrix](codebook_product.svg)
"""
    write_result("codebook_product", text)


if __name__ == "__main__":
    main()
