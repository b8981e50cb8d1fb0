"""What a rule may know beside the records: facts about data, net, loss and settings, stored with the run as plain JSON.

So a finished run is diagnosed from its folder alone, without its data.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from commonweight.errors import FileError
from commonweight.measure.records import Record, plain, typed

NAN = float("nan")
LARGEST = 1024
"""Values of a sample up to which ridge regression is tried."""


@dataclass(frozen=True)
class DataFacts:
    """What the data is like. Scores are accuracies, or R² for regression.

    Attributes:
        task: classification or regression.
        n_train, n_validation: samples.
        n_outputs: classes or values.
        values: numbers that a sample is made of; 0 where unknown.
        counts: training samples of each class; empty for regression.
        leaked: share of the validation samples that are also in the training part, value for value.
        constant: names (or numbers) of the columns of a table that are constant in the training part.
        offset: largest |mean| / deviation of a normalised feature, over the training part.
        spread: largest deviation of a normalised feature, divided by the smallest; constant ones apart.
        size: root mean square of the normalised inputs.
        chance: score of always giving the most frequent class; 0 for regression.
        reference: the better validation score of two plain methods, nearest neighbours and ridge regression.
        nearest, neighbours: share of training samples whose label is that of their nearest neighbour, and that of most
            of their 15 nearest neighbours, themselves apart; for regression R² of the same predictions.
        train_deviation, validation_deviation: of the targets of a regression, pooled over the targets.
    """

    task: str
    n_train: int
    n_validation: int
    n_outputs: int
    values: int = 0
    counts: tuple[int, ...] = ()
    leaked: float = 0.0
    constant: tuple[str, ...] = ()
    offset: float = 0.0
    spread: float = 1.0
    size: float = 1.0
    chance: float = 0.0
    reference: float = NAN
    nearest: float = NAN
    neighbours: float = NAN
    train_deviation: float = 1.0
    validation_deviation: float = 1.0

    @property
    def known_by_neighbours(self) -> bool:
        """Whether the plain methods can know what labels follow from: not from fewer large samples than values."""
        return self.values <= LARGEST or self.n_train >= self.values

    @property
    def varies(self) -> bool:
        """Whether the inputs differ at all: if not, that is what is wrong with them."""
        return self.size > 0


@dataclass(frozen=True)
class ModelFacts:
    """What the net is like before the first step.

    Attributes:
        n_weights: trainable ones.
        narrowest: units of its narrowest hidden layer; 0 if there is none.
        frozen: modules none of whose weights learn.
        zero, alike: modules whose weights are all 0; whose units all have the same weights.
        norms: its batch normalisations.
        broken_ties: declared ties that do not hold, as equations.
        signals: for each layer of the first record, the deviation from sample to sample of what it is fed, 0 where
            unknown, and of its outputs.
        straight: pairs "a -> b" of linear layers without an activation between.
        cut: modules that hand on a signal, but no gradient.
        squashed: the activation that the outputs went through, such as "Sigmoid"; empty if none, or a (log) softmax.
    """

    n_weights: int = 0
    narrowest: int = 0
    frozen: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    broken_ties: tuple[str, ...] = ()
    signals: tuple[tuple[float, ...], ...] = ()
    straight: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    squashed: str = ""


@dataclass(frozen=True)
class LossFacts:
    """What the loss makes of the outputs of the first batch.

    Attributes:
        probabilities: whether the outputs are ≥ 0 and add up to 1 for each sample.
        log_probabilities: whether their exponentials do.
        shift_invariant: whether the loss stays the same when a number is added to all outputs, as one with a softmax.
        linear: whether twice the outputs give twice the loss, as the negative log likelihood does.
        pull: how well the loss pulls the outputs to the targets. For classification the cosine between the descent of
            the loss and the way to the right class, onehot - softmax(outputs), over all outputs of the batch; for
            regression 1 - ‖∇loss(targets)‖ / ‖∇loss(targets + 1)‖, 1 if the targets are where it rests,
            and negative if it leads away from them.
    """

    probabilities: bool = False
    log_probabilities: bool = False
    shift_invariant: bool = False
    linear: bool = False
    pull: float = 1.0


@dataclass(frozen=True)
class Evidence:
    """All facts of a run.

    Attributes:
        data, model, loss: None where nothing is known of them, as in a loop of the user's own.
        optimizer, rate, batch_size: the settings; an empty name and 0 where unknown. The rate of a rule that works out
            its own steps is 0.
        steps: optimiser steps planned; 0 where unknown.
        start: the record of the first step, whose layers are as the net began; None before it.
        nonfinite: the first tensor with a value that is not finite, such as "output of hidden2"; empty while all are.
        ended: whether training is over.
        recalls: share of the validation samples of each class that the best weights answer rightly; empty till the end.
    """

    data: DataFacts | None = None
    model: ModelFacts | None = None
    loss: LossFacts | None = None
    optimizer: str = ""
    rate: float = 0.0
    batch_size: int = 0
    steps: int = 0
    start: Record | None = None
    nonfinite: str = ""
    ended: bool = False
    recalls: tuple[float, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values for run.json; numbers that are not finite become strings, as in the records."""
        start = None if self.start is None else self.start.to_line()
        told: dict[str, Any] = plain(asdict(replace(self, start=None)) | {"start": start})
        return {name: value for name, value in told.items() if value is not None}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "Evidence":
        """Read back what `to_json` wrote.

        Raises:
            FileError: an entry is missing, is something else, or contradicts another.

        >>> facts = Evidence(optimizer="sgd", rate=0.1, model=ModelFacts(n_weights=3, frozen=("conv1",)))
        >>> Evidence.from_json(facts.to_json()) == facts
        True
        """
        try:
            values = dict(stored)
            parts: dict[str, Any] = {
                name: typed(kind, values.pop(name)) for name, kind in PARTS.items() if name in values
            }
            start = Record.from_line(values.pop("start")) if "start" in values else None
            evidence: Evidence = replace(typed(Evidence, values), **parts, start=start)
            _require_sound(evidence)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise FileError(f"The stored evidence of a run is damaged ({error}); train it anew.") from error
        return evidence


PARTS = {"data": DataFacts, "model": ModelFacts, "loss": LossFacts}


def _require_sound(evidence: Evidence) -> None:
    """Refuse numbers that no run has, of which a rule could not make anything.

    Raises:
        ValueError: as said.
    """
    data, model, start = evidence.data, evidence.model, evidence.start
    if data and (min(data.n_train, data.n_validation, *data.counts, 1) < 0 or not data.n_train * data.n_validation):
        raise ValueError("a part or a class has a number of samples that cannot be")
    if data and data.counts and sum(data.counts) != data.n_train:
        raise ValueError(f"{sum(data.counts)} samples of classes, but {data.n_train} of training")
    if model and start and len(model.signals) != len(start.layers):
        raise ValueError(f"{len(model.signals)} signals, but {len(start.layers)} layers")
    if model and any(len(pair) != 2 for pair in model.signals):
        raise ValueError("a signal is two numbers, before and after a layer")
