"""Rules about how much a net can hold: more than the data says, or less."""

from commonweight.measure.diagnosis.case import STANDARD_ERRORS, Case
from commonweight.measure.diagnosis.finding import Advice, Finding

GAP = 0.2
WIDE_GAP = 0.4
WEIGHTS_PER_SAMPLE = 30.0
NARROW = 4.0
SHORT = 0.1


def overfit(case: Case) -> list[Finding]:
    """The training part is learned, the validation part is not, by more than chance allows."""
    gap = case.trained - case.best
    threshold = (GAP if case.lags else WIDE_GAP) + STANDARD_ERRORS * case.gap_error
    if case.early or not gap > threshold:
        return []
    since = next(r.step for r, score in zip(case.records, case.training, strict=True) if score - case.best > threshold)
    return [Finding("overfit", "", gap, threshold, since, Advice("regularise", {"l2": 1e-3, "factor": 10.0}))]


def net_too_large(case: Case) -> list[Finding]:
    """A net that overfits, with many more weights than samples."""
    model, data = case.evidence.model, case.evidence.data
    if model is None or data is None or not overfit(case):
        return []
    share = model.n_weights / data.n_train
    if share < WEIGHTS_PER_SAMPLE:
        return []
    return [Finding("net_too_large", "", share, WEIGHTS_PER_SAMPLE, 0, Advice("narrow", {"factor": 0.25}))]


def net_too_small(case: Case) -> list[Finding]:
    """A net that underfits, with a hidden layer of very few units."""
    model = case.evidence.model
    if model is None or not 0 < model.narrowest < NARROW or not underfit(case):
        return []
    return [Finding("net_too_small", "", float(model.narrowest), NARROW, 0, Advice("widen", {"factor": 8.0}))]


def underfit(case: Case) -> list[Finding]:
    """Not even the training part is learned. Told at the end only: the score may still come."""
    threshold = case.reference - SHORT
    if case.goes_on or not case.lags or not case.trained < threshold:
        return []
    return [Finding("underfit", "", case.trained, threshold, case.last.step, Advice("longer", {"factor": 3.0}))]
