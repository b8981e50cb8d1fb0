"""An epoch of Adam for a 64-10-10 perceptron on digits against scikit-learn's MLPClassifier at equal settings.

What      `fit` with records, checks and the running average of the weights, as every run has them, which takes the
          steps between checks by a compiled kernel; and the steps alone, as a plain loop of torch would make them:
          batch, forward, backward, fused Adam.
Against   scikit-learn's MLPClassifier, which is numpy written out for exactly such nets.
Settings  ReLU, Adam, no penalty, no smoothing, 1,257 samples, batches of 32 and of 200, one thread. The rate is 0.001
          throughout; that of `fit`, which falls to 0 from its largest, is 0.001 in the mean: with a largest rate of
          0.001 it would go half as far in as many steps, and 40 epochs of 200 samples a batch do not suffice for that.
          First weights are each one's own.
Target    3 times as fast.
How       Seconds of the processor for EPOCHS[1] epochs less those for EPOCHS[0], divided; RUNS turns, medians. Accuracy
          on the test part after the longer run stands beside.
Result    benchmarks/results/small_mlp.md, with versions, hardware, date and n, written by this script:

    OMP_NUM_THREADS=1 python benchmarks/small_mlp.py
"""

import time
import warnings
from collections.abc import Callable
from statistics import median

import torch
from machine import setting, write_result
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.nn.functional import cross_entropy

from commonweight import data, fit, nets

EPOCHS, RUNS, BATCHES, RATE = (10, 40), 5, (32, 200), 1e-3
NOT_MET = """Not met: {:.2f} and {:.2f} times. The steps take a tenth of it; the rest are checks, each with a
step of torch under observation, the scores of the validation part and a record."""

DIGITS = data.load("digits")
X, Y = DIGITS.normalisation.apply(DIGITS.x).flatten(1), DIGITS.y


def make() -> nn.Module:
    return nets.build("mlp", DIGITS.in_shape, 10, structure={"hidden": (10,)})


def accuracy(answers: torch.Tensor) -> float:
    return float((answers == Y[DIGITS.test]).float().mean())


def by_fit(batch: int, epochs: int) -> tuple[float, float]:
    """Seconds of the processor, and the accuracy on the test part."""
    model = make()
    started = time.process_time()
    run = fit(
        model, DIGITS, optimizer="adam", lr=2 * RATE, batch_size=batch, epochs=epochs, label_smoothing=0.0,
        patience=1e6, out=None, progress=False,
    )  # fmt: skip
    return time.process_time() - started, run.results["test"]["accuracy"]


def by_loop(batch: int, epochs: int) -> tuple[float, float]:
    model, x, y = make(), X[DIGITS.train], Y[DIGITS.train]
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    started = time.process_time()
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(x)), batch):
            adam.zero_grad()
            cross_entropy(model(x[chosen]), y[chosen]).backward()
            adam.step()
    seconds = time.process_time() - started
    with torch.no_grad():
        return seconds, accuracy(model(X[DIGITS.test]).argmax(1))


def by_sklearn(batch: int, epochs: int) -> tuple[float, float]:
    steps = {"batch_size": batch, "learning_rate_init": RATE, "max_iter": epochs}
    net = MLPClassifier((10,), alpha=0.0, tol=0, n_iter_no_change=epochs, **steps)
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(X[DIGITS.train].numpy(), Y[DIGITS.train].numpy())
    seconds = time.process_time() - started
    return seconds, accuracy(torch.from_numpy(net.predict(X[DIGITS.test].numpy())))


def main() -> None:
    torch.set_num_threads(1)
    contenders: dict[str, Callable[[int, int], tuple[float, float]]]
    contenders = {"scikit-learn": by_sklearn, "`fit`": by_fit, "the steps alone": by_loop}
    rows, reached = [], []
    for batch in BATCHES:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for turn in range(RUNS + 1):  # the first one warms up
            for name, run in contenders.items():
                short, (long, score) = run(batch, EPOCHS[0])[0], run(batch, EPOCHS[1])
                if turn:
                    found[name].append(((long - short) / (EPOCHS[1] - EPOCHS[0]), score))
        peer = median(seconds for seconds, _ in found["scikit-learn"])
        for name, values in found.items():
            each = sorted(1000 * seconds for seconds, _ in values)
            ratio = 1000 * peer / median(each)
            score = median(score for _, score in values)
            shown = f"{median(each):.2f} ms ({each[0]:.2f} to {each[-1]:.2f})"
            rows.append(f"| {batch} | {name} | {shown} | {ratio:.2f} | {score:.3f} |")
        reached.append(peer / median(seconds for seconds, _ in found["`fit`"]))
    verdict = "Met." if min(reached) >= 3 else NOT_MET.format(*sorted(reached))
    text = f"""# An epoch of Adam for a 64-10-10 perceptron

{setting()}. Written by `benchmarks/small_mlp.py`, which says how.

| batch | | an epoch | times scikit-learn's speed | test accuracy |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Target: 3 times as fast as scikit-learn. {verdict} The rate of `fit` falls from {2 * RATE:g} to 0, that of the others is
{RATE:g} throughout: the same in the mean. First weights are each one's own.
"""
    write_result("small_mlp", text)


if __name__ == "__main__":
    main()
