"""`Tied` against the layer that a specialist writes by hand, and against the gather fallback; thresholds of `lower`.

What      One layer, forward and forward + backward (gradients of input, weights and bias), float32.
Against   torch.nn.Conv2d, torch.nn.Linear and short modules below, with the same weights; for circulants the faster of
          matrix and Fourier transform. Outputs and gradients are asserted to be equal before anything is timed.
Targets   at least 0.95 times the speed of the hand-written layer, at least 10 times that of the gather.
How       Same process, after warm-up; in each round the contenders take turns of 2 ms, in a new order. Median over
          rounds, and half the distance between the quartiles; the speed is the median over rounds of the ratio. With
          one thread the clock is the processor time of that thread, so that other programs count little.
Result    benchmarks/results/tied_operators.md, with versions, hardware, date and n, written by this script:

    python benchmarks/tied_operators.py [--rounds 101] [--threads 1]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from machine import processor
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import patterns
from commonweight.lower import CONNECTED_COST, FOURIER_COST, GATHER_COST, REORDERED_UNITS, lower
from commonweight.operators import nested, products, windows
from commonweight.operators.plan import Plan, fit
from commonweight.operators.sliding import sliding
from commonweight.operators.spread import Spread, numbers
from commonweight.patterns import Pattern
from commonweight.reordering import reordered
from commonweight.tied import Tied

RESULTS = Path(__file__).parent / "results" / "tied_operators.md"
PEER_TARGET, GATHER_TARGET = 0.95, 10.0


class CirculantMatrix(nn.Module):
    """y = θ ⊛ x, by writing the matrix out."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight, self.n = nn.Parameter(torch.empty(n)), n
        self.register_buffer("index", ((torch.arange(n)[:, None] - torch.arange(n)) % n).flatten())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.index_select(0, self.index).view(self.n, self.n))


class CirculantFourier(nn.Module):
    """y = θ ⊛ x, by Fourier transforms."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight, self.n = nn.Parameter(torch.empty(n)), n

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(self.weight), n=self.n)


class SharedLinear(nn.Module):
    """One matrix for all n inputs (B, n, I)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class SharedConv2d(nn.Module):
    """One kernel for all n images (B, n, C, H, W)."""

    def __init__(self, shape: tuple[int, ...], **options: int) -> None:
        super().__init__()
        self.weight, self.options = nn.Parameter(torch.empty(shape)), options

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.flatten(0, 1), self.weight, **self.options).unflatten(0, x.shape[:2])


class BatchedLinear(nn.Module):
    """A matrix for each of n inputs (B, n, I)."""

    def __init__(self, n: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, n_out, n_in))

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x.transpose(0, 1), self.weight.mT).transpose(0, 1)


class Subsampling(nn.Module):
    """LeNet-5's: the sum of 2×2, times a coefficient for each map."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, divisor_override=1) * self.weight[:, :, None]


class UnfoldedLocal(nn.Module):
    """A 3×3 kernel for each position, by torch's unfold and einsum."""

    def __init__(self, pattern: Pattern) -> None:
        super().__init__()
        self.weight, (self.out_channels, *self.size) = (
            nn.Parameter(torch.empty(pattern.weight_shape)),
            pattern.out_shape,
        )

    def forward(self, x: Tensor) -> Tensor:
        (height, width), channels = self.size, x.shape[1]
        kernels = self.weight.view(self.out_channels, channels, height, 3, width, 3).transpose(3, 4)
        kernels = kernels.reshape(self.out_channels, channels, height * width, 9)
        windows = F.unfold(x, 3).view(len(x), channels, 9, height * width)
        return torch.einsum("bckl,oclk->bol", windows, kernels).view(len(x), self.out_channels, height, width)


@dataclass
class Case:
    """A pattern, a batch, how specialists write the layer; whether the targets apply."""

    pattern: Pattern
    peers: dict[str, Callable[[], nn.Module]]
    bias: str = "none"
    batch: int = 64
    targeted: bool = True
    title: str = ""
    first: bool = False  # the first layer of a net: nobody needs the gradient of its input


