"""What a tie would change, found out before anything is changed: whether it can be, and which values win."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from commonweight.equations import record
from commonweight.equations.living import aliases, holds
from commonweight.equations.sameness import difference
from commonweight.errors import TieError
from commonweight.notation import Equation, expand, parse

Keep: TypeAlias = Literal["source", "alias", "mean"] | None


def written(model: nn.Module, texts: Iterable[str]) -> list[Equation]:
    """The equations that are written, against the names of a model.

    Raises:
        TieError: as `parse` and `expand` do; an alias that is tied twice.
    """
    visible, hidden = names(model)
    found: dict[str, Equation] = {}
    for text in texts:
        for equation in expand(parse(text), visible, hidden):
            if found.setdefault(equation.alias, equation) != equation:
                raise TieError(
                    f"`{equation.alias}` is tied twice, by `{found[equation.alias]}` and by `{equation}`; drop one."
                )
    return list(found.values())


def names(model: nn.Module) -> tuple[list[str], list[str]]:
    """The tensors that a star stands for, which are the weights; and the others, buffers and parametrized tensors."""
    record.refuse_no_model(model)
    visible = dict.fromkeys(name for name, _ in model.named_parameters(remove_duplicate=False))
    hidden = dict.fromkeys(name for name, _ in model.named_buffers(remove_duplicate=False))
    for path, module in model.named_modules(remove_duplicate=False):
        dot = f"{path}." if path else ""
        visible.update(dict.fromkeys(dot + leaf for leaf in aliases(module)))
        hidden.update(dict.fromkeys(dot + leaf for leaf in parametrized(module)))
    return list(visible), list(hidden)


def parametrized(module: nn.Module) -> list[str]:
    """The tensors that torch.nn.utils.parametrize computes for a module."""
    return list(module.parametrizations) if parametrize.is_parametrized(module) else []  # type: ignore[arg-type]


def alive(model: nn.Module, equation: Equation, sources: Mapping[str, Equation]) -> bool:
    """Whether a declared equation holds now, as one module, one Parameter or a computed alias."""
    whole = record.follow(sources, equation.alias)
    module = record.submodule(model, equation.alias)
    return module is record.submodule(model, whole.source) if module is not None else holds(model, whole)


def plan(model: nn.Module, new: list[Equation], keep: Keep) -> tuple[list[Equation], list[tuple[Tensor, Tensor]]]:
    """The ties between tensors that are to be made, and the values that owners get first.

    Raises:
        TieError: a tie contradicts another one, does not fit, or has two different values and no `keep`.
    """
    before = record.declared(model)
    _refuse_conflicts(model, before, new)
    sources = {equation.alias: equation for equation in before}
    living = [equation for equation in before if alive(model, equation, sources)]
    together = list({equation.alias: equation for equation in [*living, *new]}.values())
    modules = [equation for equation in new if record.submodule(model, equation.alias) is not None]
    by_alias = {equation.alias: equation for equation in together}
    for equation in modules:
        _refuse_unlike_modules(model, record.follow(by_alias, equation.alias))
    within = {equation.alias: equation for equation in modules}
    open_ties = [equation for equation in record.by_tensor(model, together) if not holds(model, equation)]
    for equation in open_ties:
        _refuse_unlike_tensors(model, equation, record.covering(within, equation.alias) is not None)
    return open_ties, _values(model, open_ties, keep)


def _refuse_conflicts(model: nn.Module, before: list[Equation], new: list[Equation]) -> None:
    by_alias = {equation.alias: equation for equation in before}
    for equation in new:
        other = by_alias.setdefault(equation.alias, equation)
        if other != equation:
            raise TieError(f"`{equation}` ties `{equation.alias}` again: it is tied by `{other}`; untie it first.")
    for equation in by_alias.values():
        record.follow(by_alias, equation.alias)
        if (module := record.covering(by_alias, equation.alias)) is None or _inside(model, module, equation):
            continue
        raise TieError(
            f"`{equation}` ties a part of `{module}`, which `{by_alias[module]}` replaces as a whole; drop one of them."
        )


def _inside(model: nn.Module, module: str, equation: Equation) -> bool:
    """Whether a tie is declared by the module itself, and so goes where the module goes."""
    part = record.submodule(model, module)
    own = [] if part is None else record.declared(part)
    moved = [(f"{module}.{inner.alias}", f"{module}.{inner.source}", inner.transforms) for inner in own]
    return (equation.alias, equation.source, equation.transforms) in moved


def _refuse_unlike_modules(model: nn.Module, equation: Equation) -> None:
    alias, source = record.submodule(model, equation.alias), record.submodule(model, equation.source)
    if alias is None or source is None or alias is source:
        return
    shapes = [
        {name: tuple(t.shape) for name in record.tensor_names(m) if (t := record.tensor(m, name)) is not None}
        for m in (alias, source)
    ]
    if type(alias).__name__ != type(source).__name__ or repr(alias) != repr(source):
        raise TieError(
            f"`{equation}` would replace {_first_line(alias)} by {_first_line(source)}, which is not set up alike; "
            f"tie their tensors only: `{equation.alias}.* = {equation.source}.*`."
        )
    for name in shapes[0].keys() | shapes[1].keys():
        one, two = (shape.get(name) for shape in shapes)
        if one != two:
            raise TieError(
                f"`{equation}` ties modules with different tensors: `{name}` has shape {one} in `{equation.alias}` "
                f"and {two} in `{equation.source}`; tie the tensors that fit one by one."
            )


def _first_line(module: nn.Module) -> str:
    line, *rest = repr(module).splitlines()
    return line + "...)" * bool(rest)


def _refuse_unlike_tensors(model: nn.Module, equation: Equation, of_module: bool) -> None:
    """Every reason why two tensors cannot be tied, but their values."""
    alias, source = record.present(model, equation.alias), record.present(model, equation.source)
    if not of_module:
        _refuse_unless_weight(model, equation, equation.alias, source=False)
        _refuse_unless_weight(model, equation, equation.source, source=True)
        path = equation.alias.rpartition(".")[0]
        shared = not equation.transforms and record.parameter(model, equation.source) is not None
        if not shared and isinstance(record.submodule(model, path), nn.RNNBase):
            raise TieError(
                f"`{equation}` cannot be computed anew at each access: a recurrent layer keeps its own list of "
                f"Parameters; tie `{equation.alias}` to a Parameter, without a transform."
            )
    expected = equation.apply(torch.empty(source.shape, device="meta")).shape
    if alias.shape != expected:
        raise TieError(
            f"`{equation}` does not fit: `{equation.alias}` has shape {tuple(alias.shape)}, and the right side has "
            f"{tuple(expected)}."
        )
    for what, one, two in (
        ("data type", alias.dtype, source.dtype),
        ("device", alias.device, source.device),
        ("requires_grad", alias.requires_grad, source.requires_grad),
    ):
        if one != two:
            raise TieError(
                f"`{equation}` ties tensors of different {what}: `{equation.alias}` has {one}, `{equation.source}` "
                f"has {two}; make them the same first."
            )


def _refuse_unless_weight(model: nn.Module, equation: Equation, name: str, source: bool) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    own = module._parameters.get(leaf)
    if own is not None and nn.parameter.is_lazy(own):
        raise TieError(f"`{equation}` ties `{name}`, which has no shape yet; run the model once, then tie.")
    if leaf in module._buffers:
        raise TieError(f"`{equation}` ties `{name}`, which is a buffer: it is not trained; tie the whole modules.")
    if leaf in parametrized(module) and not source:
        raise TieError(
            f"`{equation}` gives `{name}` to another owner, but a parametrization computes it; remove that first."
        )
    tensor = record.tensor(model, name)
    if tensor is not None and not (tensor.is_floating_point() or tensor.is_complex()):
        raise TieError(
            f"`{equation}` ties `{name}`, which holds {tensor.dtype} and cannot be trained; tie the modules."
        )


def _values(model: nn.Module, ties: list[Equation], keep: Keep) -> list[tuple[Tensor, Tensor]]:
    """The owners that get new values, with them."""
    groups: defaultdict[str, list[Equation]] = defaultdict(list)
    for equation in ties:
        groups[equation.source].append(equation)
    refused: list[tuple[Equation, float]] = []
    writes: list[tuple[Tensor, Tensor]] = []
    for name, equations in groups.items():
        owner = record.present(model, name).detach()
        pairs = [(equation, record.present(model, equation.alias).detach()) for equation in equations]
        deltas = [(equation, difference(alias, equation.apply(owner))) for equation, alias in pairs]
        unequal = [(equation, delta) for equation, delta in deltas if delta]
        if not unequal or keep == "source":
            continue
        if keep is None:
            refused += unequal
        elif keep == "alias":
            writes.append((owner, _of_alias(owner, pairs)))
        elif owner.is_floating_point() or owner.is_complex():
            writes.append((owner, mean(owner, pairs)))
    if refused:
        _refuse_values(refused)
    return writes


def _of_alias(owner: Tensor, pairs: list[tuple[Equation, Tensor]]) -> Tensor:
    new = owner
    for equation, alias in pairs:
        new = equation.pull_back(alias, new)
    for equation, alias in pairs:
        if delta := difference(alias, equation.apply(new)):
            raise TieError(
                f"keep='alias' leaves it open which alias of `{equation.source}` is meant, since they differ by up to "
                f"{delta:.3g}: {', '.join(f'`{other.alias}`' for other, _ in pairs)}; "
                f"choose keep='source' or 'mean', or tie them one after another."
            )
    return new


def mean(owner: Tensor, pairs: list[tuple[Equation, Tensor]]) -> Tensor:
    """For each element of the owner the mean over it and the aliases that use it."""
    wide = torch.complex128 if owner.is_complex() else torch.float64
    total, count = owner.to(wide), torch.ones(owner.shape, device=owner.device)
    for equation, alias in pairs:
        nothing = torch.zeros_like(total)
        total = total + equation.pull_back(alias.to(wide), nothing)
        count = count + equation.pull_back(equation.apply(torch.ones_like(count)), torch.zeros_like(count))
    return (total / count).to(owner.dtype)


def _refuse_values(refused: list[tuple[Equation, float]]) -> None:
    shown = "; ".join(f"`{equation}`, max |Δ| = {delta:.3g}" for equation, delta in refused[:8])
    more = f"; and {len(refused) - 8} more" if len(refused) > 8 else ""
    alias, source = refused[0][0].alias, refused[0][0].source
    raise TieError(
        f"The two sides have different values: {shown}{more}. Say which ones both get: 1. keep='source', those of "
        f"`{source}`; 2. keep='alias', those of `{alias}`; 3. keep='mean', the mean of both."
    )
