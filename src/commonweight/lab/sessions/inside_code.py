"""The view Look inside as Python: the program that it shows, which takes the same steps to the same values."""

from commonweight.lab.sessions.inside_net import (
    CLASSES,
    FIRST_MAPS,
    SECOND_MAPS,
    SIDE,
    InsideSettings,
    out_size,
)
from commonweight.lab.sessions.rules import written

_PROGRAM = """import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from commonweight import Tied, data
from commonweight.patterns import conv2d

digits = data.load("mnist-5k", seed={seed})
x, y = F.avg_pool2d(digits.x, 2), digits.y  # 14×14
train = digits.train

torch.manual_seed({seed})
net = nn.Sequential(
    Tied(conv2d((1, {side}, {side}), {first}, kernel={kernel}, stride={stride}, padding={padding})), nn.ReLU(),
    nn.{pool}(2),
    Tied(conv2d(({first}, {pooled}, {pooled}), {second}, kernel=3, padding=1)), nn.ReLU(),
    nn.Flatten(), nn.Linear({second} * {pooled} * {pooled}, {classes}),
)
optimizer = {rule}
batches = len(train) // {batch}
for step in range({steps}):
    order = np.random.default_rng([{seed}, step // batches]).permutation(len(train))
    first = step % batches * {batch}
    chosen = train[order[first : first + {batch}]]
    optimizer.zero_grad()
    F.cross_entropy(net(x[chosen]), y[chosen]).backward()
    optimizer.step()

{image}
with torch.no_grad():
    right = (net(x[digits.validation]).argmax(1) == y[digits.validation]).float().mean()
    value = net[:{layers}](image)[0, {at}]
    print(f"validation accuracy {{right:.4f}}, the value {{value:.6f}}")
    print(net(image).softmax(1))
"""

_LAYERS = (1, 3, 4, 7)
"""Of the net, how many lead to each stage."""


def program(settings: InsideSettings, steps: int) -> str:
    """Python for these settings, from the start, with so many steps, that prints the value that is looked at."""
    first = out_size(SIDE, settings.kernel, settings.stride, settings.padding)
    image = f"image = x[digits.test][{settings.sample} : {settings.sample + 1}]"
    if settings.drawing:
        image = f'drawing = "{settings.drawing[1:]}"\n' + (
            f"image = torch.tensor([int(level, 16) / 15 for level in drawing]).reshape(1, 1, {SIDE}, {SIDE})"
        )
    return _PROGRAM.format(
        seed=settings.seed,
        side=SIDE,
        first=FIRST_MAPS,
        second=SECOND_MAPS,
        classes=CLASSES,
        kernel=settings.kernel,
        stride=settings.stride,
        padding=settings.padding,
        pool="MaxPool2d" if settings.pooling == "max" else "AvgPool2d",
        pooled=out_size(first, 2, 2, 0),
        rule=written(settings.rule, settings.rate),
        batch=settings.batch,
        steps=steps,
        image=image,
        layers=_LAYERS[settings.stage],
        at=settings.map if settings.stage == 3 else f"{settings.map}, {settings.row}, {settings.column}",
    )
