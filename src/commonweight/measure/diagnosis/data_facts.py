"""What a data set is like, as far as training can suffer from it; and what two plain methods make of it."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from commonweight.data.dataset import Data
from commonweight.data.normalise import Normalisation
from commonweight.measure.diagnosis.evidence import LARGEST, NAN, DataFacts

SAMPLES = 1000
"""At most so many training samples, and half as many for validation, are compared with each other."""
NEIGHBOURS = 15
CANDIDATES = 4
"""Training samples that are compared with a validation sample, at most."""


def data_facts(data: Data) -> DataFacts:
    """Look at the training and the validation part, never at the test part.

    Neighbours are nearest by the Euclidean distance of inputs that are normalised here, whatever normalisation the data
    came with.

    >>> from commonweight import data
    >>> facts = data_facts(data.load("iris"))
    >>> facts.counts, facts.constant, facts.reference > 0.9
    ((35, 35, 36), (), True)
    """
    classes = data.task == "classification"
    some = _some(data.train, SAMPLES)
    few = _some(data.validation, SAMPLES // 2)
    plain = Normalisation.fit(data.x, data.y, some)
    x, x_new = (plain.apply(data.x[index]).flatten(1) for index in (some, few))
    y, y_new = (_targets(data, index) for index in (some, few))
    distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
    own = _score(_voted(y, distance, 1), y, classes)
    many = _score(_voted(y, distance, min(NEIGHBOURS, len(x) - 1)), y, classes)
    to_new = torch.cdist(x_new, x)
    references = [_score(_voted(y, to_new, k), y_new, classes) for k in (1, 5) if k <= len(x)]
    if x.shape[1] <= LARGEST:
        references.append(_score(_ridge(x, y, x_new), y_new, classes))
    counts = torch.bincount(data.y[data.train], minlength=data.n_outputs).tolist() if classes else []
    sizes = torch.bincount(data.y[data.validation], minlength=data.n_outputs) if classes else torch.zeros(1)
    facts = DataFacts(
        task=data.task,
        n_train=len(data.train),
        n_validation=len(data.validation),
        n_outputs=data.n_outputs,
        values=x.shape[1],
        counts=tuple(counts),
        leaked=float(leaked(data).float().mean()),
        chance=float(sizes.max() / sizes.sum()) if classes else 0.0,
        reference=max(references),
        nearest=own,
        neighbours=many,
        train_deviation=1.0 if classes else _deviation(data.y[data.train]),
        validation_deviation=1.0 if classes else _deviation(data.y[data.validation]),
    )
    return _with_inputs(facts, data)


def leaked(data: Data) -> Tensor:
    """Which validation samples equal a training sample, value for value, target and all: bool of shape (n_validation,).

    Candidates have the same projection on one random line, up to rounding; then all values are compared. In a table of
    one coarse column, inputs alone agree often.
    """
    y = data.y[:, None] if data.y.ndim == 1 else data.y
    size = data.x[0].numel()
    line = torch.from_numpy(np.random.default_rng(0).standard_normal(size + y.shape[1], dtype=np.float32))
    train, validation = (
        data.x[index].flatten(1) @ line[:size] + y[index].float() @ line[size:]
        for index in (data.train, data.validation)
    )
    values, order = train.sort()
    rounding = 1e-5 * validation.abs().mean()
    place = torch.searchsorted(values, validation - rounding)
    found = torch.zeros(len(validation), dtype=torch.bool)
    for step in range(CANDIDATES):
        near = (place + step).clamp_max(len(values) - 1)
        some = (values[near] - validation).abs() <= rounding
        ours, theirs = data.validation[some], data.train[order[near[some]]]
        equal = [(part[ours] == part[theirs]).flatten(1).all(1) for part in (data.x, y)]
        found[some] |= equal[0] & equal[1]
    return found


def contradicting(data: Data, index: Tensor) -> Tensor:
    """Which of these samples have another class than most of their nearest training samples: bool, (len(index),).

    Wilson, "Asymptotic properties of nearest neighbor rules using edited data" (1972), with `NEIGHBOURS` neighbours.
    """
    plain = Normalisation.fit(data.x, data.y, data.train)
    x, y = plain.apply(data.x[data.train]).flatten(1), _targets(data, data.train)
    k = min(NEIGHBOURS, len(x) - 1)
    found = []
    for some in torch.split(index, SAMPLES):
        distance = torch.cdist(plain.apply(data.x[some]).flatten(1), x)
        distance[some[:, None] == data.train] = torch.inf
        found.append(_voted(y, distance, k).argmax(1) != data.y[some])
    return torch.cat(found)


def _some(index: Tensor, most: int) -> Tensor:
    """At most so many of them, evenly spaced."""
    return index if len(index) <= most else index[torch.linspace(0, len(index) - 1, most).long()]


def _targets(data: Data, index: Tensor) -> Tensor:
    """(N, T): one-hot classes, or the targets."""
    y = data.y[index]
    return torch.nn.functional.one_hot(y, data.n_outputs).float() if data.task == "classification" else y.float()


def _voted(y_NT: Tensor, distance_MN: Tensor, k: int) -> Tensor:
    """The mean target of the k nearest."""
    return y_NT[distance_MN.topk(k, largest=False).indices].mean(1)


def _ridge(x: Tensor, y: Tensor, x_new: Tensor) -> Tensor:
    """min ‖x w + b - y‖² + ‖w‖², by its normal equations, and what it says about `x_new`."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred + torch.eye(x.shape[1])
    weights: Tensor = torch.linalg.solve(gram, centred.T @ (y - mean_y))
    return (x_new - mean_x) @ weights + mean_y


def _score(said: Tensor, y: Tensor, classes: bool) -> float:
    """Accuracy, or R² pooled over the targets."""
    if classes:
        return float((said.argmax(1) == y.argmax(1)).float().mean())
    spread = float(((y - y.mean(0)) ** 2).sum())
    return 1 - float(((said - y) ** 2).sum()) / spread if spread else NAN


def _deviation(y: Tensor) -> float:
    return float(((y - y.mean(0)) ** 2).mean().sqrt())


def _with_inputs(facts: DataFacts, data: Data) -> DataFacts:
    """Add offset, spread and size of the normalised inputs, feature by feature, and the constant columns of a table."""
    x = data.normalisation.apply(data.x[_some(data.train, 5 * SAMPLES)])
    axes = [axis for axis in range(x.ndim) if axis != 1]
    mean, deviation = x.mean(axes), x.std(axes, correction=0)
    varies = deviation > 1e-6 * mean.abs().clamp_min(1e-6)
    constant = [] if x.ndim > 2 else (~varies).nonzero().flatten().tolist()
    some = deviation[varies]
    return replace(
        facts,
        constant=tuple(data.features[place] if data.features else str(place) for place in constant),
        offset=float((mean[varies].abs() / some).max()) if len(some) else 0.0,
        spread=float(some.max() / some.min()) if len(some) else 1.0,
        size=float((x**2).mean().sqrt()),
    )
