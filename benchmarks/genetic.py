"""A generation of the genetic algorithm against pygad's: same population, same net, same samples.

What      `train.genetic.evolve` with `train.flat.Objective.values`: a population of 100 nets 4-10-3 with tanh, the
          cross entropy on the 106 training samples of iris.
Against   pygad 3.9: with pygad.torchga, its own way to the weights of a torch net; and with the net and the loss
          written in numpy by hand, the fastest that its interface takes, which is one member at a time.
Target    20 times pygad.torchga in seconds for a generation, at no worse a loss after GENERATIONS generations.
How       In turns, RUNS seeds, one thread; seconds of the processor for a generation: a run of GENERATIONS
          generations, divided. Loss: the best member's at the end.
Needs     pip install --no-deps pygad cloudpickle
Result    benchmarks/results/genetic.md, with versions, hardware, date and n, written by this script:

    OMP_NUM_THREADS=1 python benchmarks/genetic.py
"""

import time
import warnings
from importlib.metadata import version
from statistics import median

import numpy as np
import pygad
import pygad.torchga
import torch
from machine import setting, write_result
from torch import Generator, nn
from torch.nn.functional import cross_entropy

from commonweight import data
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.genetic import evolve, first_population

SEEDS, MEMBERS, GENERATIONS = range(5), 100, 100

IRIS = data.load("iris")
X, Y = IRIS.normalisation.apply(IRIS.x[IRIS.train]), IRIS.y[IRIS.train]


def make(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 3))


def by_ours(seed: int) -> tuple[float, float]:
    """Seconds for a generation, and the loss of the best member at the end."""
    net = FlatNet(make(seed))
    objective, generator = Objective(net, X, Y, cross_entropy), Generator().manual_seed(seed)
    started = time.process_time()
    population = first_population(net.read(), net.sizes, MEMBERS, generator)
    _, costs = evolve(objective.values, population, generations=GENERATIONS, generator=generator)
    return (time.process_time() - started) / GENERATIONS, float(costs[0])


def run_pygad(seed: int, fitness: object) -> tuple[float, float]:
    """The same of pygad, with that function of fitness: minus the loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        algorithm = pygad.GA(
            num_generations=GENERATIONS, num_parents_mating=MEMBERS // 2, sol_per_pop=MEMBERS, num_genes=83,
            fitness_func=fitness, init_range_low=-0.5, init_range_high=0.5, random_seed=seed, suppress_warnings=True,
        )  # fmt: skip
        started = time.process_time()
        algorithm.run()
        seconds = time.process_time() - started
    return seconds / GENERATIONS, -max(algorithm.last_generation_fitness)


def by_torchga(seed: int) -> tuple[float, float]:
    model = make(seed)

    def fitness(algorithm: pygad.GA, member: np.ndarray, index: int) -> float:
        with torch.no_grad():
            outputs = pygad.torchga.predict(model=model, solution=member, data=X)
            return -float(cross_entropy(outputs, Y))

    return run_pygad(seed, fitness)


def by_numpy(seed: int) -> tuple[float, float]:
    x, y, rows = X.numpy(), Y.numpy(), np.arange(len(Y))

    def fitness(algorithm: pygad.GA, member: np.ndarray, index: int) -> float:
        hidden = np.tanh(x @ member[:40].reshape(4, 10) + member[40:50])
        scores = hidden @ member[50:80].reshape(10, 3) + member[80:]
        scores -= scores.max(1, keepdims=True)
        return -float((np.log(np.exp(scores).sum(1)) - scores[rows, y]).mean())

    return run_pygad(seed, fitness)


def main() -> None:
    torch.set_num_threads(1)
    contenders = {"commonweight": by_ours, "pygad.torchga": by_torchga, "pygad, numpy by hand": by_numpy}
    by_ours(0)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for seed in SEEDS:
        for name, run in contenders.items():
            found[name].append(run(seed))
            print(seed, name, found[name][-1], flush=True)
    ours = median(seconds for seconds, _ in found["commonweight"])
    loss = {name: median(cost for _, cost in runs) for name, runs in found.items()}
    if loss["commonweight"] > min(loss.values()):
        raise SystemExit(f"The loss of commonweight is not the least: {loss}")
    rows, ratios = [], {}
    for name, runs in found.items():
        seconds = [one for one, _ in runs]
        ratios[name] = median(seconds) / ours
        shown = f"{1000 * median(seconds):.2f} ms ({1000 * min(seconds):.2f} to {1000 * max(seconds):.2f})"
        rows.append(f"| {name} | {shown} | {ratios[name]:.1f} | {loss[name]:.3f} |")
    reached = ratios["pygad.torchga"]
    text = f"""# A generation of the genetic algorithm

{setting()}; pygad {version("pygad")}. Written by `benchmarks/genetic.py`, which says how.

{MEMBERS} nets 4-10-3 on iris, {GENERATIONS} generations, {len(SEEDS)} seeds; medians and their range.

| | a generation | times ours | loss at the end |
| --- | --- | --- | --- |
{chr(10).join(rows)}

Target: pygad.torchga takes 20 times as long. {"Met." if reached >= 20 else f"Not met: {reached:.1f} times."}
"""
    write_result("genetic", text)


if __name__ == "__main__":
    main()
