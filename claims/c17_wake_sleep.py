"""A deep belief net tuned by wake-sleep makes images that look like their class, completes missing halves, and names
what it sees.

The net has 256 and 256 hidden units, learns from 3,500 handwritten digits (mnist-5k) and is measured twice: after its
layers have been learned greedily, and after wake-sleep. Nothing is backpropagated. Images are made for each class by
holding its label fixed at the top; a support vector machine that has learned from the same real digits, and has never
seen one that was made, says what they are. Of test digits the lower half is hidden, and filled in by the net, by the
mean of all training digits, and by the lower half of the training digit whose upper half is nearest.

The criterion was fixed after a pilot with seed 0, which is among the seeds.

Criterion: after wake-sleep, over 5 seeds, the support vector machine finds at least 70 % of the images to be of the
class that they were made for; the mean squared error of the completions is below both others' with every seed; the
label at the top is right for at least 88 % of the test digits; and wake-sleep improves on the greedy net in all three
at the mean.
"""

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.svm import SVC
from torch import Generator, Tensor

from commonweight import data
from commonweight.claims import Result
from commonweight.nets.deep_belief import DeepBeliefNet, learn_greedily, wake_and_sleep
from commonweight.nets.estimators import batches

SEEDS = range(5)
GREEDY, SLEEP, BATCH = 8, 8, 20
PER_CLASS, COMPLETED = 20, 300
STAGES = ("greedy layers", "after wake-sleep")
MEASURES = ("images of their class", "error of completions", "labels right at the top")


class Trial:
    """One seed: the net, what it learns from, and who judges it."""

    def __init__(self, seed: int) -> None:
        digits = data.load("mnist-5k", seed=seed)
        x = digits.normalisation.apply(digits.x).flatten(1)
        self.x, self.y = x[digits.train], digits.y[digits.train]
        self.test_x, self.test_y = x[digits.test], digits.y[digits.test]
        self.generator = Generator().manual_seed(seed)
        self.judge = SVC().fit(self.x.numpy(), self.y.numpy())
        self.known = torch.arange(x.shape[1]) < x.shape[1] // 2
        self.seed = seed

    def learn(self) -> list[list[float]]:
        """The measures of both stages."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.net = DeepBeliefNet((self.x.shape[1],), 10, hidden=(256, 256))
            rows = self.net.interval.fit(self.x)(self.x)
            self.net.tie_directions()
            order = batches(len(rows), BATCH, GREEDY, self.generator)
            rule = learn_greedily(self.net, rows, self.y, order, rate=0.1, momentum=0.5, generator=self.generator)
        self.net.untie_directions()
        found = [self.measured()]
        order = batches(len(rows), BATCH, SLEEP, self.generator)
        for step, batch in enumerate(order):
            rule.rate = 0.02 * (1 - step / len(order))
            wake_and_sleep(self.net, rule, rows[batch], self.y[batch], rate=rule.rate, generator=self.generator)
        return [*found, self.measured()]

    @torch.no_grad()
    def measured(self) -> list[float]:
        index = torch.arange(10).repeat_interleave(PER_CLASS)
        self.made = self.net.generate(index, self.generator)
        self.filled = self.net.complete(self.test_x[:COMPLETED], self.known, self.generator)
        of_class = float((self.judge.predict(self.made.numpy()) == index.numpy()).mean())
        scores = self.net.label(self.net.interval(self.test_x))
        right = float((scores.argmax(1) == self.test_y).double().mean())
        return [of_class, self.error(self.filled), right]

    def error(self, guess: Tensor) -> float:
        """Mean squared error in the hidden half, in normalised grey."""
        return float(((guess - self.test_x[:COMPLETED])[:, ~self.known] ** 2).mean())

    def others(self) -> list[float]:
        """The errors of the mean digit and of the nearest neighbour."""
        near = torch.cdist(self.test_x[:COMPLETED, self.known], self.x[:, self.known]).argmin(1)
        return [self.error(self.x.mean(0)), self.error(self.x[near])]


def run() -> Result:
    trials = [Trial(seed) for seed in SEEDS]
    found = np.array([trial.learn() for trial in trials])
    others = np.array([trial.others() for trial in trials])
    judges = np.mean([trial.judge.score(trial.test_x.numpy(), trial.test_y.numpy()) for trial in trials])
    (greedy_of, greedy_error, greedy_right), (of_class, error, right) = found.mean(0)
    completes = bool((found[:, 1, 1] < others.min(1)).all())
    improves = of_class > greedy_of and error < greedy_error and right > greedy_right
    holds = bool(of_class >= 0.7 and completes and right >= 0.88 and improves)
    verdict = (
        f"{of_class:.0%} of the images are taken for their class (chance 10 %; of real test digits the judge knows "
        f"{judges:.0%}); missing halves are filled in with an error of {error:.2f}, the mean digit has "
        f"{others.mean(0)[0]:.2f}, the nearest neighbour {others.mean(0)[1]:.2f}; {right:.1%} of the labels are right. "
        f"The greedy net alone has {greedy_of:.0%}, {greedy_error:.2f} and {greedy_right:.1%}: wake-sleep "
        f"{'improves all three' if improves else 'does not improve all three'}."
    )
    rows = [["", *STAGES]]
    for k, name in enumerate(MEASURES):
        rows.append(
            [name, *(f"{found[:, stage, k].mean():.3f} ± {found[:, stage, k].std(ddof=1):.3f}" for stage in (0, 1))]
        )
    numbers = {
        f"{name}, {stage}": float(found[:, s, k].mean())
        for k, name in enumerate(MEASURES)
        for s, stage in enumerate(STAGES)
    }
    numbers |= {
        "error of the mean digit": float(others.mean(0)[0]),
        "error of the nearest neighbour": float(others.mean(0)[1]),
    }
    return Result(holds, verdict, numbers, rows, draw(trials[0]))


def draw(trial: Trial) -> Figure:
    """Images made for each class, and test digits with their completions, of the first seed."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    made = trial.made.view(10, PER_CLASS, 28, 28)[:, :10]
    left.imshow(made.permute(0, 2, 1, 3).reshape(280, 280), cmap="gray")
    left.set_title("made, a row for each class", fontsize=10)
    chosen = slice(0, COMPLETED, COMPLETED // 50)
    pairs = torch.stack([trial.test_x[:COMPLETED][chosen], trial.filled[chosen]], 1)[:50]
    right.imshow(pairs.reshape(10, 10, 28, 28).permute(0, 2, 1, 3).reshape(280, 280), cmap="gray")
    right.set_title("test digits, each followed by its completion from the upper half", fontsize=10)
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
    return figure
