"""Rules about the pace of learning: rates too high and too low, losses that swing or stand still."""

import math

from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Advice, Finding
from commonweight.measure.diagnosis.rules_signal import DEAD
from commonweight.measure.records import LayerStatistics

LARGE_STEP = 0.2
GROWN = 8.0
SMALL_STEP = 3e-4
ALIVE = 0.4
SWING = 0.5
STILL = 0.02


def _step_sizes(case: Case) -> list[tuple[float, int]]:
    """The median relative step of the layers, and at which step, for each record that has layers."""
    sizes = []
    for record in case.records:
        ratios = sorted(layer.update_ratio for layer in record.layers)
        if ratios:
            sizes.append((ratios[len(ratios) // 2], record.step))
    return sizes


def _died(case: Case) -> LayerStatistics | None:
    """The first layer most of whose units were alive at the start and are dead since."""
    start = case.evidence.start
    alive = {layer.name for layer in start.layers if layer.dead_fraction < ALIVE} if start else set()
    every = (layer for record in case.records for layer in record.layers)
    return next((layer for layer in every if layer.dead_fraction > DEAD and layer.name in alive), None)


def rate_too_high(case: Case) -> list[Finding]:
    """Steps that are large beside the weights, make them grow many times over, or let units die."""
    if not case.finite or not case.suffers or not case.has_rate:
        return []
    advice = Advice("lower_rate", {"factor": 0.1})
    grown = max(case.growth)
    if grown > GROWN:
        since = next(r.step for r, g in zip(case.records, case.growth, strict=True) if g > GROWN)
        return [Finding("rate_too_high", "", grown, GROWN, since, advice, "growth")]
    died = _died(case)
    if died is not None:
        since = case.since(lambda r: died in r.layers)
        return [Finding("rate_too_high", died.name, died.dead_fraction, DEAD, since, advice, "dead")]
    large = [(size, step) for size, step in _step_sizes(case) if size > LARGE_STEP]
    return [Finding("rate_too_high", "", max(large)[0], LARGE_STEP, large[0][1], advice)] if large else []


def rate_too_low(case: Case) -> list[Finding]:
    """Steps that are tiny beside the weights, while the loss is still on its way down."""
    largest = max((size for size, _ in _step_sizes(case)), default=math.inf)
    if not case.suffers or not case.has_rate or not largest < SMALL_STEP:
        return []
    return [
        Finding("rate_too_low", "", largest, SMALL_STEP, case.records[0].step, Advice("raise_rate", {"factor": 10.0}))
    ]


def oscillation(case: Case) -> list[Finding]:
    """The losses of single steps swing by more than they fall."""
    later = case.records[len(case.records) // 2 :]
    swings = [record.loss_deviation / record.loss for record in later if record.loss > 0]
    if not case.suffers or not swings or not min(swings) > SWING:
        return []
    return [Finding("oscillation", "", min(swings), SWING, later[0].step, Advice("lower_rate", {"factor": 0.3}))]


def no_progress(case: Case) -> list[Finding]:
    """The training loss has not fallen at all."""
    if not case.lags or not case.drop > 1 - STILL:
        return []
    return [Finding("no_progress", "", case.drop, 1 - STILL, 0, Advice("raise_rate", {"factor": 10.0}))]


def plateau(case: Case) -> list[Finding]:
    """The training loss has stood still for the second half of the training, above where it could be."""
    if len(case.records) < 6 or not case.lags or no_progress(case):
        return []
    middle = case.records[len(case.records) // 2]
    fall = 1 - case.last.loss / middle.loss if middle.loss > 0 else math.nan
    if not abs(fall) < STILL:
        return []
    return [Finding("plateau", "", fall, STILL, middle.step, Advice("raise_rate", {"factor": 3.0}))]
