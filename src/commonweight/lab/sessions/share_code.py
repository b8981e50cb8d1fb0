"""The view Share as Python: the program that it shows, which takes the same steps to the same numbers."""

import re

from commonweight.lab.sessions.rules import written
from commonweight.lab.sessions.share_net import WINDOWED, ShareSettings

_PROGRAM = '''import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from commonweight import Tied, codebook, data
from commonweight.patterns import {names}

digits = data.load("digits", seed={seed})
x = torch.zeros(len(digits), 1, 12, 12)
x[:, :, 2:10, 2:10] = 2 * digits.x  # a digit in the middle of an empty canvas


class Net(nn.Module):
    """A layer that shares its weights as the pattern says; {head_words}; the classes."""

    def __init__(self, pattern):
        super().__init__()
        self.layer = Tied(pattern, bias="none")
        self.bias = nn.Parameter(torch.zeros({maps}))
        self.classes = nn.Linear({n_seen}, 10)

    def forward(self, x):
        maps = self.layer(x.reshape(len(x), *self.layer.pattern.in_shape)).reshape(len(x), {maps}, 144)
        return self.classes({head})

    def with_pattern(self, pattern):
        """The same net with another pattern, and the weights whose matrix is nearest to the present one."""
        net, matrix = Net(pattern), self.layer.pattern.tiemap().expand(self.layer.weight.flatten())
        with torch.no_grad():
            net.layer.weight.copy_(pattern.tiemap().project(matrix).reshape(net.layer.weight.shape))
            net.bias.copy_(self.bias)
        net.classes.load_state_dict(self.classes.state_dict())
        return net


torch.manual_seed({seed})
{make}
control = tied.with_pattern({control})  # the same start, a weight for each connection
print(tied.layer.weight.numel(), "weights, tied;", control.layer.weight.numel(), "weights, untied")

nets = (tied, control)
optimizers = [{rule} for net in nets]
batches = len(digits.train) // {batch}
for step in range({steps}):
    order = np.random.default_rng([{seed}, step // batches]).permutation(len(digits.train))
    first = step % batches * {batch}
    chosen = digits.train[order[first : first + {batch}]]
    for net, optimizer in zip(nets, optimizers, strict=True):
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), digits.y[chosen]).backward()
        optimizer.step()

right = [(net(x[digits.validation]).argmax(1) == digits.y[digits.validation]).float().mean() for net in nets]
print(f"validation accuracy: tied {{right[0]:.4f}}, untied {{right[1]:.4f}}")
'''


def program(settings: ShareSettings, notation: str, steps: int) -> str:
    """Python for these settings, from the start, with so many steps.

    Args:
        notation: of the pattern.
    """
    dense = f"dense(144, {settings.maps} * 144)"
    if settings.pattern == "codebook":
        learned = f'codebook.learn(tied.layer.weight.detach(), {settings.values}, per="tensor")[0]'
        make = f"tied = Net({dense})\ntied = tied.with_pattern({learned})"
    else:
        make = f"tied = Net({notation})"
    side = settings.kernel
    window = f"local((1, 12, 12), {settings.maps}, kernel={side}, padding={side // 2})"
    control = window if settings.pattern in WINDOWED else dense
    largest = settings.head == "largest"
    return _PROGRAM.format(
        names=", ".join(sorted(set(re.findall(r"\b([a-z]\w*)\(", f"{make} {control}")) & _NAMES)),
        maps=settings.maps,
        n_seen=settings.maps if largest else f"{settings.maps} * 144",
        head="F.relu(maps.amax(2) + self.bias)" if largest else "F.relu(maps + self.bias[:, None]).flatten(1)",
        head_words="the largest answer of each map" if largest else "all units of all maps",
        make=make,
        control=control,
        rule=written(settings.rule, settings.rate),
        batch=settings.batch,
        seed=settings.seed,
        steps=max(steps, 1),
    )


_NAMES = {"conv2d", "tiled", "local", "dense", "kron", "circulant", "symmetric", "single"}
