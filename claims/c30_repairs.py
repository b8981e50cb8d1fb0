"""Advice for runs that go wrong repairs them: a lower rate where gradients explode, regularisation against overfitting.

And the width: too large a weight matrix overfits and is to be made narrower, too small a one underfits and is to be
made wider. These four pieces of advice are followed here to the letter, on handwritten digits, by a plain loop without
early stopping, averages or decay, so that nothing else repairs the runs.

To overfit, there must be something to memorise: 300 training samples, of which every fifth has a wrong label. The
fault of a rate is one a thousand times too high, divided by ten until the net learns. L2 is chosen by the validation
part from five strengths, and so is the smaller or larger width from the powers of two between.

What a fault costs is the test accuracy of the same net without it, less that with it: at a good rate; with right labels
instead of wrong ones; at the best of all widths for the two others.

Criterion: over 5 seeds, in the mean, each of the four faults costs at least 5 points of test accuracy, and following
the advice regains at least half of what it costs.
"""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import data, nets
from commonweight.claims import Result

SEEDS = range(5)
SAMPLES, WRONG, STEPS, BATCH = 300, 0.2, 600, 50
RATE, TOO_HIGH = 0.05, 1000.0
STRENGTHS = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
NARROW, USUAL, WIDE = 2, 256, 2048
WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
FAULTS = ("rate too high", "overfitting", "net too small", "net too large")
ADVICE = ("lower it", "L2", "widen it", "narrow it")


class Digits:
    """A small training part with right and wrong labels; validation and test part are right."""

    def __init__(self, seed: int) -> None:
        whole = data.load("digits", seed=seed)
        generator = torch.Generator().manual_seed(seed)
        few = whole.train[torch.randperm(len(whole.train), generator=generator)[:SAMPLES]]
        x = whole.normalisation.apply(whole.x)
        self.x, self.right = x[few], whole.y[few]
        self.wrong = self.right.clone()
        chosen = torch.randperm(SAMPLES, generator=generator)[: round(WRONG * SAMPLES)]
        self.wrong[chosen] = (self.right[chosen] + torch.randint(1, 10, chosen.shape, generator=generator)) % 10
        self.parts = {"validation": (x[whole.validation], whole.y[whole.validation])}
        self.parts["test"] = (x[whole.test], whole.y[whole.test])


def learn(digits: Digits, seed: int, y: Tensor, *, width: int, rate: float = RATE, l2: float = 0.0) -> nn.Module:
    """Momentum for `STEPS` steps, from the first weights of the seed; the net of the last step."""
    net = nets.build("mlp", (1, 8, 8), 10, seed=seed, structure={"hidden": (width,)})
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=l2)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        some = torch.randint(SAMPLES, (BATCH,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(net(digits.x[some]), y[some]).backward()
        optimizer.step()
    return net


@torch.no_grad()
def accuracy(net: nn.Module, digits: Digits, part: str) -> float:
    x, y = digits.parts[part]
    return float((net(x).argmax(1) == y).float().mean())


def best(found: list[nn.Module], digits: Digits) -> float:
    """The test accuracy of the net that does best on the validation part."""
    return accuracy(max(found, key=lambda net: accuracy(net, digits, "validation")), digits, "test")


def lowered(digits: Digits, seed: int) -> tuple[float, int]:
    """Divide the rate by ten until the validation part is answered better than by guessing twice; at most 5 times."""
    rate, times = RATE * TOO_HIGH, 0
    while True:
        net = learn(digits, seed, digits.right, width=USUAL, rate=rate)
        if accuracy(net, digits, "validation") > 0.8 or times == 5:
            return accuracy(net, digits, "test"), times
        rate, times = rate / 10, times + 1


def case(seed: int) -> tuple[list[tuple[float, float, float]], int]:
    """For each fault the test accuracy with it, after the advice, without it; and how often the rate was lowered."""
    digits = Digits(seed)
    made: Callable[..., nn.Module] = lambda y, **given: learn(digits, seed, y, **given)  # noqa: E731
    well = accuracy(made(digits.right, width=USUAL), digits, "test")
    exploded = accuracy(made(digits.right, width=USUAL, rate=RATE * TOO_HIGH), digits, "test")
    repaired, times = lowered(digits, seed)
    overfit = accuracy(made(digits.wrong, width=USUAL), digits, "test")
    held = best([made(digits.wrong, width=USUAL, l2=strength) for strength in STRENGTHS], digits)
    clean = [made(digits.right, width=width) for width in WIDTHS]
    noisy = [made(digits.wrong, width=width) for width in WIDTHS]
    small, large = accuracy(clean[0], digits, "test"), accuracy(noisy[-1], digits, "test")
    rows = [
        (exploded, repaired, well),
        (overfit, held, well),
        (small, best(clean[1:], digits), max(accuracy(net, digits, "test") for net in clean)),
        (large, best(noisy[:-1], digits), max(accuracy(net, digits, "test") for net in noisy)),
    ]
    return rows, times


def run() -> Result:
    cases, times = zip(*map(case, SEEDS), strict=True)
    means = np.array(cases).mean(0)  # (fault, with it / repaired / without it)
    costs = means[:, 2] - means[:, 0]
    regained = (means[:, 1] - means[:, 0]) / np.where(costs > 0, costs, np.nan)
    named = list(zip(FAULTS, ADVICE, means, costs, regained, strict=True))
    fulfilled = [bool(cost >= 0.05 and back >= 0.5) for *_, cost, back in named]
    table = [("fault", "advice", "with it", "after the advice", "without it", "cost", "regained", "as said")]
    for (fault, advice, scores, cost, back), right in zip(named, fulfilled, strict=True):
        cells = [f"{100 * score:.1f} %" for score in scores]
        said = "yes" if right else "no"
        table.append((fault, advice, *cells, f"{100 * cost:.1f} points", f"{100 * back:.0f} %", said))
    good = [fault for fault, right in zip(FAULTS, fulfilled, strict=True) if right]
    bad = [
        f"{fault} (costs {100 * cost:.1f} points, {100 * back:.0f} % regained)"
        for (fault, _, _, cost, back), right in zip(named, fulfilled, strict=True)
        if not right
    ]
    verdict = f"The advice is right for: {', '.join(good) or 'none'}. "
    verdict += (
        f"It is not, by the criterion, for: {'; '.join(bad)}." if bad else "All four faults cost and are repaired."
    )
    numbers: dict[str, int | float] = {f"{fault}: cost": float(cost) for fault, cost in zip(FAULTS, costs, strict=True)}
    numbers |= {f"{fault}: regained": float(back) for fault, back in zip(FAULTS, regained, strict=True)}
    numbers |= {"times the rate was divided by ten, mean": float(np.mean(times)), "seeds": len(SEEDS)}
    return Result(all(fulfilled), verdict, numbers, table, draw(means))


def draw(means: np.ndarray) -> Figure:
    """Three bars for each fault."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    labels = ("with the fault", "after the advice", "without the fault")
    for place, (label, colour) in enumerate(zip(labels, ("#d1495b", "#2d6cb5", "#9aa0a6"), strict=True)):
        bars = axes.bar(np.arange(4) + 0.27 * (place - 1), 100 * means[:, place], 0.25, label=label, color=colour)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(np.arange(4), [f"{fault}:\n{advice}" for fault, advice in zip(FAULTS, ADVICE, strict=True)])
    axes.set_ylabel("test accuracy, %")
    axes.set_ylim(0, 112)
    axes.legend(ncols=3, loc="upper center", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
