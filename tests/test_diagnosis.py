"""Each rule finds what it is for, stays silent without it, and a run folder alone is enough to say so."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diagnosis_cases import (
    ALL_CASES,
    CASES,
    DATA,
    EVIDENCE,
    GOOD,
    RECORDS,
    START,
    findings,
    layer,
    linear,
    named,
    net,
    record,
)
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import data, nets
from commonweight.errors import DivergedError, FileError, TrainError
from commonweight.measure.diagnosis import OPPOSITES, RULES, Advice, Evidence, Finding, diagnose
from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.model_facts import first_nonfinite
from commonweight.measure.diagnosis.words import ADVICE, FINDINGS, LANGUAGES, say
from commonweight.train.facts import recalls
from commonweight.train.loop import fit
from commonweight.train.run import findings_of


def codes(records=RECORDS, **facts):
    """The codes of the findings, see `findings`."""
    return [finding.code for finding in findings(records, **facts)]


def test_a_good_run_has_no_finding():
    assert codes(GOOD) == []


def test_every_rule_has_words_in_three_languages_and_its_advice_too():
    assert {rule.__name__ for rule in RULES} == {code.partition(".")[0] for code in FINDINGS}
    for words in (*FINDINGS.values(), *ADVICE.values()):
        assert len(words) == len(LANGUAGES)
        assert all(words)


def test_each_rule_has_a_case():
    assert set(CASES) == {code.partition(".")[0] for code in FINDINGS}


@pytest.mark.parametrize("code", CASES)
def test_a_rule_finds_what_it_is_for(code):
    assert code in codes(**CASES[code])


@pytest.mark.parametrize("code", [code for code in CASES if code != "underfit"])
def test_a_rule_is_silent_without_it(code):
    assert code not in codes()


UNGATED = {"broken_tie", "leakage", "not_finite", "constant_features", "class_imbalance", "overfit", "net_too_large"}
UNGATED |= {"softmax_twice", "softmax_missing", "wrong_loss"}


@pytest.mark.parametrize("code", sorted(CASES.keys() - UNGATED))
def test_a_rule_is_silent_where_learning_does_not_suffer(code):
    """The same facts, in a run that does better than the plain methods."""
    facts = {key: value for key, value in CASES[code].items() if key != "records"}
    records = CASES[code].get("records", RECORDS)
    fine = [replace(r, metric=0.999, validation_metric=0.999) for r in records]
    assert code not in codes(fine, **facts)


def test_a_run_that_is_not_half_done_is_not_judged_by_its_outcome():
    assert "underfit" in codes(RECORDS)
    assert codes(RECORDS[:4]) == []
    assert "underfit" not in codes(RECORDS[:9])
    assert "underfit" in codes(RECORDS[:9], ended=True)
    assert codes(RECORDS[:4], ended=True) == codes(RECORDS[:4], steps=400)
    assert codes(RECORDS[:1], model_zero=("a",)) == ["zero_start"]


def test_no_finding_advises_the_opposite_of_an_earlier_one():
    wild = [replace(r, loss=0.69, layers=(layer("a", update_ratio=0.9),)) for r in RECORDS]
    assert "no_progress" in codes(**CASES["no_progress"])
    assert "rate_too_high" in codes(records=wild)
    assert "no_progress" not in codes(records=wild)


@pytest.mark.parametrize("one", CASES)
@pytest.mark.parametrize("other", CASES)
def test_two_faults_at_once_never_get_opposite_advice(one, other):
    """The facts of each pair of cases together, in the records of either."""
    facts = {**CASES[one], **CASES[other]}
    for records in (case.get("records", RECORDS) for case in (CASES[one], CASES[other])):
        said = [finding.advice.code for finding in findings(**{**facts, "records": records})]
        assert not [(a, b) for a in said for b in said if {a, b} in OPPOSITES]


def test_opposite_advice_is_advice():
    assert set().union(*OPPOSITES) <= set(ADVICE)
    assert all(len(pair) == 2 for pair in OPPOSITES)


HEALTHY = {
    "iris": ("mlp", {"hidden": (16,)}),
    "wine": ("mlp", {}),
    "digits": ("cnn", {"width": 4}),
    "building": ("mlp", {}),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_told_nothing_on_its_way_that_its_end_takes_back(name):
    of, (net, structure) = data.load(name), HEALTHY[name]
    model = nets.build(net, of.in_shape, of.n_outputs, task=of.task, structure=structure)
    run = fit(model, of, epochs=None if len(of.x) < 1000 else 6, optimizer="muon", out=None, progress=False)
    evidence = replace(Evidence.from_json(run.description["evidence"]), ended=False, recalls=())
    told = {f.code for n in range(1, len(run.records)) for f in diagnose(run.records[:n], evidence)}
    assert told <= {f.code for f in run.findings()}


def test_overfit_takes_a_gap_that_chance_does_not_explain():
    records = [replace(r, metric=1.0, validation_metric=0.7) for r in RECORDS]
    assert "overfit" in codes(records)
    case = Case(tuple(records), EVIDENCE)
    assert case.gap_error == pytest.approx(math.sqrt(0.7 * 0.3 / 400))
    assert "overfit" not in codes(records, data_n_validation=20)


def test_the_error_of_a_gap_of_r_squared_by_simulation():
    """Olkin & Finn's √(4 R² (1 - R²)² / n), against the spread of R² over samples of a linear relation."""
    generator = torch.Generator().manual_seed(0)
    n, rho2 = 200, 0.5
    x, noise = torch.randn(2, 2000, n, generator=generator)
    y = rho2**0.5 * x + (1 - rho2) ** 0.5 * noise
    centred = [v - v.mean(1, keepdim=True) for v in (x, y)]
    r2 = (centred[0] * centred[1]).sum(1) ** 2 / (centred[0].square().sum(1) * centred[1].square().sum(1))
    facts = replace(DATA, task="regression", n_train=10**9, n_validation=n)
    told = replace(RECORDS[-1], validation_metric=(1 - rho2) ** 0.5, metric=0.0)
    assert Case((told,), replace(EVIDENCE, data=facts)).gap_error == pytest.approx(float(r2.std()), rel=0.05)