def cases() -> list[Case]:
    p = patterns
    circulants = [
        Case(p.circulant(n), {"matrix": partial(CirculantMatrix, n), "Fourier": partial(CirculantFourier, n)})
        for n in (32, 64, 256, 1024)
    ]
    c1 = p.conv2d((1, 28, 28), 6, kernel=5)
    blocks = p.block(*[p.dense(64, 64)] * 16)
    local = p.local((8, 16, 16), 8, kernel=3)
    sampling = p.compose(p.conv2d((1, 28, 28), 1, kernel=2, stride=2), weights_of=p.single(4, 1))
    shared_conv = partial(SharedConv2d, (16, 3, 3, 3), padding=1)
    return [
        Case(c1, {"nn.Conv2d": lambda: nn.Conv2d(1, 6, 5)}, "channel", title=f"{c1}, first layer", first=True),
        Case(c1, {"nn.Conv2d": lambda: nn.Conv2d(1, 6, 5)}, "channel"),
        Case(
            p.conv2d((16, 16, 16), 32, kernel=3, padding=1),
            {"nn.Conv2d": lambda: nn.Conv2d(16, 32, 3, padding=1)},
            "channel",
            batch=32,
        ),
        Case(
            p.conv2d((16, 16, 16), 32, kernel=3, stride=2),
            {"nn.Conv2d": lambda: nn.Conv2d(16, 32, 3, stride=2)},
            "channel",
        ),
        Case(
            p.conv2d((16, 16, 16), 32, kernel=3, stride=2, groups=4),
            {"nn.Conv2d": lambda: nn.Conv2d(16, 32, 3, stride=2, groups=4)},
            "channel",
        ),
        Case(p.dense(64, 10), {"nn.Linear": lambda: nn.Linear(64, 10)}, "channel"),
        Case(p.dense(256, 128), {"nn.Linear": lambda: nn.Linear(256, 128)}, "channel"),
        Case(p.dense(784, 300), {"nn.Linear": lambda: nn.Linear(784, 300)}, "channel"),
        *circulants,
        Case(p.copies(16, p.dense(64, 64)), {"F.linear": partial(SharedLinear, 64, 64)}),
        Case(p.copies(4, p.conv2d((3, 16, 16), 16, kernel=3, padding=1)), {"F.conv2d": shared_conv}, batch=16),
        Case(
            blocks, {"torch.bmm": partial(BatchedLinear, 16, 64, 64)}, targeted=False, title="block: 16 dense(64, 64)"
        ),
        Case(
            p.kron(p.diagonal(6), sampling),
            {"F.avg_pool2d": partial(Subsampling, 6)},
            targeted=False,
            title="LeNet-5 S2",
        ),
        Case(local, {"F.unfold": partial(UnfoldedLocal, local)}, targeted=False),
    ]


