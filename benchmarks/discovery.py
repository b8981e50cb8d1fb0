"""Whether the weights of a dense layer tell that it should have been a convolution.

What      Digits as 64 pixels in a row, turned around by a random number of pixels, labelled by digit and by turn. A
          dense layer scores each digit at each turn; the digit is read off by pooling over the turns. From its weights
          alone a pattern is chosen, which is trained again from the start.
Against   The dense layer, and the circular convolution that the task has. Two controls in which the weights cannot
          tell: labels by digit alone, read off the mean of ReLU units over places; and turns of 0 to 15 pixels only.
How       Every pattern that `audit(suggest=True)` tries is fitted; the one with the least BIC is taken if it explains
          more than half of the weights' variance, adjusted for its number of weights. Its map is compared with the
          convolution's by the adjusted Rand index over all cells (1: the same ties, 0: chance). k-means of the values
          into as many clusters as the convolution has weights is beside. Accuracy is of digits, on 497 held-out images
          at all 64 turns.
Result    benchmarks/results/discovery.md, with versions, hardware, date and n, written by this script:

    python benchmarks/discovery.py [--seeds 5]
"""

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from machine import setting, write_result
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import patterns as p
from commonweight.patterns import Pattern
from commonweight.tied import Tied
from commonweight.verdicts.structure import hypotheses

