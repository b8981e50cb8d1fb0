"""Rules about the data: what no net can put right."""

import math

from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Advice, Finding

LEAKED = 0.1
OFFSET, SPREAD, SIZES = 10.0, 100.0, (0.05, 20.0)
RARE = 0.25
RECALL_GAP = 0.15
SHUFFLED = 0.15
BY_CHANCE = 2.5
"""Standard errors by which the best of the plain methods may lie above chance."""
NOISY = 0.9
NOISE_GAP = 0.04


def leakage(case: Case) -> list[Finding]:
    """Validation samples that are also in the training part. Not gated: the score is wrong, the better it looks."""
    data = case.evidence.data
    if data is None or data.leaked < LEAKED or not data.varies:
        return []
    return [Finding("leakage", "", data.leaked, LEAKED, 0, Advice("drop_duplicates"))]


def unnormalised_input(case: Case) -> list[Finding]:
    """Features far from 0, or of very different sizes."""
    data = case.evidence.data
    if data is None or case.excels or not data.varies:
        return []
    advice = Advice("normalise")
    if data.offset > OFFSET:
        return [Finding("unnormalised_input", "", data.offset, OFFSET, 0, advice, "offset")]
    if data.spread > SPREAD:
        return [Finding("unnormalised_input", "", data.spread, SPREAD, 0, advice, "spread")]
    if not SIZES[0] < data.size < SIZES[1]:
        return [Finding("unnormalised_input", "", data.size, SIZES[data.size > 1], 0, advice, "size")]
    return []


def constant_features(case: Case) -> list[Finding]:
    """Columns of a table with one value: they tell nothing. Not gated: a broken column is to be known."""
    data = case.evidence.data
    if data is None or not data.constant:
        return []
    return [
        Finding(
            "constant_features",
            ", ".join(data.constant[:5]),
            float(len(data.constant)),
            0.0,
            0,
            Advice("drop_constant"),
        )
    ]


def class_imbalance(case: Case) -> list[Finding]:
    """Classes with far fewer samples than others, which are recognised far worse."""
    data, recalls = case.evidence.data, case.evidence.recalls
    if data is None or not data.counts or len(recalls) != len(data.counts):
        return []
    most = max(data.counts)
    rare = [k for k, count in enumerate(data.counts) if count < RARE * most]
    common = [k for k in range(len(data.counts)) if k not in rare]
    if not rare:
        return []
    share = min(data.counts) / most
    gap = sum(recalls[k] for k in common) / len(common) - sum(recalls[k] for k in rare) / len(rare)
    if not gap > RECALL_GAP:
        return []
    return [Finding("class_imbalance", "", share, RARE, 0, Advice("balance"))]


def shuffled_labels(case: Case) -> list[Finding]:
    """Neighbours agree on the label hardly more often than by chance, and so do the plain methods."""
    data = case.evidence.data
    if data is None or case.excels or case.early or math.isnan(data.neighbours) or not data.varies:
        return []
    if not data.known_by_neighbours:
        return []
    if data.counts and min(data.counts) < RARE * max(data.counts):
        return []  # the most frequent class is a good guess then, and neighbours can hardly do better
    chance = max(data.counts) / data.n_train if data.counts else 0.0
    limit = chance + SHUFFLED * (1 - chance)
    luck = BY_CHANCE * math.sqrt(chance * (1 - chance) / data.n_validation)
    if not (data.neighbours < limit and data.reference < max(limit, chance + luck)):
        return []
    return [Finding("shuffled_labels", "", data.neighbours, limit, 0, Advice("check_labels"))]


def label_noise(case: Case) -> list[Finding]:
    """Single neighbours disagree where many agree: labels that are wrong at random.

    With a share p of labels wrong, k classes and clean neighbourhoods, most of many neighbours agree with a share of
    1 - p of the labels, the nearest one with about (1 - p)² + p²/(k - 1) (Cover & Hart 1967).
    """
    data = case.evidence.data
    if data is None or not data.counts or not case.suffers or shuffled_labels(case) or not data.known_by_neighbours:
        return []
    if not (data.neighbours < NOISY and data.neighbours - data.nearest > NOISE_GAP):
        return []
    return [Finding("label_noise", "", 1 - data.neighbours, 1 - NOISY, 0, Advice("clean_labels"))]
