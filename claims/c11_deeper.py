"""With the same number of weights, 33, a deeper net expresses more than a wide one.

The articles set two small nets of 33 weights side by side. Here they are 1-4-4-1, two hidden layers of 4 units, with 33
weights and biases; and 1-11-1, one hidden layer of 11 units without a bias of its output, with 33. Two measures of what
they express. With ReLU such a net is made of straight pieces, 12 at the most if it is wide; pieces are counted in nets
with random weights and in fitted ones. And each net, with tanh and with ReLU, is fitted to 20 curves by 60 steps of
Levenberg-Marquardt, from 2 starts for each of 5 seeds, of which the best counts: what a net can express is asked here,
not what it finds from one start.

The curves are real: the first 20 series of GunPoint, a hand that draws a gun, or points, as height over 150 steps.

Half true is to be expected: depth can fold the line, so that pieces multiply, but a fold has to fit the curve; and with
so few weights much of a deep net goes into passing on what it has.

Criterion: by the median over 5 seeds, with both tanh and ReLU, the deeper net has the smaller error on at least two
thirds of the 20 curves.
"""

from statistics import median

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from commonweight import data
from commonweight.claims import Result
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.optimise import RULES

SEEDS, STARTS, CURVES, STEPS = range(5), 2, 20, 60
ACTIVATIONS = {"tanh": nn.Tanh, "ReLU": nn.ReLU}
LINE = torch.linspace(-1.7, 1.7, 20_001, dtype=torch.float64)[:, None]


def build(name: str, activation: str, seed: int) -> nn.Sequential:
    """The net, drawn in float64 with biases that put its bends all over the line."""
    f = ACTIVATIONS[activation]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == "wide":
            model = nn.Sequential(nn.Linear(1, 11), f(), nn.Linear(11, 1, bias=False))
        else:
            model = nn.Sequential(nn.Linear(1, 4), f(), nn.Linear(4, 4), f(), nn.Linear(4, 1))
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5)
                if layer.bias is not None:
                    nn.init.normal_(layer.bias)
    return model.double()


@torch.no_grad()
def pieces(model: nn.Sequential) -> int:
    """Straight pieces of a net with ReLU along the line: one more than its units change sides, together."""
    x, sides = LINE, []
    for layer in model:
        if isinstance(layer, nn.ReLU):
            sides.append(x > 0)
        x = layer(x)
    pattern = torch.cat(sides, 1)
    return 1 + int((pattern[1:] != pattern[:-1]).any(1).sum())


def fitted(name: str, activation: str, x: Tensor, y: Tensor, seed: int) -> tuple[float, nn.Sequential]:
    """The least mean squared error of the starts, and the net that has it."""
    best: tuple[float, nn.Sequential] | None = None
    for start in range(STARTS):
        model = build(name, activation, 100 * seed + start)
        objective = Objective(FlatNet(model), x, y, mse_loss, "squares")
        rule = RULES["lm"](model.parameters(), lr=1.0)
        for _ in range(STEPS):
            rule.step(objective)
        error = objective.value(objective.net.read())
        if best is None or error < best[0]:
            best = error, model
    assert best is not None
    return best


def curves() -> tuple[Tensor, Tensor]:
    """Time (150, 1), and heights (20, 150, 1) with mean 0 and deviation 1, in float64."""
    heights = data.load("gunpoint").x[:CURVES, 0].double()
    heights = (heights - heights.mean(1, keepdim=True)) / heights.std(1, keepdim=True)
    return torch.linspace(-1.7, 1.7, heights.shape[1], dtype=torch.float64)[:, None], heights[..., None]


def run() -> Result:
    x, heights = curves()
    rows = [["activation", "net", "median error", "better on curves", "pieces, random", "pieces, fitted"]]
    numbers, shares, ratios = {}, {}, {}
    for activation in ACTIVATIONS:
        error = {name: np.empty((CURVES, len(SEEDS))) for name in ("wide", "deep")}
        counted: dict[str, list[int]] = {"wide": [], "deep": []}
        for name, errors in error.items():
            for curve, y in enumerate(heights):
                for seed in SEEDS:
                    errors[curve, seed], model = fitted(name, activation, x, y, seed)
                    counted[name].append(pieces(model) if activation == "ReLU" else 0)
        wide, deep = (np.median(error[name], 1) for name in ("wide", "deep"))
        shares[activation], ratios[activation] = float((deep < wide).mean()), deep / wide
        for name, errors, better in (("wide", wide, wide < deep), ("deep", deep, deep < wide)):
            drawn = [pieces(build(name, "ReLU", seed)) for seed in range(200)]
            random, trained = (median(drawn), median(counted[name])) if activation == "ReLU" else ("", "")
            rows.append([activation, name, f"{np.median(errors):.2e}", str(better.sum()), str(random), str(trained)])
            numbers[f"median error, {activation}, {name}"] = float(np.median(errors))
        numbers[f"curves on which the deeper net is better, {activation}"] = int((deep < wide).sum())
    told = " and ".join(
        f"with {activation} on {numbers[f'curves on which the deeper net is better, {activation}']} of {CURVES} curves"
        f" (its error there and elsewhere {np.median(ratios[activation]):.2f} times that of the wide one at the median)"
        for activation in ACTIVATIONS
    )
    verdict = (
        f"The deeper net has the smaller error {told}. Depth is no gain by itself: with 33 weights, what it folds it "
        f"has to fold for the whole line."
        if min(shares.values()) < 2 / 3
        else f"The deeper net has the smaller error {told}."
    )
    return Result(min(shares.values()) >= 2 / 3, verdict, numbers, rows, draw(ratios, x, heights[0]))


def draw(ratios: dict[str, np.ndarray], x: Tensor, y: Tensor) -> Figure:
    """The ratio of errors for each curve, and one of the curves with what both nets make of it."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for activation, values in ratios.items():
        left.plot(np.sort(values), "o-", label=activation)
    left.axhline(1, color="gray", linewidth=0.8)
    left.set(yscale="log", xlabel="curves, sorted", ylabel="error of the deeper net / of the wide one")
    left.legend()
    right.plot(x, y, color="gray", linewidth=3, label="the curve")
    for name in ("wide", "deep"):
        _, model = fitted(name, "ReLU", x, y, 0)
        right.plot(x, model(x).detach(), label=f"{name}, ReLU")
    right.set(xlabel="time")
    right.legend()
    return figure