def seconds_of(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The seconds of one call of each contender, in each round: in turns of 2 ms, in a new order each round.

    Turns are short and many, so that another program on the machine disturbs few of them.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    loops = {}
    for name, call in calls.items():
        call()
        call()
        started = clock()
        call()
        loops[name] = max(1, int(0.002 / (clock() - started)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            started = clock()
            for _ in range(loops[name]):
                calls[name]()
            times[name].append((clock() - started) / loops[name])
    return times


def shown(times: list[float]) -> str:
    """Median in microseconds and spread."""
    low, _, high = quantiles(times, n=4)
    return f"{median(times) * 1e6:,.0f} ± {50 * (high - low) / median(times):.0f} %"


class Gathered(nn.Module):
    """The same weights, each connection by itself."""

    def __init__(self, layer: Tied) -> None:
        super().__init__()
        self.run = fit(products.gather(layer.pattern.tiemap()), layer.pattern).run
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y = self.run(x, self.layer.weight, None)
        bias = self.layer.bias
        return y if bias is None else y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def step(layer: nn.Module, x: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """Forward and backward: the gradients of the input, if it needs one, and of all parameters."""
    return torch.autograd.grad(layer(x), (*([x] if x.requires_grad else []), *layer.parameters()), grad)


def contenders(case: Case) -> tuple[dict[str, nn.Module], Tensor, Tensor]:
    """Our layer, the peers' and the gather, with equal weights, checked to agree; an input and an output gradient."""
    ours = Tied(case.pattern, case.bias, generator=torch.Generator().manual_seed(0))
    layers: dict[str, nn.Module] = {"ours": ours} | {name: make() for name, make in case.peers.items()}
    for name in case.peers:
        layers[name].load_state_dict(ours.state_dict(), strict=False)
    layers["gather"] = Gathered(ours)
    x = torch.randn(case.batch, *case.pattern.in_shape).requires_grad_(not case.first)
    y = ours(x).detach()
    grad = torch.randn(y.shape)
    expected = step(ours, x, grad)
    for layer in layers.values():
        for got, reference in zip((layer(x), *step(layer, x, grad)), (y, *expected), strict=True):
            torch.testing.assert_close(got.detach(), reference, rtol=1e-3, atol=1e-3 * float(reference.abs().max()))
    return layers, x, grad


def measure(case: Case, rounds: int) -> list[str]:
    """Two rows of the table: forward, and forward + backward."""
    layers, x, grad = contenders(case)
    rows = []
    for way in ("forward", "+ backward"):
        if way == "forward":
            calls = {name: partial(layer, x.detach()) for name, layer in layers.items()}
        else:
            calls = {name: partial(step, layer, x, grad) for name, layer in layers.items()}
        gather = seconds_of({"gather": calls.pop("gather")}, max(5, rounds // 10))["gather"]
        times = seconds_of(calls, rounds)
        best = min(case.peers, key=lambda name: median(times[name]))
        by_peer = median(peer / ours for ours, peer in zip(times["ours"], times[best], strict=True))
        by_gather = median(gather) / median(times["ours"])
        verdict = "PASS" if by_peer >= PEER_TARGET and by_gather >= GATHER_TARGET else "FAIL"
        cells = [
            f"`{case.title or case.pattern}`" if way == "forward" else "",
            way,
            shown(times["ours"]),
            f"{best} {shown(times[best])}",
            f"{by_peer:.2f}",
            shown(gather),
            f"{by_gather:,.0f}",
            verdict if case.targeted else "(no target)",
        ]
        rows.append("| " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    return rows


def planned(plan: Plan, pattern: Pattern) -> nn.Module:
    """A layer that runs a plan, whatever `lower` would choose."""
    layer = Tied(pattern, "none", generator=torch.Generator().manual_seed(0))
    layer.operator = replace(layer.operator, run=fit(plan, pattern).run)
    return layer


def matrix(pattern: Pattern) -> Plan:
    return products.linear(Spread((pattern.n_out, pattern.n_in), numbers(pattern)))


def circular_conv1d(n: int) -> Plan:
    """y = θ ⊛ x as a convolution of torch's with a kernel of n taps."""

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv1d(F.pad(x[:, None], (n - 1, 0), mode="circular"), weight.flip(0)[None, None])[:, 0]

    return Plan("torch.nn.functional.conv1d", run, (n,), (n,), Spread((n,)), n * n)


def sparse(n: int, one_in: int) -> Pattern:
    """n × n units, of whose pairs one in so many is connected, at random."""
    chosen = np.random.default_rng(0).random((n, n)) < 1 / one_in
    chosen[0, 0] = True
    return patterns.table([np.flatnonzero(row).tolist() for row in chosen], n)


def threshold_cases() -> list[tuple[str, Pattern, dict[str, Plan]]]:
    """What decides, a pattern near it, and the plans between which `lower` has to choose."""
    p, found = patterns, []
    for n in (32, 64, 96, 128, 192, 256, 512):
        fourier = products.fourier(n, n, circular=True, transposed=False)
        plans = {"matrix": matrix(p.circulant(n)), "fourier": fourier}
        found.append(
            (f"cells a point: {n}", p.circulant(n), plans | ({"conv1d": circular_conv1d(n)} if n <= 128 else {}))
        )
    for n_in, n_out in ((128, 128), (256, 256), (512, 512), (1024, 64), (127, 127), (251, 251), (509, 509)):
        circular = n_in in (127, 251, 509)
        pattern = p.circulant(n_in) if circular else p.toeplitz(n_in, n_out)
        ratio = n_in * n_out / products.fourier_length(n_in, n_out, circular)
        fourier = products.fourier(n_in, n_out, circular=circular, transposed=False)
        found.append((f"cells a point: {ratio:.0f}", pattern, {"matrix": matrix(pattern), "fourier": fourier}))
    for n in (192, 256, 512):
        orders = [np.random.default_rng(seed).permutation(n) for seed in (0, 1)]
        pattern = reordered(p.circulant(n), *orders)
        part = fit(products.fourier(n, n, circular=True, transposed=False), p.circulant(n))
        plans = {"matrix": matrix(pattern), "reordered": nested.reordered(pattern, part)}
        found.append((f"units in another order: {n}", pattern, plans))
    for one_in in (8, 32, 48, 64, 128):
        pattern = sparse(512, one_in)
        plans = {"matrix": matrix(pattern), "gather": products.gather(pattern.tiemap())}
        found.append((f"cells a connection: {one_in}", pattern, plans))
    for n in (64, 256):
        pattern = p.kron(p.antisymmetric(4), p.circulant(n))
        part = fit(products.fourier(n, n, circular=True, transposed=False), p.circulant(n))
        connected = nested.connected(p.antisymmetric(4).tiemap(), part)
        ratio = pattern.n_full / connected.multiplications
        found.append(
            (f"matrix a vectorised product: {ratio:.0f}", pattern, {"matrix": matrix(pattern), "connected": connected})
        )
    for pattern in (p.conv2d((16, 5, 5), 120, kernel=5), p.conv2d((1, 7, 7), 8, kernel=7)):
        window = sliding(pattern)
        plans = {"covering": windows.covering(window), "convolution": windows.convolution(window)}
        found.append(("a window over everything", pattern, plans))
    return found


def measure_thresholds(rounds: int) -> list[str]:
    """A row for each case: forward + backward by each plan, and what `lower` chooses."""
    rows = []
    for reason, pattern, plans in threshold_cases():
        for batch in (1, 64, 256):
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(batch, *pattern.in_shape, generator=generator).requires_grad_()
            grad = torch.randn(batch, *pattern.out_shape, generator=generator)
            layers = {name: planned(plan, pattern) for name, plan in plans.items()}
            times = seconds_of({name: partial(step, layer, x, grad) for name, layer in layers.items()}, rounds)
            shown_times = " · ".join(f"{name} {shown(each)}" for name, each in times.items())
            fastest = min(times, key=lambda name: median(times[name]))
            name = (
                pattern.notation
                if len(pattern.notation) < 60 or "<" in pattern.notation
                else f"table(..., 512), {pattern.n_connections:,} connections"
            )
            rows.append(f"| {reason} | `{name}` | {batch} | {shown_times} | {fastest} | {lower(pattern).rule} |")
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures Tied against hand-written layers; writes the results file.")
    parser.add_argument(
        "--rounds",
        type=int,
        default=101,
        help="rounds of each comparison; a fifth for thresholds, a tenth for the gather, and 5 at least",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rounds = max(5, options.rounds)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = [row for case in cases() for row in measure(case, rounds)]
    thresholds = measure_thresholds(max(5, rounds // 5))
    passed, failed = (sum(row.endswith(f"{word} |") for row in rows) for word in ("PASS", "FAIL"))
    clock = "processor time of the thread" if options.threads == 1 else "wall clock"
    text = f"""# `Tied` against hand-written layers

Written by `python benchmarks/tied_operators.py --rounds {rounds} --threads {options.threads}` on {date.today()}:
torch {torch.__version__}, {processor()}, {options.threads} thread(s), float32, n = {rounds} rounds, {clock}.

Microseconds, median ± half the distance between quartiles. Speed is that of `Tied` relative to the hand-written layer
(target: at least {PEER_TARGET}) and to the gather of single connections (target: at least {GATHER_TARGET:.0f}), as the
median over rounds. Where a specialist has several ways, the fastest one is the peer. Equal outputs and gradients are
asserted. Rows without a target are patterns for which none was set. A call of `Tied` takes some microsecond more than
one of a bare module, because it checks the shape of its input: in layers that are done in less than 20, that shows.

**{passed} of {passed + failed} rows with a target pass.**

| pattern | pass | `Tied` | hand-written | speed | gather | speed | |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

## Thresholds of `lower`

Forward + backward in microseconds, by each way that could be chosen. The rules choose a Fourier transform from
{FOURIER_COST} matrix cells for each point of the transform (of units in another order: from {REORDERED_UNITS}
units on), the matrix up to {GATHER_COST} cells for each connection,
and the operator of a part, vectorised over connections, where the matrix takes more than {CONNECTED_COST} times as many
multiplications.

| what decides | pattern | batch | times | fastest | `lower` chooses |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(thresholds)}
"""
    RESULTS.parent.mkdir(exist_ok=True)
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(RESULTS)


if __name__ == "__main__":
    main()
