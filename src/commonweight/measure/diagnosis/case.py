"""What a rule is handed: the records, the facts, and what follows from both, above all whether learning suffers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from commonweight.measure.diagnosis.evidence import NAN, Evidence
from commonweight.measure.diagnosis.finding import Finding
from commonweight.measure.records import LayerStatistics, Record

STANDARD_ERRORS = 2.0
LEAST_MARGIN = 0.02
WELL_LEARNED = 0.98
HALVED = 0.5
HALF = 0.5
HUGE = 1e150
"""Whose square is no finite number any more."""


@dataclass(frozen=True)
class Case:
    """A run so far.

    Attributes:
        records: one for each check, in order; at least one.
        evidence: what else is known.
    """

    records: tuple[Record, ...]
    evidence: Evidence

    @property
    def last(self) -> Record:
        return self.records[-1]

    @cached_property
    def progress(self) -> float:
        """The share of the planned steps that is done; 1 where no plan is known."""
        return self.last.step / self.evidence.steps if self.evidence.steps else 1.0

    @property
    def has_rate(self) -> bool:
        """Whether a learning rate decides the steps, as far as is known."""
        return self.evidence.rate > 0 or not self.evidence.optimizer

    @property
    def early(self) -> bool:
        """Whether training goes on and is not half done: it may still come to what it does not reach yet."""
        return not self.evidence.ended and self.progress < HALF

    @property
    def goes_on(self) -> bool:
        """Whether there are steps left, as far as is known."""
        return not self.evidence.ended and self.progress < 1

    @cached_property
    def finite(self) -> bool:
        return all(math.isfinite(record.loss) for record in self.records)

    @cached_property
    def validation(self) -> list[float]:
        """The validation score of each record: accuracy or R², NaN where unknown."""
        return [self._score(r.validation_metric, "validation_deviation") for r in self.records]

    @cached_property
    def training(self) -> list[float]:
        """The training score of each record, of the samples just learned from."""
        return [self._score(r.metric, "train_deviation") for r in self.records]

    @cached_property
    def best(self) -> float:
        """The best validation score so far; NaN where unknown."""
        return max((score for score in self.validation if math.isfinite(score)), default=NAN)

    @cached_property
    def trained(self) -> float:
        """The best training score so far; NaN where unknown."""
        return max((score for score in self.training if math.isfinite(score)), default=NAN)

    @cached_property
    def reference(self) -> float:
        """What two plain methods reach on the validation part; NaN where unknown."""
        return self.evidence.data.reference if self.evidence.data else NAN

    @cached_property
    def margin(self) -> float:
        """By how much a score on the validation part may differ by chance: two standard errors, at least 2 points."""
        data = self.evidence.data
        if data is None or math.isnan(self.reference):
            return LEAST_MARGIN
        n = data.n_validation + 4  # two more of each kind: no score is certain (Agresti & Coull 1998)
        p = (min(max(self.reference, 0.0), 1.0) * data.n_validation + 2) / n
        return max(LEAST_MARGIN, STANDARD_ERRORS * math.sqrt(p * (1 - p) / n))

    @cached_property
    def gap_error(self) -> float:
        """The standard error of the difference between the best training and the best validation score.

        Of a share p of n samples √(p (1 - p) / n), of R² √(4 R² (1 - R²)² / n) (Olkin & Finn 1995); both parts are
        taken as independent.
        """
        data = self.evidence.data
        if data is None:
            return 0.0
        total = 0.0
        for score, n in ((self.trained, data.n_train), (self.best, data.n_validation)):
            p = min(max(score, 0.0), 1.0)
            total += (p * (1 - p) if data.task == "classification" else 4 * p * (1 - p) ** 2) / n
        return math.sqrt(total)

    @cached_property
    def drop(self) -> float:
        """The last training loss as a share of the first; NaN for losses that are not above 0."""
        start = self.evidence.start.loss if self.evidence.start else self.records[0].loss
        return self.last.loss / start if start > 0 and self.last.loss > 0 else NAN

    @cached_property
    def lags(self) -> bool:
        """Whether the net does worse than the plain methods, by more than chance allows; not told of an early stage.

        While there are steps left that may make it better, by twice as much.
        """
        if not self.finite:
            return True
        if self.early:
            return False
        if math.isfinite(self.best) and math.isfinite(self.reference):
            return self.best < self.reference - (2 if self.goes_on else 1) * self.margin
        return not self.drop < HALVED

    @cached_property
    def suffers(self) -> bool:
        """The gate of most rules: the net lags behind the plain methods, or has not learned its own training part."""
        return self.lags or (not self.early and math.isfinite(self.trained) and self.trained < self._well_learned)

    @cached_property
    def excels(self) -> bool:
        """Whether the net does better than the plain methods by more than chance: then even a known oddity is no fault.

        The gate of rules that know a cause for certain, such as weights that begin at 0.
        """
        return self.best > self.reference + self.margin

    @cached_property
    def growth(self) -> list[float]:
        """By what factor the spread of a layer's weights has grown since the start, at most; record by record."""
        start = self.evidence.start
        before = {layer.name: layer.weight_std for layer in start.layers if layer.weight_std > 0} if start else {}
        return [
            max((layer.weight_std / before[layer.name] for layer in record.layers if layer.name in before), default=1.0)
            for record in self.records
        ]

    @property
    def _well_learned(self) -> float:
        data = self.evidence.data
        return WELL_LEARNED if data and data.task == "classification" else -math.inf

    def _score(self, metric: float, deviation: str) -> float:
        data = self.evidence.data
        if data is None or data.task == "classification":
            return metric
        spread = getattr(data, deviation)
        errors = metric / spread if spread else NAN
        return -math.inf if abs(errors) > HUGE else 1 - errors**2

    def layers(self, name: str) -> list[LayerStatistics]:
        """The statistics of one layer, record by record."""
        return [layer for record in self.records for layer in record.layers if layer.name == name]

    def since(self, holds: Callable[[Record], bool]) -> int:
        """The step of the first record for which something holds; the last step if for none."""
        return next((record.step for record in self.records if holds(record)), self.last.step)


Rule = Callable[[Case], list[Finding]]
