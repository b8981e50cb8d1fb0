"""LeNet-5 has 60,000 weights that serve 340,908 connections, layer by layer as published.

LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998) is where the articles take the term "shared weights" from; the net of
1989 for zip codes (LeCun et al.) is its forerunner and published the same kind of table. The counts below come out
of the nets themselves, by watching which connections a forward pass uses; the published numbers stand here only to
compare.

Half true where it is said of what goes by the name of LeNet-5 today: with average pooling instead of trainable
subsampling, each map of C3 on all maps of S2, and trained outputs, it is another net with another count. And the
published connections include those to a constant: biases, and in 1989 the background around the image.

Criterion: weights and connections of each layer and their sums are equal to both published tables, to the digit.
"""

import torch
from torch import nn

import commonweight as cw
from commonweight import nets
from commonweight.claims import Result

PUBLISHED = {  # weights and connections
    "lenet5": {
        "c1": (156, 122_304),
        "s2": (12, 5_880),
        "c3": (1_516, 151_600),
        "s4": (32, 2_000),
        "c5": (48_120, 48_120),
        "f6": (10_164, 10_164),
        "output": (0, 840),
        "sum": (60_000, 340_908),
    },
    "lenet1989": {
        "h1": (1_068, 19_968),
        "h2": (2_592, 38_592),
        "h3": (5_790, 5_790),
        "output": (310, 310),
        "sum": (9_760, 64_660),
    },
}
IN_SHAPE = {"lenet5": (1, 32, 32), "lenet1989": (1, 16, 16)}


def of_today() -> nn.Sequential:
    """What tutorials call LeNet-5."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def run() -> Result:
    rows = [["layer", "fully connected", "connections", "published", "weights", "published"]]
    wrong = 0
    numbers = {}
    for name, published in PUBLISHED.items():
        counted = cw.count(nets.build(name, IN_SHAPE[name], 10), torch.zeros(1, *IN_SHAPE[name]))
        found = {layer.name: (layer.weights, layer.connections, layer.full) for layer in counted.layers}
        found["sum"] = (counted.weights, counted.connections, counted.full)
        wrong += len(found.keys() ^ published.keys())
        for layer, (weights, connections) in published.items():
            ours = found.get(layer, (0, 0, 0))
            wrong += (ours[0] != weights) + (ours[1] != connections)
            cells = (ours[2], ours[1], connections, ours[0], weights)
            rows.append([f"{name} {layer}", *(f"{cell:,}" for cell in cells)])
        numbers[f"{name}: connections for each weight"] = counted.connections / counted.weights
    with torch.random.fork_rng():
        today = cw.count(of_today(), torch.zeros(1, *IN_SHAPE["lenet5"])).weights
    numbers |= {"numbers that differ from the published": wrong, "weights of what tutorials call LeNet-5": today}
    n_numbers = 2 * sum(map(len, PUBLISHED.values()))
    verdict = (
        f"{n_numbers - wrong} of {n_numbers} published numbers come out of the architectures to the digit. What "
        f"tutorials call LeNet-5 has {today:,} weights instead."
    )
    return Result(wrong == 0, verdict, numbers, rows)
