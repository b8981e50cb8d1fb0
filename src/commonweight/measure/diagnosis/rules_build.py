"""Rules about how net and loss are put together; most can be told before the first step."""

from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Advice, Finding

PULL = 0.5
SMALL_BATCH = 2


def softmax_twice(case: Case) -> list[Finding]:
    """The outputs are probabilities already, and the loss takes a softmax of them again."""
    loss = case.evidence.loss
    if loss is None or not (loss.probabilities and loss.shift_invariant):
        return []
    return [Finding("softmax_twice", "", 1.0, 0.0, 0, Advice("remove_softmax"))]


def softmax_missing(case: Case) -> list[Finding]:
    """The loss is the negative log likelihood, but the outputs are no logarithms of probabilities."""
    loss = case.evidence.loss
    if loss is None or not loss.linear or loss.log_probabilities:
        return []
    return [Finding("softmax_missing", "", 1.0, 0.0, 0, Advice("usual_loss"))]


def wrong_loss(case: Case) -> list[Finding]:
    """The loss does not pull the outputs to the targets, or an activation keeps the outputs from them."""
    loss, model, data = case.evidence.loss, case.evidence.model, case.evidence.data
    if loss is None or softmax_twice(case) or softmax_missing(case):
        return []
    if loss.pull < PULL:
        return [Finding("wrong_loss", "", loss.pull, PULL, 0, Advice("usual_loss"))]
    if model and model.squashed and data and not case.excels:
        return [Finding("wrong_loss", model.squashed, 1.0, 0.0, 0, Advice("remove_last_activation"), "squashed")]
    return []


def missing_activation(case: Case) -> list[Finding]:
    """Two linear layers in a row are one linear layer."""
    model = case.evidence.model
    if model is None or not model.straight or case.excels:
        return []
    n = float(len(model.straight))
    return [Finding("missing_activation", model.straight[0], n, 0.0, 0, Advice("add_activation", {"name": "ReLU"}))]


def frozen_layer(case: Case) -> list[Finding]:
    """A layer whose weights no step moves."""
    model = case.evidence.model
    if model is None or case.excels:
        return []
    return [Finding("frozen_layer", name, 0.0, 0.0, 0, Advice("unfreeze")) for name in model.frozen]


def broken_tie(case: Case) -> list[Finding]:
    """A declared tie that does not hold: two weights learn where one was meant. Not gated: the net is another one."""
    model = case.evidence.model
    if model is None:
        return []
    return [Finding("broken_tie", tie, 1.0, 0.0, 0, Advice("tie_again")) for tie in model.broken_ties]


def small_batch_norm(case: Case) -> list[Finding]:
    """Batch normalisation over one or two samples: their mean is no mean."""
    model, size = case.evidence.model, case.evidence.batch_size
    if model is None or not model.norms or not 0 < size <= SMALL_BATCH or case.excels:
        return []
    advice = Advice("larger_batch", {"batch_size": 32})
    return [Finding("small_batch_norm", model.norms[0], float(size), float(SMALL_BATCH), 0, advice)]
