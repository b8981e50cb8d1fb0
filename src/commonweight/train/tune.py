"""Settle the settings: try many on the validation part, give up the hopeless early, and train with the best."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from optuna.trial import FixedTrial, TrialState
from torch import nn

from commonweight import data as sources
from commonweight import nets
from commonweight.errors import TrainError, require_kind
from commonweight.train.loop import Trainer, fit
from commonweight.train.run import DESCRIPTION, Run, new_folder, read_description
from commonweight.train.settings import Settings, choose_settings, require
from commonweight.train.start import default_net
from commonweight.train.tune_display import TuneDisplay
from commonweight.train.tune_figure import draw_study
from commonweight.train.tune_space import Candidate, Space
from commonweight.train.tune_storage import chooser, open_study, reached, sqlite_url

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

TRIALS = 30
LEAST_TRIALS = 4
STORAGE, FIGURE = "trials.db", "trials.png"


@dataclass(frozen=True, eq=False)
class Tuned:
    """What tuning ends with.

    Attributes:
        run: trained with the best settings, as any other run.
        best: these settings.
        study: all trials, as optuna keeps them; `study.best_value` is the validation score of the best.
        importance: for each setting its share of what the score depends on; empty for fewer than four whole trials.
    """

    run: Run
    best: Candidate
    study: "Study"
    importance: dict[str, float]


def tune(
    name: str,
    *,
    net: str | None = None,
    target: str | None = None,
    task: str | None = None,
    prepare: str = "standard",
    seed: int = 0,
    trials: int | None = None,
    minutes: float | None = None,
    storage: str | None = None,
    out: str | Path = "auto",
    progress: bool = True,
) -> Tuned:
    """Search for good settings of a net on some data, then train it with the best of them.

    The same call goes on with a study that was interrupted, or is finished and is to have more trials; several at once
    are workers of one study, where they name one storage. The first trial takes the defaults, so that by the
    validation part the outcome is not worse than they are. The test part is scored only for the run at the end.

    Args:
        name, net, target, task, prepare, seed: as for `commonweight.train.start.start_run`.
        trials: how many the study is to have in all, by all workers; 30 if `minutes` is not given either.
        minutes: begin no further trial after so long.
        storage: URL of a database; by default the file trials.db of the folder.
        out: folder of the study; "auto" makes a new one such as runs/tune-digits-cnn-1. The run is its folder run-N,
            with N the number of the best trial.
        progress: show a table on standard error.

    Raises:
        TrainError: no trial that could be trained, a net that learns by a rule of its own, or a storage that cannot be
            used or holds a study of something else.
        DataError: such as an unknown target column.
    """
    require_kind(storage, str | None, "storage is the URL of a database", TrainError)
    require("trials", trials, lambda value: type(value) is int and value >= 1, "a whole number of at least 1")
    require("minutes", minutes, lambda value: 0 < value < float("inf"), "a number above 0")
    data = sources.load(name, target=target, task=task, seed=seed, prepare=prepare)
    net = net or default_net(data.in_shape)
    if nets.estimator(net, data.in_shape, task=data.task, seed=seed) is not None:
        raise TrainError(f"{net} learns by a rule of its own; only nets that are trained by gradients are tuned.")
    space = Space(net, data, seed)
    title = f"tune-{data.name}-{net}"
    folder = new_folder(out, title)
    about = {"data": data.fingerprint(), "prepare": prepare, "net": net, "seed": seed}
    _require_own(folder, about)
    url = storage or sqlite_url(folder / STORAGE)
    study = open_study(url, title, about, space.default)
    display = TuneDisplay(title) if progress else None
    most = trials if trials is not None else TRIALS if minutes is None else None
    with reached(url):
        try:
            search(study, space, most, minutes, display, partial(chooser, seed))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"the study goes on with the same command and --out {folder}") from None
        finally:
            if display:
                display.close()
        return _finish(study, space, folder)


def _require_own(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuse a folder with the run of another study, which would be taken for the run of this one.

    Raises:
        TrainError: as said.
    """
    for path in folder.glob(f"run-*/{DESCRIPTION}"):
        told = read_description(path.parent)
        found = {"data": told["data"]["fingerprint"], "prepare": told["data"].get("prepare", "standard")}
        if {**found, "net": told["net"], "seed": told["seed"]} != about:
            raise TrainError(f"{path.parent} is the run of another study: choose another --out.")


