"""Rules about how the weights begin: all zero, all alike, or of sizes that do not fit each other."""

from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Advice, Finding

UNEQUAL = 1000.0
"""Largest ratio of the deviations of the layers' outputs in the first step."""

RESTART = Advice("initialise", {"rule": "he"})


def zero_start(case: Case) -> list[Finding]:
    """A hidden layer whose weights all begin at 0: what it puts out is 0, and so are the gradients around it."""
    model = case.evidence.model
    if model is None or not case.suffers:
        return []
    return [Finding("zero_start", name, 0.0, 0.0, 0, RESTART) for name in model.zero]


def constant_start(case: Case) -> list[Finding]:
    """Units that begin with the same weights get the same gradients, and stay one unit."""
    model = case.evidence.model
    if model is None or not case.suffers:
        return []
    return [Finding("constant_start", name, 0.0, 0.0, 0, RESTART) for name in model.alike]


def unequal_start(case: Case) -> list[Finding]:
    """The deviations of the layers' outputs differ by a large factor before the first step."""
    start, model = case.evidence.start, case.evidence.model
    if start is None or not case.suffers or (model and (model.zero or model.alike)):
        return []
    spreads = {layer.name: layer.activation_std for layer in start.layers if layer.activation_std > 0}
    if len(spreads) < 2:
        return []
    smallest, largest = min(spreads, key=spreads.__getitem__), max(spreads, key=spreads.__getitem__)
    ratio = spreads[largest] / spreads[smallest]
    if not ratio > UNEQUAL:
        return []
    odd = largest if spreads[largest] > 10 else smallest
    return [Finding("unequal_start", odd, ratio, UNEQUAL, 0, RESTART)]
