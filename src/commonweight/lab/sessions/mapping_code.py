"""The view Map as Python: the program that it shows, which takes the same steps to the same errors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commonweight.lab.sessions.mapping import MapSettings

_PROGRAM = """import torch

from commonweight import data
from commonweight.nets.som import SelfOrganisingMap
from commonweight.nets.som_learning import {names}

samples = data.load("{data}", seed={seed})
x = samples.x[samples.train].flatten(1)  # the map never sees the labels

torch.manual_seed({seed})
net = SelfOrganisingMap(
    x.shape[1:], {classes}, rows={rows}, columns={columns}, hexagonal={hexagonal}, torus={torus}
)
net.weight.data = {start}

{learning}
print(f"quantisation error {{net.quantisation_error(x):.4f}}, topographic error {{net.topographic_error(x):.4f}}")
print(net.u_matrix())
print(net.winners(samples.x[samples.test])[:10])  # where the first test samples land: row · {columns} + column
"""

_BATCH = """for radius in shrinking({radius}, {final}, {passes})[:{steps}]:
    net.weight.data = learn_batch(net.weight.data, x, net.grid, [radius])
"""

_ONLINE = """generator = torch.Generator().manual_seed({seed})
order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range({passes})])
radii = torch.tensor(shrinking({radius}, {final}, len(order)))
rates = torch.tensor(shrinking({rate}, {rate} / 100, len(order)))
for step in range({steps}):
    some = slice(step * {together}, (step + 1) * {together})
    net.weight.data = learn_online(net.weight.data, x[order[some]], net.grid, radii[some], rates[some])
"""


def program(settings: "MapSettings", steps: int, together: int, final: float) -> str:
    """Python for these settings, from the start, with so many steps.

    Args:
        together: samples that the online rule takes in one step.
        final: the last radius.
    """
    batch, components = settings.learning == "batch", settings.start == "components"
    words = {
        "data": settings.data,
        "seed": settings.seed,
        "rows": settings.rows,
        "columns": settings.columns,
        "hexagonal": settings.grid == "hexagons",
        "torus": settings.edges == "torus",
        "classes": "len(samples.classes)",
        "radius": settings.radius,
        "final": final,
        "passes": settings.passes,
        "rate": settings.rate,
        "steps": steps,
        "together": together,
    }
    start = f"principal_start(x, net.grid, {settings.seed})"
    names = ["learn_batch" if batch else "learn_online", *(["principal_start"] if components else []), "shrinking"]
    return _PROGRAM.format(
        **words,
        names=", ".join(names),
        start=start if components else "x.mean(0) + 0.3 * x.std(0) * net.weight.data",
        learning=(_BATCH if batch else _ONLINE).format(**words),
    )
