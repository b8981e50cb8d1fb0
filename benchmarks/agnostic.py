"""A population of weight-agnostic networks worked out as one, against a NumPy evaluator that goes node by node.

What      Outputs of every genome with the six shared weights for the 1,257 training images of digits (64 inputs):
          `nets.population`, 16 genomes and 256 images at a time, as the search does it,
          beginning with the genomes.
Against   The evaluator as Gaier & Ha 2019 publish theirs, written anew: a genome at a time, a weight at a time; a
          matrix of all nodes by all nodes in float64; for each node in topological order one product of all values with
          its column, then its activation.
Genomes   The populations of a search on digits, after 100 and after 600 generations, 128 genomes each.
Target    30 times the genome evaluations a second (an evaluation: one genome, six weights, all images).
Quality   Outputs are equal to 1e-5 in float64. In float32, in which the search runs, the share of outputs within 1e-5
          is told, and the largest difference: sine and cosine of large sums, and steps of sums near 0, are not
          defined to 1e-5 in float32.
How       In turns, after a warm-up; median and range of the turns. Both with the same number of threads.
Result    benchmarks/results/agnostic.md, with versions, hardware, date and n, written by this script:

    python benchmarks/agnostic.py [--turns 5] [--threads 2]
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import mean, median

import numpy as np
import torch
from machine import setting, write_result
from numpy.typing import NDArray
from torch import Tensor

from commonweight import data
from commonweight.kernels.native_library import instructions
from commonweight.nets.agnostic import GENOMES, SAMPLES, entropy, respond
from commonweight.nets.genome import NAMES, Genome
from commonweight.nets.population import Population
from commonweight.nets.topology_search import WEIGHTS, Rewards, evolve

POPULATION = 128
GENERATIONS = (100, 600)
Array = NDArray[np.float64]
FORMULAS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "step": lambda x: 1.0 * (x > 0.0),
    "sine": lambda x: np.sin(np.pi * x),
    "gaussian": lambda x: np.exp(-(x**2) / 2.0),
    "tanh": np.tanh,
    "sigmoid": lambda x: (np.tanh(x / 2.0) + 1.0) / 2.0,
    "inverse": lambda x: -x,
    "absolute": np.abs,
    "relu": lambda x: np.maximum(0.0, x),
    "cosine": lambda x: np.cos(np.pi * x),
}


def node_by_node(genome: Genome, x: Array) -> Array:
    """The peer: outputs of a genome, shape (6, B, n_out), for samples (B, n_in)."""
    order = np.argsort(genome.levels, kind="stable")
    place = np.argsort(order)
    matrix = np.zeros((genome.n_nodes, genome.n_nodes))
    for source, target in genome.connections:
        matrix[place[source], place[target]] = 1.0
    kinds = ["linear"] * genome.first_hidden + list(genome.hidden)
    outputs = []
    for weight in WEIGHTS:
        weighted = matrix * weight
        values = np.zeros((len(x), genome.n_nodes))
        values[:, : genome.n_in] = x
        values[:, genome.n_in] = 1.0
        for column in range(genome.first_output, genome.n_nodes):
            values[:, column] = FORMULAS[kinds[order[column]]](values @ weighted[:, column])
        outputs.append(values[:, place[genome.first_output : genome.first_hidden]])
    return np.stack(outputs)


def as_one(genomes: Sequence[Genome], x: Tensor) -> Iterator[Tensor]:
    """Ours: outputs of some genomes for some samples at a time, shape (16, n_out, 6, 256), as the search takes them."""
    weights = torch.tensor(WEIGHTS, dtype=x.dtype)[:, None]
    parts = [part.t().contiguous() for part in x.split(SAMPLES)]
    for start in range(0, len(genomes), GENOMES):
        population = Population(genomes[start : start + GENOMES])
        for part in parts:
            yield population(part, weights)


def populations(x: Tensor, y: Tensor) -> dict[int, list[Genome]]:
    """All genomes of some generations of a search on digits."""
    kept: dict[int, list[Genome]] = {}

    def fitness(genomes: Sequence[Genome], generation: int) -> Rewards:
        if generation + 1 in GENERATIONS:
            kept.setdefault(generation + 1, []).extend(genomes)
        batch = torch.from_numpy(np.random.default_rng(generation).permutation(len(x))[:256])
        return -entropy(genomes, x[batch], y[batch], torch.tensor(WEIGHTS)).numpy()

    evolve(fitness, x.shape[1], 10, population=POPULATION, generations=max(GENERATIONS), seed=0, first_connections=0.05)
    return kept


def check(genomes: Sequence[Genome], x: Tensor) -> tuple[float, float]:
    """Share of our float32 outputs within 1e-5 of the peer's, relative above 1, and the largest difference."""
    exact = torch.from_numpy(np.stack([node_by_node(genome, x.double().numpy()) for genome in genomes]))
    weights = torch.tensor(WEIGHTS)
    ours = respond(genomes, x.double(), weights.double()).permute(0, 2, 3, 1)
    single = respond(genomes, x, weights).permute(0, 2, 3, 1)
    torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-5)
    difference = (single - exact).abs() / exact.abs().clamp(min=1)
    return float((difference <= 1e-5).double().mean()), float(difference.max())


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(generation: int, genomes: Sequence[Genome], x: Tensor, turns: int) -> tuple[str, float]:
    """A row of the table, and how many times the evaluations a second of the peer ours are."""
    rows = x.double().numpy()
    some = genomes[:: len(genomes) // 16]
    within, largest = check(some, x)
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(len(genomes) / seconds(lambda: [part.shape for part in as_one(genomes, x)]))
        theirs.append(len(some) / seconds(lambda: [node_by_node(genome, rows) for genome in some]))
    ratio = median(ours) / median(theirs)
    sizes = [mean(len(genome.hidden) for genome in genomes), mean(len(genome.connections) for genome in genomes)]
    used = len({name for genome in genomes for name in genome.hidden})
    cells = [str(generation), *(f"{size:.0f}" for size in sizes), f"{used} of {len(NAMES)}"]
    cells += [f"{median(one):,.0f} ({min(one):,.0f} to {max(one):,.0f})" for one in (ours, theirs)]
    row = "| " + " | ".join([*cells, f"{ratio:.0f}", f"{within:.2%}", f"{largest:.1e}"]) + " |"
    print(row, flush=True)
    return row, ratio


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the evaluation of populations; writes the result file.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    digits = data.load("digits", seed=0)
    x = digits.normalisation.apply(digits.x[digits.train]).flatten(1)
    found = [compare(*one, x, options.turns) for one in populations(x, digits.y[digits.train]).items()]
    ratio = min(one for _, one in found)
    head = ["generation", "hidden nodes", "connections", "activations", "ours, a second", "node by node, a second"]
    head += ["times", "float32 within 1e-5", "largest difference"]
    text = f"""# A population of weight-agnostic networks as one network

Written by `python benchmarks/agnostic.py --turns {options.turns} --threads {options.threads}` on {setting()}, numpy
{np.__version__}, kernels: {instructions()}. {POPULATION} genomes, 6 shared weights, {len(x):,} images of digits;
evaluations a second, median and range of {options.turns} turns. Load of the machine in
the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors.

Target: 30 times the evaluations a second of the evaluator that goes node by node: {ratio:.0f} times,
**{"PASS" if ratio >= 30 else "FAIL"}**.

| {" | ".join(head)} |
{"| --- " * len(head)}|
{chr(10).join(row for row, _ in found)}

In float64 the outputs are equal to 1e-5 (asserted).
"""
    write_result("agnostic", text)


if __name__ == "__main__":
    main()
