"""A perceptron cannot do XOR, two layers can; after the hidden layer the classes are linearly separable.

Whether classes are linearly separable is decided by linear programming: is there a plane with all samples on the right
side? Two problems: the four points of XOR; and on real data a relative of it, whether a handwritten digit is odd or
even, for the samples of the training part.

Half true in three places. That two layers *can* does not mean that gradients find it: with the least number of hidden
units, two, they often end in a local minimum, which is shown beside and not judged. A hidden layer that makes classes
separable is nothing but a net that has learned all its samples, since its output layer is that plane. And the layer
need not have learned: enough random units do it as well (Cover 1965), shown beside for as many units.

Criterion: (1) XOR is not separable, and over 20 seeds no perceptron gets more than three points right; the two layers
of McCulloch-Pitts neurons get all four, and so do all of 20 nets with 8 hidden tanh units trained by gradients, whose
hidden states are separable. (2) In each of 5 seeds, odd and even digits are not separable, and the states of a trained
hidden layer of 32 units are.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import linprog
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import data
from commonweight.claims import Result
from commonweight.nets.mlp import MLP
from commonweight.nets.neuron import PerceptronClassifier, exclusive_or

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR = torch.tensor([0, 1, 1, 0])
XOR_SEEDS, DIGIT_SEEDS = range(20), range(5)
UNITS = 32


def separable(x: Tensor, y: Tensor) -> bool:
    """Whether some plane has class 1 on one side and class 0 on the other: y (w·x + b) ≥ 1 for all samples."""
    sides = np.where(y.numpy() == 1, 1.0, -1.0)
    rows = sides[:, None] * np.column_stack([x.detach().double().numpy(), np.ones(len(x))])
    answer = linprog(np.zeros(rows.shape[1]), A_ub=-rows, b_ub=-np.ones(len(rows)), bounds=(None, None))
    return bool(answer.status == 0)


def trained(x: Tensor, y: Tensor, units: int, steps: int, seed: int) -> MLP:
    """A net with one hidden layer of tanh units, by Adam on all samples at once."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = MLP(x.shape[1:], 2, hidden=(units,), activation="tanh")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


def states(net: nn.Module, x: Tensor) -> Tensor:
    """What the hidden layer makes of samples."""
    return net.hidden1_state(net.hidden1(net.flat(x)))


def odd_or_even(seed: int) -> dict[str, bool | float]:
    """Separability of the training part before and after a hidden layer, and what it is worth on the test part."""
    digits = data.load("digits", seed=seed)
    x, y = digits.normalisation.apply(digits.x).flatten(1), digits.y % 2
    train, test = (x[digits.train], y[digits.train]), (x[digits.test], y[digits.test])
    net, fresh = trained(*train, UNITS, 600, seed), trained(*train, UNITS, 0, seed)
    line = PerceptronClassifier(random_state=seed).fit(*(part.numpy() for part in train))
    return {
        "pixels": separable(*train),
        "trained": separable(states(net, train[0]), train[1]),
        "random": separable(states(fresh, train[0]), train[1]),
        "score of the net": float((net(test[0]).argmax(1) == test[1]).double().mean()),
        "score of the perceptron": line.score(*(part.numpy() for part in test)),
    }


def run() -> Result:
    lines = [PerceptronClassifier(random_state=seed).fit(CORNERS.numpy(), XOR.numpy()) for seed in XOR_SEEDS]
    best_line = max(line.score(CORNERS.numpy(), XOR.numpy()) for line in lines)
    built = torch.equal(exclusive_or()(CORNERS).flatten().long(), XOR)
    nets = {units: [trained(CORNERS, XOR, units, 1000, seed) for seed in XOR_SEEDS] for units in (2, 8)}
    right = {units: sum(torch.equal(net(CORNERS).argmax(1), XOR) for net in nets[units]) for units in nets}
    parted = {units: sum(separable(states(net, CORNERS), XOR) for net in nets[units]) for units in nets}
    digits = [odd_or_even(seed) for seed in DIGIT_SEEDS]
    total = {key: sum(outcome[key] for outcome in digits) for key in ("pixels", "trained", "random")}
    mean = {key: float(np.mean([outcome[key] for outcome in digits])) for key in digits[0] if key.startswith("score")}
    n, k = len(XOR_SEEDS), len(DIGIT_SEEDS)
    corner = not separable(CORNERS, XOR) and best_line <= 0.75 and built and right[8] == parted[8] == n
    holds = corner and total["pixels"] == 0 and total["trained"] == k
    verdict = (
        f"XOR is {'' if separable(CORNERS, XOR) else 'not '}separable, and the best perceptron gets "
        f"{4 * best_line:.0f} of 4 points; with 8 hidden units {right[8]} of {n} nets learn it, with the least number, "
        f"2, only {right[2]}. Odd and even digits are separable in {total['pixels']} of {k} seeds by their pixels, in "
        f"{total['trained']} after a trained layer of {UNITS} units, in {total['random']} after a random one; on the "
        f"test part the perceptron gets {mean['score of the perceptron']:.1%}, the net {mean['score of the net']:.1%}."
    )
    rows = [
        ["problem", "seen", "separable in"],
        ["XOR", "the inputs", f"{n * separable(CORNERS, XOR)} of {n} seeds"],
        *[["XOR", f"{units} trained hidden units", f"{parted[units]} of {n} seeds"] for units in nets],
        ["odd or even digit", "the pixels", f"{total['pixels']} of {k} seeds"],
        ["odd or even digit", f"{UNITS} random hidden units", f"{total['random']} of {k} seeds"],
        ["odd or even digit", f"{UNITS} trained hidden units", f"{total['trained']} of {k} seeds"],
    ]
    numbers = {
        "points of XOR that the best perceptron gets right": int(4 * best_line),
        "nets of 2 hidden units that learn XOR, of 20": right[2],
        "nets of 8 hidden units that learn XOR, of 20": right[8],
        "test accuracy, odd or even, perceptron": mean["score of the perceptron"],
        "test accuracy, odd or even, 32 hidden units": mean["score of the net"],
    }
    learned = next(net for net in nets[2] if torch.equal(net(CORNERS).argmax(1), XOR))
    return Result(holds, verdict, numbers, rows, draw(learned))


@torch.no_grad()
def draw(net: MLP) -> Figure:
    """XOR before and after a hidden layer of two units that learned it, with the line that the output layer draws."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    before, after = figure.subplots(1, 2)
    side = torch.linspace(-0.2, 1.2, 100)
    grid = torch.cartesian_prod(side, side)
    margin = net(grid) @ torch.tensor([-1.0, 1.0])
    before.contour(side, side, margin.reshape(100, 100).T, levels=[0], colors="grey")
    points(before, CORNERS)
    before.set(title="inputs", xlabel="$x_1$", ylabel="$x_2$")
    w = net.output.weight[1] - net.output.weight[0]
    b = float(net.output.bias[1] - net.output.bias[0])
    after.axline((float(-b * w[0] / w.square().sum()), float(-b * w[1] / w.square().sum())),
                 (float(-b * w[0] / w.square().sum() - w[1]), float(-b * w[1] / w.square().sum() + w[0])),
                 color="grey")  # fmt: skip
    points(after, states(net, CORNERS))
    after.legend(fontsize=8)
    after.set(title="states of two hidden units", xlabel="unit 1", ylabel="unit 2", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
    return figure


def points(axes: Axes, x: Tensor) -> None:
    """The four points, class 1 orange."""
    for k, marker in ((0, "o"), (1, "s")):
        axes.plot(*x[k == XOR].T, marker, label=f"XOR = {k}", markersize=8)
