"""p4 and p4m convolutions: a training step and the building, against a plain convolution and against e2cnn.

What      A 3×3 layer from fields to fields, padding 1, no bias: forward and backward, into inputs and weights; and how
          long it takes to make the layer.
Against   nn.Conv2d with the same output shape; e2cnn 0.2.3 (Weiler & Cesa, "General E(2)-Equivariant Steerable CNNs",
          2019), R2Conv between regular fields. e2cnn 0.2.3 needs numpy below 2; without it its columns stay empty.
Targets   at most 1.2 times the step of the plain convolution; at least 2 times as fast a step as e2cnn and at least 50
          times as fast a building.
Exact     e2cnn's bank of kernels lies in our tied space and gives our outputs (asserted). The equivariance error is the
          largest |layer(a x) - a layer(x)| over the group, relative to the largest output; target 1e-6 in float32;
          the largest of ten draws.
How       One process, two threads, contenders in turns after calls that do not count; median over rounds of the ratio.
          The order is new in each round: a call pays for what the one before left in the processor's caches, and who
          always follows e2cnn pays most. All have made a layer of this group before: imports are warm, and so is what
          each keeps, e2cnn its bases of kernels and we the ties of a group. Besides, we keep the last 64 patterns, and
          the index tables of a layer for others of its pattern, as long as it lives. So there are two times: of a layer
          of a size that was not there before ("new"), which is judged, and of one more layer like one that is there
          ("again"); "in a row" is the median of new layers with nothing between them.
          e2cnn's building is measured as its users get it, initialised, and without that.
Result    benchmarks/results/equivariant.md, with versions, hardware, date and n, written by this script:

    pip install e2cnn==0.2.3 "numpy<2"  # in an environment of its own
    python benchmarks/equivariant.py [--rounds 21]
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from itertools import count
from random import Random
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from machine import setting, write_result
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight.nets.equivariant import P4, P4M, PlaneGroup, plain, plane_conv
from commonweight.tied import Tied

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from e2cnn import gspaces
        from e2cnn import nn as peer
except ImportError:
    peer = None

# group, fields, side, batch
CASES = [(P4, 4, 8, 16), (P4, 8, 28, 32), (P4, 32, 14, 32), (P4M, 4, 8, 16), (P4M, 8, 28, 32), (P4M, 32, 14, 16)]
THREADS = 2
DRAWS = 10
BUILT = (
    "| group | layer | weights, ours / e2cnn | new | in a row | again | plain | e2cnn | new: times as fast | in a row "
    "| again | at most | not initialised | errors |"
)


def turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of a call of each, round by round, in a new order each time."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in list(calls.values()) * 2:
        call()
    order, random = list(calls), Random(0)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            started = time.perf_counter()
            calls[name]()
            times[name].append(1000 * (time.perf_counter() - started))
    return times


def shown(times: list[float]) -> str:
    low, middle, high = quantiles(times, n=4)
    digits = 1 if middle > 10 else 2
    return f"{middle:.{digits}f} ± {(high - low) / 2:.{digits}f}"


def ratio(times: dict[str, list[float]], above: str, below: str) -> float:
    return median(a / b for a, b in zip(times[above], times[below], strict=True))


def their_fields(group: PlaneGroup, fields: int) -> Any:
    space = (gspaces.FlipRot2dOnR2 if group.mirrors else gspaces.Rot2dOnR2)(N=group.turns)
    return peer.FieldType(space, fields * [space.regular_repr])


def their_layer(group: PlaneGroup, fields: int, kernel: int = 3, initialize: bool = True) -> Any:
    kind = their_fields(group, fields)
    windows = {"kernel_size": kernel, "padding": kernel // 2}
    return peer.R2Conv(kind, kind, **windows, bias=False, initialize=initialize)


def their_maps(layer: Any, shape: torch.Size | tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Their layer as a function of fields (B, channels, |G|, H, W)."""

    def maps(x: Tensor) -> Tensor:
        y: Tensor = layer(peer.GeometricTensor(x.flatten(1, 2), layer.in_type)).tensor
        return y.reshape(shape)

    return maps


def largest(x: Tensor) -> Tensor:
    return x.abs().max()


def error(
    layer: Callable[[Tensor], Tensor], group: PlaneGroup, x: Tensor, size: Callable[[Tensor], Tensor] = largest
) -> float:
    """Largest over the group of the size of layer(a x) - a layer(x), relative to the size of layer(x)."""
    with torch.no_grad():
        y = layer(x)
        apart = [layer(group.act(a, x, field=True)) - group.act(a, y, field=True) for a in range(group.order)]
        return float(max(map(size, apart)) / size(y))


