"""Tuning: what is tried, given up, gone on with and shared by workers, and the run at the end."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import optuna
import pytest
from optuna.trial import TrialState
from postgres_server import missing, server

from commonweight import data
from commonweight.errors import TrainError
from commonweight.train import tune as tuning
from commonweight.train.run import Run
from commonweight.train.settings import choose_settings
from commonweight.train.tune import importances, run_trial, search, tune
from commonweight.train.tune_display import TuneDisplay
from commonweight.train.tune_figure import draw_study
from commonweight.train.tune_space import Candidate, Space
from commonweight.train.tune_storage import chooser, open_study

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="module")
def iris():
    return data.load("iris")


@pytest.fixture(scope="module")
def space(iris):
    return Space("mlp", iris, seed=0)


@pytest.fixture
def short(monkeypatch):
    """Two epochs a training, five for rules that take all samples."""

    def chosen(model, samples, **given):
        return choose_settings(
            model, samples, **given | {"epochs": 2 if given["optimizer"] in ("muon", "adamw", "momentum") else 5}
        )

    monkeypatch.setattr(tuning, "choose_settings", chosen)


@pytest.mark.parametrize(
    ("net", "name", "names"),
    [
        ("mlp", "iris", {"optimizer", "width", "depth"}),
        ("mlp", "digits", {"optimizer", "width", "depth", "rate", "batch", "l2", "dropout"}),
        ("cnn", "digits", {"optimizer", "width", "rate", "batch", "l2", "dropout"}),
        ("lstm", "gunpoint", {"optimizer", "rate", "batch", "l2"}),
    ],
)
def test_the_defaults_are_a_choice_and_every_choice_can_be_built(net, name, names):
    loaded = data.load(name)
    one = Space(net, loaded, seed=0)
    assert set(one.default) == names
    default = one.choose(optuna.trial.FixedTrial(one.default))
    usual = choose_settings(
        tuning._model(default, one), loaded, epochs=None, goal=None, optimizer="auto", lr=None, batch_size=None,
        precision="auto", device="auto", seed=0,
    )  # fmt: skip
    same = replace(tuning._settings(default, one, tuning._model(default, one)), reason=usual.reason)
    assert same == usual
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        candidate = one.choose(study.ask())
        tuning._settings(candidate, one, tuning._model(candidate, one))
        assert str(candidate)


def test_the_default_net_is_the_net_of_train(iris, space):
    default = space.choose(optuna.trial.FixedTrial(space.default))
    assert default == Candidate({"hidden": [128, 64]}, {"optimizer": "lbfgs"})


@pytest.mark.usefixtures("short")
def test_a_study_ends_in_a_run_and_goes_on(tmp_path):
    tune("iris", trials=1, out=tmp_path / "study", progress=False)
    first = tune("iris", trials=2, out=tmp_path / "study", progress=False)
    assert len(first.study.trials) == 2
    trial = first.study.best_trial
    assert trial.number == 0 or trial.value >= first.study.trials[0].value
    assert first.run.folder == tmp_path / "study" / f"run-{trial.number}"
    assert Run.load(first.run.folder).results == first.run.results
    before = first.run.folder.stat().st_mtime_ns
    again = tune("iris", trials=2, out=tmp_path / "study", progress=False)
    assert len(again.study.trials) == 2
    assert again.run.folder.stat().st_mtime_ns == before
    assert (tmp_path / "study" / "trials.png").stat().st_size > 1000
    for other in ({"seed": 1}, {"prepare": "zca"}):
        with pytest.raises(TrainError, match=r"run-\d is the run of another study: choose another --out"):
            tune("iris", trials=3, out=tmp_path / "study", progress=False, **other)
        storage = f"sqlite:///{tmp_path}/study/trials.db"
        with pytest.raises(TrainError, match=r"tune-iris-mlp in .*trials\.db was begun on other data, or with another"):
            tune("iris", trials=3, out=tmp_path / "other", storage=storage, progress=False, **other)
    with pytest.raises(TrainError, match="is the run of another study"):
        tune("wine", trials=1, out=tmp_path / "study", progress=False)


class Told:
    """A trial that remembers what it is told and gives up after so many reports."""

    def __init__(self, patience):
        self.reports, self.patience = [], patience

    def report(self, score, step):
        self.reports.append((step, score))

    def should_prune(self):
        return len(self.reports) >= self.patience


def test_scores_are_told_at_each_tenth_until_a_trial_is_given_up(space):
    candidate = Candidate({"hidden": [4]}, {"optimizer": "adamw"})
    whole = Told(100)
    score, ended = run_trial(whole, candidate, space)
    assert ended
    assert [step for step, _ in whole.reports] == list(range(1, 11))[: len(whole.reports)]
    assert [value for _, value in whole.reports] == sorted(value for _, value in whole.reports)
    assert score >= whole.reports[-1][1]
    short = Told(3)
    _, ended = run_trial(short, candidate, space)
    assert not ended
    assert short.reports == whole.reports[:3]


def test_a_trial_is_the_training_of_the_run_at_the_end(space, iris):
    candidate = Candidate({"hidden": [4], "dropout": 0.2}, {"optimizer": "adamw", "lr": 0.01})
    score, _ = run_trial(Told(100), candidate, space)
    run = tuning.fit(tuning._model(candidate, space), iris, seed=0, out=None, progress=False, **candidate.settings)
    best = max((r.validation_metric, -r.validation_loss) for r in run.records)
    assert score == pytest.approx(best[0] + best[1] / 1000, abs=1e-9)


def study_of(tmp_path, space, **about):
    return open_study(f"sqlite:///{tmp_path / 'trials.db'}", "study", about, space.default)


def test_what_cannot_be_trained_counts_as_given_up(tmp_path, space, monkeypatch):
    def fails(*_):
        raise TrainError("The training loss became nan")

    monkeypatch.setattr(tuning, "run_trial", fails)
    study = study_of(tmp_path, space)
    search(study, space, 2, None)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED] * 2
    assert study.trials[0].params == space.default
    with pytest.raises(TrainError, match="None of 2 trials came to its end: allow more of them, or more time"):
        tuning._finish(study, space, tmp_path)


def test_an_interrupted_study_says_how_it_goes_on(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "run_trial", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"the study goes on with the same command and --out .*study$"):
        tune("iris", out=tmp_path / "study", progress=False)
    study = optuna.load_study(study_name="tune-iris-mlp", storage=f"sqlite:///{tmp_path / 'study' / 'trials.db'}")
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]


def test_workers_that_begin_together_do_not_try_the_same(tmp_path, space, monkeypatch):
    monkeypatch.setattr(tuning, "run_trial", lambda *_: (0.5, True))
    workers = [study_of(tmp_path, space) for _ in range(2)]
    for trials, worker in zip((4, 8), workers, strict=True):
        search(worker, space, trials, None, None, partial(chooser, 0))
    tried = [trial.params for trial in workers[0].trials]
    assert tried[0] == space.default
    assert len({str(params) for params in tried}) == 8


def test_time_ends_a_search(tmp_path, space, monkeypatch):
    monkeypatch.setattr(tuning, "run_trial", lambda *_: (0.5, True))
    study = study_of(tmp_path, space)
    search(study, space, None, 1e-9)
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) <= 1


def test_importance_is_that_of_optuna_and_needs_a_few_trials(tmp_path, space, monkeypatch):
    """A score that only the rate decides."""
    monkeypatch.setattr(tuning, "run_trial", lambda trial, *_: (-abs(trial.params.get("rate", 9) - 3), True))
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    search(study, space, 3, None)
    assert importances(study) == {}
    draw_study(study, {}, tmp_path / "few.png")
    search(study, space, 40, None)
    found = importances(study)
    assert max(found, key=found.get) == "rate"
    assert sum(found.values()) == pytest.approx(1)
    draw_study(study, found, tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > 1000


def test_the_display_tells_each_trial_and_draws_the_best(tmp_path, space, monkeypatch, capsys):
    outcomes = iter([(0.5, True), (0.7, True), (0.1, False)])
    monkeypatch.setattr(tuning, "run_trial", lambda *_: next(outcomes))
    study, display = study_of(tmp_path, space), TuneDisplay("iris")
    search(study, space, 3, None, display)
    table = display._table(study)
    display.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].split()[:3] == ["trial", "0", "0.5000"]
    assert "0.1000, given up" in lines[3]
    assert list(table.columns[0].cells) == ["1", "0"]
    assert table.caption == "2 whole, 1 given up"


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://someone:secret@127.0.0.1:1/none", "nonsense", "mysql://someone:secret@127.0.0.1/none"],
)
def test_a_storage_that_cannot_be_used_is_one_sentence_without_the_password(say, url):
    code, _, err = say("tune", "iris", "--storage", url)
    assert code == 2
    assert err.count("\n") == 1
    assert "cannot be used" in err
    assert "secret" not in err


def test_a_file_that_is_no_database_is_refused(say, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "trials.db").write_text("no database " * 100)
    code, _, err = say("tune", "iris", "--out", "study")
    assert code == 2
    assert "file is not a database" in err


def test_an_unknown_column_a_wrong_number_and_a_net_with_its_own_rule_are_refused(say, tmp_path):
    (tmp_path / "own.csv").write_text("a,b\n" + "".join(f"{k},{k % 2}\n" for k in range(40)))
    code, _, err = say("tune", "own.csv", "--target", "c")
    assert code == 2
    assert "'c'" in err
    assert "rbf learns by a rule of its own; only nets that are trained" in say("tune", "iris", "--net", "rbf")[2]
    assert "trials is a whole number of at least 1; got 0" in say("tune", "iris", "--trials", 0)[2]
    assert "minutes is a number above 0; got -1" in say("tune", "iris", "--minutes", -1)[2]
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("short")
def test_the_command_prints_the_best_and_json(say):
    code, out, err = say("tune", "iris", "--trials", 2, "--out", "study")
    assert code == 0
    assert "best of 2 trials: optimizer" in out
    assert "trial   0" in err
    code, out, _ = say("tune", "iris", "--trials", 2, "--out", "study", "--json")
    told = json.loads(out)
    assert told["trials"] == 2
    assert set(told["best"]) >= {"optimizer", "structure"}


WORKER = """
import sys
from commonweight.train import tune as tuning
tuning.run_trial = lambda trial, candidate, space: (trial.number / 100, True)
study = tuning.open_study(sys.argv[1], "shared", {}, {})
tuning.search(study, tuning.Space("mlp", tuning.sources.load("iris"), 0), 6, None)
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_workers_share_a_study_on_a_server():
    with server() as url:
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER, url], stderr=subprocess.PIPE, text=True) for _ in range(2)
        ]
        told = [worker.communicate(timeout=120)[1] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], told
        storage = optuna.storages.RDBStorage(url)
        trials = optuna.load_study(study_name="shared", storage=storage).trials
        storage.remove_session()
        storage.engine.dispose()
        whole = [trial.number for trial in trials if trial.state == TrialState.COMPLETE]
        assert 6 <= len(whole) <= 7  # both may begin the last one
        assert sorted(whole) == list(range(len(whole)))
