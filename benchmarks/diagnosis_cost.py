"""What collecting the statistics costs: training with evidence and records beside the same training without.

    python benchmarks/diagnosis_cost.py

`fit` with its evidence, its look at the start and its observed steps, against `fit` without; and a loop of one's own
inside `measure.watch` against the same loop outside. Both run at the same time as two processes that share one
processor, some milliseconds each in turn, so that whatever slows that processor slows both; what is compared is the
processor time of each. The final weights are asserted equal.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
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

PATIENCE = 600
"""Seconds that a process waits for the other, which may have died."""

OWN_LOOP = ("digits, a loop of one's own", "mlp")


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


def measured(case: tuple[str, str], sees: bool, together: Barrier, answer: Connection) -> None:
    """In a process of its own: the case once to warm up, then once more beside the other; its seconds and weights."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    run = (lambda: looped(sees)) if case == OWN_LOOP else (lambda: fitted(*case, sees))
    run()
    together.wait(timeout=PATIENCE)
    seconds, model = run()
    weights = sha256(b"".join(weight.detach().numpy().tobytes() for weight in model.parameters()))
    answer.send((seconds, weights.hexdigest()))


def side_by_side(case: tuple[str, str]) -> tuple[float, float]:
    """Processor seconds without and with the statistics, of two processes that share a processor."""
    spawn = multiprocessing.get_context("spawn")
    together, ends = spawn.Barrier(2), [spawn.Pipe(duplex=False) for _ in range(2)]
    processes = [
        spawn.Process(target=measured, args=(case, sees, together, end))
        for sees, (_, end) in zip((False, True), ends, strict=True)
    ]
    for process, (_, end) in zip(processes, ends, strict=True):
        process.start()
        end.close()  # so that the answer of a process that died ends, too
    (plain, weights), (seen, same) = (answer.recv() for answer, _ in ends)
    assert weights == same, f"{case}: the statistics changed the weights"
    for process in processes:
        process.join()
    return plain, seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the statistics that the diagnosis needs.")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    lines = ["| training | without s | with s | cost | spread | verdict |", "|" + " --- |" * 6]
    for case in (*CASES, OWN_LOOP):
        plain, seen = zip(*(side_by_side(case) for _ in range(repeats)), strict=True)
        costs = [mine / theirs - 1 for mine, theirs in zip(seen, plain, strict=True)]
        cost = median(costs)
        verdict = "PASS" if cost <= TARGET else "FAIL"
        cells = [" · ".join(case), f"{median(plain):.2f}", f"{median(seen):.2f}", f"{100 * cost:.1f} %"]
        cells += [f"{100 * min(costs):.1f} to {100 * max(costs):.1f} %", verdict]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    text = "\n".join(
        [
            "# What the statistics of the diagnosis cost",
            "",
            f"Written by `python benchmarks/diagnosis_cost.py --repeats {repeats}` on {setting()}.",
            "The same training with and without evidence, look at the start and observed steps, to the same weights,",
            "bit for bit (asserted): two processes at the same time, which share one processor. Processor seconds of",
            f"each, medians over {repeats} repeats; target: at most {100 * TARGET:.0f} %.",
            "",
            *lines,
            "",
        ]
    )
    write_result("diagnosis_cost", text)


if __name__ == "__main__":
    main()