def test_inputs_that_do_not_vary_are_called_constant_and_nothing_else():
    odd = {"data_leaked": 1.0, "data_constant": ("a", "b"), **CASES["shuffled_labels"]}
    assert {"leakage", "shuffled_labels", "constant_features"} <= set(codes(**odd))
    said = set(codes(data_size=0.0, **odd))
    assert said & {"leakage", "shuffled_labels", "unnormalised_input", "constant_features"} == {"constant_features"}


def test_no_records_no_findings():
    assert diagnose([], EVIDENCE) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("code", "case"), ALL_CASES)
def test_findings_are_said_without_a_blank_left(code, case, language):
    text = say(named(code, case), language)
    assert not [blank for blank in ("{", "  ", " ()", "（）", ": .", "：。", "nan %") if blank in text]
    assert text.endswith((".", "。"))


def test_all_words_of_findings_are_said_of_some_case():
    every = [named(code, case) for code, case in ALL_CASES]
    assert {f"{finding.code}.{finding.measured}".rstrip(".") for finding in every} == set(FINDINGS)


def test_measured_value_and_limit_are_in_the_sentence():
    told = {code: say(named(code, case)) for code, case in ALL_CASES}
    assert told["leakage"].startswith("50 % of the validation samples")
    assert "up to 90 % of their size (limit 20 %, passed since step 100)" in told["rate_too_high"]
    assert "put out 0 for every sample since step 100 (limit 70 %)" in told["dead_units"]
    assert "(limit 0.25, passed since step 100)" in told["overfit"]
    assert "90 % of those that feed a put out 0 since step 300" in told["rate_too_high.dead"]


def test_what_was_so_before_the_first_step_was_so_from_the_start():
    dead = {"start": replace(START, layers=(layer("a", dead_fraction=0.9), layer("b")))}
    assert "from the start" in say(named("dead_units", dead))


def test_a_plateau_takes_six_checks():
    still = [replace(r, loss=0.4) for r in RECORDS]
    assert "plateau" in codes(still[:6], ended=True)
    assert "plateau" not in codes(still[:5], ended=True)


def test_overfitting_is_since_the_gap_and_not_since_the_training_score():
    """The gap that is too wide is 0.2 and two standard errors; the validation score is 0.5 throughout."""
    learned = [replace(r, metric=0.6 if r.step < 500 else 1.0) for r in RECORDS]
    (finding,) = [one for one in findings(learned) if one.code == "overfit"]
    assert finding.since == 500


def test_what_is_lost_between_layers_is_not_blamed_on_their_weights():
    """Such as by the mean over a series whose parts cancel: the next layer hands on all that it is fed."""
    assert "unequal_start" in [found.code for found in findings(model_signals=((0.0, 1.0), (1.0, 1e-4)))]
    assert "unequal_start" not in [found.code for found in findings(model_signals=((0.0, 1.0), (1e-4, 1e-4)))]


def test_a_normalisation_may_change_the_size_of_a_signal():
    signals = ((0.0, 0.03), (0.03, 1.0))
    assert "unequal_start" in [found.code for found in findings(model_signals=signals)]
    assert "unequal_start" not in [found.code for found in findings(model_signals=signals, model_norms=("b",))]


