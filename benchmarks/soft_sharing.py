"""Codebooks of k values a tensor, by a learned mixture prior and by k-means.

What      `fit`'s nets, then `train.soft_sharing.soft_share` with k values for each weight tensor (Nowlan, Hinton
          1992): test accuracy, and how many times smaller the tensors are.
Against   The nearest codebooks of the same size (exact k-means, what `commonweight share --per tensor` finds), with
          fine-tuning of the values for as many epochs in all: Deep Compression (Han, Mao, Dally 2015), and what soft
          sharing begins from. Ullrich, Meeds, Welling 2017 report LeNet-300-100 64 times smaller at an error of 1.94 %,
          from 1.89 %: with pruning and entropy coding, which are not used here.
Quality   Test accuracy is the outcome; both files have the same number of codes and values.
How       The same trained net, per seed, goes into both; mean and standard deviation over seeds of the test accuracy.
Result    benchmarks/results/soft_sharing.md, written by this script:

    python benchmarks/soft_sharing.py [--seeds 3]
"""

import argparse
from copy import deepcopy
from statistics import mean, stdev

import torch
from machine import setting, write_result

from commonweight import data, fit, nets
from commonweight.compress import share
from commonweight.train.finetune import finetune, score
from commonweight.train.soft_sharing import soft_share

CASES = {"digits": ("mlp", 30), "mnist-5k": ("mlp", 8)}  # the net, and epochs under the mixture
SIZES = (3, 4, 8, 16)


def compared(name: str, seed: int) -> list[tuple[int, float, float, float, float]]:
    """For each size: the accuracy of the net, of k-means, of soft sharing; and how many times smaller both are."""
    net, epochs = CASES[name]
    loaded = data.load(name, seed=seed)
    given = {"optimizer": "muon", "seed": seed, "out": None, "progress": False}
    trained = fit(nets.build(net, loaded.in_shape, loaded.n_outputs, seed=seed), loaded, **given).model
    rows = []
    for k in SIZES:
        nearest, soft = deepcopy(trained), deepcopy(trained)
        report = share(nearest, k, "tensor")
        finetune(nearest, loaded, epochs=epochs + epochs // 2, seed=seed)
        again = soft_share(soft, loaded, k, epochs=epochs, seed=seed)
        assert report.bytes_after == again.bytes_after
        scores = [score(model, loaded)["accuracy"] for model in (trained, nearest, soft)]
        rows.append((k, *scores, report.bytes_before / report.bytes_after))
    return rows


def shown(values: list[float]) -> str:
    return f"{100 * mean(values):.2f} ± {100 * stdev(values):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Soft weight sharing beside k-means codebooks of the same size.")
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    lines = ["| data | net | values | times smaller | before, % | k-means, % | soft sharing, % |", "|" + " --- |" * 7]
    for name, (net, _) in CASES.items():
        runs = [compared(name, seed) for seed in range(seeds)]
        for rows in zip(*runs, strict=True):
            k, *_, ratio = rows[0]
            before, nearest, soft = ([row[column] for row in rows] for column in (1, 2, 3))
            cells = [name, net, str(k), f"{ratio:.1f}", shown(before), shown(nearest), shown(soft)]
            lines.append(f"| {' | '.join(cells)} |")
    head = f"# Soft weight sharing beside k-means\n\n{setting()}; {seeds} seeds: mean and deviation.\n\n"
    note = "\n\nBoth were trained for the same number of epochs after the net was. Biases are not compressed.\n"
    write_result("soft_sharing", head + "\n".join(lines) + note)


if __name__ == "__main__":
    main()
