"""A hashed layer's training step against a dense one's, and the adjoint against autograd's own.

What      2048 inputs and outputs, 1/64 of the weights, 128 samples: forward and backward, into inputs and weights.
Against   a dense layer of the same shape; the hashed layer as one would write it, a gather whose gradient autograd
          adds up; for the adjoint alone, autograd's gradient of indexing, `index_put_(accumulate=True)`.
Targets   at most 1.3 times the dense step; an adjoint at least 8 times as fast.
Bound     No kernel that holds a number of 32 bits for each cell, and multiplies as torch does, does with less than the
          dense step, a pass over those numbers that writes the matrix, into memory that is there already, and a pass
          over them and the matrix's gradient: timed in the same turns.
How       One process, two threads, contenders in turns after a pause and a call that does not count; median over rounds
          of the ratio. Equal outputs and gradients are asserted.
Result    benchmarks/results/hashed_layer.md, with versions, hardware, date and n, written by this script:

    python benchmarks/hashed_layer.py [--rounds 31]
"""

import argparse
import time
from collections.abc import Callable
from statistics import median, quantiles

import torch
from machine import setting, write_result
from torch import Tensor
from torch.nn import functional as F

from commonweight.hashing import hashed
from commonweight.kernels import adjoint, sorted_index
from commonweight.kernels.native_library import instructions
from commonweight.lower import lower
from commonweight.operators.spread import numbers

N, BATCH = 2048, 128


def turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of a call of each, round by round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.01)
            call()
            started = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - started))
    return times


def shown(times: list[float]) -> str:
    low, _, high = quantiles(times, n=4)
    return f"{median(times):.1f} ± {(high - low) / 2:.1f}"


def ratio(times: dict[str, list[float]], above: str, below: str) -> float:
    return median(a / b for a, b in zip(times[above], times[below], strict=True))


def measure(tile: bool, rounds: int) -> list[str]:
    pattern = hashed(N, N, N * N // 64, seed=0, tile=tile)
    operator, tiemap = lower(pattern), pattern.tiemap()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, N, generator=generator).requires_grad_()
    grad = torch.randn(BATCH, N, generator=generator)
    theta = torch.randn(pattern.n_weights, generator=generator).requires_grad_()
    index, sign = torch.from_numpy(tiemap.weight.copy()).long(), torch.from_numpy(tiemap.signs.copy()).float()
    matrix = (theta[index] * sign).view(N, N).detach().requires_grad_()

    def dense() -> tuple[Tensor, ...]:
        return torch.autograd.grad(F.linear(x, matrix), (x, matrix), grad)

    def ours() -> tuple[Tensor, ...]:
        return torch.autograd.grad(operator(x, theta), (x, theta), grad)

    def gathered() -> tuple[Tensor, ...]:
        return torch.autograd.grad(F.linear(x, (theta[index] * sign).view(N, N)), (x, theta), grad)

    order = sorted_index(torch.from_numpy(numbers(pattern)), pattern.n_weights)
    held = torch.zeros(N, N)  # new memory may cost milliseconds, until the system has put a page behind each address

    def least() -> tuple[Tensor, ...]:
        written = held.copy_(order.index.view(N, N))
        of_x, of_matrix = torch.autograd.grad(F.linear(x, matrix), (x, matrix), grad)
        return written, of_x, of_matrix.sum(), order.index.amax()

    for one, other in zip(ours(), gathered(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
    beside = {"gathered": gathered} if tile else {"at least": least, "gathered": gathered}
    times = turns({"dense": dense, "ours": ours, **beside}, rounds)
    step = ratio(times, "ours", "dense")
    flat = torch.randn(N * N, generator=generator)

    def by_autograd() -> Tensor:
        return torch.zeros(pattern.n_weights).index_put_((index,), flat, accumulate=True)

    sums = turns({"ours": lambda: adjoint(flat, order), "autograd": by_autograd}, rounds)
    faster = ratio(sums, "autograd", "ours")
    kind = "16 at a time" if tile else "one by one"
    return [
        f"| {kind}: step | {shown(times['ours'])} | dense {shown(times['dense'])} | {step:.2f} times its time | 1.3 | "
        f"{'PASS' if step <= 1.3 else 'FAIL'} |",
        *(
            f"| | | {name} {shown(times[name])} | {ratio(times, name, 'dense'):.2f} times dense | | |"
            for name in beside
        ),
        f"| {kind}: adjoint | {shown(sums['ours'])} | autograd {shown(sums['autograd'])} | {faster:.1f} times as fast "
        f"| 8 | {'PASS' if faster >= 8 else 'FAIL'} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Times hashed layers; writes the results file.")
    parser.add_argument("--rounds", type=int, default=31, help="rounds of each comparison")
    rounds = parser.parse_args().rounds
    rows = [row for tile in (False, True) for row in measure(tile, rounds)]
    text = f"""# A hashed layer of {N} inputs and outputs, 1/64 of the weights, {BATCH} samples

Written by `python benchmarks/hashed_layer.py --rounds {rounds}` on {setting()}, kernels: {instructions()}.
Milliseconds, median ± half the distance between quartiles; the ratio is the median over rounds.
"At least" is the dense step with a pass over the numbers of the cells that writes a matrix, and one over these numbers
and the gradient: no kernel with a number for each cell that multiplies as torch does takes less, even if no look-up or
sum took any time. A matrix unit (kernels: amx) multiplies faster than that.

| hashed | ours | peer | ratio | target | |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    write_result("hashed_layer", text)


if __name__ == "__main__":
    main()