PIXELS, DIGITS, TRAINED = 64, 10, 1300
TRUE = p.kron(p.circulant(PIXELS), p.dense(1, DIGITS))  # unit turn · 10 + digit
ENOUGH = 0.5  # adjusted part of the variance that a pattern has to explain
TASKS = {"turn": "digit and turn", "few turns": "digit and turn, 0 to 15 only", "no turn": "digit alone"}
RUNS = (("turn", 30), ("turn", 100), ("turn", 300), ("turn", 1000), ("few turns", 1000), ("no turn", 1000))


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Pixel i goes to pixel i + turn, around the end."""
    return images.gather(1, (torch.arange(PIXELS) - turns[:, None]) % PIXELS)


class Net(nn.Module):
    """One layer from 64 pixels to 64 places × 10; its places are labelled, or else averaged and read by a head."""

    def __init__(self, pattern: Pattern, task: str, seed: int) -> None:
        super().__init__()
        self.task = task
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = Tied(pattern, bias="none")
            self.head = nn.Linear(DIGITS, DIGITS) if task == "no turn" else None

    def loss(self, x: Tensor, digit: Tensor, turn: Tensor) -> Tensor:
        if self.head:
            return F.cross_entropy(self.scores(x), digit)
        return F.cross_entropy(self.layer(x).flatten(1), turn * DIGITS + digit)

    def scores(self, x: Tensor) -> Tensor:
        """Of each digit, whatever the turn."""
        places = self.layer(x).reshape(-1, PIXELS, DIGITS)
        pooled: Tensor = self.head(places.relu().mean(1)) if self.head else places.logsumexp(1)
        return pooled


@dataclass
class Digits:
    x: Tensor
    y: Tensor
    train: Tensor
    test: Tensor

    @classmethod
    def split(cls, seed: int) -> "Digits":
        x, y = load_digits(return_X_y=True)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        images = torch.tensor(x / 16 - (x / 16).mean(), dtype=torch.float32)
        return cls(images, torch.tensor(y), order[:TRAINED], order[TRAINED:])


def trained(pattern: Pattern, task: str, digits: Digits, seed: int, steps: int) -> Net:
    net = Net(pattern, task, seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draw, most = torch.Generator().manual_seed(seed), 16 if task == "few turns" else PIXELS
    for _ in range(steps):
        chosen = digits.train[torch.randint(TRAINED, (256,), generator=draw)]
        turn = torch.randint(most, (256,), generator=draw)
        optimizer.zero_grad()
        net.loss(turned(digits.x[chosen], turn), digits.y[chosen], turn).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return net


@torch.no_grad()
def accuracy(net: Net, digits: Digits) -> float:
    x, y = digits.x[digits.test], digits.y[digits.test]
    hits = [net.scores(turned(x, torch.full((len(x),), t))).argmax(1) == y for t in range(PIXELS)]
    return float(torch.stack(hits).float().mean())


def chosen(matrix: Tensor) -> tuple[Pattern, float]:
    """The pattern of the least BIC, and the adjusted part of the variance it explains; dense if that is not enough."""
    cells, total = matrix.numel(), float((matrix - matrix.mean()).square().sum())
    best = (np.inf, 0.0, p.dense(*matrix.shape[::-1]))
    for hypothesis in hypotheses(*matrix.shape):
        tiemap = hypothesis.pattern.tiemap()
        rest = float((matrix - tiemap.expand(tiemap.project(matrix))).square().sum())
        free = tiemap.n_weights
        explained = 1 - (rest / (cells - free)) / (total / (cells - 1))
        score = cells * np.log(rest / cells) + free * np.log(cells)
        best = min(best, (score, explained, hypothesis.pattern), key=lambda one: one[0])
    _, explained, pattern = best
    return (pattern if explained > ENOUGH else p.dense(*matrix.shape[::-1])), explained


def rand_index(labels: np.ndarray) -> float:
    return float(adjusted_rand_score(TRUE.index().ravel(), labels.ravel()))


def by_values(matrix: Tensor, seed: int) -> float:
    means = KMeans(TRUE.n_weights, init="random", n_init=1, max_iter=30, random_state=seed)
    return rand_index(means.fit_predict(matrix.reshape(-1, 1).numpy()))


def row(task: str, steps: int, seeds: int) -> str:
    """One line of the table: a task and a length of training, over the seeds."""
    found: list[Pattern] = []
    figures = []
    for seed in range(seeds):
        digits = Digits.split(seed)
        dense = trained(p.dense(PIXELS, TRUE.n_out), task, digits, seed, steps)
        with torch.no_grad():
            matrix = dense.layer.pattern.tiemap().expand(dense.layer.weight.detach().flatten())
        pattern, explained = chosen(matrix)
        again = dense if pattern == dense.layer.pattern else trained(pattern, task, digits, seed, steps)
        true = again if pattern == TRUE else trained(TRUE, task, digits, seed, steps)
        found.append(pattern)
        scores = [accuracy(net, digits) for net in (dense, again, true)]
        figures.append([explained, rand_index(pattern.index()), by_values(matrix, seed), *scores])
    mean, spread = np.mean(figures, 0), np.std(figures, 0, ddof=1)
    accuracies = " | ".join(f"{m:.1%} ± {s:.1%}" for m, s in zip(mean[3:], spread[3:], strict=True))
    names = ", ".join(f"`{pattern}` {n}×" for pattern, n in Counter(found).most_common())
    weights = ", ".join(f"{n:,}" for n in dict.fromkeys(pattern.n_weights for pattern in found))
    return (
        f"| {TASKS[task]} | {steps:,} | {mean[0]:.2f} | {names} | {weights} | {mean[1]:.2f} ± {spread[1]:.2f} | "
        f"{mean[2]:.2f} | {accuracies} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Finds the ties of a trained dense layer; writes the results file.")
    parser.add_argument("--seeds", type=int, default=5, help="nets of each kind, each with its own split")
    seeds = parser.parse_args().seeds
    rows = []
    for task, steps in RUNS:
        rows.append(row(task, steps, seeds))
        print(rows[-1], flush=True)
    heads = "labels | steps | explained | found | its weights | Rand index | of k-means | dense | found, again | true"
    text = f"""# Ties found in a trained dense layer

Written by `python benchmarks/discovery.py --seeds {seeds}` on {setting()}.
{seeds} nets of each kind, mean ± standard deviation.
Dense: {TRUE.n_full:,} weights; the true `{TRUE}`: {TRUE.n_weights}.
The three columns on the right: accuracy on digits that were held out, at all turns, by pooling over places.

| {heads} |
| {" | ".join(["---"] * (heads.count("|") + 1))} |
{chr(10).join(rows)}
"""
    write_result("discovery", text)


if __name__ == "__main__":
    main()
