"""Rules about how the weights begin: all zero, all alike, or of sizes that do not fit each other."""

from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Advice, Finding
from commonweight.measure.diagnosis.rules_signal import DEAD

SIZES = (0.003, 12.0)
"""Smallest and largest deviation of a layer's outputs from sample to sample, for inputs of deviation 1."""

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
    """Before the first step, the outputs of a layer differ far too much or too little from sample to sample."""
    start, model, data = case.evidence.start, case.evidence.model, case.evidence.data
    if start is None or model is None or case.excels or model.zero or model.alike:
        return []
    if any(layer.dead_fraction > DEAD for layer in start.layers):
        return []  # behind dead units nothing differs
    size = data.size if data and data.size > 0 else 1.0
    signals = [signal / size for signal in model.signals]
    named = list(zip(signals, (layer.name for layer in start.layers), strict=True))
    if any(signal > SIZES[1] for signal in signals):
        largest, name = max(named)
        return [Finding("unequal_start", name, largest, SIZES[1], 0, RESTART)]
    if any(0 < signal < SIZES[0] for signal in signals):
        smallest, name = min(pair for pair in named if pair[0] > 0)
        return [Finding("unequal_start", name, smallest, SIZES[0], 0, RESTART)]
    return []
