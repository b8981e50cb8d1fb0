"""Twins that share weights, trained by one batch of both inputs, against one pass for each.

What      A step of training (forward, loss, backward, AdamW) of `nets.twin.Twin` on B pairs of images, both inputs as
          one batch of 2 B: `twin(a, b)`. Beside it, every pair of a batch embedded once: `twin.pair_loss(x, y)`,
          which is how `TwinClassifier` learns.
Against   The usual way to write it in torch: two calls of the same encoder, `twin(a, b, together=False)`.
Quality   Without batch normalisation, loss and gradients of both ways are asserted to be equal; with it, they differ as
          the statistics of one batch of 2 B differ from those of two batches of B.
Target    1.3 times, for small images in small batches, where the cost of calls counts. For larger ones the arithmetic
          is the same, so nothing is to be gained: those are shown, too.
How       One thread of one process, alternating, after a warm-up; processor time, which other programs do not lengthen;
          median of the ratios of neighbouring runs, and their quartiles.
Result    benchmarks/results/twin.md, written by this script:

    python benchmarks/twin.py [--repeats 40]
"""

import argparse
import time
from collections.abc import Callable
from statistics import median, quantiles

import torch
from machine import setting, write_result
from torch import Tensor, nn

from commonweight.nets.twin import Contrastive, Twin, encoder

TARGET = 1.3
STEPS = 5
SMALL = (8, 8)
CASES = [(2, SMALL, 8), (2, SMALL, 16), (3, SMALL, 16), (2, (28, 23), 16), (2, (28, 23), 64), (2, (64, 64), 16)]


def step(twin: Twin, inputs: list[Tensor], same: Tensor, together: bool) -> Tensor:
    """The contrastive loss of B pairs, the first input against each of the others."""
    first, *others = twin(*inputs, together=together)
    d = torch.stack([(first - other).norm(dim=1) for other in others])
    return torch.where(same, d.square(), (1 - d).clamp(min=0).square()).mean()


def timer(twin: Twin, loss: Callable[[], Tensor]) -> Callable[[], float]:
    """Milliseconds of a step."""
    optimizer = torch.optim.AdamW(twin.parameters(), fused=True)

    def run() -> float:
        started = time.process_time()
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        return 1000 * (time.process_time() - started) / STEPS

    return run


def require_equal(n: int, side: tuple[int, int], batch: int) -> None:
    """The same loss and gradients either way, without batch normalisation."""
    layers = [layer for layer in encoder((1, *side), 64) if not isinstance(layer, nn.BatchNorm2d)]
    twin = Twin(nn.Sequential(*layers), n)
    inputs, same = list(torch.randn(n, batch, 1, *side)), torch.arange(batch) % 2 == 0
    found = []
    for together in (True, False):
        loss = step(twin, inputs, same, together)
        found.append([loss, *torch.autograd.grad(loss, list(twin.branches.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def compare(n: int, side: tuple[int, int], batch: int, repeats: int) -> tuple[str, float]:
    """A row of the table, and the median ratio."""
    require_equal(n, side, batch)
    twins = [Twin(encoder((1, *side), 64), n) for _ in range(2)]
    inputs, same = list(torch.randn(n, batch, 1, *side)), torch.arange(batch) % 2 == 0
    together = timer(twins[0], lambda: step(twins[0], inputs, same, True))
    apart = timer(twins[1], lambda: step(twins[1], inputs, same, False))
    times = [(together(), apart()) for _ in range(repeats + 3)][3:]
    ratios = [slow / quick for quick, slow in times]
    low, _, high = quantiles(ratios, n=4)
    ours, theirs = (median(column) for column in zip(*times, strict=True))
    cells = [f"{n}", f"{side[0]}×{side[1]}", f"{batch}", f"{theirs:.2f}", f"{ours:.2f}"]
    return "| " + " | ".join([*cells, f"{median(ratios):.2f} ({low:.2f} to {high:.2f})"]) + " |", median(ratios)


def every_pair(batch: int, repeats: int) -> str:
    """What a step on all pairs of a batch costs beside one on as many images in pairs."""
    twins = [Twin(encoder((1, 28, 23), 64), head=Contrastive()) for _ in range(2)]
    x, y = torch.randn(batch, 1, 28, 23), torch.arange(batch) % 10
    halves, same = list(x.chunk(2)), torch.arange(batch // 2) % 2 == 0
    all_pairs = timer(twins[0], lambda: twins[0].pair_loss(x, y))
    some = timer(twins[1], lambda: step(twins[1], halves, same, False))
    times = [(all_pairs(), some()) for _ in range(repeats + 3)][3:]
    ours, theirs = (median(column) for column in zip(*times, strict=True))
    return (
        f"Every pair: {batch} images of 28×23 embedded once give {batch * (batch - 1):,} ordered pairs a step in "
        f"{ours:.2f} ms; in {batch // 2} pairs of their own, through two passes, they take {theirs:.2f} ms: "
        f"{1000 * ours / batch / (batch - 1):.1f} µs against {1000 * theirs / (batch // 2):.0f} µs a pair."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="One batch of both inputs of twins against two passes.")
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows, gains = [], []
    for case in CASES:
        row, ratio = compare(*case, repeats)
        rows.append(row)
        gains.append(ratio)
        print(row, flush=True)
    text = f"""# Twins as one batch

Written by `python benchmarks/twin.py --repeats {repeats}` on {setting()}. A step of
training of n networks with the same weights on B pairs (n = 3: triplets): one batch of n · B samples against n passes.
Losses and gradients are equal (asserted, without batch normalisation). Processor time of a step, medians of {repeats}
alternating runs of {STEPS} steps, in brackets the quartiles of the ratio.

Target: {TARGET} times two passes for 8×8 images in batches of 8: {gains[0]:.2f} times,
**{"PASS" if gains[0] >= TARGET else "FAIL"}**. What is saved is the cost of calls, so the gain falls with the size of
image and batch, where one batch does the same arithmetic in fewer pieces, and may fall out of the cache.

| n | image | B | n passes, ms | one batch, ms | times |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

{every_pair(40, repeats)}
"""
    write_result("twin", text)


if __name__ == "__main__":
    main()
