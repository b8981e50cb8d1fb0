"""Learning the layers one by one first shortens the training of a deep net.

A net of three hidden layers of 256 sigmoid units learns 3,500 handwritten digits (mnist-5k) by stochastic gradient
descent with momentum, from Xavier's random weights or from layers that were learned as restricted Boltzmann machines,
three epochs each. Counted are the epochs until 90 % of the validation digits are right, and processor time, also with
the time of the layers themselves.

That is what was found in 2006, with units and rules of learning of that time. The same net with ReLU, and with Adam
for sigmoids, are shown beside it, from random weights: what made training short since then is not pretraining.

Criterion: over 5 seeds, at the mean, the sigmoid net needs at most half as many epochs of gradient descent from
pretrained layers as from random weights, and less processor time even when that of pretraining is added.
"""

import time
from itertools import pairwise

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from commonweight import data
from commonweight.claims import Result
from commonweight.nets.boltzmann import ContrastiveDivergence, RestrictedBoltzmannMachine
from commonweight.nets.estimators import batches
from commonweight.nets.unit_interval import UnitInterval

SEEDS = range(5)
UNITS = (784, 256, 256, 256)
GOAL, MOST, BATCH, LAYER_EPOCHS = 0.9, 60, 50, 3
WAYS = ("random", "pretrained", "random, Adam", "random, ReLU")


def build(way: str) -> nn.Sequential:
    """Xavier's weights; of ReLU layers, He's."""
    layers: list[nn.Module] = []
    for low, high in pairwise(UNITS):
        layer = nn.Linear(low, high)
        nn.init.kaiming_normal_(layer.weight) if "ReLU" in way else nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU() if "ReLU" in way else nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(UNITS[-1], 10))


def pretrain(net: nn.Sequential, rows: Tensor, generator: Generator) -> None:
    """Each hidden layer as a restricted Boltzmann machine on the means of the layer below."""
    for layer in net[:-1:2]:
        machine = RestrictedBoltzmannMachine(layer.in_features, layer.out_features)
        rule = ContrastiveDivergence(machine, rows.mean(0), rate=0.1, momentum=0.5, generator=generator)
        for batch in batches(len(rows), BATCH, LAYER_EPOCHS, generator):
            rule.step(rows[batch])
        with torch.no_grad():
            layer.weight.copy_(machine.weight)
            layer.bias.copy_(machine.hidden_bias)
            rows = machine.hidden(rows)


def learn(way: str, seed: int) -> tuple[int, float, float, list[float]]:
    """Epochs to the goal (or `MOST`), seconds of pretraining and of the epochs, and accuracy after each epoch."""
    digits = data.load("mnist-5k", seed=seed)
    interval = UnitInterval(784).fit(digits.x[digits.train])
    rows, y = interval(digits.x[digits.train]), digits.y[digits.train]
    validation, validation_y = interval(digits.x[digits.validation]), digits.y[digits.validation]
    generator = Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build(way)
        started = time.process_time()
        if way == "pretrained":
            pretrain(net, rows, generator)
    pretraining = time.process_time() - started
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    optimizer = torch.optim.Adam(net.parameters()) if "Adam" in way else sgd
    accuracies, seconds = [], 0.0
    while len(accuracies) < MOST and (not accuracies or accuracies[-1] < GOAL):
        started = time.process_time()
        for batch in batches(len(rows), BATCH, 1, generator):
            optimizer.zero_grad()
            F.cross_entropy(net(rows[batch]), y[batch]).backward()
            optimizer.step()
        seconds += time.process_time() - started
        with torch.no_grad():
            accuracies.append(float((net(validation).argmax(1) == validation_y).double().mean()))
    return len(accuracies), pretraining, seconds, accuracies


def run() -> Result:
    outcomes = {way: [learn(way, seed) for seed in SEEDS] for way in WAYS}
    means = {way: np.mean([one[:3] for one in found], axis=0) for way, found in outcomes.items()}
    epochs = {way: mean[0] for way, mean in means.items()}
    total = {way: mean[1] + mean[2] for way, mean in means.items()}
    holds = bool(epochs["pretrained"] <= epochs["random"] / 2 and total["pretrained"] < total["random"])
    verdict = (
        f"From pretrained layers the goal is reached after {epochs['pretrained']:.1f} epochs, from random weights "
        f"after {epochs['random']:.1f}; with the time of pretraining that is {total['pretrained']:.1f} s against "
        f"{total['random']:.1f} s. Without any pretraining, Adam needs {epochs['random, Adam']:.1f} epochs and "
        f"{total['random, Adam']:.1f} s, ReLU {epochs['random, ReLU']:.1f} epochs and {total['random, ReLU']:.1f} s."
    )
    rows = [["first weights", "epochs to 90 %", "seconds of pretraining", "seconds of the epochs"]]
    rows += [[way, f"{mean[0]:.1f}", f"{mean[1]:.1f}", f"{mean[2]:.1f}"] for way, mean in means.items()]
    numbers = {f"epochs, {way}": float(value) for way, value in epochs.items()}
    numbers |= {f"processor seconds in all, {way}": float(value) for way, value in total.items()}
    return Result(holds, verdict, numbers, rows, draw(outcomes))


def draw(outcomes: dict[str, list[tuple[int, float, float, list[float]]]]) -> Figure:
    """Validation accuracy by epoch, a line for each seed."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for number, (way, found) in enumerate(outcomes.items()):
        for seed, one in enumerate(found):
            label = way if seed == 0 else None
            axes.plot(range(1, one[0] + 1), one[3], color=f"C{number}", alpha=0.7, label=label)
    axes.axhline(GOAL, color="grey", linewidth=0.8)
    axes.set(xlabel="epoch of gradient descent", ylabel="validation accuracy", xscale="log")
    axes.legend()
    return figure
