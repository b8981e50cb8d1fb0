"""Self-organising maps: processor time to learn one, its quantisation and topographic error, against MiniSom and torch.

What      `SOM` (batch rule from principal components, 10 passes unless said): 20×20 units on all 1,797 digits, 50×50
          on all 5,000 images of mnist-5k, pixels from 0 to 1.
Against   MiniSom 2.3.6, 10 passes of its `train` in the order of the samples, learning rate 0.5, random samples as the
          first weights, Gaussian neighbourhood: with sigma 1 (its default) and the wider 1.5 and 3. Its batch rule
          (`train_batch_offline`) loops over samples in Python as well.
          fastersom 0.5.0 (torch, batch rule), its defaults; and with the same first weights and radii as ours, where
          the quantisation error must be ours. Of the torch libraries that install here it is the fastest: on digits,
          ksom 0.10.0 takes 4.4 s of the processor and torchsom 1.3.1 2.7 s, over 80 times ours.
Targets   A quantisation error of at most the peer's, MiniSom's time at least 20 times ours, and less time than
          fastersom; the topographic error stands beside. The file says PASS or FAIL for each pair of rows.
How       Seconds of the processor on one thread (other work on the machine then counts for little), median of the
          turns with their range, contenders in turns after a warm-up. Both errors of all maps are taken by the same
          code, in float64.
          50,000 updates of MiniSom on 50×50×784 weights take a quarter of an hour, so there it is timed on 500 of them,
          from which the whole follows, and its map is computed by our own online rule with MiniSom's radii and rates,
          which is checked to come to MiniSom's quantisation error to 0.5 % on these 500, and on all those of digits.
          (Not to its weights, which differ; why has not been examined.)
Needs     pip install minisom fastersom
Result    benchmarks/results/som_DATA.md, with versions, hardware, date and n, written by this script:

    python benchmarks/som.py [--data digits] [--turns 3]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import fastersom
import numpy as np
import torch
from machine import setting, write_result
from minisom import MiniSom
from sklearn.metrics import pairwise_distances
from torch import Tensor

from commonweight import data
from commonweight.nets.som import Grid
from commonweight.nets.som_estimators import SOM
from commonweight.nets.som_learning import learn_online, principal_start, shrinking

PASSES, RATE, FEW = 10, 0.5, 500
SIDES = {"digits": 20, "mnist-5k": 50}
HEAD = "| map | processor seconds | times ours | quantisation error | topographic error | target |"


@dataclass
class Contender:
    """A map that is learned in some seconds of the processor: weights of shape (units, F)."""

    name: str
    learn: Callable[[], Tensor]
    times: int = 1


def errors(weight: Tensor, x: Tensor, side: int) -> tuple[float, float]:
    """Mean distance to the nearest unit; the share of samples whose two nearest units are not among 8 neighbours."""
    far = pairwise_distances(x.double().numpy(), weight.double().numpy())
    nearest = np.argsort(far, axis=1)[:, :2]
    apart = np.abs(np.array(np.divmod(nearest[:, 0], side)) - np.array(np.divmod(nearest[:, 1], side))).max(0)
    return float(far.min(1).mean()), float((apart > 1).mean())


def ours(x: Tensor, side: int, **settings: float) -> Contender:
    def learn() -> Tensor:
        return SOM(side, side, random_state=0, **settings).fit(x.numpy()).module_.weight.detach()

    said = ", ".join(f"{name} {value}" for name, value in settings.items())
    return Contender(f"commonweight, {said}", learn)


def begun(x: Tensor, side: int, sigma: float) -> MiniSom:
    som = MiniSom(side, side, x.shape[1], sigma=sigma, learning_rate=RATE, random_seed=0)
    som.random_weights_init(x.double().numpy())
    return som


def minisom(x: Tensor, side: int, sigma: float) -> Contender:
    """All updates, or few of them that stand for all."""
    n_updates = PASSES * len(x)
    n_timed = n_updates if side == 20 else FEW
    samples = x.double().numpy()

    def learn() -> Tensor:
        som = begun(x, side, sigma)
        for t in range(n_timed):
            sample = samples[t % len(x)]
            som.update(sample, som.winner(sample), t, n_updates)
        return torch.from_numpy(som.get_weights().reshape(side * side, -1)).float()

    return Contender(f"MiniSom, sigma {sigma}", learn, n_updates // n_timed)


def as_minisom(x: Tensor, side: int, sigma: float, n_updates: int) -> Tensor:
    """The first updates of MiniSom, by our online rule: its rates and radii fall to a third, as 1 / (1 + 2 t / T)."""
    falling = 1 / (1 + 2 * torch.arange(n_updates) / (PASSES * len(x)))
    first = torch.from_numpy(begun(x, side, sigma).get_weights().reshape(side * side, -1)).float()
    order = torch.arange(n_updates) % len(x)
    grid = Grid(side, side, hexagonal=False, torus=False)
    return learn_online(first, x[order], grid, sigma * falling, RATE * falling)


def by_fastersom(x: Tensor, side: int, **settings: object) -> Contender:
    def learn() -> Tensor:
        som = fastersom.SOM(side, side, device="cpu", random_state=0, **settings)
        return torch.from_numpy(som.fit(x.numpy()).weights_)

    said = "as ours, first weights given" if "sigma_final" in settings else "defaults"
    return Contender(f"fastersom, {said}", learn)


def as_ours(x: Tensor, side: int, radius: float, final: float) -> dict[str, object]:
    """Settings with which fastersom goes through the radii that ours goes through."""
    factor = shrinking(radius, final, PASSES)[1] / radius
    first = principal_start(x, Grid(side, side, hexagonal=False, torus=False), 0)
    return {"init": first, "sigma_initial": radius, "sigma_final": radius * factor**PASSES, "n_epochs": PASSES}


def seconds(contender: Contender) -> tuple[float, Tensor]:
    started = time.process_time()
    weight = contender.learn()
    return contender.times * (time.process_time() - started), weight


def compare(x: Tensor, side: int, pair: list[Contender], least: float, turns: int) -> list[str]:
    """Rows of ours and a peer's; ours says whether its error is at most the peer's and its time `least` times less."""
    found: list[list[float]] = [[], []]
    weights = [seconds(contender)[1] for contender in pair]
    for _ in range(turns):
        for place, contender in enumerate(pair):
            found[place].append(seconds(contender)[0])
    if pair[1].times > 1:
        sigma = float(pair[1].name.split()[-1])
        check_as_minisom(weights[1], as_minisom(x, side, sigma, FEW), x, side)
        weights[1] = as_minisom(x, side, sigma, PASSES * len(x))
    found_errors = [errors(weight, x, side) for weight in weights]
    ratio = median(found[1]) / median(found[0])
    met = found_errors[0][0] <= found_errors[1][0] * 1.001 and ratio >= least
    told = [f"{least:g} times: {'**PASS**' if met else '**FAIL**'}" if least else "equal error", ""]
    rows = []
    for contender, taken, (quantisation, topographic), target in zip(pair, found, found_errors, told, strict=True):
        shown = f"{median(taken):.3g} ({min(taken):.3g} to {max(taken):.3g})"
        cells = [contender.name, shown, f"{median(taken) / median(found[0]):.1f}"]
        rows.append("| " + " | ".join([*cells, f"{quantisation:.4f}", f"{topographic:.3f}", target]) + " |")
        print(rows[-1], flush=True)
    if not least and not met:
        raise SystemExit(f"{pair[0].name} and {pair[1].name} are to come to the same map: errors {found_errors}")
    return rows


def check_as_minisom(theirs: Tensor, by_our_rule: Tensor, x: Tensor, side: int) -> None:
    """Refuse maps that are not equally near to the samples, to 0.5 %."""
    expected, found = errors(theirs, x, side), errors(by_our_rule, x, side)
    if abs(found[0] / expected[0] - 1) > 0.005:
        raise SystemExit(f"Our online rule comes to the errors {found}, MiniSom to {expected}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits", choices=list(SIDES))
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    name, turns = arguments.data, arguments.turns
    torch.set_num_threads(1)
    x, side = data.load(name, seed=0).x.flatten(1), SIDES[name]
    if side == 20:
        check_as_minisom(minisom(x, side, 1.0).learn(), as_minisom(x, side, 1.0, PASSES * len(x)), x, side)
    rows = []
    for sigma, final in ((1.0, 0.3), (1.5, 0.45), (3.0, 0.9)) if side == 20 else ((1.0, 0.3),):
        rows += compare(x, side, [ours(x, side, final_radius=final), minisom(x, side, sigma)], 20.0, turns)
    pair = [ours(x, side, max_iter=5, final_radius=0.5), by_fastersom(x, side)]
    rows += compare(x, side, pair, 1.0, turns)
    radius, final = side / 8, 0.5
    pair = [ours(x, side, final_radius=final), by_fastersom(x, side, **as_ours(x, side, radius, final))]
    rows += compare(x, side, pair, 0.0, turns)
    text = "\n".join(
        [
            f"# Self-organising maps: time and errors, {side}×{side} units on {name}",
            "",
            f"{setting()}; {turns} turns; written by `python benchmarks/som.py --data {name} --turns {turns}`. Each "
            "row of commonweight is compared with the row below it; its target is the peer's time "
            "divided by its own, at the same quantisation error or a lower one.",
            "",
            HEAD,
            "| --- " + "| ---: " * 4 + "| --- |",
            *rows,
            "",
            "Seconds of the processor, one thread: median (least to most)."
            + (
                f" The time of MiniSom is that of {FEW} updates, multiplied; its errors are those of our online rule "
                "with its radii and rates."
                if side == 50
                else ""
            ),
            "",
        ]
    )
    write_result(f"som_{name}", text)


if __name__ == "__main__":
    main()
