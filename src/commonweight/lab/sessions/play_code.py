"""The view Play as Python: the program that it shows, which takes the same steps to the same numbers."""

from typing import TYPE_CHECKING

from commonweight.lab.sessions.play_data import MOST_SAMPLES, first_points
from commonweight.lab.sessions.rules import written

if TYPE_CHECKING:
    from commonweight.lab.sessions.play import PlaySettings

_PROGRAM = """import numpy as np
import torch
from torch.nn import functional as F

from commonweight import data, nets
{imports}
{load}
x, y = samples.normalisation.apply(samples.x), samples.y
train{cut}

net = nets.build("{net}", samples.in_shape, samples.n_outputs, seed={seed}, structure={structure})
optimizer = {optimizer}
batches = len(train) // {batch}
for step in range({steps}):
    order = np.random.default_rng([{seed}, step // batches]).permutation(len(train))
    first = step % batches * {batch}
    chosen = train[order[first : first + {batch}]]
    optimizer.zero_grad()
    loss = F.cross_entropy(net.train()(x[chosen]), y[chosen])
    loss.backward()
    optimizer.step()

with torch.no_grad():
    right = net.eval()(x[samples.validation]).argmax(1) == y[samples.validation]
print(f"loss of the last batch: {{loss.item():.6f}}, validation accuracy: {{right.float().mean().item():.4f}}")
"""

_PAINTED = """points = torch.tensor({points})
samples = prepare(
    Samples(name="painted", task="classification", x=points[:, :2], y=points[:, 2].long(), classes=("0", "1")), {seed}
)"""


def program(settings: "PlaySettings", subject: str, n_train: int, steps: int) -> str:
    """Python for these settings, from the start, with so many steps.

    Args:
        subject: the file that is learned, if it is one.
        n_train: samples of the training part.
    """
    painted = settings.data == "painted" and not subject
    points = [[float(number) for number in point] for point in settings.points or first_points()]
    mlp = {"hidden": list(settings.hidden), "activation": settings.activation}
    load = f'samples = data.load("{subject or settings.data}", seed={settings.seed})'
    return _PROGRAM.format(
        imports="from commonweight.data.dataset import Samples, prepare\n" if painted else "",
        load=_PAINTED.format(points=points, seed=settings.seed) if painted else load,
        cut=f" = samples.train[:{MOST_SAMPLES}]" if n_train >= MOST_SAMPLES else " = samples.train",
        net=settings.net,
        structure=mlp if settings.net == "mlp" else {"width": 8},
        optimizer=written(settings.rule, settings.rate, settings.decay),
        batch=min(settings.batch, n_train),
        seed=settings.seed,
        steps=max(steps, 1),
    )
