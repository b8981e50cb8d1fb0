"""Advice is followed as it is written, a restart begins where the first training began, and the better run is kept."""

import json
import re
from dataclasses import replace
from string import Formatter

import pytest
import torch
from diagnosis_cases import ALL_CASES, findings
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import data, nets
from commonweight.data import Normalisation
from commonweight.errors import DivergedError, TrainError
from commonweight.measure.diagnosis import Advice, Finding
from commonweight.measure.diagnosis.data_facts import NEIGHBOURS, contradicting, leaked
from commonweight.measure.diagnosis.words import ADVICE
from commonweight.train import choice, repair
from commonweight.train.loop import fit
from commonweight.train.remedies import CHANGES, drawn_again, follow
from commonweight.train.repair import Attempt, attempt, fit_repaired, put_right
from commonweight.train.restart import Start, anew
from commonweight.train.settings import DEFAULT_RATE, usual_batch_size, usual_epochs

IRIS = data.load("iris")
ONLY_A_PERSON = {"check_labels"}


def mlp(**structure):
    return nets.build("mlp", IRIS.in_shape, IRIS.n_outputs, structure=structure)


class OwnLayer(nn.Module):
    """A layer that has no way to draw its first weights again."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 4))

    def forward(self, x):
        return x @ self.weight.T


def start(model=None, of=IRIS, **settings):
    return Start(mlp() if model is None else model, of, settings)


def followed(code, begin, **parameters):
    return follow(Advice(code, parameters), begin)


def test_every_advice_can_be_followed_or_is_for_a_person():
    assert set(CHANGES) | ONLY_A_PERSON == set(ADVICE)
    assert followed("check_labels", start()) is None


ADVISED = {  # every advice as the rules give it
    finding.advice.code: finding.advice for _, case in ALL_CASES for finding in findings(**case)
}


class Noted(dict):
    """Parameters that note which of them are asked for."""

    def __init__(self, given):
        super().__init__(given)
        self.asked = set()

    def __getitem__(self, name):
        self.asked.add(name)
        return super().__getitem__(name)


def test_rules_give_every_advice():
    assert set(ADVISED) == set(ADVICE)


@pytest.mark.parametrize("code", ADVICE)
def test_what_the_words_of_an_advice_name_is_what_the_repair_applies(code):
    """The blanks of its words are the parameters that rules give it, and those that the change asks for."""
    blanks = [{name for _, name, _, _ in Formatter().parse(words) if name} for words in ADVICE[code]]
    given = Noted(ADVISED[code].parameters)
    assert blanks == 3 * [set(given)]
    own = nn.Sequential(OwnLayer(), nn.Sigmoid(), nn.Linear(3, 3))
    begin = start(mlp() if code in ("widen", "narrow") else own, l2=0.0)
    if code == "let_through":
        given["modules"] = "1"
    follow(replace(ADVISED[code], parameters=given), begin)
    assert given.asked == (set(given) if code in CHANGES else set())


def test_rates_come_back_to_the_usual_one_and_pass_it_only_then():
    usual = DEFAULT_RATE["adam"]
    assert followed("lower_rate", start(optimizer="adam", lr=3.0), factor=0.1).settings["lr"] == usual
    assert followed("lower_rate", start(optimizer="adam"), factor=0.1).settings["lr"] == pytest.approx(usual / 10)
    assert followed("raise_rate", start(optimizer="adam", lr=1e-7), factor=10.0).settings["lr"] == usual
    assert followed("raise_rate", start(optimizer="adam"), factor=10.0).settings["lr"] == pytest.approx(usual * 10)


def test_settings_are_changed_and_others_kept():
    assert followed("larger_batch", start(batch_size=1), batch_size=32).settings["batch_size"] == 32
    assert followed("regularise", start(), l2=1e-3, factor=10.0).settings == {"l2": 1e-3}
    assert followed("regularise", start(l2=0.1), l2=1e-3, factor=10.0).settings == {"l2": 1.0}
    assert followed("longer", start(epochs=1000, lr=1e-9, seed=3), factor=3.0).settings == {
        "epochs": 3000,
        "lr": None,
        "seed": 3,
    }
    assert followed("longer", start(epochs=1, batch_size=16), factor=3.0).settings["epochs"] == usual_epochs(106, 16)
    size = usual_batch_size(106)
    assert followed("longer", start(), factor=3.0).settings["epochs"] == 3 * usual_epochs(106, size)


def test_restarts_of_large_nets_have_the_rule_of_large_nets():
    chosen = anew(start(nn.Linear(1500, 1500, device="meta"), optimizer="muon", lr=1.0)).settings
    assert (chosen["optimizer"], chosen["lr"]) == ("adamw", DEFAULT_RATE["adamw"])


def test_a_net_that_becomes_large_by_advice_gets_the_rule_of_large_nets(monkeypatch):
    digits = data.load("digits")
    small, usual = (nets.build("mlp", digits.in_shape, 10, structure=structure) for structure in ({"hidden": (1,)}, {}))
    assert choice.muon_seconds(small) < choice.muon_seconds(usual) / 2
    monkeypatch.setattr(choice, "MUON_SECONDS", choice.muon_seconds(usual) / 2)
    run = fit_repaired(small, digits, epochs=2, optimizer="adam", out=None, progress=False)
    assert run.description["repaired"][0] == "widen"
    assert run.description["settings"]["optimizer"] == "adamw"


def changed_net(change):
    model = mlp()
    with torch.no_grad():
        change(model)
    return model


UNSCALED = Normalisation(torch.zeros(4), torch.ones(4))
OTHERWISE = {
    "rate": lambda begin: begin.having(lr=1e-3),
    "epochs": lambda begin: begin.having(epochs=7),
    "weights": lambda begin: replace(begin, model=changed_net(lambda model: model.output.bias.add_(1))),
    "frozen": lambda begin: replace(begin, model=changed_net(lambda model: model.output.requires_grad_(False))),
    "module": lambda begin: replace(begin, model=changed_net(lambda model: model.add_module("end", nn.Identity()))),
    "loss": lambda begin: replace(begin, model=changed_net(lambda model: setattr(model, "loss", F.nll_loss))),
    "split": lambda begin: replace(begin, data=replace(IRIS, train=IRIS.train[1:])),
    "targets": lambda begin: replace(begin, data=replace(IRIS, y=2 - IRIS.y)),
    "scale": lambda begin: replace(
        begin, data=replace(IRIS, normalisation=Normalisation(torch.zeros(4), torch.ones(4)))
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_start_repeats_another_only_where_nothing_differs(name):
    begin = start(optimizer="adam")
    same = start(of=replace(IRIS, x=IRIS.x.clone()), optimizer="adam", lr=DEFAULT_RATE["adam"], net="mlp")
    assert begin.repeats(same)
    assert same.repeats(begin)
    assert not begin.repeats(OTHERWISE[name](begin))


def test_restarts_have_the_settings_of_the_library_and_no_fewer_epochs():
    size = usual_batch_size(len(IRIS.train))
    chosen = anew(start(optimizer="adam", lr=1.0, epochs=1, batch_size=2, init="zero", seed=4)).settings
    epochs = usual_epochs(len(IRIS.train), size)
    assert chosen == {
        "optimizer": "muon",
        "lr": DEFAULT_RATE["muon"],
        "batch_size": size,
        "epochs": epochs,
        "patience": None,
        "init": "auto",
        "seed": 4,
    }
    assert anew(start(optimizer="adam", epochs=5000)).settings["epochs"] == 5000
    slow = anew(start(optimizer="adam", lr=DEFAULT_RATE["adam"] / 100), keep_pace=True)
    assert slow.settings["lr"] == pytest.approx(DEFAULT_RATE["muon"] / 100)


def test_weights_begin_again_as_their_layers_begin():
    bare = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    for weight in bare.parameters():
        nn.init.zeros_(weight)
    changed = followed("initialise", start(bare, seed=7), rule="he")
    assert changed.settings == {"seed": 7}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        fresh = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    assert torch.equal(changed.model[2].weight, fresh[2].weight)
    assert not bare[0].weight.any()
    lenet, first = (nets.build("lenet5", (1, 8, 8), 10, seed=seed) for seed in (1, 0))
    again = drawn_again(lenet, 0)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), first.parameters(), strict=True))


def test_weights_begin_by_a_rule_where_a_layer_cannot_begin_again():
    assert followed("initialise", start(OwnLayer()), rule="he").settings == {"init": "he"}
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    cw.tie(tied, "1.weight = 0.weight", keep="source")
    assert drawn_again(tied, 0) is None


def test_data_is_normalised_again():
    plain = Normalisation(torch.zeros(4), torch.ones(4))
    changed = followed("normalise", start(of=replace(IRIS, normalisation=plain))).data
    x = changed.normalisation.apply(IRIS.x[IRIS.train])
    assert torch.allclose(x.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(x.std(0, correction=0), torch.ones(4), atol=1e-5)


def test_leaked_samples_leave_the_validation_part():
    wine = data.load("wine")
    x = wine.x.clone()
    x[wine.validation[:9]], y = x[wine.train[:9]], wine.y.clone()
    y[wine.validation[:9]] = y[wine.train[:9]]
    of = replace(wine, x=x, y=y)
    assert leaked(of).tolist() == [True] * 9 + [False] * (len(wine.validation) - 9)
    assert torch.equal(followed("drop_duplicates", start(of=of)).data.validation, wine.validation[9:])
    some = wine.train[: len(wine.validation)]
    x[wine.validation], y[wine.validation] = x[some], y[some]
    assert followed("drop_duplicates", start(of=replace(wine, x=x, y=y))) is None


def test_columns_constant_in_the_training_part_become_constant_everywhere():
    x = IRIS.x.clone()
    x[IRIS.train, 2] = 7.0
    changed = followed("drop_constant", start(of=replace(IRIS, x=x))).data
    assert bool((changed.x[:, 2] == 7).all())
    assert torch.equal(changed.x[:, 0], IRIS.x[:, 0])
    assert followed("drop_constant", start(of=replace(IRIS, x=torch.ones_like(IRIS.x)))) is None


def test_classes_are_balanced_by_repeating_samples():
    rare = IRIS.train[(IRIS.y[IRIS.train] != 1) | (torch.arange(len(IRIS.train)) % 7 == 0)]
    changed = followed("balance", start(of=replace(IRIS, train=rare))).data
    counts = torch.bincount(IRIS.y[changed.train])
    assert counts.tolist() == [int(torch.bincount(IRIS.y[rare]).max())] * 3
    assert set(changed.train.tolist()) == set(rare.tolist())


def test_labels_that_contradict_their_neighbours_are_left_out():
    y = IRIS.y.clone()
    wrong = IRIS.train[:5]
    y[wrong] = (y[wrong] + 1) % 3
    of = replace(IRIS, y=y)
    assert bool(contradicting(of, wrong).all())
    kept = followed("clean_labels", start(of=of)).data
    assert not set(wrong.tolist()) & set(kept.train.tolist())
    assert len(kept.train) > 0.8 * len(IRIS.train)


def test_a_sample_has_no_voice_in_what_its_neighbours_say():
    """The first sample is of class 0, as its nearest neighbours are; the others of those asked outvote them by one."""
    near = torch.arange(1, 1 + NEIGHBOURS)
    y = torch.cat([torch.zeros(1), (near > (NEIGHBOURS - 1) // 2).float(), torch.zeros(20)]).long()
    x = torch.cat([torch.zeros(1), near.float(), torch.full((20,), 1e3)])[:, None]
    of = replace(IRIS, x=x, y=y, train=torch.arange(len(x)))
    assert contradicting(of, torch.tensor([0])).tolist() == [True]


def test_labels_that_contradict_each_other_everywhere_are_for_a_person():
    shuffled = IRIS.y[torch.randperm(len(IRIS.y), generator=torch.Generator().manual_seed(0))]
    assert followed("clean_labels", start(of=replace(IRIS, y=shuffled))) is None


def test_fewer_samples_make_a_smaller_batch():
    y = IRIS.y.clone()
    y[IRIS.train[:5]] = (y[IRIS.train[:5]] + 1) % 3
    changed = followed("clean_labels", start(of=replace(IRIS, y=y), batch_size=len(IRIS.train)))
    assert changed.settings["batch_size"] == len(changed.data.train) < len(IRIS.train)


def test_a_softmax_and_a_last_activation_are_taken_out():
    model = mlp()
    model.add_module("softmax", nn.Softmax(1))
    changed = followed("remove_softmax", start(model))
    assert isinstance(changed.model.softmax, nn.Identity)
    assert isinstance(model.softmax, nn.Softmax)
    assert followed("remove_softmax", start(mlp())) is None
    squashed = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Sigmoid())
    changed = followed("remove_last_activation", start(squashed)).model
    assert [type(module) for module in changed] == [nn.Linear, nn.ReLU, nn.Linear, nn.Identity]


def test_a_loss_set_on_the_net_is_forgotten():
    model = mlp()
    model.loss = F.nll_loss
    assert not hasattr(followed("usual_loss", start(model)).model, "loss")
    assert model.loss is F.nll_loss
    lenet = nets.build("lenet5", (1, 8, 8), 10)
    assert followed("usual_loss", start(lenet)) is None


def test_frozen_layers_learn_again():
    model = mlp().requires_grad_(False)
    assert all(weight.requires_grad for weight in followed("unfreeze", start(model)).model.parameters())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_a_tie_is_tied_again():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    cw.tie(model, "2.weight = 0.weight", keep="source")
    model[2].weight = nn.Parameter(torch.zeros(4, 4))
    changed = followed("tie_again", start(model)).model
    assert changed[2].weight is changed[0].weight


def test_activations_are_put_between():
    linear = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    changed = followed("add_activation", start(linear), name="ReLU").model
    kinds = [type(module) for module in changed.modules() if not any(module.children())]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    held = nn.Sequential(nn.Linear(4, 8), nn.Identity(), nn.Linear(8, 3))
    assert isinstance(followed("add_activation", start(held), name="ReLU").model[1], nn.ReLU)


def test_the_way_of_gradients_is_cleared():
    model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 3))
    changed = followed("clear_the_way", start(model), rule="he")
    assert isinstance(changed.model[1], nn.ReLU)
    assert changed.settings["net"] is None
    cut = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 3))
    changed = followed("let_through", start(cut), modules="2", rule="he")
    assert isinstance(changed.model[1], nn.Tanh)
    assert isinstance(changed.model[2], nn.Identity)


def test_deep_sigmoid_nets_by_name_become_the_usual_net_of_their_family():
    deep = mlp(hidden=(4,) * 8, activation="sigmoid")
    changed = followed("clear_the_way", start(deep), rule="he").model
    assert [type(module) for module in changed] == [type(module) for module in mlp()]
    assert changed.hidden1.out_features == mlp().hidden1.out_features
    deep.output = nn.Sequential(nn.Identity(), deep.output)  # no longer what its name makes
    assert len(followed("clear_the_way", start(deep), rule="he").model) == len(deep)


def test_nets_by_name_become_wider_and_narrower():
    wider = followed("widen", start(mlp(hidden=(30, 40))), factor=8.0).model
    assert (wider.hidden1.out_features, wider.hidden2.out_features) == (240, 320)
    assert wider.built_with == {"hidden": (240, 320)}
    assert followed("widen", start(mlp(hidden=(1,))), factor=8.0).model.built_with == {"hidden": (128, 64)}
    assert followed("narrow", start(mlp()), factor=0.25).model.hidden1.out_features == 32
    assert followed("widen", start(nn.Linear(4, 3)), factor=8.0) is None
    changed = mlp()
    changed.add_module("softmax", nn.Softmax(1))
    assert followed("widen", start(changed), factor=8.0) is None


def test_a_run_is_repaired_in_folders_of_its_own(tmp_path):
    model = mlp()
    for weight in model.parameters():
        nn.init.zeros_(weight)
    run = fit(model, IRIS, epochs=30, out=tmp_path / "run", progress=False, repair=True)
    assert run.description["repaired"] == ["initialise"]
    assert run.results["test"]["accuracy"] > 0.9
    assert run.folder == tmp_path / "run-repaired-1"
    stored = json.loads((tmp_path / "run-repaired-1" / "run.json").read_text())
    assert stored["repaired"] == ["initialise"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["repaired"] == []


def test_a_repaired_run_has_its_data_and_its_net_again(say, tmp_path):
    """Data that were changed are changed again; a net that was changed is named by who has one like it."""
    drawn = torch.rand(150, 2, generator=torch.Generator().manual_seed(0)).tolist()
    rows = [f"{a},{b},{a > b}\n" for a, b in drawn]
    (tmp_path / "twice.csv").write_text("".join(["a,b,y\n", *rows, *rows[:60]]))
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def probable(shape, n): return nn.Sequential(nn.Linear(shape[0], n), nn.Softmax(1))\n"
        "def plain(shape, n): return nn.Sequential(nn.Linear(shape[0], n))\n"
    )
    given = ("--net", "own.py:probable", "--epochs", 5, "--batch-size", 16, "--repair", "--out", "run")
    assert say("train", "twice.csv", *given)[0] == 0
    repaired = json.loads((tmp_path / "run-repaired-2" / "run.json").read_text())
    assert set(repaired["repaired"]) >= {"drop_duplicates", "remove_softmax"}
    assert (
        repaired["data"]["fingerprint"]
        != json.loads((tmp_path / "run" / "run.json").read_text())["data"]["fingerprint"]
    )
    code, _, err = say("weights", "run-repaired-2")
    assert code == 2
    assert "run-repaired-2 was not made by name, or was changed by a repair: name one like it, as --net file.py" in err
    code, out, _ = say("weights", "run-repaired-2", "--net", "own.py:plain")
    assert code == 0
    assert "written: run-repaired-2/values.npz" in out


def test_a_run_that_ended_in_no_number_is_repaired():
    run = fit_repaired(mlp(), IRIS, epochs=30, optimizer="momentum", lr=1e30, out=None, progress=False)
    assert run.description["repaired"] == ["lower_rate"]
    assert run.results["test"]["accuracy"] > 0.9


def test_repairs_say_what_they_do_and_which_run_is_kept(capsys):
    model = mlp()
    for weight in model.parameters():
        nn.init.zeros_(weight)
    fit(model, IRIS, epochs=30, out=None, repair=True)
    told = capsys.readouterr().err
    assert "repair 1: again, with the library's own settings and this changed. Draw the first weights again" in told
    assert re.search(r"repair 1: best validation accuracy 0\.9\d*; before: .* 0\.\d*; this run is kept", told)


def test_of_equal_runs_the_later_one_is_kept(monkeypatch):
    first = attempt(start(optimizer="adam", epochs=1), None, False)
    finding = Finding("plateau", "", 0.0, 0.02, 0, Advice("lower_rate", {"factor": 0.1}))
    monkeypatch.setattr(type(first.run), "findings", lambda self: [finding])
    later = []
    monkeypatch.setattr(repair, "attempt", lambda begun, *_: later.append(Attempt(begun, first.run, None)) or later[-1])
    assert put_right(first) is later[-1]


def test_a_restart_whose_loss_is_no_number_takes_no_place(monkeypatch):
    """Not even where the finding says that the score before was wrong."""
    first = attempt(start(optimizer="adam", epochs=1), None, False)
    finding = Finding("leakage", "", 0.5, 0.1, 0, Advice("lower_rate", {"factor": 0.1}))
    monkeypatch.setattr(type(first.run), "findings", lambda self: [finding])
    failed = DivergedError("The training loss became nan.", first.run)
    monkeypatch.setattr(repair, "attempt", lambda begun, *_: Attempt(begun, first.run, failed))
    assert put_right(first) is first


def test_a_start_that_cannot_be_trained_leaves_the_best_run_so_far(tmp_path, capsys):
    model = mlp()
    for weight in model.parameters():
        nn.init.zeros_(weight)
    (tmp_path / "run-repaired-1").mkdir()
    (tmp_path / "run-repaired-1" / "run.json").touch()
    run = fit(model, IRIS, epochs=30, out=tmp_path / "run", repair=True)
    assert run.folder == tmp_path / "run"
    told = capsys.readouterr().err
    assert "the best run so far is kept, for the next start cannot be trained: " in told
    assert "run-repaired-1 holds a run already" in told


def test_what_is_left_open_is_chosen_and_told_as_without_repair(capsys):
    """Levenberg-Marquardt, which has no rate, is chosen for this net; a rate that nobody gave is none."""
    diabetes = data.load("diabetes")
    model = nets.build("mlp", diabetes.in_shape, 1, task="regression", structure={"hidden": (3,)})
    fit(model, diabetes, epochs=3, out=None, repair=True)
    assert "optimizer lm-bayes: the Jacobian of all samples" in capsys.readouterr().err


def test_no_training_is_repeated(capsys):
    """Constant columns stay constant, and their advice stays the same."""
    x = IRIS.x.clone()
    x[:, 1] = 7.0
    run = fit(mlp(), replace(IRIS, x=x), epochs=5, optimizer="adam", out=None, repair=True)
    assert run.description["repaired"] == ["drop_constant"]
    assert "repair: what is left was tried already" in capsys.readouterr().err


def test_a_restart_that_is_the_first_training_again_is_left_out(monkeypatch):
    """All that the advice changes is what the run began with: the library's own settings and first weights."""
    first = attempt(anew(start(mlp(), optimizer="muon", seed=0)), None, False)
    finding = Finding("dead_units", "output", 0.9, 0.7, 0, Advice("initialise", {"rule": "he"}))
    monkeypatch.setattr(type(first.run), "findings", lambda self: [finding])
    assert put_right(first) is first