def test_an_unknown_language_is_refused():
    with pytest.raises(TrainError, match="The diagnosis speaks en, zh-Hans, zh-Hant; got 'tlh'"):
        say(Finding("underfit", "", 0.0, 0.0, 0, Advice("longer", {"factor": 3.0})), "tlh")


def test_evidence_survives_json():
    model = replace(EVIDENCE.model, signals=((0.0, 0.5), (0.5, math.inf)))
    evidence = replace(EVIDENCE, recalls=(0.5, 1.0), nonfinite="w", model=model)
    again = Evidence.from_json(json.loads(json.dumps(evidence.to_json(), allow_nan=False)))
    assert again == evidence


DATA_JSON = EVIDENCE.to_json()["data"]


@pytest.mark.parametrize(
    "damage",
    [
        {"rate": "much"},
        {"rate": 10**400},
        {"more": 1},
        {"data": 3},
        {"data": {"task": "classification"}},
        {"data": {**DATA_JSON, "n_train": 0}},
        {"data": {**DATA_JSON, "n_validation": -5}},
        {"data": {**DATA_JSON, "counts": [500, 400]}},
        {"model": {"signals": [[0.0, 1.0]]}},
        {"model": {"signals": [[1.0], [1.0]]}},
        {"model": {"frozen": "conv"}},
        {"model": {"n_weights": 1.5}},
        {"loss": {"linear": 1}},
        {"recalls": 0.5},
        {"start": 7},
    ],
)
def test_damaged_evidence_is_one_sentence(damage):
    with pytest.raises(FileError, match=r"evidence of a run is damaged|Not a training record"):
        Evidence.from_json({**EVIDENCE.to_json(), **damage})


def test_an_error_too_large_to_square_is_the_worst_score():
    facts = replace(DATA, task="regression", counts=())
    assert Case((record(1, metric=1e200),), replace(EVIDENCE, data=facts)).training == [-math.inf]


# -- runs --


def test_a_run_folder_alone_is_diagnosed(tmp_path):
    iris = data.load("iris")
    model = nets.build("mlp", iris.in_shape, iris.n_outputs)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    run = fit(model, iris, epochs=3, out=tmp_path / "run", progress=False)
    assert run.findings()[0].code == "zero_start"
    assert findings_of(tmp_path / "run") == run.findings()


def test_a_loss_that_is_no_number_names_the_tensor_and_leaves_its_diagnosis(tmp_path):
    iris = data.load("iris")
    model = nets.build("mlp", iris.in_shape, iris.n_outputs)
    with pytest.raises(DivergedError, match="the first tensor that is not finite is ") as caught:
        fit(model, iris, epochs=30, optimizer="sgd", lr=1e30, out=tmp_path / "run", progress=False)
    assert "not_finite" in [finding.code for finding in caught.value.run.findings()]
    assert list(map(repr, findings_of(tmp_path / "run"))) == list(map(repr, caught.value.run.findings()))


def test_the_first_tensor_that_is_not_finite_is_named():
    model = net(linear(2, 3), nn.ReLU, linear(3, 1))
    x = torch.ones(4, 2)
    assert first_nonfinite(model, x) == "loss"
    assert first_nonfinite(model, x * math.inf) == "inputs"
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        assert first_nonfinite(model, x * 3e38) == "output of 0"
        model[2].bias.fill_(math.nan)
    assert first_nonfinite(model, x) == "2.bias"
    assert not any(module._forward_hooks for module in model.modules())


def test_recalls_are_those_by_hand():
    iris = data.load("iris")
    part = type("Part", (), {})()
    part.inputs, part.targets = torch.eye(3)[[0, 0, 1, 2, 2, 2]], torch.tensor([0, 1, 1, 2, 2, 0])
    assert recalls(nn.Identity(), part, iris) == pytest.approx((0.5, 0.5, 1.0))
    assert recalls(nn.Identity(), part, data.load("diabetes")) == ()


def test_a_run_without_evidence_says_so(tmp_path):
    from commonweight.train.start import start_run

    run = start_run("iris", net="perceptron", target=None, task=None, seed=0, out=tmp_path / "run")
    with pytest.raises(TrainError, match="stores no evidence to judge by"):
        run.findings()
    with pytest.raises(TrainError, match="stores no evidence to judge by"):
        findings_of(tmp_path / "run")


def test_a_run_whose_records_are_gone_is_not_called_well(tmp_path):
    iris = data.load("iris")
    fit(nn.Linear(4, 3), iris, epochs=2, out=tmp_path / "run", progress=False)
    (tmp_path / "run" / "records.jsonl").unlink()
    with pytest.raises(FileError, match=r"Cannot read the records .*records\.jsonl"):
        findings_of(tmp_path / "run")


