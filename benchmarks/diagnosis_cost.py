"""What collecting the statistics costs: training with evidence and records beside the same training without.

    python benchmarks/diagnosis_cost.py

`fit` with its evidence, its look at the start and its observed steps, against `fit` without; and a loop of one's own
inside `measure.watch` against the same loop outside. Alternating runs in one process, in processor time; the final
weights are asserted equal.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from statistics import median

import torch
from machine import setting, write_result
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import data, fit, nets
from commonweight.measure import watch
from commonweight.measure.diagnosis import Evidence
from commonweight.measure.start import Start
from commonweight.train import loop

TARGET = 0.05
CASES = (("digits", "lenet5"), ("digits", "cnn"), ("mnist-5k", "cnn"), ("iris", "mlp"))
"""Data and nets, trained as `commonweight train` does by default."""


class Unseen:
    """An observed step that nobody observes."""

    def layers(self) -> tuple[()]:
        return ()


@contextmanager
def blind() -> Iterator[None]:
    """`fit` without evidence, without a look at the start, and without observed steps."""
    before = loop.gather, loop.check_start, loop.observe
    loop.gather = lambda *given: Evidence()
    loop.check_start = lambda *given, **named: Start(())
    loop.observe = lambda model, due: nullcontext(Unseen())
    try:
        yield
    finally:
        loop.gather, loop.check_start, loop.observe = before


def fitted(name: str, net: str, sees: bool) -> tuple[float, nn.Module]:
    """Seconds of processor time of the whole of `fit`, and its net."""
    samples = data.load(name)
    model = nets.build(net, samples.in_shape, samples.n_outputs)
    with nullcontext() if sees else blind():
        started = time.process_time()
        run = fit(model, samples, out=None, progress=False)
        return time.process_time() - started, run.model


def looped(sees: bool) -> tuple[float, nn.Module]:
    """A plain loop, watched or not: an MLP on digits, batches of 64, Adam."""
    digits = data.load("digits")
    x, y = digits.normalisation.apply(digits.x[digits.train]), digits.y[digits.train]
    model = nets.build("mlp", digits.in_shape, digits.n_outputs)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    started = time.process_time()
    watching = watch(model, optimizer, batch=(x[:64], y[:64]), loss=F.cross_entropy) if sees else nullcontext()
    with watching:
        for step in range(2000):
            learn(model, optimizer, x, y, step)
    return time.process_time() - started, model


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, step: int) -> None:
    some = torch.arange(64 * step, 64 * (step + 1)) % len(x)
    optimizer.zero_grad()
    F.cross_entropy(model(x[some]), y[some]).backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the statistics that the diagnosis needs.")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    runs: dict[str, Callable[[bool], tuple[float, nn.Module]]] = {
        f"fit · {name} · {net}": lambda sees, name=name, net=net: fitted(name, net, sees) for name, net in CASES
    }
    runs["a loop of one's own · digits · mlp"] = looped
    lines = ["| training | without s | with s | cost | spread | verdict |", "|" + " --- |" * 6]
    for name, run in runs.items():
        costs, plain, seen = [], [], []
        run(True)  # warms up
        for repeat in range(repeats):
            order = (False, True) if repeat % 2 else (True, False)
            found = {sees: run(sees) for sees in order}
            for mine, theirs in zip(found[True][1].parameters(), found[False][1].parameters(), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
            plain.append(found[False][0])
            seen.append(found[True][0])
            costs.append(found[True][0] / found[False][0] - 1)
        cost = median(costs)
        verdict = "PASS" if cost <= TARGET else "FAIL"
        spread = f"{100 * min(costs):.1f} to {100 * max(costs):.1f} %"
        lines.append(
            f"| {name} | {median(plain):.2f} | {median(seen):.2f} | {100 * cost:.1f} % | {spread} | {verdict} |"
        )
        print(lines[-1], flush=True)
    text = "\n".join(
        [
            "# What the statistics of the diagnosis cost",
            "",
            f"Written by `python benchmarks/diagnosis_cost.py --repeats {repeats}` on {setting()}.",
            "The same training with and without evidence, look at the start and observed steps, alternating, to the",
            f"same weights, bit for bit (asserted). Processor seconds, medians over {repeats} repeats; target: at most",
            f"{100 * TARGET:.0f} %.",
            "",
            *lines,
            "",
        ]
    )
    write_result("diagnosis_cost", text)


if __name__ == "__main__":
    main()
