"""First weights: by rule, with fan-in and fan-out counted in connections, whatever shares a weight.

    uniform, positive          random in [-1, 1], in [0, 1]: weights and biases     for inputs of mean 0 and deviation 1
    xavier-uniform, -normal    variance 2 / (fan-in + fan-out)          Glorot & Bengio 2010: sigmoid and tanh
    he                         variance 2 / fan-in, normal              He et al. 2015: ReLU
    lecun                      variance 1 / fan-in, normal              LeCun, Bottou, Orr, Müller 1998: tanh, SELU
    orthogonal                 rows of length 1, orthogonal             Saxe, McClelland, Ganguli 2014
    lsuv                       orthogonal, then layer by layer scaled to outputs of variance 1    Mishkin & Matas 2016
    autoencoder                each layer first learns to restore its input    Bengio et al. 2007; for mlps
    genetic                    xavier-uniform, then the best of a population evolved briefly; see `genetic`
    zero, constant             0, 0.1: nothing, or nothing different, is learned; to see why weights start at random

Biases start at 0 but for the first two and the last. Gains (of batch norm), lookups (embeddings), centres, and weights
that are frozen keep the start that their module gave them.

A weight that many connections use is drawn once. Its fan-in is the number of connections that reach an output unit of
the layers that use it, its fan-out that of connections that leave an input unit, both at the mean: `count` says them.
Counting weights instead, as is done where a weight has one connection, misses: a circulant layer of n weights has a
fan-in of n, not 1, and an encoder tied to its decoder serves two fan-ins.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from commonweight.census import count
from commonweight.errors import TrainError, require_kind, require_seed
from commonweight.patterns import Dense
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.genetic import evolve
from commonweight.train.layerwise import learn_layers, scale_layers

CONSTANT = 0.1
SAMPLE = 256
"""Training samples on which variances are measured and populations judged, at most."""
POPULATION, GENERATIONS = 32, 20
MAX_GENES = 1 << 22
"""Weights up to which a population of them is evolved: more take too much memory."""

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Place:
    """One parameter whose weights are in weighted sums, and where it stands.

    Attributes:
        weight: the parameter.
        fan_in, fan_out: see `ParameterCount`.
        layer: the module that uses it first.
        by_rows: whether each row, `weight[o]`, holds the weights of the output units of number o, as in matrices and
            convolutions.
    """

    weight: nn.Parameter
    fan_in: float
    fan_out: float
    layer: str
    by_rows: bool


Draw = Callable[[Place, Generator], Tensor]


def _uniform(low: float, high: float) -> Draw:
    return lambda place, generator: low + (high - low) * torch.rand(place.weight.shape, generator=generator)


def _normal(variance: Callable[[Place], float]) -> Draw:
    return lambda place, generator: variance(place) ** 0.5 * torch.randn(place.weight.shape, generator=generator)


def _xavier_uniform(place: Place, generator: Generator) -> Tensor:
    bound = (6 / (place.fan_in + place.fan_out)) ** 0.5
    return _uniform(-bound, bound)(place, generator)


def _orthogonal(place: Place, generator: Generator) -> Tensor:
    """Rows of length 1; each as many of them as fit (a gate of a recurrent cell) are orthogonal to each other.

    Weights that are no matrix have no rows: they get the same variance, 1 / fan-in, at random.
    """
    if not place.by_rows:
        return RULES["lecun"](place, generator)
    rows = torch.randn(place.weight.flatten(1).shape, generator=generator)
    blocks = []
    for block in torch.split(rows, rows.shape[1]):
        q, r = torch.linalg.qr(block.T)
        blocks.append((q * r.diagonal().sign()).T)  # with these signs, all directions are equally likely
    return torch.cat(blocks).reshape(place.weight.shape)


RULES: dict[str, Draw] = {
    "uniform": _uniform(-1, 1),
    "positive": _uniform(0, 1),
    "xavier-uniform": _xavier_uniform,
    "xavier-normal": _normal(lambda place: 2 / (place.fan_in + place.fan_out)),
    "he": _normal(lambda place: 2 / place.fan_in),
    "lecun": _normal(lambda place: 1 / place.fan_in),
    "orthogonal": _orthogonal,
    "lsuv": _orthogonal,
    "autoencoder": _xavier_uniform,
    "genetic": _xavier_uniform,
    "zero": _uniform(0, 0),
    "constant": _uniform(CONSTANT, CONSTANT),
}
WITH_BIASES = ("uniform", "positive", "constant")
INITS = ("auto", *RULES)


def initialise(
    model: nn.Module,
    rule: str,
    inputs: Tensor,
    targets: Tensor | None = None,
    *,
    loss: Loss | None = None,
    seed: int = 0,
) -> None:
    """Give a model its first weights, in place.

    Args:
        model: any module that takes `inputs`.
        rule: a name above; "auto" leaves the start that the model gave itself.
        inputs: the training part, normalised, shape (N, ...). Most rules take one sample, for the count; lsuv and
            genetic take `SAMPLE` of them, autoencoder all.
        targets, loss: what the answers should be, and the mean loss of outputs and targets; for genetic.
        seed: of all that is random; torch's own state stays as it was.

    Raises:
        TrainError: an unknown rule; a seed out of range; genetic without targets and loss, or for too many weights;
            autoencoder for a net that is no chain of linear layers.
        CensusError: a model that does not take these inputs.

    Example:
        >>> from commonweight import Tied, patterns
        >>> layer = Tied(patterns.circulant(400))
        >>> initialise(layer, "lecun", torch.zeros(1, 400))
        >>> round(layer.weight.std().item(), 2)  # 1 / √400, though the parameter has the shape (400,)
        0.05
    """
    require_kind(model, nn.Module, "initialise takes a torch.nn.Module", TrainError)
    require_kind(inputs, Tensor, "initialise takes normalised samples as a tensor", TrainError)
    if rule not in INITS:
        raise TrainError(f"Weights are initialised by one of {', '.join(INITS)}; got {rule!r}.")
    seed = require_seed(seed, TrainError)
    if rule == "auto":
        return
    generator = Generator().manual_seed(seed)
    found, biases = places(model, inputs[:1])
    _draw(rule, found, biases, generator)
    chosen = torch.randperm(len(inputs), generator=generator)[:SAMPLE].to(inputs.device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # what dropout draws by
        if rule == "lsuv":
            scale_layers(model, inputs[chosen], [(place.layer, place.weight) for place in found])
        elif rule == "autoencoder":
            learn_layers(model, inputs, generator)
    if rule == "genetic":
        if targets is None or loss is None:
            raise TrainError("A genetic start judges weights by their loss: give targets and loss.")
        _evolve(model, found, biases, (inputs[chosen], targets[chosen], loss), generator)


def places(model: nn.Module, sample: Tensor) -> tuple[list[Place], list[nn.Parameter]]:
    """The trainable parameters in weighted sums, in the order of their first use, and the biases of their layers."""
    census = count(model, sample)
    parameters, counts = dict(model.named_parameters()), {one.name: one for one in census.parameters}
    found: list[Place] = []
    biases: list[nn.Parameter] = []
    for layer in census.layers:
        first = [counts[name] for name in layer.parameters if name not in layer.shared and counts[name].weights]
        summed = [one for one in first if one.fan_in]
        for one in summed:
            weight = parameters[one.name]
            owner = model.get_submodule(one.name.rpartition(".")[0])
            found.append(Place(weight, one.fan_in, one.fan_out, layer.name, _by_rows(owner, weight)))
        if any(counts[name].fan_in for name in layer.parameters):
            biases += [parameters[one.name] for one in first if "bias" in one.name.rpartition(".")[2]]
    return found, biases


def _by_rows(module: nn.Module, weight: nn.Parameter) -> bool:
    pattern = getattr(module, "pattern", None)
    if pattern is not None:
        return isinstance(pattern, Dense) or getattr(pattern, "is_convolution", False)
    return weight.ndim == 2 or isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)


@torch.no_grad()
def _draw(rule: str, found: list[Place], biases: list[nn.Parameter], generator: Generator) -> None:
    for place in found:
        place.weight.copy_(RULES[rule](place, generator))
    for bias in biases:
        alone = Place(bias, 0, 0, "", by_rows=False)
        bias.copy_(RULES[rule if rule in WITH_BIASES else "zero"](alone, generator))


def _evolve(
    model: nn.Module,
    found: list[Place],
    biases: list[nn.Parameter],
    judged_by: tuple[Tensor, Tensor, Loss],
    generator: Generator,
) -> None:
    """The best of `POPULATION` sets of weights, each drawn by the rule, after `GENERATIONS` of them."""
    was_training = model.training
    net = FlatNet(model.eval())  # no dropout, so that the same weights are always as good
    model.train(was_training)
    if net.n > MAX_GENES:
        raise TrainError(
            f"A genetic start evolves {POPULATION} sets of weights, of at most {MAX_GENES:,} each; this net has "
            f"{net.n:,}: use xavier-uniform."
        )
    members = []
    for _ in range(POPULATION):
        _draw("genetic", found, biases, generator)
        members.append(net.read().cpu())
    objective = Objective(net, *judged_by)
    device = judged_by[0].device

    def cost(population: Tensor) -> Tensor:
        # One by one: recurrent cells do not run as a batch of nets, and few are judged.
        return torch.tensor([objective.value(theta) for theta in population.to(device)])

    population, _ = evolve(cost, torch.stack(members), generations=GENERATIONS, generator=generator)
    net.write(population[0].to(device))
