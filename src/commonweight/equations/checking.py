"""What is tied in a model, and whether that is still what was declared."""

from torch import nn

from commonweight.equations import record
from commonweight.equations.planning import alive, parametrized
from commonweight.equations.sameness import Level, Tie, find, level
from commonweight.errors import TieError
from commonweight.notation import Equation


def ties(model: nn.Module) -> list[Tie]:
    """All ties of a model: those that were declared, those that were given up on purpose, and those only found in it.

    What is found without being declared: one module or one Parameter under two names; two Parameters on the same memory
    (all of it, its transpose or a block of it); equal bits; equal up to transpose, flips and sign. The first name in
    the order of `named_parameters` is taken as the source. Reads every weight once.

    Raises:
        TieError: not a model.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        >>> model[2].weight = model[0].weight
        >>> print(*ties(model))
        2.weight = 0.weight  (found: same parameter)
    """
    declared, untied = record.declared(model), record.untied(model)
    sources = {equation.alias: equation for equation in declared}
    parted = {equation.alias: equation for equation in untied}
    listed = [_state(model, equation, record.follow(sources, equation.alias), "declared") for equation in declared]
    listed += [_state(model, equation, equation, "untied") for equation in untied]
    for tie in find(model):
        pair = (tie.equation.alias, tie.equation.source)
        known = [record.follow(by_alias, pair[0]).source for by_alias in (sources, parted)]
        same = [record.follow(by_alias, pair[1]).source for by_alias in (sources, parted)]
        if known[0] != same[0] and known[1] != same[1]:
            listed.append(tie)
    return listed


def check(model: nn.Module) -> None:
    """Do nothing if every declared tie of a model holds.

    Raises:
        TieError: not a model; or it names each tie that does not, with both paths, max |Δ|, what probably broke it,
            and what to do.

    Example:
        >>> from commonweight.equations import tie
        >>> model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        >>> _ = tie(model, "2.weight = 0.weight", keep="source")
        >>> check(model)
    """
    declared = record.declared(model)
    sources = {equation.alias: equation for equation in declared}
    broken = [equation for equation in declared if not alive(model, equation, sources)]
    if not broken:
        return
    told = [_broken(model, equation, record.follow(sources, equation.alias)) for equation in broken]
    first = broken[0]
    raise TieError(
        f"{len(broken)} of {len(declared)} declared ties do not hold any more: {'; '.join(told)}. Either "
        f'1. commonweight.tie(model, "{first}", keep="source") ties them again (or keep="alias", "mean"), or '
        f'2. commonweight.untie(model, "{first.alias}") lets them differ.'
    )


def _state(model: nn.Module, equation: Equation, whole: Equation, origin: str) -> Tie:
    """What is true of a tie; `whole` is the same tie with its last source."""
    if origin == "declared" and alive(model, whole, {whole.alias: whole}):
        strongest = Level.SAME_PARAMETER if record.submodule(model, whole.alias) is None else Level.SAME_MODULE
        return Tie(equation, strongest, origin, 0.0)
    modules = record.submodule(model, whole.alias), record.submodule(model, whole.source)
    pairs = [whole]
    if modules[0] is not None and modules[1] is not None:
        names = record.tensor_names(modules[1])
        pairs = [Equation(f"{whole.alias}.{name}", f"{whole.source}.{name}") for name in names]
    levels = [_compare(model, pair) for pair in pairs]
    order = list(Level)
    kind, delta = max(levels, key=lambda found: (order.index(found[0]), found[1] or 0.0))
    return Tie(equation, kind, origin, delta)


def _compare(model: nn.Module, equation: Equation) -> tuple[Level, float | None]:
    alias, source = record.tensor(model, equation.alias), record.tensor(model, equation.source)
    if alias is None or source is None:
        return Level.MISSING, None
    try:
        expected = equation.apply(source.detach())
    except TieError:  # the source has another shape by now
        return Level.DIVERGED, None
    kind, delta = level(alias.detach(), expected)
    return Level.EQUAL_TRANSFORMED if equation.transforms and kind is Level.EQUAL_BITS else kind, delta


def _broken(model: nn.Module, equation: Equation, whole: Equation) -> str:
    state = _state(model, equation, whole, "declared")
    cause = _cause(model, whole, state)
    delta = "" if state.difference is None else f", max |Δ| = {state.difference:.3g}"
    owner = f" (owner `{whole.source}`)" if whole.source != equation.source else ""
    return f"`{equation}` between `{equation.alias}` and `{equation.source}`{owner}{delta}: {cause}"


def _cause(model: nn.Module, equation: Equation, state: Tie) -> str:
    """What probably broke a tie, from the traces that it left."""
    for name in (equation.source, equation.alias):
        path, _, leaf = name.rpartition(".")
        module = record.submodule(model, path)
        if module is not None and leaf in parametrized(module):
            return f"`{name}` was parametrized afterwards, which moved its Parameter elsewhere"
        if record.tensor(model, name) is None and record.submodule(model, name) is None:
            return f"`{name}` is gone; a module was removed or replaced by one without it"
    if state.difference is None:
        return "one of the two was replaced by a tensor of another shape or device, or without values"
    if state.difference == 0:
        return "the values agree, but are two tensors; a part of the model was loaded, emptied or copied by itself"
    return "one of the two was replaced by another module or Parameter, and they have different values"
