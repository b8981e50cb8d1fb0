"""Follow the advice of the diagnosis: begin again with what it says changed, and keep the better run.

Advice is data: `CHANGES` is the table from its code to a change of how a training starts. Some advice only a person can
follow (look at the labels, collect more data): it has no entry. What is wrong seldom comes alone, and settings that
went with it were not made for what comes next: a restart has the rule, rate and batches that the library chooses for
the data by itself, and at least as many epochs (`anew`).
"""

import math
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from commonweight import nets
from commonweight.data.dataset import Data
from commonweight.data.normalise import Normalisation
from commonweight.equations import record, tie
from commonweight.errors import DivergedError
from commonweight.measure.diagnosis import Advice, Finding
from commonweight.measure.diagnosis.data_facts import contradicting, leaked
from commonweight.measure.diagnosis.flow import LINEAR, SQUASHING
from commonweight.measure.diagnosis.words import advised
from commonweight.nets.architecture import Architecture
from commonweight.train.loop import fit
from commonweight.train.run import Run, write_description
from commonweight.train.settings import DEFAULT_RATE, usual_batch_size, usual_epochs
from commonweight.train.together import Team

RULE = "muon"
"""The update rule of restarts: what the library takes for most nets and data, batch by batch."""
ROUNDS = 3
RATES = ("lower_rate", "raise_rate")
REPLACING = ("leakage", "broken_tie")
MOST_WIDTH, LEAST_WIDTH = 4096, 2


@dataclass(frozen=True)
class Start:
    """How a training begins.

    Attributes:
        model: the net as it was before the first step; a change makes a copy.
        data: what it learns from.
        settings: arguments of `fit` by name; what is left out is chosen anew.
    """

    model: nn.Module
    data: Data
    settings: Mapping[str, Any]

    def having(self, **settings: Any) -> "Start":
        """The same start with other settings."""
        return replace(self, settings={**self.settings, **settings})


@dataclass(frozen=True)
class Attempt:
    """A training from a start: its run, and the error that it ended with, if the loss was no number any more."""

    start: Start
    run: Run
    error: DivergedError | None

    @property
    def score(self) -> float:
        """The best validation score: larger is better; -∞ after an error. Losses may be of different kinds."""
        if self.error is not None:
            return -math.inf
        sign = 1 if self.start.data.task == "classification" else -1
        return max(sign * record.validation_metric for record in self.run.records)

    @property
    def outcome(self) -> str:
        """The score in words."""
        if self.error is not None:
            return "the loss became no number"
        metric = "accuracy" if self.start.data.task == "classification" else "rmse"
        return f"best validation {metric} {abs(self.score):.4g}"


def fit_repaired(
    model: nn.Module, data: Data, *, out: str | Path | None = "auto", progress: bool = True, **settings: Any
) -> Run:
    """Train; while something is wrong that a program can put right, begin again with that put right.

    At most `ROUNDS` times. The run with the better validation score is kept, the later one where they are equal, and
    its first finding is what is acted on next; after a restart that did not help, the next finding. A restart has a
    folder of its own. Findings that say the run is not what it should have been (`REPLACING`) are followed whatever the
    score becomes.

    Args:
        model, data, out, progress, settings: those of `fit`.

    Returns:
        The run that is kept; `description["repaired"]` lists the advice that led to it.

    Raises:
        DivergedError: the loss of every attempt became no number.
    """
    best = put_right(attempt(Start(deepcopy(model), data, settings), out, progress), out, progress)
    if best.error is not None:
        raise best.error
    return best.run


def put_right(best: Attempt, out: str | Path | None = None, progress: bool = False) -> Attempt:
    """What `fit_repaired` does after its first attempt: the best one, which may be the first."""
    tried: set[tuple[str, str]] = set()
    say = sys.stderr.write if progress and Team.current().leads else lambda text: 0
    for number in range(1, ROUNDS + 1):
        step = _next(best, tried)
        if step is None:
            if best.run.findings():
                say("\nrepair: what is left is for a person to put right\n")
            break
        finding, start = step
        tried.add((finding.code, finding.advice.code))
        folder = out if out in (None, "auto") else f"{out}-repaired-{number}"
        advice = (*best.run.description["repaired"], finding.advice.code)
        say(f"\nrepair {number}: again, with the library's own settings and this changed. {advised(finding)}\n")
        again = attempt(start, folder, progress, advice)
        kept = again.score >= best.score or finding.code in REPLACING
        which = "this" if kept else "the earlier"
        say(f"repair {number}: {again.outcome}; before: {best.outcome}; {which} run is kept\n")
        if kept:
            best, tried = again, set()
    return best


