"""A net with one hidden layer approximates the better the wider that layer is, without limit.

So say the articles, after the theorems of Cybenko and of Hornik (1989): with enough units the error on a bounded
region is as small as one likes. Half true. The theorem says that good weights exist, for the function itself; a net has
samples of it. What it learns of them gets better with width, but what it says between them need not, above all where
the samples hold noise.

Four targets. A photograph as a function of two coordinates (an item of Fashion-MNIST, 28×28; half of the pixels are
held back), building and abelone (measurements, the first target; 300 rows to learn from) and diabetes. One hidden layer
of tanh, L-BFGS with all samples for 150 steps of four directions each in float64, no regularisation and no early stop,
as the claim has neither.

Criterion: by the median over 5 seeds, on each of the four targets, the error on the samples that were learned falls
with every step of the width, 1, 4, 16, 64, 256; and the error on samples held back is, at width 256, at most 5 % above
the least over all widths.
"""

from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss

from commonweight import data
from commonweight.claims import Result
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.optimise import RULES

SEEDS, WIDTHS = range(5), (1, 4, 16, 64, 256)
STEPS, ROWS, SLACK = 150, 300, 1.05
Samples = tuple[Tensor, Tensor, Tensor, Tensor]


def scaled(x: Tensor, y: Tensor, n_train: int, seed: int) -> Samples:
    """Samples in an order of each seed, normalised by the first n, which are learned; the others are held back."""
    order = torch.randperm(len(x), generator=Generator().manual_seed(seed))
    x, y = x[order].double(), y[order].double()
    given, wanted = x[:n_train], y[:n_train]
    x = (x - given.mean(0)) / given.std(0).clamp_min(1e-9)
    y = (y - wanted.mean(0)) / wanted.std(0)
    return x[:n_train], y[:n_train], x[n_train:], y[n_train:]


def photograph(seed: int) -> Samples:
    picture = data.load("fashion-mnist").x[0, 0]
    places = torch.cartesian_prod(torch.arange(28.0), torch.arange(28.0))
    return scaled(places, picture.reshape(-1, 1), 28 * 28 // 2, seed)


def rows_of(name: str) -> Callable[[int], Samples]:
    def samples(seed: int) -> Samples:
        loaded = data.load(name)
        index = torch.cat([loaded.train, loaded.validation])
        return scaled(loaded.x[index], loaded.y[index, :1], min(ROWS, len(loaded.train)), seed)

    return samples


TARGETS = {"photograph": photograph, **{name: rows_of(name) for name in ("building", "abelone", "diabetes")}}


def errors(samples: Samples, width: int, seed: int) -> tuple[float, float]:
    """Root mean squared error in deviations of the target: on the samples that were learned, and on others."""
    x, y, x_other, y_other = samples
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(x.shape[1], width), nn.Tanh(), nn.Linear(width, 1)).double()
    objective = Objective(FlatNet(model), x, y, mse_loss, "squares")
    rule = RULES["lbfgs"](model.parameters(), lr=1.0)
    for _ in range(STEPS):
        rule.step(objective)
    with torch.no_grad():
        return mse_loss(model(x), y).item() ** 0.5, mse_loss(model(x_other), y_other).item() ** 0.5


def run() -> Result:
    rows = [["target", "width", "error on what was learned", "error on samples held back"]]
    learned: dict[str, list[float]] = {}
    held: dict[str, list[float]] = {}
    for name, draw_samples in TARGETS.items():
        samples = [draw_samples(seed) for seed in SEEDS]
        found = [[errors(samples[seed], width, seed) for seed in SEEDS] for width in WIDTHS]
        learned[name] = [median(one[0] for one in per_seed) for per_seed in found]
        held[name] = [median(one[1] for one in per_seed) for per_seed in found]
        for width, a, b in zip(WIDTHS, learned[name], held[name], strict=True):
            rows.append([name, str(width), f"{a:.4f}", f"{b:.4f}"])
    falls = {name: all(np.diff(values) < 0) for name, values in learned.items()}
    stays = {name: values[-1] <= SLACK * min(values) for name, values in held.items()}
    best = {name: WIDTHS[int(np.argmin(values))] for name, values in held.items()}
    listed = ", ".join(
        f"{name} {held[name][-1] / min(held[name]):.2f} times (best at {best[name]})" for name in TARGETS
    )
    to_64 = sum(bool(all(np.diff(values[:-1]) < 0)) for values in learned.values())
    verdict = (
        f"The error on what is learned falls with the width up to 64 units on {to_64} of {len(TARGETS)} targets, "
        f"and up to 256 on {sum(falls.values())}: what a wide net could express, descent has to find. On samples held "
        f"back, the error of the widest net is, of the least: {listed}. "
        f"{'More width never harmed.' if all(stays.values()) else 'There is a limit, set by the noise of the data.'}"
    )
    numbers = {f"error held back at width 256 / least, {name}": held[name][-1] / min(held[name]) for name in TARGETS}
    holds = all(falls.values()) and all(stays.values())
    return Result(bool(holds), verdict, numbers, rows, draw(learned, held))


def draw(learned: dict[str, list[float]], held: dict[str, list[float]]) -> Figure:
    """Errors over the width, for each target."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    panels = figure.subplots(1, len(learned))
    for axes, name in zip(panels, learned, strict=True):
        axes.plot(WIDTHS, learned[name], "o-", label="learned")
        axes.plot(WIDTHS, held[name], "s--", label="held back")
        axes.set_title(name, fontsize=10)
        axes.set(xscale="log", yscale="log", xlabel="hidden units")
    panels[0].set(ylabel="error / deviation of the target")
    panels[0].legend(fontsize=8)
    return figure
