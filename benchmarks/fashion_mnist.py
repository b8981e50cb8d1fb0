"""Fashion-MNIST to 90 % and to 91.7 % test accuracy: `commonweight train` against the official PyTorch MNIST example.

What      Training time until the goal. Ours: `train fashion-mnist --goal "accuracy>=G"` with default settings; it stops
          by the validation part, and the test part, scored once at the end, has to be at G or above in the median.
Against   The network and settings of the official example (official_mnist_example.py), scored on the test part after
          every epoch: the time until the first epoch at G or above. It is judged by its best moment, we are not.
Time      Order, batches, forward, backward, update, averaging; loading, normalising and scoring left out, for both.
Targets   at least 12 times as fast to 90 %, at least 8 times as fast to 91.7 %.
How       Same process and threads, alternating, n repeats with seeds 0 to n - 1, after a warm-up of both. Medians.
Result    benchmarks/results/fashion_mnist.md, written by this script:

    python benchmarks/fashion_mnist.py [--repeats 5]
"""

import argparse
from statistics import median

import torch
from machine import setting, write_result
from official_mnist_example import train_epochs

from commonweight import data, fit, nets
from commonweight.data import Data

GOALS = {0.90: 12.0, 0.917: 8.0}
MOST_EPOCHS = 8


def ours(images: Data, goal: float, seed: int) -> tuple[float, float]:
    """Training seconds until the goal, and the accuracy on the test part."""
    net = nets.build("cnn", images.in_shape, images.n_outputs, seed=seed)
    run = fit(net, images, goal=f"accuracy>={goal}", seed=seed, out=None, progress=False)
    if run.results["goal_seconds"] is None:
        raise SystemExit(f"seed {seed}: the goal {goal} was not reached")
    return run.results["goal_seconds"], run.results["test"]["accuracy"]


def peer(images: Data, seed: int, epochs: int = MOST_EPOCHS) -> dict[float, tuple[float, float]]:
    """For each goal the training seconds until the first epoch that reaches it, and the accuracy there.

    It learns from the whole official training part, ours from all but the 5,000 images that it stops by.
    """
    x = images.normalisation.apply(images.x)
    train = torch.cat([images.train, images.validation])
    reached: dict[float, tuple[float, float]] = {}
    parts = (x[train], images.y[train], x[images.test], images.y[images.test])
    for _, seconds, accuracy in train_epochs(*parts, epochs=epochs, seed=seed):
        reached |= {goal: (seconds, accuracy) for goal in GOALS if accuracy >= goal and goal not in reached}
        if len(reached) == len(GOALS):
            break
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Time to 90 % and 91.7 % on Fashion-MNIST against the official example."
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    fit(nets.build("cnn", (1, 8, 8), 10), data.load("digits"), epochs=1, out=None, progress=False)
    mine: dict[float, list[tuple[float, float]]] = {goal: [] for goal in GOALS}
    theirs: dict[float, list[tuple[float, float]]] = {goal: [] for goal in GOALS}
    lines = ["| seed | goal | ours s | ours test | example s | example test | ratio |", "|" + " --- |" * 7]
    for seed in range(repeats):
        images = data.load("fashion-mnist", seed=seed)
        for goal in GOALS:
            mine[goal].append(ours(images, goal, seed))
        reached = peer(images, seed)
        for goal in GOALS:
            theirs[goal].append(reached.get(goal, (float("inf"), float("nan"))))
            (a, b), (c, d) = mine[goal][-1], theirs[goal][-1]
            lines.append(f"| {seed} | {goal:.1%} | {a:.2f} | {b:.2%} | {c:.1f} | {d:.2%} | {c / a:.1f} |")
            print(lines[-1], flush=True)
    verdicts = []
    for goal, target in GOALS.items():
        fast, slow = median(s for s, _ in mine[goal]), median(s for s, _ in theirs[goal])
        ratio = median(b / a for (a, _), (b, _) in zip(mine[goal], theirs[goal], strict=True))
        test = median(accuracy for _, accuracy in mine[goal])
        word = "PASS" if ratio >= target and test >= goal else "FAIL"
        verdicts.append(
            f"- **{goal:.1%}: {ratio:.1f} times as fast** (median; {fast:.2f} s against {slow:.1f} s), our test "
            f"accuracy {test:.2%} in the median. Target: {target:.0f} times. {word}."
        )
    text = "\n".join(
        [
            "# Fashion-MNIST: training time to a test accuracy",
            "",
            f"Written by `python benchmarks/fashion_mnist.py --repeats {repeats}` on {setting()}.",
            "Ours: `commonweight train fashion-mnist --goal ...` with default settings, stopped by the validation",
            "part. The example: network and settings of the official PyTorch MNIST example, timed to the first epoch",
            "whose *test* accuracy reaches the goal. Training time only, for both.",
            "",
            *verdicts,
            "",
            *lines,
            "",
        ]
    )
    write_result("fashion_mnist", text)


if __name__ == "__main__":
    main()