def test_a_case_without_data_judges_by_the_loss():
    facts = Evidence(start=record(1, loss=1.0))
    assert Case((record(100, loss=0.9),), facts).suffers
    assert not Case((record(100, loss=0.1, metric=math.nan),), facts).suffers


# -- any loop --


def learn(model, optimizer, loss, x, y, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()


def test_watch_records_a_loop_without_changing_it():
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    plain, watched = net(linear(2, 8), nn.ReLU, linear(8, 2)), net(linear(2, 8), nn.ReLU, linear(8, 2))
    learn(plain, torch.optim.Adam(plain.parameters(), lr=0.01), F.cross_entropy, x, y, 30)
    optimizer, backward = torch.optim.Adam(watched.parameters(), lr=0.01), torch.Tensor.backward
    with cw.measure.watch(watched, optimizer, every=10, batch=(x, y), loss=F.cross_entropy) as w:
        learn(watched, optimizer, F.cross_entropy, x, y, 30)
    assert torch.Tensor.backward is backward
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in watched.modules())
    assert [r.step for r in w.records] == [10, 20, 30]
    assert w.records[-1].rate == 0.01
    assert w.records[-1].loss < w.records[0].loss
    assert [layer.name for layer in w.records[0].layers] == ["0", "2"]


def test_watch_finds_what_is_wrong_with_a_loop():
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    model = net(linear(2, 8), nn.ReLU, linear(8, 2), lambda: nn.Softmax(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with cw.measure.watch(model, optimizer, every=10, batch=(x, y), loss=F.cross_entropy) as w:
        learn(model, optimizer, F.cross_entropy, x, y, 40)
    assert w.findings()[0].code == "softmax_twice"


def test_watch_refuses_what_it_could_only_leave_out():
    model = net(linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for every in (0, 2.5, "3"):
        with pytest.raises(TrainError, match=f"every is a whole number of steps, at least 1; got {every!r}"):
            cw.measure.watch(model, optimizer, every=every)
    for given in ({"batch": (torch.ones(1, 2), torch.ones(1, 2))}, {"loss": F.mse_loss}):
        with pytest.raises(TrainError, match="watch takes both batch= and loss="):
            cw.measure.watch(model, optimizer, **given)


def test_watch_names_the_first_tensor_that_is_not_finite():
    model = net(linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    with cw.measure.watch(model, optimizer, every=1) as w:
        learn(model, optimizer, F.mse_loss, torch.ones(4, 2), torch.zeros(4, 2), 4)
    assert (w.findings()[0].code, w.findings()[0].layer) == ("not_finite", "0.weight")
    assert not any(module._forward_hooks for module in model.modules())


def test_watch_knows_the_scores_it_is_told():
    model = net(linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with cw.measure.watch(model, optimizer, every=1) as w:
        w.score(0.75, 0.5, 0.7)
        learn(model, optimizer, F.cross_entropy, torch.ones(4, 2), torch.zeros(4, dtype=torch.int64), 1)
    assert (w.records[0].metric, w.records[0].validation_metric, w.records[0].validation_loss) == (0.75, 0.5, 0.7)


def test_watch_takes_sparse_gradients_half_precision_and_a_layer_without_weights():
    model = net(lambda: nn.Embedding(10, 4, sparse=True), nn.Flatten, lambda: nn.Linear(8, 2, dtype=torch.bfloat16))
    model[1].nothing = nn.Parameter(torch.empty(0))
    model.forward = lambda x: model[2](model[1](model[0](x)).bfloat16())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with cw.measure.watch(model, optimizer, every=1) as w:
        model(torch.tensor([[1, 2]])).float().square().sum().backward()
        optimizer.step()
    embedding, last = w.records[0].layers
    assert (embedding.name, last.name) == ("0", "2")
    assert embedding.gradient_norm == pytest.approx(float(model[0].weight.grad.to_dense().norm()), rel=1e-5)


def test_every_rule_is_on_the_page():
    page = (Path(__file__).parents[1] / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    assert all(f"| `{rule.__name__}` | {rule.__doc__.split(chr(10))[0]}" in page for rule in RULES)


def test_a_run_in_half_precision_is_diagnosed_too():
    digits = data.load("digits")
    run = fit(nets.build("cnn", digits.in_shape, 10), digits, epochs=1, precision="bfloat16", out=None, progress=False)
    assert len(run.description["evidence"]["recalls"]) == 10
    given = {"optimizer": "sgd", "lr": 1e30, "precision": "bfloat16", "out": None, "progress": False}
    with pytest.raises(DivergedError, match="first tensor that is not finite"):
        fit(nets.build("cnn", digits.in_shape, 10), digits, epochs=4, **given)
