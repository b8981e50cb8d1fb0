"""Weight-agnostic networks (Gaier & Ha 2019, arXiv:1906.04358): one weight for all; the wiring does the work.

    value of a node = its activation of w · Σ of the values that lead to it

with the same w everywhere, the pattern `single`. What is learned is who is connected to whom and which activation each
node has (`nets.topology_search`), such that the net does well with whatever w; then w alone is tuned. From the paper
differ: a connection that an inserted node has split is not kept to be switched on again, but may be added anew.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from commonweight import patterns
from commonweight.errors import NetError
from commonweight.nets.estimators import ModuleClassifier, require_whole, seed_of
from commonweight.nets.genome import ACTIVATIONS, NAMES, Genome, checked
from commonweight.nets.population import Population
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.nets.topology_search import WEIGHTS, Rewards, evolve
from commonweight.tied import Tied
from commonweight.views import View

TUNED = torch.linspace(-3, 3, 121)
"""The shared weights among which `AgnosticClassifier` picks one in the end."""
GENOMES, SAMPLES = 16, 256
"""So many are worked out at a time, so that their outputs stay in the cache."""
PICTURE = (240, 360)
"""Height and width of the drawn net, in pixels."""
BAND = 8
"""Height of the answers of a class, in pixels."""


class Agnostic(nn.Module):
    """A network with a given wiring.

    Args:
        in_shape: of one sample, which is made flat.
        n_outputs: classes or values.
        hidden: activation of each hidden node, of `genome.ACTIVATIONS`; none by default.
        connections: pairs (from, to) of node numbers: inputs from 0, then a constant 1, outputs, hidden nodes; by
            default every input and the constant to every output.
        shared: whether all connections use one weight; otherwise each has its own, for gradients to train.

    Attributes:
        weight: the weight of all connections, shape (1,), first 1; None if it is not shared.
        levels: for each level, the connections to its nodes from all nodes before: a `Tied` table, whose weights are
            tied to `weight`.

    Shapes: x (B, *in_shape) -> (B, n_outputs).

    Raises:
        NetError: sizes that are no whole numbers from 1, or a genome that cannot be computed; see `genome.checked`.

    Example:
        >>> net = Agnostic((2,), 1, hidden=("tanh",), connections=[(0, 4), (1, 4), (4, 3), (2, 3)])
        >>> _ = net.weight.data.fill_(0.5)
        >>> net(torch.tensor([[1.0, 2.0]]))  # 0.5 · (1 + tanh(0.5 · (1 + 2)))
        tensor([[0.9526]], grad_fn=<IndexBackward0>)
        >>> sum(parameter.numel() for parameter in net.parameters())
        1
    """

    weight: nn.Parameter | None

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_outputs: int,
        hidden: Sequence[str] | None = None,
        connections: Iterable[Sequence[int]] | None = None,
        shared: bool = True,
    ) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        super().__init__()
        self.genome = genome = checked(int(np.prod(in_shape)), n_outputs, hidden, connections)
        computed = np.arange(genome.first_output, genome.n_nodes)
        order = computed[np.lexsort((genome.kinds, genome.levels[computed]))]
        self.order = [*range(genome.first_output), *order.tolist()]
        place = np.argsort(self.order)
        rows: list[list[int]] = [[] for _ in range(genome.n_nodes)]
        for source, target in genome.connections:
            rows[target].append(int(place[source]))
        self.levels, self.kinds = nn.ModuleList(), []
        before = genome.first_output
        for level in range(1, genome.levels.max() + 1):
            nodes = [node for node in order if genome.levels[node] == level]
            pattern: patterns.Pattern = patterns.table([rows[node] for node in nodes], before)
            if shared:
                pattern = patterns.compose(pattern, weights_of=patterns.single(1, pattern.n_connections))
            self.levels.append(Tied(pattern, bias="none"))
            kinds, sizes = np.unique(genome.kinds[np.subtract(nodes, genome.first_output)], return_counts=True)
            self.kinds.append(([NAMES[kind] for kind in kinds], sizes.tolist()))
            before += len(nodes)
        self.outputs = place[genome.first_output : genome.first_hidden].tolist()
        self.weight = nn.Parameter(torch.ones(1)) if shared else None
        for tied in self.levels:
            if self.weight is None:
                nn.init.ones_(tied.get_parameter("weight"))
            else:
                tied.weight = self.weight

    def forward(self, x: Tensor) -> Tensor:
        """The sentence above."""
        values = torch.cat([x.flatten(1), x.new_ones(len(x), 1)], 1)
        for tied, (names, sizes) in zip(self.levels, self.kinds, strict=True):
            parts = tied(values).split(sizes, 1)
            values = torch.cat([values, *(ACTIVATIONS[name](part) for name, part in zip(names, parts, strict=True))], 1)
        return values[:, self.outputs]

    @torch.no_grad()
    def respond(self, x: Tensor, weights: Sequence[float] | Tensor) -> Tensor:
        """Outputs with each of K shared weights, shape (K, B, n_outputs)."""
        outputs = respond([self.genome], x.flatten(1), torch.as_tensor(weights))
        return outputs[0].permute(1, 2, 0)

    def ensemble(self, x: Tensor) -> Tensor:
        """Mean of the probabilities of the classes over the six shared weights of the search, shape (B, n_outputs)."""
        return self.respond(x, WEIGHTS).softmax(2).mean(0)

    def unshared(self) -> "Agnostic":
        """The same wiring with a weight for each connection, which begins at the shared one.

        Raises:
            NetError: each has its own already.
        """
        if self.weight is None:
            raise NetError("Each connection of this net has a weight of its own already: copy it with copy.deepcopy.")
        genome = self.genome
        net = Agnostic((genome.n_in,), genome.n_out, genome.hidden, genome.connections, shared=False).to(self.weight)
        for parameter in net.parameters():
            nn.init.constant_(parameter, self.weight.item())
        return net

    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """The wiring, and how the answers depend on the shared weight."""
        right = self.respond(inputs, TUNED).argmax(2) == targets
        response = torch.stack([right[:, targets == label].double().mean(1) for label in sorted(set(targets.tolist()))])
        return [
            View(
                "Wiring",
                f"{len(self.genome.connections):,} connections, all of one weight, from the inputs (left, the constant "
                f"at the bottom) by levels to the outputs (right).",
                drawn(self.genome)[None],
            ),
            View(
                "Answers by shared weight",
                "Share of right answers for each class (down), with the shared weight from -3 (left) to 3 (right): "
                "white is all.",
                response.repeat_interleave(BAND, 0)[None],
            ),
        ]


def respond(genomes: Sequence[Genome], x: Tensor, weights: Tensor) -> Tensor:
    """Outputs of P genomes with K shared weights for samples (B, n_in): shape (P, n_out, K, B)."""
    population = Population(genomes)
    return torch.cat([population(part.t().contiguous(), weights[:, None]) for part in torch.split(x, SAMPLES)], 3)


def drawn(genome: Genome) -> Tensor:
    """A picture of the connections, each a line between its nodes: levels from left to right, outputs last."""
    level = genome.levels.copy()
    level[genome.first_output : genome.first_hidden] = level.max()
    column = level / level.max() * (PICTURE[1] - 1)
    row = np.empty(genome.n_nodes)
    for number in np.unique(level):
        here = np.flatnonzero(level == number)
        row[here] = (np.arange(len(here)) + 0.5) / len(here) * (PICTURE[0] - 1)
    picture, along = torch.zeros(PICTURE), np.linspace(0, 1, max(PICTURE))[:, None]
    source, target = genome.pairs.T
    y = row[source] + along * (row[target] - row[source])
    x = column[source] + along * (column[target] - column[source])
    picture[y.round().astype(np.int64), x.round().astype(np.int64)] = 1.0
    return picture


class AgnosticClassifier(ModuleClassifier):
    """Search a wiring for the classes, then tune its one weight.

    The reward of a net with a weight is minus its cross-entropy on a sample of the training rows, drawn anew in each
    generation. The weight is the one of least cross-entropy on all of them.

    Args:
        population: nets in a generation.
        max_iter: generations.
        batch_size: rows that a generation is judged by.
        first_connections: share of the possible connections that a net begins with; by default about 3 for each output,
            and at most half.
        tournament: of so many nets, the best becomes a parent.
        random_state: of the search.

    Attributes:
        module_: an `Agnostic`, with one weight.
        structure_: its hidden nodes and connections.
        n_iter_: generations.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> x = (x - x.mean(0)) / x.std(0)
        >>> AgnosticClassifier(population=32, max_iter=60, random_state=0).fit(x, y).score(x, y) > 0.8
        True
    """

    def __init__(
        self,
        population: int = 64,
        max_iter: int = 1000,
        batch_size: int = 256,
        first_connections: float | None = None,
        tournament: int = 8,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.population = population
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.first_connections = first_connections
        self.tournament = tournament
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Search and tune.

        Args:
            X: shape (N, F).
            y: labels, shape (N,).

        Raises:
            ValueError: values that are not finite, only one class, or a budget below 1.
        """
        x, index = self.encode(X, y)
        require_whole(self, 1, "population", "max_iter", "batch_size", "tournament")
        seed, n_classes = seed_of(self.random_state), len(self.classes_)
        weights = torch.tensor(WEIGHTS)

        def fitness(genomes: Sequence[Genome], generation: int) -> Rewards:
            batch = torch.from_numpy(np.random.default_rng([seed, generation]).permutation(len(x))[: self.batch_size])
            return -entropy(genomes, x[batch], index[batch], weights).numpy()

        genome = evolve(
            fitness,
            x.shape[1],
            n_classes,
            population=self.population,
            generations=self.max_iter,
            seed=seed,
            tournament=self.tournament,
            first_connections=min(0.5, 3.2 / x.shape[1]) if self.first_connections is None else self.first_connections,
        )
        self.structure_: dict[str, Any] = {
            "hidden": list(genome.hidden),
            "connections": [list(pair) for pair in genome.connections],
        }
        net = Agnostic((x.shape[1],), n_classes, **self.structure_)
        nn.init.constant_(net.get_parameter("weight"), float(TUNED[entropy([genome], x, index, TUNED)[0].argmin()]))
        self.module_ = net
        self.n_iter_ = self.max_iter
        return self


def entropy(genomes: Sequence[Genome], x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy of P genomes with K shared weights, float64 of shape (P, K).

    Args:
        x: samples, shape (B, n_in).
        index: their classes, shape (B,).
        weights: shape (K,).
    """
    if len(genomes) > GENOMES:
        parts = (genomes[at : at + GENOMES] for at in range(0, len(genomes), GENOMES))
        return torch.cat([entropy(part, x, index, weights) for part in parts])
    outputs = respond(genomes, x, weights)
    answers = outputs.gather(1, index.expand(len(outputs), 1, len(weights), -1))[:, 0]
    return (outputs.logsumexp(1) - answers).double().mean(2)
