"""Turned digits: a p4m net against a plain convolutional net with at least as many weights.

What      scikit-learn's digits (8×8), 1,000 to learn from and 797 to test, another division for each seed. Two tasks:
          *upright to turned*: learn from upright digits, be tested on all eight quarter turns and mirror images of the
          test digits; *turned to turned*: each digit is turned and mirrored at random, anew in every epoch (so that
          the plain net may learn from examples what the other one knows), the same test.
Against   `CNN` of width 12, 13,726 weights; `GroupCNN` of p4m and width 4 has 11,782. Layer by layer the two are the
          same net, with and without the ties of the group. What p4m needs more is multiplications.
Margins   fixed before the first run: upright to turned, p4m is right at least 20 points more often in the mean over 10
          seeds; turned to turned, at least 1 point more often, and better for at least 8 of the 10 seeds. The upright
          test digits after learning from upright ones are stated beside: there p4m may well be worse.
How       Adam, 3e-3 falling to 0 (cosine), batches of 50, 40 epochs, no other augmentation, for both.
Result    benchmarks/results/rotated_digits.md, with versions, hardware, date and n, written by this script:

    python benchmarks/rotated_digits.py [--seeds 10]
"""

import argparse
import time
from statistics import mean, stdev

import numpy as np
import torch
from machine import setting, write_result
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight.nets.cnn import CNN
from commonweight.nets.equivariant import P4M
from commonweight.nets.group_cnn import GroupCNN

TRAIN, BATCH, EPOCHS, RATE = 1000, 50, 40, 3e-3
MARGINS = {"upright to turned": 20.0, "turned to turned": 1.0}


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test part: images (8, n, 1, 8, 8), turned by each element of the group, and labels (n,)."""
    x, y = load_digits(return_X_y=True)
    images = torch.from_numpy((x / 16).astype(np.float32)).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[:TRAIN], order[TRAIN:]
    images = (images - images[train].mean()) / images[train].std()
    turned = torch.stack([P4M.act(a, images) for a in range(P4M.order)])
    labels = torch.from_numpy(y)
    return turned[:, train], labels[train], turned[:, test], labels[test]


def learn(net: nn.Module, images: Tensor, labels: Tensor, seed: int, turn: bool) -> float:
    """Trains the net, and returns the seconds that took."""
    generator = torch.Generator().manual_seed(seed)
    steps = EPOCHS * (TRAIN // BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    started = time.perf_counter()
    for _ in range(EPOCHS):
        element = torch.randint(P4M.order if turn else 1, (TRAIN,), generator=generator)
        for batch in torch.randperm(TRAIN, generator=generator).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(net(images[element[batch], batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return time.perf_counter() - started


@torch.no_grad()
def accuracies(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Percent right of the upright images, and of all eight versions."""
    right = torch.stack([net.eval()(version).argmax(1) == labels for version in images]).double()
    return 100 * float(right[0].mean()), 100 * float(right.mean())


def nets(seed: int) -> dict[str, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {"p4m": GroupCNN(P4M, (1, 8, 8), 10, width=4), "plain": CNN((1, 8, 8), 10, width=12)}


def main() -> None:
    parser = argparse.ArgumentParser(description="A p4m net against a plain one on turned digits.")
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    upright: dict[tuple[str, str], list[float]] = {}
    turned: dict[tuple[str, str], list[float]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for seed in range(seeds):
        images, labels, test_images, test_labels = digits(seed)
        for task in MARGINS:
            for name, net in nets(seed).items():
                key = (task, name)
                seconds.setdefault(key, []).append(learn(net, images, labels, seed, task.startswith("turned")))
                straight, every = accuracies(net, test_images, test_labels)
                upright.setdefault(key, []).append(straight)
                turned.setdefault(key, []).append(every)
                print(seed, *key, f"{straight:.1f} {every:.1f} {seconds[key][-1]:.1f} s", flush=True)
    rows = [
        f"| {task} | {name} | {shown(turned[task, name])} | {shown(upright[task, name])} | "
        f"{mean(seconds[task, name]):.1f} |"
        for task, name in turned
    ]
    verdicts = []
    for task, margin in MARGINS.items():
        gains = [a - b for a, b in zip(turned[task, "p4m"], turned[task, "plain"], strict=True)]
        better = sum(gain > 0 for gain in gains)
        held = mean(gains) >= margin and better >= 0.8 * seeds
        verdicts.append(
            f"- **{task}: {mean(gains):+.1f} points** for p4m (from {min(gains):+.1f} to {max(gains):+.1f}), better "
            f"for {better} of {seeds} seeds. Margin: {margin:+.0f}. {'PASS' if held else 'FAIL'}."
        )
    weights = {name: sum(weight.numel() for weight in net.parameters()) for name, net in nets(0).items()}
    text = f"""# Turned digits

Written by `python benchmarks/rotated_digits.py --seeds {seeds}` on {setting()}. A p4m net of
{weights["p4m"]:,} weights against a plain one of {weights["plain"]:,}; the margins stood in the script before its first
run. Percent right on the test digits, mean ± deviation over {seeds} seeds.

{chr(10).join(verdicts)}

| learns from, tested on | net | all eight versions | upright ones | training s |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    write_result("rotated_digits", text)


def shown(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


if __name__ == "__main__":
    main()
