"""What is wrong with a run, from its records and the facts stored with it: rules that are small pure functions.

    records, evidence -> Case -> rules -> findings -> words

Order matters: causes come before what they cause, so that the first finding is the one to act on. A later one whose
advice is the opposite of an earlier one's (`OPPOSITES`) is a symptom of that one, and is left out.
"""

from collections.abc import Sequence

from commonweight.measure.diagnosis import (
    rules_build,
    rules_capacity,
    rules_data,
    rules_rate,
    rules_signal,
    rules_start,
)
from commonweight.measure.diagnosis.case import Case, Rule
from commonweight.measure.diagnosis.evidence import Evidence
from commonweight.measure.diagnosis.finding import Advice, Finding
from commonweight.measure.records import Record

__all__ = ["OPPOSITES", "RULES", "Advice", "Evidence", "Finding", "diagnose"]

RULES: tuple[Rule, ...] = (
    rules_build.broken_tie,
    rules_data.leakage,
    rules_start.zero_start,
    rules_start.constant_start,
    rules_build.softmax_twice,
    rules_build.softmax_missing,
    rules_build.wrong_loss,
    rules_build.small_batch_norm,
    rules_data.shuffled_labels,
    rules_data.unnormalised_input,
    rules_capacity.net_too_small,
    rules_signal.vanishing_gradient,
    rules_start.unequal_start,
    rules_build.frozen_layer,
    rules_build.missing_activation,
    rules_signal.not_finite,
    rules_rate.rate_too_high,
    rules_signal.exploding_gradient,
    rules_signal.saturation,
    rules_signal.dead_units,
    rules_rate.rate_too_low,
    rules_data.label_noise,
    rules_data.class_imbalance,
    rules_data.constant_features,
    rules_capacity.net_too_large,
    rules_capacity.overfit,
    rules_rate.no_progress,
    rules_rate.oscillation,
    rules_rate.plateau,
    rules_capacity.underfit,
)

OPPOSITES = tuple(
    map(
        frozenset,
        (
            ("lower_rate", "raise_rate"),
            ("widen", "narrow"),
            ("widen", "regularise"),
            ("longer", "narrow"),
            ("longer", "regularise"),
        ),
    )
)
"""Advice that cannot be followed together: faster and slower, a net that holds more and one that holds less."""


def diagnose(records: Sequence[Record], evidence: Evidence) -> list[Finding]:
    """What is wrong, the likeliest cause first; an empty list if nothing is.

    Args:
        records: one for each check, in order.
        evidence: what else is known of the run.

    >>> diagnose([], Evidence())
    []
    """
    if not records:
        return []
    case = Case(tuple(records), evidence)
    kept: list[Finding] = []
    for finding in (finding for rule in RULES for finding in rule(case)):
        if not any({finding.advice.code, earlier.advice.code} in OPPOSITES for earlier in kept):
            kept.append(finding)
    return kept