def _next(best: Attempt, tried: Container[tuple[str, str]]) -> tuple[Finding, Start] | None:
    """The first finding whose advice was not tried yet and can be followed, and where that leads."""
    start = best.start.having(optimizer=best.run.description["settings"]["optimizer"])
    for finding in best.run.findings():
        if (finding.code, finding.advice.code) not in tried:
            changed = follow(finding.advice, anew(start, keep_pace=finding.advice.code in RATES))
            if changed is not None:
                return finding, changed
    return None


def anew(start: Start, keep_pace: bool = False) -> Start:
    """The same net and data with the settings that the library chooses, and at least as many epochs.

    Args:
        start: a start whose optimizer is known.
        keep_pace: whether the rate stays the same share of the usual one of its rule, for advice to change it.
    """
    n_train = len(start.data.train)
    usual, rate = _rates(start)
    pace = rate / usual if keep_pace else 1.0
    batch_size = usual_batch_size(n_train)
    epochs = max(usual_epochs(n_train, batch_size), start.settings.get("epochs") or 0)
    pace_and_rule = {"optimizer": RULE, "lr": pace * DEFAULT_RATE[RULE]}
    return start.having(**pace_and_rule, batch_size=batch_size, epochs=epochs, patience=None, init="auto")


def attempt(start: Start, out: str | Path | None, progress: bool, advice: Sequence[str] = ()) -> Attempt:
    """Train from a start, which stays as it is."""
    model = deepcopy(start.model)
    error = None
    try:
        run = fit(model, start.data, out=out, progress=progress, **start.settings)
    except DivergedError as caught:
        error, run = caught, caught.run
    run.description["repaired"] = list(advice)
    if run.folder is not None:
        write_description(run.folder, run.description)
    return Attempt(start, run, error)


Change = Callable[[Start, Mapping[str, Any]], Start | None]


def follow(advice: Advice, start: Start) -> Start | None:
    """The start that the advice asks for; None if no program can follow it here.

    >>> from commonweight import data
    >>> iris = data.load("iris")
    >>> start = Start(nets.build("mlp", iris.in_shape, 3), iris, {"optimizer": "adam", "lr": 1.0})
    >>> follow(Advice("lower_rate", {"factor": 0.1}), start).settings["lr"]
    0.003
    """
    change = CHANGES.get(advice.code)
    return None if change is None else change(start, advice.parameters)


# -- settings --


def _lower_rate(start: Start, parameters: Mapping[str, Any]) -> Start:
    """The usual rate, or less where that was too much."""
    usual, rate = _rates(start)
    return start.having(lr=min(usual, rate * parameters["factor"]))


def _raise_rate(start: Start, parameters: Mapping[str, Any]) -> Start:
    """The usual rate, or more where that was too little."""
    usual, rate = _rates(start)
    return start.having(lr=max(usual, rate * parameters["factor"]))


def _rates(start: Start) -> tuple[float, float]:
    """The usual rate of the update rule, and the one it had."""
    usual = DEFAULT_RATE[_rule(start)]
    return usual, start.settings.get("lr") or usual


def _rule(start: Start) -> str:
    rule = start.settings.get("optimizer", "auto")
    return rule if rule in DEFAULT_RATE else RULE


def _longer(start: Start, parameters: Mapping[str, Any]) -> Start:
    """The usual rate, and so many times the epochs, but no fewer than are chosen for the data."""
    size = start.settings.get("batch_size") or usual_batch_size(len(start.data.train))
    usual = usual_epochs(len(start.data.train), size)
    epochs = round((start.settings.get("epochs") or usual) * parameters["factor"])
    return start.having(lr=None, epochs=max(usual, epochs))


def _initialise(start: Start, parameters: Mapping[str, Any]) -> Start:
    """First weights as each layer draws them by itself; by the rule for a net with layers that do not."""
    model = drawn_again(start.model, start.settings.get("seed", 0))
    return start.having(init=parameters["rule"]) if model is None else replace(start, model=model)


def _larger_batch(start: Start, parameters: Mapping[str, Any]) -> Start:
    size = min(parameters["batch_size"], len(start.data.train))
    return start.having(batch_size=size, epochs=None)