def drawn_errors(kernel: int, seed: int) -> list[float]:
    """Of a p4m layer: error, rounding of its convolution, norm of the error, float64 error; e2cnn's error and norm."""
    torch.manual_seed(seed)
    x = torch.randn(16, 8, P4M.order, 14, 14)
    layer = Tied(plane_conv(P4M, x.shape[1:], 8, kernel, padding=kernel // 2), bias="none")
    twin, norm = plain(layer), torch.linalg.vector_norm
    with torch.no_grad():
        y = twin(x.flatten(1, 2))
        exact = twin.double()(x.flatten(1, 2).double())
    rounding = float((y - exact).abs().max() / exact.abs().max())
    found = [error(layer, P4M, x), rounding, error(layer, P4M, x, norm), error(layer.double(), P4M, x.double())]
    if peer:
        maps = their_maps(their_layer(P4M, 8, kernel), x.shape)
        found += [error(maps, P4M, x), error(maps, P4M, x, norm)]
    return found


def errors(kernel: int) -> str:
    """A row: the largest of each error over the draws."""
    each = (drawn_errors(kernel, seed) for seed in range(DRAWS))
    single, rounding, whole, double, *theirs = (max(column) for column in zip(*each, strict=True))
    judged = f"{single:.1e} {verdict(single <= 1e-6)}"
    beside = ", ".join(f"{number:.1e}" for number in theirs) or "-"
    return f"| {kernel}×{kernel} | {judged} | {rounding:.1e} | {whole:.1e} | {beside} | {double:.0e} |"


def compare_outputs(ours: Tied, theirs: Any, x: Tensor) -> None:
    """Their bank of kernels is one of ours, and gives the same outputs."""
    pattern: Any = ours.pattern
    bank = theirs.eval().filter.detach().reshape(pattern.b.n_out, pattern.b.n_in)
    tiemap = pattern.b.tiemap()
    theta = tiemap.project(bank)
    torch.testing.assert_close(tiemap.expand(theta), bank, rtol=0, atol=1e-6 * float(bank.abs().max()))
    with torch.no_grad():
        before = ours.weight.clone()
        ours.weight.copy_(theta.reshape(ours.weight.shape))
        expected = theirs(peer.GeometricTensor(x.flatten(1, 2), theirs.in_type)).tensor
        torch.testing.assert_close(ours(x).flatten(1, 2), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        ours.weight.copy_(before)
    theirs.train()


def measure(group: PlaneGroup, fields: int, side: int, batch: int, rounds: int) -> tuple[str, str]:
    """The row of a layer in the table of steps, and in that of building."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, fields, group.order, side, side)

    def make(side: int) -> Tied:
        return Tied(plane_conv(group, (fields, group.order, side, side), fields, kernel=3, padding=1), bias="none")

    ours, channels, new_sides = make(side), fields * group.order, count(side + 1)
    dense = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    x, grad = (torch.randn(shape, generator=generator).requires_grad_() for _ in range(2))
    flat, flat_grad = x.detach().flatten(1, 2).requires_grad_(), grad.detach().flatten(1, 2)
    places: Any = ours.pattern
    cells = torch.from_numpy(places.b.index()).reshape(-1).int()

    def by_hand() -> Tensor:
        bank = ours.weight.view(-1).index_select(0, cells).view(dense.weight.shape)
        return F.conv2d(x.view(flat.shape), bank, padding=1).view(shape)

    steps: dict[str, Callable[[], object]] = {
        "ours": lambda: torch.autograd.grad(ours(x), (x, ours.weight), grad),
        "plain": lambda: torch.autograd.grad(dense(flat), (flat, dense.weight), flat_grad),
        "by hand": lambda: torch.autograd.grad(by_hand(), (x, ours.weight), grad),
    }
    building: dict[str, Callable[[], object]] = {
        "new": lambda: make(next(new_sides)),
        "again": lambda: make(side),
        "plain": lambda: nn.Conv2d(channels, channels, 3, padding=1, bias=False),
    }
    torch.testing.assert_close(by_hand(), ours(x))
    wrong, counts = {"ours": error(ours, group, x.detach())}, f"{ours.weight.numel():,} / -"
    if peer:
        theirs = their_layer(group, fields)
        compare_outputs(ours, theirs, x.detach())
        maps = their_maps(theirs, shape)
        steps["e2cnn"] = lambda: torch.autograd.grad(maps(x), (x, theirs.weights), grad)
        building["e2cnn"] = lambda: their_layer(group, fields)
        building["uninitialised"] = lambda: their_layer(group, fields, initialize=False)
        wrong["e2cnn"] = error(maps, group, x.detach())
        counts = f"{ours.weight.numel():,} / {theirs.weights.numel():,}"
    name = f"| {group.name} | {fields} fields, {side}², batch {batch} |"
    built = turns(building, rounds) | turns({"in a row": building["new"]}, rounds)
    return name + step_cells(turns(steps, rounds)), f"{name} {counts} |" + built_cells(built, wrong)


def step_cells(times: dict[str, list[float]]) -> str:
    slower, least = ratio(times, "ours", "plain"), ratio(times, "by hand", "plain")
    cells = f" {shown(times['ours'])} | {shown(times['plain'])} | {slower:.2f} {verdict(slower <= 1.2)} | {least:.2f} |"
    if not peer:
        return cells + " - | - | - |"
    faster, most = ratio(times, "e2cnn", "ours"), ratio(times, "e2cnn", "plain")
    return cells + f" {shown(times['e2cnn'])} | {faster:.2f} {verdict(faster >= 2)} | {most:.2f} |"


def built_cells(times: dict[str, list[float]], wrong: dict[str, float]) -> str:
    cells = " " + " | ".join(shown(times[name]) for name in ("new", "in a row", "again", "plain")) + " |"
    if not peer:
        return cells + " - |" * 7
    new, in_a_row, again, most = (ratio(times, "e2cnn", name) for name in ("new", "in a row", "again", "plain"))
    cells += f" {shown(times['e2cnn'])} | {new:.0f} {verdict(new >= 50)} | {in_a_row:.0f} | {again:.0f} | {most:.0f} |"
    return cells + f" {shown(times['uninitialised'])} | {wrong['ours']:.0e} / {wrong['e2cnn']:.0e} |"


def verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


def main() -> None:
    parser = argparse.ArgumentParser(description="Times p4 and p4m convolutions; writes the results file.")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each comparison")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    rows, built, busy = [], [], os.getloadavg()[0]
    for case in CASES:
        step, made = measure(*case, rounds)
        rows.append(step)
        built.append(made)
    text = f"""# p4 and p4m convolutions

Written by `python benchmarks/equivariant.py --rounds {rounds}` on {setting()}, numpy {np.__version__}, e2cnn
{"0.2.3" if peer else "not installed"}, load average {busy:.1f} on {os.cpu_count()} cores before it.
Milliseconds, median ± half the distance between quartiles; a ratio is the median over rounds.

A training step: forward and backward, into inputs and weights. Targets: at most 1.2 times the plain convolution with
the same output shape, at least 2 times as fast as e2cnn. All three call the same convolution of torch, and what each
does besides shows in small layers only. "At least" is the same written down by hand, three views, one gather of the
weights and the convolution, without a module around it. "At most" is e2cnn's time over that of the plain convolution:
no layer that runs as that convolution can be faster than e2cnn by more.

| group | layer | ours | plain | times its time | at least | e2cnn | times as fast | at most |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Building the layer. Target: at least 50 times as fast as e2cnn, with a layer of a size that was not there before
("new"), made from nothing but the ties of its group. "In a row" are such layers too, one after another as a net makes
them, with nothing between: before a "new" one any of the others is built, and our code and tables have left the caches
of the processor. "Again" is one more layer like one that is there: it shares the pattern and the index tables. "Plain"
builds nn.Conv2d, "at most" is e2cnn's time over that: a new layer that is no less than a module with its weights drawn
is hardly made sooner. e2cnn's kernels lie in our tied space and give our outputs (asserted); it has fewer weights where
its band limit leaves kernels out. The last columns are e2cnn's time without the drawing of its weights, and the
equivariance error of both.

{BUILT}
|{" --- |" * 14}
{chr(10).join(built)}

The equivariance error of 8 fields of p4m, 14², batch 16: the largest difference relative to the largest output, which
is judged. Beside it, how far torch's convolution with the same bank is from itself in double precision: both sides of
the error are rounded so, in orders of summing that differ, and nothing that calls this convolution in float32 has less.
Then the norm of the difference relative to the norm of the output, e2cnn's two errors, and ours in double precision.
Each is the largest of {DRAWS} draws of weights and inputs.

| kernel | largest | rounding of the convolution | norm | e2cnn: largest, norm | largest, float64 |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(errors(kernel) for kernel in (3, 5, 7))}
"""
    write_result("equivariant", text)


if __name__ == "__main__":
    main()
