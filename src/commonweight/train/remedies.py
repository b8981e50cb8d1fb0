"""Advice as a change of how a training starts: `CHANGES` is the table from its code to a function.

Some advice only a person can follow (look at the labels, collect more data): it has no entry.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import nn

from commonweight import nets
from commonweight.data.dataset import Data
from commonweight.data.normalise import Normalisation
from commonweight.equations import record, tie
from commonweight.measure.diagnosis import Advice
from commonweight.measure.diagnosis.data_facts import contradicting, leaked
from commonweight.measure.diagnosis.flow import LINEAR, SQUASHING
from commonweight.nets.architecture import Architecture
from commonweight.train.restart import Start, rates
from commonweight.train.settings import usual_batch_size, usual_epochs

MOST_WIDTH, LEAST_WIDTH = 4096, 2

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
    usual, rate = rates(start)
    return start.having(lr=min(usual, rate * parameters["factor"]))


def _raise_rate(start: Start, parameters: Mapping[str, Any]) -> Start:
    """The usual rate, or more where that was too little."""
    usual, rate = rates(start)
    return start.having(lr=max(usual, rate * parameters["factor"]))


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


def _normalise(data: Data) -> Data:
    return replace(data, normalisation=Normalisation.fit(data.x, data.y, data.train))


def _drop_duplicates(data: Data) -> Data | None:
    """Leave at least two validation samples."""
    kept = data.validation[~leaked(data)]
    return None if len(kept) < 2 else replace(data, validation=kept)


def _drop_constant(data: Data) -> Data | None:
    """What is constant in the training part is so everywhere; None if that is all there is."""
    x_train = data.x[data.train]
    constant = (x_train == x_train[:1]).all(0)
    if constant.all():
        return None
    x = torch.where(constant, x_train[:1], data.x)
    return replace(data, x=x, normalisation=Normalisation.fit(x, data.y, data.train))


def _balance(data: Data) -> Data:
    """Repeat the training samples of each class until all have as many as the largest."""
    labels = data.y[data.train]
    most = int(torch.bincount(labels).max())
    pieces = []
    for label in range(data.n_outputs):
        index = data.train[labels == label]
        if len(index):
            pieces.append(index.repeat(-(-most // len(index)))[:most])
    return replace(data, train=torch.cat(pieces).sort().values)


def _clean_labels(data: Data) -> Data | None:
    """Leave out samples whose label is not that of most of their neighbours (Wilson 1972), unless that are most."""
    parts = {name: getattr(data, name)[~contradicting(data, getattr(data, name))] for name in ("train", "validation")}
    if any(2 * len(part) < len(getattr(data, name)) for name, part in parts.items()):
        return None
    return replace(data, **parts)


OF_DATA: Mapping[str, Callable[[Data], Data | None]] = {
    "normalise": _normalise,
    "drop_duplicates": _drop_duplicates,
    "drop_constant": _drop_constant,
    "balance": _balance,
    "clean_labels": _clean_labels,
}
"""Advice about data alone; the same data become the same again."""


def _with_data(change: Callable[[Data], Data | None]) -> Change:
    """The same start on data that are changed, in batches no larger than the training part is then."""

    def changed(start: Start, parameters: Mapping[str, Any]) -> Start | None:
        data = change(start.data)
        if data is None:
            return None
        size = start.settings.get("batch_size")
        begun = replace(start, data=data)
        return begun if size is None else begun.having(batch_size=min(size, len(data.train)))

    return changed


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
    **{code: _with_data(change) for code, change in OF_DATA.items()},
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