def _regularise(start: Start, parameters: Mapping[str, Any]) -> Start:
    return start.having(l2=max(parameters["l2"], parameters["factor"] * start.settings.get("l2", 0.0)))


# -- data --


def _normalise(start: Start, parameters: Mapping[str, Any]) -> Start:
    data = start.data
    return replace(start, data=replace(data, normalisation=Normalisation.fit(data.x, data.y, data.train)))


def _drop_duplicates(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    """Leave at least two validation samples."""
    data = start.data
    kept = data.validation[~leaked(data)]
    return None if len(kept) < 2 else replace(start, data=replace(data, validation=kept))


def _drop_constant(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    """What is constant in the training part is so everywhere; None if that is all there is."""
    data = start.data
    x_train = data.x[data.train]
    constant = (x_train == x_train[:1]).all(0)
    if constant.all():
        return None
    x = torch.where(constant, x_train[:1], data.x)
    return replace(start, data=replace(data, x=x, normalisation=Normalisation.fit(x, data.y, data.train)))


def _balance(start: Start, parameters: Mapping[str, Any]) -> Start:
    """Repeat the training samples of each class until all have as many as the largest."""
    data = start.data
    labels = data.y[data.train]
    most = int(torch.bincount(labels).max())
    pieces = []
    for label in range(data.n_outputs):
        index = data.train[labels == label]
        if len(index):
            pieces.append(index.repeat(-(-most // len(index)))[:most])
    return replace(start, data=replace(data, train=torch.cat(pieces).sort().values))


def _clean_labels(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    """Leave out samples whose label is not that of most of their neighbours (Wilson 1972), unless that are most."""
    data = start.data
    parts = {name: getattr(data, name)[~contradicting(data, getattr(data, name))] for name in ("train", "validation")}
    if any(2 * len(part) < len(getattr(data, name)) for name, part in parts.items()):
        return None
    size = min(len(parts["train"]), start.settings.get("batch_size") or 0)
    changed = replace(start, data=replace(data, **parts))
    return changed.having(batch_size=size) if start.settings.get("batch_size") else changed


# -- net --


def _remove_softmax(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    return _without_last(start, (nn.Softmax,))


def _remove_last_activation(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    return _without_last(start, SQUASHING)


def _without_last(start: Start, kinds: tuple[type[nn.Module], ...]) -> Start | None:
    """Put nothing in the place of the last module of these kinds."""
    found = [name for name, module in start.model.named_modules() if isinstance(module, kinds)]
    return None if not found else _rebuilt(start, _replaced(start.model, {found[-1]: nn.Identity()}))


def _usual_loss(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    """Forget a loss that was set on the net; one that its class prescribes belongs to it."""
    if "loss" not in vars(start.model):
        return None
    model = deepcopy(start.model)
    del model.loss
    return replace(start, model=model)


def _unfreeze(start: Start, parameters: Mapping[str, Any]) -> Start:
    return replace(start, model=deepcopy(start.model).requires_grad_(True))


def _tie_again(start: Start, parameters: Mapping[str, Any]) -> Start:
    model = deepcopy(start.model)
    for equation in record.declared(model):
        tie(model, str(equation), keep="source")
    return replace(start, model=model)


def _add_activation(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    """The activation in the place of each module that does nothing, or behind each linear layer but the last."""
    activation = getattr(nn, parameters["name"])
    empty = [name for name, module in start.model.named_modules() if isinstance(module, nn.Identity)]
    if empty:
        return _rebuilt(start, _replaced(start.model, {name: activation() for name in empty}))
    linear = [name for name, module in start.model.named_modules() if isinstance(module, LINEAR)]
    model = deepcopy(start.model)
    behind = {name: nn.Sequential(model.get_submodule(name), activation()) for name in linear[:-1]}
    return _rebuilt(start, _replaced(model, behind))


def _clear_the_way(start: Start, parameters: Mapping[str, Any]) -> Start:
    """The usual `mlp`, if it is one; else ReLU for activations with small slopes, and first weights drawn again."""
    if is_of_catalogue(start.model) and _family(start) == "hidden":
        return _built(start, {})
    small = (nn.Sigmoid, nn.Tanh, nn.Softsign, nn.Hardtanh)
    new = {name: nn.ReLU() for name, module in start.model.named_modules() if isinstance(module, small)}
    return _initialise(_rebuilt(start, _replaced(start.model, new)), parameters)


def _let_through(start: Start, parameters: Mapping[str, Any]) -> Start:
    """Nothing in the place of modules that hand no gradient back, and first weights drawn again."""
    new = {name: nn.Identity() for name in parameters["modules"].split(", ")}
    return _initialise(_rebuilt(start, _replaced(start.model, new)), parameters)


def _rebuilt(start: Start, model: nn.Module) -> Start:
    """Begin with a net that its name does not make any more."""
    vars(model).pop("built_as", None)
    return replace(start, model=model, settings={**start.settings, "net": None})


def _replaced(model: nn.Module, new: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of a net with other modules in these places."""
    model = deepcopy(model)
    for name, module in new.items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, module)
    return model


def drawn_again(model: nn.Module, seed: int) -> nn.Module | None:
    """A copy of a net whose layers begin as they do by themselves; None if one with weights has no way to.

    >>> again = drawn_again(nn.Linear(2, 3).requires_grad_(False), seed=0)
    >>> bool(again.weight.any()), again.weight.requires_grad
    (True, False)
    """
    if record.declared(model):
        return None
    model = deepcopy(model)
    if is_of_catalogue(model):
        model.load_state_dict(Architecture.from_json(str(model.architecture)).build(seed=seed).state_dict())
        return model
    owners = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    if not all(callable(getattr(module, "reset_parameters", None)) for module in owners):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in owners:
            module.reset_parameters()  # type: ignore[operator]
    return model


def is_of_catalogue(model: nn.Module) -> bool:
    """Whether a net is as its name makes it, part by part: only then may its name make another."""
    if getattr(model, "built_as", None) not in nets.names():
        return False
    twin = Architecture.from_json(str(model.architecture)).build()
    kinds = [[(name, type(module)) for name, module in net.named_modules()] for net in (model, twin)]
    return kinds[0] == kinds[1]


def _family(start: Start) -> str | None:
    """The argument that says how wide a net of the catalogue is."""
    return {"mlp": "hidden", "cnn": "width", "elman": "units", "gru": "units", "lstm": "units"}.get(
        getattr(start.model, "built_as", "")
    )


def _resize(start: Start, parameters: Mapping[str, Any]) -> Start | None:
    """The same family, its hidden layers narrower, or wider, and then at least as wide as usual."""
    family = _family(start)
    if family is None or not is_of_catalogue(start.model):
        return None
    structure = dict(start.model.built_with)  # type: ignore[arg-type]
    usual = signature(type(start.model)).parameters[family].default
    before = structure.get(family, usual)
    after = tuple(map(_times(parameters), before)) if family == "hidden" else _times(parameters)(before)
    if parameters["factor"] > 1:
        after = max(after, usual, key=lambda units: sum(units) if family == "hidden" else units)
    return _built(start, {**structure, family: after})


def _built(start: Start, structure: Mapping[str, Any]) -> Start:
    """Another net of the same family."""
    given = {"task": start.data.task, "seed": start.settings.get("seed", 0), "structure": structure}
    name = str(start.model.built_as)
    return replace(start, model=nets.build(name, start.data.in_shape, start.data.n_outputs, **given))


def _times(parameters: Mapping[str, Any]) -> Callable[[int], int]:
    """Units times the factor; at least 16 where there are to be more."""
    factor = parameters["factor"]
    least = 16 if factor > 1 else LEAST_WIDTH
    return lambda units: min(MOST_WIDTH, max(least, round(units * factor)))


CHANGES: Mapping[str, Change] = {
    "lower_rate": _lower_rate,
    "raise_rate": _raise_rate,
    "longer": _longer,
    "initialise": _initialise,
    "larger_batch": _larger_batch,
    "regularise": _regularise,
    "normalise": _normalise,
    "drop_duplicates": _drop_duplicates,
    "drop_constant": _drop_constant,
    "balance": _balance,
    "clean_labels": _clean_labels,
    "remove_softmax": _remove_softmax,
    "remove_last_activation": _remove_last_activation,
    "usual_loss": _usual_loss,
    "unfreeze": _unfreeze,
    "tie_again": _tie_again,
    "add_activation": _add_activation,
    "clear_the_way": _clear_the_way,
    "let_through": _let_through,
    "widen": _resize,
    "narrow": _resize,
}
