"""Each rule finds what it is for, stays silent without it, and a run folder alone is enough to say so."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import data, nets
from commonweight.errors import DivergedError, FileError, TrainError
from commonweight.measure.diagnosis import OPPOSITES, RULES, Advice, Evidence, Finding, diagnose
from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.data_facts import data_facts
from commonweight.measure.diagnosis.evidence import DataFacts, LossFacts, ModelFacts
from commonweight.measure.diagnosis.flow import Flow
from commonweight.measure.diagnosis.model_facts import look, loss_facts, model_facts
from commonweight.measure.diagnosis.words import ADVICE, FINDINGS, LANGUAGES, say
from commonweight.measure.records import LayerStatistics, Record
from commonweight.train.facts import first_nonfinite, recalls
from commonweight.train.loop import fit
from commonweight.train.run import findings_of

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
MODEL = ModelFacts(n_weights=100, narrowest=10, signals=(1.0, 1.0))
EVIDENCE = Evidence(DATA, MODEL, LossFacts(), "adam", 0.1, 32, 1000, START)
GOOD = [record(step, loss=0.7 - 0.0006 * step, metric=0.99, validation_metric=0.96) for step in range(100, 1001, 100)]


def codes(records=RECORDS, **facts):
    """The codes of the findings, see `findings`."""
    return [finding.code for finding in findings(records, **facts)]


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


def test_a_good_run_has_no_finding():
    assert codes(GOOD) == []


def test_every_rule_has_words_in_three_languages_and_its_advice_too():
    assert {rule.__name__ for rule in RULES} == set(FINDINGS)
    for words in (*FINDINGS.values(), *ADVICE.values()):
        assert len(words) == len(LANGUAGES)
        assert all(words)


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
    "unequal_start": {"model_signals": (1e-4, 1.0)},
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


def test_each_rule_has_a_case():
    assert set(CASES) == set(FINDINGS)


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


def test_no_records_no_findings():
    assert diagnose([], EVIDENCE) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", CASES)
def test_findings_are_said_without_a_blank_left(code, language):
    evidence_codes = CASES[code]
    finding = Finding(code, "layer1", 0.5, 0.25, 7, Advice(next(iter(ADVICE)), {}))
    assert evidence_codes is not None
    text = say(finding, language)
    assert "{" not in text
    assert text.endswith((".", "。"))


def test_an_unknown_language_is_refused():
    with pytest.raises(TrainError, match="The diagnosis speaks en, zh-Hans, zh-Hant; got 'tlh'"):
        say(Finding("underfit", "", 0.0, 0.0, 0, Advice("longer", {"factor": 3.0})), "tlh")


def test_evidence_survives_json():
    evidence = replace(EVIDENCE, recalls=(0.5, 1.0), nonfinite="w")
    again = Evidence.from_json(json.loads(json.dumps(evidence.to_json(), allow_nan=False)))
    assert again == evidence


@pytest.mark.parametrize(
    "damage",
    [
        {"rate": "much"},
        {"more": 1},
        {"data": 3},
        {"data": {"task": "classification"}},
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


# -- facts of the data --


def test_data_facts_of_a_good_set():
    facts = data_facts(data.load("digits"))
    assert facts.leaked == 0
    assert facts.constant == ()
    assert sum(facts.counts) == facts.n_train == 1257
    assert facts.reference > 0.95
    assert facts.neighbours > 0.9


def test_leaked_samples_are_counted_exactly():
    wine = data.load("wine")
    x = wine.x.clone()
    x[wine.validation[:9]] = x[wine.train[:9]]
    assert data_facts(replace(wine, x=x)).leaked == pytest.approx(9 / len(wine.validation))


def test_constant_and_unnormalised_columns_are_seen():
    wine = data.load("wine")
    x = wine.x.clone()
    x[:, 2] = 5.0
    plain = replace(wine.normalisation, mean=torch.zeros(13), scale=torch.ones(13))
    facts = data_facts(replace(wine, x=x, normalisation=plain))
    assert facts.constant == (wine.features[2],)
    assert facts.spread > 100


def test_neighbours_tell_noise_from_shuffled_labels():
    digits = data.load("digits")
    generator = torch.Generator().manual_seed(0)
    for share, low, high in ((0.3, 0.6, 0.8), (1.0, 0.05, 0.2)):
        y = digits.y.clone()
        chosen = torch.randperm(len(y), generator=generator)[: int(share * len(y))]
        y[chosen] = torch.randint(0, 10, (len(chosen),), generator=generator)
        facts = data_facts(replace(digits, y=y))
        assert low < facts.neighbours < high
        assert facts.neighbours >= facts.nearest


def test_the_reference_of_a_regression_is_r2():
    facts = data_facts(data.load("diabetes"))
    assert 0.2 < facts.reference < 0.7
    y = data.load("diabetes").y[data.load("diabetes").validation]
    assert facts.validation_deviation == pytest.approx(float(y.std(correction=0)), rel=1e-5)


# -- facts of net and loss --


def net(*layers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*[make() for make in layers])


def linear(n_in, n_out):
    return lambda: nn.Linear(n_in, n_out)


def test_frozen_zero_and_alike_layers_are_told():
    model = net(linear(3, 4), nn.ReLU, linear(4, 4), nn.ReLU, linear(4, 2))
    model[0].requires_grad_(False)
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[4].weight, 0.1)
    facts = model_facts(model)
    assert (facts.frozen, facts.zero, facts.alike) == (("0",), ("2",), ("4",))


def test_a_weight_that_the_optimizer_does_not_hold_is_frozen():
    model = net(linear(3, 4), nn.ReLU, linear(4, 2))
    assert model_facts(model, [id(p) for p in model[2].parameters()]).frozen == ("0",)


def test_a_broken_tie_is_told():
    model = net(linear(3, 3), nn.ReLU, linear(3, 3))
    cw.tie(model, "2.weight = 0.weight", keep="source")
    assert model_facts(model).broken_ties == ()
    model[2].weight = nn.Parameter(torch.zeros(3, 3))
    assert model_facts(model).broken_ties == ("2.weight = 0.weight",)


@pytest.mark.parametrize(
    ("between", "straight"),
    [
        ([nn.ReLU], ()),
        ([], ("0 -> 1",)),
        ([lambda: nn.ReLU(inplace=True)], ()),
        ([nn.Identity], ("0 -> 2",)),
        ([lambda: nn.BatchNorm1d(4), nn.Dropout], ("0 -> 3",)),
        ([nn.Dropout, nn.Tanh], ()),
    ],
)
def test_layers_without_an_activation_between_are_seen(between, straight):
    model = net(linear(3, 4), *between, linear(4, 2))
    with Flow(model) as flow:
        model(torch.randn(5, 3))
    assert flow.straight() == straight
    assert not any(module._forward_hooks for module in model.modules())


LOGITS = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(16) % 3


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        (F.cross_entropy, LOGITS, {"probabilities": False, "shift_invariant": True, "linear": False}),
        (F.cross_entropy, LOGITS.softmax(1), {"probabilities": True, "shift_invariant": True, "linear": False}),
        (F.nll_loss, LOGITS, {"probabilities": False, "linear": True, "log_probabilities": False}),
        (F.nll_loss, LOGITS.log_softmax(1), {"linear": True, "log_probabilities": True}),
        (F.cross_entropy, LOGITS * 1e4, {"linear": False}),
    ],
)
def test_losses_are_told_apart(loss, outputs, expected):
    facts = loss_facts(loss, outputs, TARGETS)
    assert {name: getattr(facts, name) for name in expected} == expected


def test_a_loss_that_does_not_pull_to_the_targets_is_told():
    assert loss_facts(F.cross_entropy, LOGITS, TARGETS).pull > 0.99
    assert loss_facts(lambda o, t: F.mse_loss(o.mean(1), t.float()), LOGITS, TARGETS).pull < 0.2
    assert loss_facts(lambda o, t: -F.cross_entropy(o, t), LOGITS, TARGETS).pull < -0.9
    values = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
    assert loss_facts(F.mse_loss, LOGITS[:, :2], values).pull == pytest.approx(1.0)
    assert loss_facts(F.l1_loss, LOGITS[:, :2], values).pull == pytest.approx(1.0)
    assert loss_facts(F.binary_cross_entropy_with_logits, LOGITS[:, :2], values).pull < 0.3
    assert loss_facts(lambda o, t: o.detach().sum(), LOGITS, TARGETS).pull == 0


def test_looking_changes_nothing():
    model = nets.build("cnn", (1, 8, 8), 10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    evidence = look(
        model, torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8), F.cross_entropy
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert evidence.start.layers[0].name == "conv1"


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
    assert first_nonfinite(model, x * 1e38 * 3) in ("output of 0", "loss")
    with torch.no_grad():
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


def test_the_package_knows_watch_without_importing_torch():
    import subprocess
    import sys

    code = "import sys, commonweight; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_batches_of_one_that_batch_normalisation_cannot_take_are_refused():
    digits = data.load("digits")
    with pytest.raises(TrainError, match=r"cannot learn from batches of 1, .*: take a larger --batch-size"):
        fit(nets.build("cnn", digits.in_shape, 10), digits, epochs=1, batch_size=1, out=None, progress=False)


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
