"""Networks by name: `build` makes one with a seed, `estimator` one that learns by a rule of its own.

Every net takes samples (B, *in_shape), normalised to mean 0 and deviation 1, and gives (B, n_outputs): logits for
classification, values for regression. One whose paper prescribes a loss has a method `loss(outputs, targets)`; one that
has more to show than its kernels has a method `views` (see `commonweight.views`).

A family is imported when it is asked for.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import nn

from commonweight.errors import NetError, require_kind, require_seed
from commonweight.nets.architecture import Architecture
from commonweight.nets.catalogue import ENTRIES, Entry
from commonweight.nets.own import Shape, is_own, load_factory
from commonweight.nets.sample_shape import output_number, sample_shape

__all__ = ["Entry", "build", "entries", "estimator", "load_factory", "names", "natural_shape"]
_ENTRIES = {entry.name: entry for entry in ENTRIES}
_SHAPES = {
    "image": "images of shape (channels, height, width)",
    "series": "series of shape (channels, length)",
    "table": "rows of shape (features,)",
}
_ALWAYS = ("in_shape", "n_outputs")
CALLED = "A net is called by a name, such as 'mlp', or by file.py:factory"
_AXES = {"image": 3, "series": 2, "table": 1}


def names() -> tuple[str, ...]:
    """The names that `build` knows, in alphabetical order.

    >>> {"cnn", "lenet5"} <= set(names())
    True
    """
    return tuple(_ENTRIES)


def entries() -> list[Entry]:
    """What can be built by name, in alphabetical order."""
    return list(_ENTRIES.values())


def build(
    name: str,
    in_shape: Shape,
    n_outputs: int,
    *,
    task: str = "classification",
    seed: int = 0,
    structure: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Make a network; the same arguments make the same weights. Torch's own random state stays as it was.

    Args:
        name: one of `names()`, or file.py:factory for a net of your own (see `load_factory`).
        in_shape: of one sample: (channels, height, width) of an image, (channels, length) of a series, (features,) of a
            row of a table.
        n_outputs: number of classes or of values, at least 1.
        task: "classification" or "regression", to refuse nets that cannot learn it.
        seed: of the first weights, a whole number from 0 to 2**32 - 1.
        structure: further arguments of the family, such as {"hidden": [64, 64]} of an mlp, or the sizes that an
            estimator found (its `structure_`).

    Returns:
        The net, with `name` as its attribute `built_as`, `structure` as `built_with`, and both and the rest as JSON, as
        `architecture` (see `commonweight.nets.architecture`).

    Raises:
        NetError: an unknown name, a net that does not learn the task or does not take such samples or such a structure,
            a structure that JSON cannot hold, or whatever goes wrong in a net of your own.

    Example:
        >>> net = build("lenet5", (1, 8, 8), 10, seed=1)
        >>> net(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    require_kind(name, str, CALLED, NetError)
    seed = require_seed(seed, NetError)
    require_kind(structure, Mapping | None, "A net's structure is a dict of its arguments, or None", NetError)
    in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
    own = is_own(name)
    factory = load_factory(name) if own else _found(_entry_for(name, in_shape, task).factory)
    given = dict(structure or {})
    if not own:
        _check_arguments(name, factory, given)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            net: nn.Module = factory(in_shape, n_outputs, **given)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            if not given:
                raise
            told = str(error).partition("\n")[0]  # torch goes on with a trace of its own
            usual = {key: signature(factory).parameters[key].default for key in given} if not own else {}
            hint = f"; it is made to take such as {usual}" if usual else ""
            raise NetError(f"{name} cannot be built with {given}: {told}{hint}.") from error
    net.built_as, net.built_with = name, given  # type: ignore[assignment]  # neither modules nor tensors
    net.architecture = Architecture(name, in_shape, n_outputs, task, given).to_json()  # type: ignore[assignment]
    return net


def _check_arguments(name: str, factory: Any, given: Mapping[str, Any]) -> None:
    """Refuse arguments that a family does not have."""
    known = [parameter.name for parameter in signature(factory).parameters.values() if parameter.name not in _ALWAYS]
    for key in given:
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise NetError(f"{name} has no argument {key!r}: {has}.")


def estimator(name: str, in_shape: Shape, *, task: str, seed: int) -> Any | None:
    """Make the estimator of a family that learns by a rule of its own, by scikit-learn's conventions.

    Args:
        name: one of `names()`, or a net of your own.
        in_shape: of one sample; samples are handed to the estimator flat, with their shape as its `in_shape` if it has
            that parameter.
        task: "classification" or "regression".
        seed: its `random_state`.

    Returns:
        The estimator, not yet fitted; None for nets that are trained by gradients, by `commonweight.fit`.

    Raises:
        NetError: an unknown name, a seed out of range, or a family that does not learn the task or does not take such
            samples.

    >>> estimator("cnn", (1, 8, 8), task="classification", seed=0) is None
    True
    """
    require_kind(name, str, CALLED, NetError)
    seed = require_seed(seed, NetError)
    in_shape = sample_shape(in_shape)
    if is_own(name):
        return None
    path = _entry_for(name, in_shape, task).estimators.get(task)
    if path is None:
        return None
    make = _found(path)
    shape = {"in_shape": in_shape} if "in_shape" in signature(make).parameters else {}
    return make(random_state=seed, **shape)


def natural_shape(name: str) -> Shape:
    """The shape of a sample that a net was made for.

    Raises:
        NetError: an unknown name, or a net of your own.

    >>> natural_shape("lenet5")
    (1, 32, 32)
    """
    require_kind(name, str, CALLED, NetError)
    if is_own(name):
        raise NetError(f"Only you know what {name} was made for: say the shape of one input, such as 3x32x32.")
    return _entry(name).natural_shape


def _found(path: str) -> Any:
    """The class or function of a family, such as cnn:CNN."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(f"commonweight.nets.{module}"), attribute)


def _entry(name: str) -> Entry:
    if name not in _ENTRIES:
        near = " or ".join(get_close_matches(name, _ENTRIES))
        hint = (
            f"did you mean {near}?" if near else f"there are {', '.join(_ENTRIES)}, and file.py:factory for your own."
        )
        raise NetError(f"There is no net {name!r}: {hint}")
    return _ENTRIES[name]


def _entry_for(name: str, in_shape: Shape, task: str) -> Entry:
    entry = _entry(name)
    fitting = [e for e in _ENTRIES.values() if task in e.tasks and len(in_shape) in [_AXES[kind] for kind in e.inputs]]
    others = f"use {' or '.join(e.name for e in fitting)}." if fitting else "no net here fits these."
    if task not in entry.tasks:
        raise NetError(f"{name} learns {' or '.join(entry.tasks)}, not {task}: {others}")
    if entry not in fitting:
        takes = " or ".join(_SHAPES[kind] for kind in entry.inputs)
        raise NetError(f"{name} takes {takes}; got samples of shape {in_shape}: {others}")
    return entry