def search(
    study: "Study",
    space: Space,
    trials: int | None,
    minutes: float | None,
    display: TuneDisplay | None = None,
    choose_by: Callable[[int], "BaseSampler"] | None = None,
) -> None:
    """Run trials until the study has so many, by all its workers, or the time is over.

    A trial whose loss is no longer finite, or whose settings do not fit each other, counts as given up. Each is chosen
    by what `choose_by` makes of its number; by default, by the study's own sampler.
    """
    started = time.monotonic()
    over = (TrialState.COMPLETE, TrialState.PRUNED)
    while trials is None or len(study.get_trials(deepcopy=False, states=over)) < trials:
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            return
        trial = study.ask()
        if choose_by:
            study.sampler = choose_by(trial.number)
        candidate = space.choose(trial)
        if display:
            display.begin(trial.number, candidate)
        try:
            score, whole = run_trial(trial, candidate, space)
        except TrainError:
            score, whole = None, False
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
        if whole:
            study.tell(trial, score)
        else:
            study.tell(trial, state=TrialState.PRUNED)
        if display:
            display.end(study, trial.number, score, whole)


def run_trial(trial: "Trial", candidate: Candidate, space: Space) -> tuple[float, bool]:
    """Train with these settings and tell the study the best score at each tenth of the epochs.

    The score is the accuracy on the validation part less a thousandth of the loss, which decides between equals; of
    values the negative root mean squared error.

    Returns:
        The best score, and whether the training came to its end rather than being given up.

    Raises:
        TrainError: settings that do not fit each other, or a loss that is no longer finite.
    """
    told, score = 0, float("-inf")
    with torch.random.fork_rng():
        torch.manual_seed(space.seed)
        model = _model(candidate, space)
        trainer = Trainer(model, space.data, _settings(candidate, space, model), Run(model, {}, [], None))
        for record, _ in trainer.checks(None):
            best, loss = trainer.progress.best
            score = best + loss / 1000 if space.data.task == "classification" else best
            tenth = 10 * record.step // trainer.steps
            for passed in range(told + 1, tenth + 1):
                trial.report(score, passed)
            told = max(told, tenth)
            if told < 10 and trial.should_prune():
                return score, False
    return score, True


def _model(candidate: Candidate, space: Space) -> nn.Module:
    data = space.data
    given: dict[str, Any] = {"task": data.task, "seed": space.seed, "structure": candidate.structure}
    return nets.build(space.net, data.in_shape, data.n_outputs, **given)


def _settings(candidate: Candidate, space: Space, model: nn.Module) -> Settings:
    """Those that `fit` chooses for this candidate."""
    given: dict[str, Any] = {"epochs": None, "goal": None, "lr": None, "batch_size": None, "seed": space.seed}
    return choose_settings(model, space.data, **given | candidate.settings, precision="auto", device="auto")


def _finish(study: "Study", space: Space, folder: Path) -> Tuned:
    """Train with the best settings, unless an earlier call did, and draw the study."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise TrainError(f"None of {len(study.trials)} trials came to its end: allow more of them, or more time.")
    best = space.choose(FixedTrial(study.best_trial.params))
    out = folder / f"run-{study.best_trial.number}"
    if (out / DESCRIPTION).is_file():
        run = Run.load(out, net=space.net)
    else:
        run = fit(_model(best, space), space.data, seed=space.seed, out=out, progress=False, **best.settings)
    importance = importances(study)
    draw_study(study, importance, folder / FIGURE)
    return Tuned(run, best, study, importance)


def importances(study: "Study") -> dict[str, float]:
    """For each setting its share of the variance of the scores, of the trials whose rule takes batches.

    Source: Watanabe, Bansal, Hutter, "PED-ANOVA" (2023), optuna's default. Empty for fewer than four trials.
    """
    import optuna

    whole = [trial for trial in study.get_trials(states=(TrialState.COMPLETE,)) if "rate" in trial.params]
    if len(whole) < LEAST_TRIALS or len({trial.value for trial in whole}) < 2:
        return {}
    compared = optuna.create_study(direction="maximize")
    compared.add_trials(whole)
    return optuna.importance.get_param_importances(compared)
