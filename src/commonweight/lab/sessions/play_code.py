"""The view Play as Python: the program that it shows, which takes the same steps to the same numbers."""

import json
from pathlib import Path
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
{before}    loss = F.cross_entropy(net.train()(x[chosen]), y[chosen])
    {backward}
    optimizer.step()

with torch.no_grad():
    right = net.eval()(x[samples.validation]).argmax(1) == y[samples.validation]
print(f"loss of the last batch: {{loss.item():.6f}}, validation accuracy: {{right.float().mean().item():.4f}}")
"""

_PAINTED = """points = torch.tensor({points})
samples = prepare(
    Samples(name="painted", task="classification", x=points[:, :2], y=points[:, 2].long(), classes=("0", "1")), {seed}
)"""


_DROPOUT = "    torch.manual_seed({seed} + 10_000 * step)  # of what dropout takes out\n"
_PENALTY = """penalty = sum({l1} * w.abs().sum() + {l2} / 2 * w.square().sum() for w in weights_of(net))
    (loss + penalty).backward()"""


def dropout_seed(seed: int, step: int) -> int:
    """The seed of what dropout takes out in a step."""
    return seed + 10_000 * step


def program(settings: "PlaySettings", folder: Path, n_train: int, steps: int) -> str:
    """Python for these settings, from the start, with so many steps.

    Args:
        folder: of one's own files.
        n_train: samples of the training part.
    """
    painted = settings.data == "painted"
    penalised = bool(settings.l1 or settings.l2)
    points = [[float(number) for number in point] for point in settings.points or first_points()]
    source = str(folder / settings.file) if settings.data == "own" else settings.data
    load = f"samples = data.load({json.dumps(source, ensure_ascii=False)}, seed={settings.seed})"
    imports = "from commonweight.data.dataset import Samples, prepare\n" if painted else ""
    imports += "from commonweight.train.regularise import weights_of\n" if penalised else ""
    return _PROGRAM.format(
        imports=imports,
        load=_PAINTED.format(points=points, seed=settings.seed) if painted else load,
        cut=f" = samples.train[:{MOST_SAMPLES}]" if n_train >= MOST_SAMPLES else " = samples.train",
        net=settings.net,
        structure=settings.structure(),
        optimizer=written(settings.rule, settings.rate),
        before=_DROPOUT.format(seed=settings.seed) if settings.dropout else "",
        backward=_PENALTY.format(l1=settings.l1, l2=settings.l2) if penalised else "loss.backward()",
        batch=min(settings.batch, n_train),
        seed=settings.seed,
        steps=max(steps, 1),
    )
