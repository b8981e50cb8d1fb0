"""Zero, constant and saturating first weights stop learning; the rules that the articles name do not.

Two hidden layers of 64 and 32 tanh units learn scikit-learn's digits for 20 epochs of plain stochastic gradient descent
(rate 0.1, batches of 32), from weights by each rule of `commonweight train --init`, and from normal ones 100 times as
wide as LeCun's. `check_start` looks at one batch before the first step and says, layer by layer, whether the two
conditions of the articles hold: nothing saturated, nothing all zero; and a third that constant weights need, that the
units of a layer differ.

Half true in two places. "Stop" is too strong for constant weights: all units of a layer stay one and the same unit, so
that what learns is a net of one unit in each layer; and for saturating ones, whose output layer still learns on hidden
units that hardly move. And random weights in [-1, 1] or [0, 1], which the articles recommend, break the first of their
own conditions in layers with many inputs: with 64 inputs of deviation 1, a sum has a deviation of about 4.6.

Criterion: over 5 seeds, at the mean of the test accuracy, zero, constant and saturating weights end below 60 %; xavier
(uniform and normal), he, lecun, orthogonal, lsuv, autoencoder and genetic end above 93 % each. `check_start` finds a
fault in every start of the first kind and in none of the second. Uniform in [-1, 1] and in [0, 1] are shown, not
judged.
"""

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from commonweight import data, nets
from commonweight.claims import Result
from commonweight.measure.start import Start, check_start
from commonweight.nets.estimators import batches
from commonweight.train.initialise import initialise

SEEDS = range(5)
EPOCHS, BATCH, RATE, WIDE = 20, 32, 0.1, 100
STOPPED = ("zero", "constant", "saturating")
SHOWN = ("uniform", "positive")
RULES = ("xavier-uniform", "xavier-normal", "he", "lecun", "orthogonal", "lsuv", "autoencoder", "genetic")


def begin(rule: str, x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """The net with its first weights."""
    net = nets.build("mlp", (1, 8, 8), 10, seed=seed, structure={"hidden": (64, 32), "activation": "tanh"})
    initialise(net, "lecun" if rule == "saturating" else rule, x, y, loss=F.cross_entropy, seed=seed)
    if rule == "saturating":
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(WIDE)
    return net


def learn(rule: str, seed: int) -> tuple[float, Start, list[float]]:
    """Test accuracy, the check of the start, and the training loss of each epoch."""
    digits = data.load("digits", seed=seed)
    x, y = digits.normalisation.apply(digits.x[digits.train]), digits.y[digits.train]
    net, generator = begin(rule, x, y, seed), Generator().manual_seed(seed)
    start = check_start(net, (x[:200], y[:200]))
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    losses = []
    for _ in range(EPOCHS):
        total = 0.0
        for batch in batches(len(x), BATCH, 1, generator):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(batch) / len(x)
        losses.append(total)
    with torch.no_grad():
        answers = net(digits.normalisation.apply(digits.x[digits.test])).argmax(1)
    return float((answers == digits.y[digits.test]).double().mean()), start, losses


def run() -> Result:
    found = {rule: [learn(rule, seed) for seed in SEEDS] for rule in (*STOPPED, *SHOWN, *RULES)}
    accuracy = {rule: sum(one[0] for one in runs) / len(runs) for rule, runs in found.items()}
    alarms = {rule: sum(bool(one[1].findings) for one in runs) for rule, runs in found.items()}
    rows = [["first weights", "test accuracy", "saturated, worst layer", "starts with a fault"]]
    for rule, runs in found.items():
        worst = max(layer.saturated or 0 for one in runs for layer in one[1].layers)
        rows.append([rule, f"{accuracy[rule]:.1%}", f"{worst:.0%}", f"{alarms[rule]} of {len(runs)}"])
    stopped = all(accuracy[rule] < 0.6 and alarms[rule] == len(SEEDS) for rule in STOPPED)
    learned = all(accuracy[rule] > 0.93 and alarms[rule] == 0 for rule in RULES)
    lowest = min(RULES, key=accuracy.__getitem__)
    said = ", ".join(f"{rule} {accuracy[rule]:.0%}" for rule in STOPPED)
    verdict = (
        f"The starts that should stop learning end at {said} on the test part; of the rules, the lowest is {lowest} "
        f"with {accuracy[lowest]:.1%}. Uniform in [-1, 1] reaches {accuracy['uniform']:.1%}, in [0, 1] "
        f"{accuracy['positive']:.1%}. A fault was seen before the first step in {sum(alarms[r] for r in STOPPED)} of "
        f"{len(SEEDS) * len(STOPPED)} starts of the first kind, and in {sum(alarms[r] for r in RULES)} of "
        f"{len(SEEDS) * len(RULES)} of the rules'."
    )
    numbers = {f"test accuracy, {rule}": value for rule, value in accuracy.items()}
    losses = {rule: runs[0][2] for rule, runs in found.items()}
    return Result(stopped and learned, verdict, numbers, rows, draw(losses))


def draw(losses: dict[str, list[float]]) -> Figure:
    """Training loss by epoch, for the first seed; what should stop is dashed, what is only shown dotted."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, (rule, values) in enumerate(losses.items()):
        style = "--" if rule in STOPPED else ":" if rule in SHOWN else "-"
        axes.plot(range(1, EPOCHS + 1), values, style, color=f"C{number % 10}", label=rule)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
