"""Declaring ties of a live model, and giving them up."""

import copy
from collections.abc import Iterable

import torch
from torch import nn

from commonweight.equations import record
from commonweight.equations.living import compute, computed, enliven, holds, own_copy, share
from commonweight.equations.planning import Keep, alive, names, plan, written
from commonweight.equations.sameness import Level, find
from commonweight.errors import TieError
from commonweight.notation import Equation, nearest


def tie(model: nn.Module, *equations: str, keep: Keep = None) -> list[Equation]:
    """Tie tensors, or whole modules, of a model as the equations say, and keep them tied.

    Without transforms the alias becomes the very same Parameter as the source. With transforms (or a source that
    `torch.nn.utils.parametrize` computes) the alias is no Parameter any more: each access computes it from the source.
    The gradient of the source is the sum over all uses, by the chain rule: ∂L/∂source = Σ adjoint of the transforms of
    ∂L/∂alias. A tie of modules puts the source in the place of the alias, buffers included. Optimisers that hold a
    former alias have to be made anew.

    Args:
        model: the names are paths from here, as in `named_parameters`; the ties are kept with this module.
        equations: as `commonweight.notation` describes them; all of them are made, or none.
        keep: which values win where the two sides differ: "source", "alias" or "mean" (over the source and all of its
            aliases); None, the default, refuses them.

    Returns:
        The ties, one for each alias.

    Raises:
        TieError: not a model; an equation that cannot be read or fits no tensors; ties in a circle; an alias that is
            tied twice; shapes, data types, devices or `requires_grad` that differ; a buffer or an integer tensor;
            values that differ, with max |Δ| and what to do. The model is unchanged.

    Example:
        >>> model = nn.ModuleDict({"encoder": nn.Linear(4, 2, bias=False), "decoder": nn.Linear(2, 4, bias=False)})
        >>> print(*tie(model, "decoder.weight = encoder.weight.T", keep="source"))
        decoder.weight = encoder.weight.T
        >>> [name for name, _ in model.named_parameters()]
        ['encoder.weight']
        >>> torch.equal(model.decoder.weight, model.encoder.weight.T)
        True
    """
    if keep not in (None, "source", "alias", "mean"):
        raise TieError(f"keep is 'source', 'alias' or 'mean'; got {keep!r}.")
    new = written(model, equations)
    with torch.enable_grad():  # so that a computed alias tells whether it is trained
        open_ties, values = plan(model, new, keep)
    with torch.no_grad():
        for owner, value in values:
            owner.copy_(value)
    own = record.own_record(model)
    known = record.declared(model)
    own.declared += [equation for equation in new if equation not in known]
    tied = {equation.alias for equation in new}
    own.untied = [equation for equation in own.untied if equation.alias not in tied]
    enliven(model)
    _make(model, new, open_ties)
    return new


def untie(model: nn.Module, name: str) -> None:
    """Give an alias weights of its own, with the values it has now, and record that this was on purpose.

    Ties whose source it is go on with it. An optimiser does not know the new Parameter: make it anew.

    Args:
        name: the path of an alias, a tensor or a module: of a tie that was declared, or that `ties` finds as one
            Parameter, module or storage.

    Raises:
        TieError: not a model, no such name, or not an alias; the sentence says which name is.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        >>> _ = tie(model, "1.weight = 0.weight", keep="source")
        >>> untie(model, "1.weight")
        >>> model[0].weight is model[1].weight
        False
    """
    before = record.declared(model)
    if not isinstance(name, str):
        raise TieError(f"untie takes the name of an alias, such as 'head.weight'; got {name!r}.")
    sources = {equation.alias: equation for equation in before}
    if name not in sources:
        _untie_found(model, name, before)
        return
    living = {equation.alias for equation in before if alive(model, equation, sources)}
    if name in living or computed(model, name):
        _separate(model, name)
    for prefix, owner in record.records(model):
        for equation in owner.declared:
            if prefix + equation.alias == name:
                owner.untied.append(equation)
        owner.declared = [equation for equation in owner.declared if prefix + equation.alias != name]
    rest = [equation for equation in record.declared(model) if equation.alias in living]
    _make(model, rest, [equation for equation in record.by_tensor(model, rest) if not holds(model, equation)])


def _make(model: nn.Module, equations: Iterable[Equation], open_ties: Iterable[Equation]) -> None:
    """Put modules in the places of their aliases, then tie tensors; nothing here can be refused."""
    sources = {equation.alias: equation for equation in record.declared(model)}
    for equation in equations:
        source = record.submodule(model, record.follow(sources, equation.alias).source)
        if source is not None:
            _place(model, equation.alias, source)
    for equation in open_ties:
        if record.covering(sources, equation.alias) is not None:
            continue
        owner = record.parameter(model, equation.source)
        if owner is None or equation.transforms:
            compute(model, equation)
        else:
            share(model, equation.alias, owner)


def _place(model: nn.Module, path: str, module: nn.Module) -> None:
    above, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(above), leaf, module)


def _separate(model: nn.Module, name: str) -> None:
    """Replace a tensor or a module by a copy of its own."""
    module = record.submodule(model, name)
    if module is not None:
        _place(model, name, copy.deepcopy(module))
        return
    with torch.enable_grad():  # so that a computed alias tells whether it is trained
        share(model, name, own_copy(record.present(model, name)))


def _untie_found(model: nn.Module, name: str, declared: list[Equation]) -> None:
    """Untie what nobody declared, or say why there is nothing to untie."""
    sources = {equation.alias: equation for equation in declared}
    if (module := record.covering(sources, name)) is not None:
        raise TieError(f"`{name}` is a part of `{module}`, which `{sources[module]}` replaces whole; untie `{module}`.")
    one = (Level.SAME_MODULE, Level.SAME_PARAMETER, Level.SAME_STORAGE)
    found = [same.equation for same in find(model) if same.level in one]
    for equation in found:
        if equation.alias == name:
            _separate(model, name)
            record.own_record(model).untied.append(equation)
            return
    users = dict.fromkeys(equation.alias for equation in (*declared, *found) if equation.source == name)
    if users:
        raise TieError(f"`{name}` owns the weights; untie one of its aliases: {', '.join(f'`{u}`' for u in users)}.")
    if record.tensor(model, name) is None and record.submodule(model, name) is None:
        visible, hidden = names(model)
        raise TieError(f"There is no `{name}` in the model{nearest(name, [*visible, *hidden])}.")
    raise TieError(f"`{name}` is not tied; `commonweight.ties(model)` lists what is.")
