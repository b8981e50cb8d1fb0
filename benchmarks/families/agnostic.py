"""Weight-agnostic networks on digits, beside random wirings of the same size, each with one tuned weight.

The peer answers what the search adds: of as many genomes as the search has in 16 generations, each with as many hidden
nodes of each activation and as many connections as the net that was found, the one that does best with any weight, its
weight tuned in the same way. A fully connected net of one hidden layer with one weight for all is no peer: its hidden
units are all the same, and it stays at chance.
"""

import numpy as np
import torch

from commonweight import data
from commonweight.nets.agnostic import TUNED, AgnosticClassifier, entropy, respond
from commonweight.nets.topology_search import WEIGHTS, rewired
from families.case import Case, Score, timed, trained

N_RANDOM = 1024


def random_wirings(seed: int) -> Score:
    """The best of many random wirings of the size of the one that is found with the seed."""
    loaded = data.load("digits", seed=seed)
    x, y = loaded.normalisation.apply(loaded.x).flatten(1), loaded.y
    train_x, train_y = x[loaded.train], y[loaded.train]
    found = AgnosticClassifier(random_state=seed).fit(train_x.numpy(), train_y.numpy()).module_.genome
    rng, kept = np.random.default_rng(seed), []

    def search() -> None:
        wirings = [rewired(found, rng) for _ in range(N_RANDOM)]
        losses = entropy(wirings, train_x, train_y, torch.tensor(WEIGHTS))
        best = wirings[int(losses.mean(1).argmin())]
        kept.append((best, TUNED[entropy([best], train_x, train_y, TUNED)[0].argmin()]))

    seconds = timed(search)
    genome, weight = kept[0]
    answers = respond([genome], x[loaded.test], weight[None])[0, :, 0].argmax(0)
    return Score(float((answers == y[loaded.test]).double().mean()), seconds, 1, len(genome.connections))


CASES = (
    Case(
        "agnostic",
        "digits",
        "accuracy",
        trained("digits", "agnostic"),
        f"best of {N_RANDOM:,} random wirings of the same size, one tuned weight",
        random_wirings,
        "one weight for all connections",
        same_rule=False,
    ),
)
