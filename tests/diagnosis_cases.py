"""A run that learns nothing, what about it makes each rule of the diagnosis speak, and small nets to look at."""

import math
from dataclasses import replace

import torch
from torch import nn

from commonweight.measure.diagnosis import Evidence, diagnose
from commonweight.measure.diagnosis.evidence import DataFacts, LossFacts, ModelFacts
from commonweight.measure.records import LayerStatistics, Record

# A run on two classes of which plain methods tell 95 %, with two layers, that learns nothing: rules may speak.
KNOWN = {"chance": 0.5, "reference": 0.95, "nearest": 0.9, "neighbours": 0.94}
DATA = DataFacts("classification", 1000, 400, 2, counts=(500, 500), **KNOWN)


def layer(name, **changed):
    usual = LayerStatistics(name, 0.0, 0.3, 1.0, 0.1, 1e-2, 0.0, 1.0, 0.0)
    return replace(usual, **changed)


def record(step, **changed):
    usual = Record(step, step / 100, 1.0, 0.1, 0.69, 0.5, 0.69, 0.5, (layer("a"), layer("b")))
    return replace(usual, **changed)


START = record(1)
RECORDS = [record(step, loss=0.69 - 0.0005 * step) for step in range(100, 1001, 100)]
MODEL = ModelFacts(n_weights=100, narrowest=10, signals=((0.0, 1.0), (1.0, 1.0)))
EVIDENCE = Evidence(DATA, MODEL, LossFacts(), "adam", 0.1, 32, 1000, START)
GOOD = [record(step, loss=0.7 - 0.0006 * step, metric=0.99, validation_metric=0.96) for step in range(100, 1001, 100)]


def findings(records=RECORDS, **facts):
    """The findings, with facts of data, net and loss given as data_..., model_..., loss_..."""
    evidence = EVIDENCE
    for key, value in facts.items():
        part, _, name = key.partition("_")
        if part in ("data", "model", "loss"):
            evidence = replace(evidence, **{part: replace(getattr(evidence, part), **{name: value})})
        else:
            evidence = replace(evidence, **{key: value})
    return diagnose(records, evidence)


def with_layers(records, **changed):
    return [replace(r, layers=(layer("a", **changed), layer("b"))) for r in records]


CASES = {
    "broken_tie": {"model_broken_ties": ("b.weight = a.weight",)},
    "leakage": {"data_leaked": 0.5},
    "zero_start": {"model_zero": ("a",)},
    "constant_start": {"model_alike": ("a",)},
    "softmax_twice": {"loss_probabilities": True, "loss_shift_invariant": True},
    "softmax_missing": {"loss_linear": True},
    "wrong_loss": {"loss_pull": 0.0},
    "small_batch_norm": {"model_norms": ("n",), "batch_size": 1},
    "shuffled_labels": {"data_neighbours": 0.5, "data_nearest": 0.5, "data_reference": 0.52},
    "unnormalised_input": {"data_offset": 40.0},
    "unequal_start": {"model_signals": ((0.0, 1e-4), (1e-4, 1.0))},
    "frozen_layer": {"model_frozen": ("a",)},
    "missing_activation": {"model_straight": ("a -> b",)},
    "not_finite": {"records": [*RECORDS[:3], record(350, loss=math.nan)], "nonfinite": "output of b"},
    "vanishing_gradient": {"start": replace(START, layers=(layer("a", gradient_norm=1e-9), layer("b")))},
    "rate_too_high": {"records": [replace(r, layers=(layer("a", update_ratio=0.9),)) for r in RECORDS]},
    "exploding_gradient": {"records": with_layers(RECORDS, gradient_norm=1e6)},
    "saturation": {"records": with_layers(RECORDS, saturated_fraction=0.9)},
    "dead_units": {"records": with_layers(RECORDS, dead_fraction=0.9)},
    "rate_too_low": {"records": [replace(r, layers=(layer("a", update_ratio=1e-7),)) for r in RECORDS]},
    "label_noise": {"data_neighbours": 0.7, "data_nearest": 0.58},
    "class_imbalance": {"data_counts": (990, 10), "recalls": (0.99, 0.2)},
    "constant_features": {"data_constant": ("width",)},
    "net_too_small": {"model_narrowest": 1},
    "net_too_large": {"model_n_weights": 10**6, "records": [replace(r, metric=1.0) for r in RECORDS]},
    "overfit": {"records": [replace(r, metric=1.0) for r in RECORDS]},
    "no_progress": {"records": [replace(r, loss=0.69) for r in RECORDS]},
    "oscillation": {"records": [replace(r, loss_deviation=2.0) for r in RECORDS]},
    "plateau": {"records": [replace(r, loss=0.4) for r in RECORDS]},
    "underfit": {},
}


# Of rules that measure several things, the cases of the others.
BORN = replace(START, layers=(layer("a", dead_fraction=0.0), layer("b")))
VARIANTS = {
    "wrong_loss.squashed": {"model_squashed": "Sigmoid"},
    "unnormalised_input.spread": {"data_spread": 1e4},
    "unnormalised_input.size": {"data_size": 100.0},
    "unequal_start.small": {"model_signals": ((0.0, 1.0), (1.0, 1e-4))},
    "vanishing_gradient.cut": {**CASES["vanishing_gradient"], "model_cut": ("b.0",)},
    "not_finite": {**CASES["not_finite"], "nonfinite": ""},
    "rate_too_high.growth": {"records": with_layers(RECORDS, weight_std=6.0)},
    "rate_too_high.dead": {"records": [*RECORDS[:2], *with_layers(RECORDS[2:], dead_fraction=0.9)], "start": BORN},
}
ALL_CASES = [*CASES.items(), *VARIANTS.items()]


def named(code, case):
    """The finding of a case whose rule has this code, or this code and a measure."""
    return next(finding for finding in findings(**case) if finding.code == code.partition(".")[0])


def net(*layers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*[make() for make in layers])


def linear(n_in, n_out):
    return lambda: nn.Linear(n_in, n_out)
