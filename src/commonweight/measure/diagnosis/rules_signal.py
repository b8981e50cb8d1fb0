"""Rules about the signal on its way through the net: no numbers, gradients that vanish or explode, dead units."""

import math

from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Advice, Finding
from commonweight.measure.records import Record

VANISHING = 1e-3
EXPLODING = 1e3
DEAD = 0.7
SATURATED = 0.85


def not_finite(case: Case) -> list[Finding]:
    """NaN or infinity; named is the first tensor that has one."""
    if case.finite:
        return []
    since = case.since(lambda record: not math.isfinite(record.loss))
    value = next(record.loss for record in case.records if not math.isfinite(record.loss))
    tensor, advice = case.evidence.nonfinite, Advice("lower_rate", {"factor": 0.1})
    return [Finding("not_finite", tensor, value, 0.0, since, advice, "tensor" if tensor else "")]


def exploding_gradient(case: Case) -> list[Finding]:
    """The gradient of a layer is far larger than it may be, while learning suffers."""
    start = case.evidence.start
    largest = max((layer.gradient_norm for record in _with_start(case) for layer in record.layers), default=0.0)
    if not case.suffers or not largest > EXPLODING:
        return []
    where = next(layer.name for r in _with_start(case) for layer in r.layers if layer.gradient_norm == largest)
    first = start is not None and any(layer.gradient_norm > EXPLODING for layer in start.layers)
    since = 0 if first else case.since(lambda r: any(layer.gradient_norm > EXPLODING for layer in r.layers))
    advice = Advice("initialise", {"rule": "xavier-uniform"}) if first else Advice("lower_rate", {"factor": 0.1})
    return [Finding("exploding_gradient", where, largest, EXPLODING, since, advice)]


def vanishing_gradient(case: Case) -> list[Finding]:
    """The gradient of a layer is a small share of that of the last one, or is cut off on its way."""
    start, model = case.evidence.start, case.evidence.model
    if start is None or model is None or len(start.layers) < 2 or model.zero or model.alike:
        return []
    if case.excels or not (case.suffers or model.cut):
        return []
    if any(layer.dead_fraction > DEAD or layer.saturated_fraction > SATURATED for layer in start.layers):
        return []  # what such units are fed changes nothing: they are the cause
    last = start.layers[-1].gradient_norm
    weakest = min(start.layers[:-1], key=lambda layer: layer.gradient_norm)
    ratio = weakest.gradient_norm / last if last else math.nan
    if not ratio < VANISHING:
        return []
    if model.cut:
        advice = Advice("let_through", {"modules": ", ".join(model.cut), "rule": "he"})
        return [Finding("vanishing_gradient", weakest.name, ratio, VANISHING, 0, advice, "cut")]
    return [Finding("vanishing_gradient", weakest.name, ratio, VANISHING, 0, Advice("clear_the_way", {"rule": "he"}))]


def dead_units(case: Case) -> list[Finding]:
    """Most units that feed a layer put out 0 for every sample."""
    return _units(case, "dead_units", "dead_fraction", DEAD, Advice("initialise", {"rule": "xavier-uniform"}))


def saturation(case: Case) -> list[Finding]:
    """Most values of a layer are at the ends of their range, where slopes are near 0."""
    return _units(case, "saturation", "saturated_fraction", SATURATED, Advice("initialise", {"rule": "xavier-uniform"}))


def _units(case: Case, code: str, measure: str, threshold: float, advice: Advice) -> list[Finding]:
    model = case.evidence.model
    if not case.suffers or (model and (model.zero or model.alike)):
        return []
    for record in _with_start(case):
        for layer in record.layers:
            value = getattr(layer, measure)
            if value > threshold:
                since = 0 if record is case.evidence.start else record.step
                return [Finding(code, layer.name, value, threshold, since, advice)]
    return []


def _with_start(case: Case) -> list[Record]:
    return [*([case.evidence.start] if case.evidence.start else []), *case.records]
