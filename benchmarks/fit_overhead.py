"""What `fit` costs beyond a bare loop that does the same operations.

What      Training time of `fit` (batches, steps, averaging, statistics of each layer at each check) and its whole time,
          checks, counting and test included, against the bare loop below.
Against   A loop of torch written by hand: the same network, update rule, averaging, precision and order of samples. The
          weights of both are asserted to be equal at the end, so it is the same work.
Target    training time at most 1.05 times that of the bare loop.
How       Same process and threads, alternating, n repeats after a warm-up; medians of the ratios.
Result    benchmarks/results/fit_overhead.md, written by this script:

    python benchmarks/fit_overhead.py [--repeats 7]
"""

import argparse
import time
from contextlib import nullcontext
from copy import deepcopy
from statistics import median

import numpy as np
import torch
from machine import setting, write_result
from torch import nn
from torch.nn import functional as F

from commonweight import data, fit, nets
from commonweight.data import Data
from commonweight.train.optimise import make_optimizer, rate_at
from commonweight.train.settings import Settings

TARGET = 1.05
CASES = {"digits": ("lenet5", 10), "mnist-5k": ("cnn", 6), "fashion-mnist": ("cnn", 1)}


def bare_loop(model: nn.Module, samples: Data, settings: Settings) -> tuple[float, nn.Module]:
    """Seconds of the steps, and the averaged net."""
    low = settings.precision == "bfloat16"
    x = samples.normalisation.apply(samples.x[samples.train]).to(memory_format=torch.channels_last)
    x, y = x.to(torch.bfloat16 if low else torch.float32), samples.y[samples.train]
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    model.train()
    average, optimizer = deepcopy(model).eval(), make_optimizer(model, settings)
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    means = [t for t in (*average.parameters(), *average.buffers()) if t.is_floating_point()]
    own_loss = getattr(model, "loss", None)
    size, per_epoch = settings.batch_size, len(x) // settings.batch_size
    started = time.perf_counter()
    for epoch in range(settings.epochs):
        order = torch.from_numpy(np.random.default_rng([settings.seed, epoch]).permutation(len(x)))
        for batch in range(per_epoch):
            step = epoch * per_epoch + batch
            chosen = order[batch * size : (batch + 1) * size]
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, settings, per_epoch)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
                outputs = model(x[chosen])
            targets = y[chosen]
            if own_loss is None:
                loss = F.cross_entropy(outputs.float(), targets, label_smoothing=settings.label_smoothing)
            else:
                loss = own_loss(outputs, targets)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(means, tensors, 1 / max(1.0, (step + 1) * settings.average_share))
    return time.perf_counter() - started, average


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of fit over a bare loop with the same operations.")
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    lines = ["| data | net | bare loop s | `fit` training s | ratio | `fit` in all s | verdict |", "|" + " --- |" * 7]
    for name, (net, epochs) in CASES.items():
        samples = data.load(name)
        rows = []
        for repeat in range(repeats + 1):
            model = nets.build(net, samples.in_shape, samples.n_outputs)
            twin = deepcopy(model)
            started = time.perf_counter()
            run = fit(model, samples, epochs=epochs, out=None, progress=False)
            whole = time.perf_counter() - started
            settings = Settings(**run.description["settings"])
            seconds, average = bare_loop(twin, samples, settings)
            if run.results["best_epoch"] == run.results["epochs"]:
                for mine, theirs in zip(run.model.parameters(), average.parameters(), strict=True):
                    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
            if repeat:  # the first one warms up
                rows.append((seconds, run.results["train_seconds"], whole))
        ratio = median(b / a for a, b, _ in rows)
        bare, trained, whole = (median(column) for column in zip(*rows, strict=True))
        verdict = "PASS" if ratio <= TARGET else "FAIL"
        lines.append(f"| {name} | {net} | {bare:.2f} | {trained:.2f} | {ratio:.3f} | {whole:.2f} | {verdict} |")
        print(lines[-1], flush=True)
    text = "\n".join(
        [
            "# Overhead of `fit`",
            "",
            f"Written by `python benchmarks/fit_overhead.py --repeats {repeats}` on {setting()}.",
            "The bare loop does the same operations by hand and ends in the same weights (asserted where the last",
            f"check is the best one). Medians over {repeats} repeats; target: ratio at most {TARGET}.",
            "",
            *lines,
            "",
        ]
    )
    write_result("fit_overhead", text)


if __name__ == "__main__":
    main()
