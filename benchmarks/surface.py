"""What evaluating many points of a loss surface as one batch of nets saves, and what cannot be saved.

What      The loss of a batch of samples at 31 × 31 points of weight space, by `measure.surface.evaluate`: many nets at
          once by the compiled perceptrons or by vmap, or one by one where a single net keeps the processor busy.
Against   A Python loop that sets the weights of the net for each point and evaluates it. Equal losses are asserted.
Target    10 times as fast.
Bound     What the layers after the first take by themselves, whose weights and inputs are at hand and stay in the
          cache: a net of its own at each point has to compute them, whatever is shared between points. (The sums of the
          first layer are linear in a point's coordinates, so they alone could be had from three products for all
          points.) They are run by the compiled perceptrons or by torch, whichever is faster. Where even this is
          slower than a tenth of the loop, the target cannot be reached here.
How       As many threads as torch takes by itself; alternating, n repeats after a warm-up; medians, and of the ratios
          also the smallest and the largest.
Result    benchmarks/results/surface.md, written by this script (a minute):

    python benchmarks/surface.py [--repeats 7]
"""

import argparse
import time
from statistics import median

import torch
from machine import setting, write_result
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import data, nets
from commonweight.kernels.chains import answers, chain_of
from commonweight.measure import surface

SIDE, TARGET = 31, 10  # the side that `commonweight surface` takes by default
CASES = [
    ("xor", "mlp", {"hidden": [4]}, 4),
    ("iris", "mlp", {"hidden": [10]}, 10),
    ("iris", "mlp", {"hidden": [10]}, 30),
    ("iris", "mlp", {"hidden": [10]}, 106),
    ("diabetes", "mlp", {"hidden": [10]}, 30),
    ("diabetes", "mlp", {"hidden": [10]}, 300),
    ("iris", "mlp", {}, 10),
    ("iris", "mlp", {}, 106),
    ("digits", "mlp", {}, 200),
    ("digits", "cnn", {}, 200),
]


def timed(work, *arguments) -> tuple[float, Tensor]:
    """Seconds, and what came out."""
    started = time.perf_counter()
    found = work(*arguments)
    return time.perf_counter() - started, found


@torch.no_grad()
def later_layers(model: nn.Sequential, x: Tensor, together: int = 32) -> float:
    """Seconds, for a net, of its layers from the second linear one or convolution on."""
    layers = list(model)
    second = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Linear | nn.Conv2d)][1]
    inputs, rest = nn.Sequential(*layers[:second])(x), nn.Sequential(*layers[second:])
    alone, _ = timed(rest, inputs)
    chain = chain_of(rest, inputs)
    if not chain:
        return alone
    rows = surface.weight_row(rest).expand(together, -1).contiguous()
    return min(alone, timed(answers, chain, rows, inputs)[0] / together)


def row(name: str, net: str, structure: dict, n_samples: int, repeats: int) -> str:
    """One line of the table."""
    loaded = data.load(name)
    model = nets.build(net, loaded.in_shape, loaded.n_outputs, task=loaded.task, structure=structure).eval()
    chosen = loaded.train[torch.linspace(0, len(loaded.train) - 1, n_samples).long()]
    x = loaded.normalisation.apply(loaded.x[chosen])
    y = loaded.normalisation.apply_target(loaded.y[chosen])
    loss = F.cross_entropy if loaded.task == "classification" else F.mse_loss
    axis = torch.linspace(-1, 1, SIDE)
    points = torch.cartesian_prod(axis, axis)
    given = (model, loss, x, y, surface.weight_row(model), surface.random_directions(model), points)
    seconds = []
    for repeat in range(repeats + 1):
        each, one_by_one = timed(surface.evaluate_one_by_one, *given)
        batch, together = timed(surface.evaluate, *given)
        torch.testing.assert_close(together, one_by_one, rtol=1e-3, atol=1e-4)
        bound = min(later_layers(model, x) for _ in range(20))
        if repeat:  # the first one warms up
            seconds.append((each / len(points), batch / len(points), bound))
    ratios = sorted(each / batch for each, batch, _ in seconds)
    micro = [1e6 * median(column) for column in zip(*seconds, strict=True)]
    n_weights = sum(weight.numel() for weight in model.parameters())
    how = "one by one" if n_weights * n_samples > surface.PRODUCTS else "vmap"
    how = "compiled" if chain_of(model, x) else how
    cells = [f"{name}, {net} {structure.get('hidden', '')}", f"{n_weights:,}", f"{n_samples}", how]
    cells += [f"{value:.3g}" for value in micro]
    at_most = micro[0] / micro[2]
    verdict = "PASS" if median(ratios) >= TARGET else "FAIL"
    if verdict == "FAIL" and at_most < TARGET:
        verdict += f": at most {at_most:.1f} here"
    cells += [f"{median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})", verdict]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Loss surfaces: many nets at once beside one by one.")
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    heads = ["net", "weights", "samples", "how", "loop, µs a point", "`evaluate`, µs", "later layers alone, µs"]
    heads += ["ratio (least to most)", "≥ 10"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for case in CASES:
        lines.append(row(*case, repeats))
        print(lines[-1], flush=True)
    text = [
        "# Loss surfaces",
        "",
        f"Written by `python benchmarks/surface.py --repeats {repeats}` on {setting()}.",
        "Time for a point of 31 × 31; equal losses are asserted. What many nets at once save is the",
        "cost of calling operators, 50 µs and more for a net; what a net computes, each has to. *Later layers alone*:",
        "what those after the first take by the fastest means here, their weights at hand. They are computed at each",
        "point in any case, so loop / later layers bounds the ratio.",
        "",
        *lines,
        "",
    ]
    write_result("surface", "\n".join(text))


if __name__ == "__main__":
    main()