def test_always_the_most_frequent_class_wins_no_repair():
    """Of nine samples in ten one class: by accuracy, a net that always says it would be the better one."""
    some = IRIS.y[IRIS.validation] == 0
    rare = torch.cat([IRIS.validation[some], IRIS.validation[~some][:1]])
    of = replace(IRIS, validation=rare, y=(IRIS.y > 0).long(), classes=("one", "other"))
    model = nn.Linear(4, 2)
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.bias.copy_(torch.tensor([1.0, 0.0]))
    frequent = attempt(Start(model, of, {"optimizer": "adam", "lr": 1e-9, "epochs": 1}), None, False)
    assert max(record.validation_metric for record in frequent.run.records) == len(rare[:-1]) / len(rare)
    assert frequent.score == 0.5
    assert frequent.outcome == "best validation balanced accuracy 0.5"
    assert attempt(start(optimizer="adam", epochs=1), None, False).metric == "accuracy"


def test_what_only_a_person_can_put_right_is_said_to_be_so(capsys):
    y = IRIS.y[torch.randperm(150, generator=torch.Generator().manual_seed(0))]
    run = fit(mlp(), replace(IRIS, y=y), epochs=5, optimizer="muon", out=None, repair=True)
    assert [finding.code for finding in run.findings()] == ["shuffled_labels"]
    assert "repair: what is left was tried already, or is for a person to put right" in capsys.readouterr().err


def test_a_healthy_run_is_left_alone():
    run = fit_repaired(mlp(), IRIS, epochs=30, out=None, progress=False)
    assert run.description["repaired"] == []


def test_what_cannot_be_repaired_ends_as_without_repair():
    x = IRIS.x.clone()
    x[IRIS.train[0]] = float("nan")
    with pytest.raises(DivergedError, match="the first tensor that is not finite is inputs"):
        fit_repaired(mlp(), replace(IRIS, x=x), epochs=5, out=None, progress=False)


def test_a_net_that_cannot_learn_at_all_is_refused():
    with pytest.raises(TrainError, match=r"None of the 6 parameters of the net learns: let some"):
        fit(mlp().requires_grad_(False), IRIS, epochs=1, out=None, progress=False)
