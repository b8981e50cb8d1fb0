"""What is declared about a model: its equations, kept with the module they were written for, and resolved by path."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from commonweight.errors import TieError
from commonweight.notation import Equation

_RECORD = "_commonweight_record"


@dataclass
class Record:
    """The equations of one module: those that are to hold, and those that were given up on purpose."""

    declared: list[Equation] = field(default_factory=list)
    untied: list[Equation] = field(default_factory=list)


def own_record(model: nn.Module) -> Record:
    """The record of this very module; a new empty one the first time."""
    record: Record = model.__dict__.setdefault(_RECORD, Record())
    return record


def refuse_no_model(model: object) -> None:
    """Do nothing if this is a model.

    Raises:
        TieError: it is something else.
    """
    if not isinstance(model, nn.Module):
        raise TieError(f"Ties are those of a model, a torch.nn.Module; got a {type(model).__name__}.")


def records(model: nn.Module) -> Iterator[tuple[str, Record]]:
    """The records of a model and of the modules in it, each with the path in front of its names, such as `encoder.`.

    Raises:
        TieError: not a model.
    """
    refuse_no_model(model)
    for path, module in model.named_modules():
        if _RECORD in module.__dict__:
            yield f"{path}." if path else "", own_record(module)


def declared(model: nn.Module) -> list[Equation]:
    """The equations that are to hold in a model, those of the modules in it among them."""
    return [_moved(equation, prefix) for prefix, record in records(model) for equation in record.declared]


def untied(model: nn.Module) -> list[Equation]:
    """The equations that were given up on purpose."""
    return [_moved(equation, prefix) for prefix, record in records(model) for equation in record.untied]


def _moved(equation: Equation, prefix: str) -> Equation:
    return Equation(prefix + equation.alias, prefix + equation.source, equation.transforms)


def submodule(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a path, if there is one."""
    module: object = model
    for part in path.split(".") if path else ():
        module = module._modules.get(part) if isinstance(module, nn.Module) else None
    return module if isinstance(module, nn.Module) else None


def tensor(model: nn.Module, name: str) -> Tensor | None:
    """The tensor under a name as the model would compute with it, if there is one."""
    path, _, leaf = name.rpartition(".")
    try:
        found = getattr(submodule(model, path), leaf, None)
    except TieError:  # an alias that is computed from a tensor that is gone
        return None
    return found if isinstance(found, Tensor) else None


def present(model: nn.Module, name: str) -> Tensor:
    """The tensor under a name that is known to be there.

    Raises:
        TieError: it is computed from a tensor that is gone.
    """
    path, _, leaf = name.rpartition(".")
    found: Tensor = getattr(model.get_submodule(path), leaf)
    return found


def parameter(model: nn.Module, name: str) -> nn.Parameter | None:
    """The Parameter that is registered under a name, if there is one."""
    path, _, leaf = name.rpartition(".")
    module = submodule(model, path)
    return None if module is None else module._parameters.get(leaf)


def tensor_names(module: nn.Module) -> list[str]:
    """The parameters and buffers of a module and of the modules in it, under every name they have."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return [name for name, _ in named]


def by_tensor(model: nn.Module, equations: Iterable[Equation]) -> list[Equation]:
    """The same ties, each between two tensors, and each with a source that is nobody's alias.

    A tie between modules becomes one for each tensor of its source. Chains are followed: c = b.T and b = -a give
    c = -a.T.

    Raises:
        TieError: the ties go round in a circle.
    """
    equations = list(equations)
    sources = {equation.alias: equation for equation in equations}
    found: dict[str, Equation] = {}
    for equation in equations:
        source = follow(sources, equation.alias).source
        if (module := submodule(model, source)) is None:
            found[equation.alias] = follow(sources, equation.alias)
            continue
        for name in tensor_names(module):
            found[f"{equation.alias}.{name}"] = follow(sources, f"{equation.alias}.{name}")
    return list(found.values())


def follow(sources: Mapping[str, Equation], name: str) -> Equation:
    """The tie of a name to its last source: itself when it is nobody's alias.

    Args:
        sources: equations by their alias; that of a module stands for every name below it.

    Raises:
        TieError: the ties go round in a circle.
    """
    whole = Equation(name, name)
    seen = [name]
    while (step := _step(sources, whole.source)) is not None:
        whole = whole.after(step)
        if whole.source in seen:
            circle = " = ".join(f"`{at}`" for at in [*seen[seen.index(whole.source) :], whole.source])
            raise TieError(f"These ties go round in a circle, so that nobody owns the weights: {circle}; drop one.")
        seen.append(whole.source)
    return whole


def _step(sources: Mapping[str, Equation], name: str) -> Equation | None:
    if name in sources:
        return sources[name]
    if (module := covering(sources, name)) is None:
        return None
    return Equation(name, sources[module].source + name[len(module) :])


def covering(modules: Mapping[str, Equation], name: str) -> str | None:
    """The first of the paths above a name that is an alias."""
    parts: Sequence[str] = name.split(".")
    above = (".".join(parts[:n]) for n in range(1, len(parts)))
    return next((path for path in above if path in modules), None)
