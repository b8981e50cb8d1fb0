"""Rules about how the weights begin: all zero, all alike, or of sizes that do not fit each other."""

from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Advice, Finding
from commonweight.measure.diagnosis.rules_signal import DEAD

GAINS = (0.02, 12.0)
"""Smallest and largest factor from the deviation of a layer's inputs, from sample to sample, to that of its outputs."""

RESTART = Advice("initialise", {"rule": "xavier-uniform"})


def zero_start(case: Case) -> list[Finding]:
    """A layer whose weights all begin at 0: it puts out its biases, and passes no gradient on."""
    return _begun(case, "zero_start", case.evidence.model.zero if case.evidence.model else ())


def constant_start(case: Case) -> list[Finding]:
    """Units that begin with the same weights get the same gradients, and stay one unit."""
    return _begun(case, "constant_start", case.evidence.model.alike if case.evidence.model else ())


def _begun(case: Case, code: str, layers: tuple[str, ...]) -> list[Finding]:
    """Findings about layers that began so. A last layer may well begin at 0: the others give it its signal."""
    start = case.evidence.start
    last = start.layers[-1].name if start and start.layers else ""
    hidden = [name for name in layers if name != last]
    return [] if case.excels else [Finding(code, name, 0.0, 0.0, 0, RESTART) for name in hidden]


def unequal_start(case: Case) -> list[Finding]:
    """Before the first step, the signal of the samples becomes far larger or smaller in one layer.

    What is lost between layers, as where a series is averaged, is none of its doing, and a normalisation is there to
    change it.
    """
    start, model, data = case.evidence.start, case.evidence.model, case.evidence.data
    if start is None or model is None or case.excels or model.zero or model.alike or model.frozen:
        return []
    if any(layer.dead_fraction > DEAD for layer in start.layers):
        return []  # behind dead units nothing differs
    before = data.size if data and data.size > 0 else 1.0
    gains = []
    for layer, (fed, signal) in zip(start.layers, model.signals, strict=True):
        if signal > 0:
            if layer.name not in model.norms:
                gains.append((signal / (fed or before), layer.name))
            before = signal
    if not gains:
        return []
    (smallest, weak), (largest, strong) = min(gains), max(gains)
    if largest > GAINS[1]:
        return [Finding("unequal_start", strong, largest, GAINS[1], 0, RESTART, "large")]
    if smallest < GAINS[0]:
        return [Finding("unequal_start", weak, smallest, GAINS[0], 0, RESTART, "small")]
    return []
