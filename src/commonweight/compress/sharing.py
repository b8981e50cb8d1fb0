"""Which weights of a model become codebooks, and how: one at a time, each in its place."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from commonweight import kernels
from commonweight.compress.nearest import Per, nearest, refuse_importance, rows_of
from commonweight.compress.patterned import PatternWeight
from commonweight.compress.places import Compressed, leaves, part, parts, put
from commonweight.compress.report import Line, Report, errors
from commonweight.compress.weight import SharedWeight
from commonweight.equations import record
from commonweight.equations.living import Living, computed
from commonweight.errors import CompressError, PatternError, require_kind
from commonweight.files import layout
from commonweight.notation import Equation
from commonweight.pattern_text import MOST_CELLS, arrays_of, read
from commonweight.patterns import Pattern
from commonweight.sizes import WHOLE
from commonweight.tied import Tied

AsIs: TypeAlias = tuple[int, Per] | Pattern
"""How a weight is held as it is: by so many values per what, or by its pattern."""
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNNBase, nn.RNNCellBase, Tied)


@dataclass
class Candidate:
    """A weight that a layer has, by the name in that layer, and by name every module that holds it."""

    name: str
    weight: nn.Parameter
    places: dict[str, nn.Module]


def share(
    model: nn.Module,
    k: int | None,
    per: Per = "row",
    keep: Sequence[str] = (),
    importance: Mapping[str, Tensor] | None = None,
    shadows: bool = False,
    as_is: Mapping[str, AsIs] | None = None,
) -> Report:
    """Replace the weights of linear, convolutional and recurrent layers, and of `Tied` ones, by codebooks, in place.

    A weight counts as a matrix (O, product of the rest), so that a row is what leads to one output or channel. Its
    codebooks are the nearest that there are (`commonweight.codebook.learn`), and become the parameters of the layer.
    Biases, norms, embeddings, statistics and vectors of weights are left alone. A weight with several names is shared
    once and all its users use it, an embedding among them; an alias that is computed from it by a tie stays computed.

    Args:
        model: any module on any device; it needs no gradient. Learning takes memory for one weight at a time.
        k: values in a codebook, 1 … 256: 16 are 4 bits for a weight. None: share only `as_is`.
        per: "row", a codebook for each row; "tensor", one for the weight; a number of rows that share one (rows are
            dealt out evenly: 4 of 10 rows are 4, 4 and 2, and 6 of 10 are 5 and 5).
        keep: layers or weights that stay as they are: names, or "first" and "last" in the order of the modules.
        importance: of each element by the name of its weight, see `learn`; None for 1 each.
        shadows: keep each weight beside its codebooks, so that `train.finetune` can change codes, too.
        as_is: weights, each by the first of its names, that have a k and a per of their own, or a pattern in each
            element, which then holds them: embeddings, too.

    Returns:
        What it cost and saved. A weight that would not become smaller, or that cannot be shared, is left alone, and
        its line says why.

    Raises:
        CompressError: k, per or an importance out of range, or a `keep` that is no list of names of such layers;
            nothing has changed.
        TieError, FileError: a tie of the model does not hold, or a tensor cannot be stored.

    Source: Han, Mao, Dally 2015, "Deep Compression" (arXiv:1510.00149), section 3.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> report = share(net, k=16, per="tensor", keep=["last"])
        >>> report.bytes_before, report.bytes_after  # 512 weights of 4 bytes become 4 bits each and 16 values
        (2152, 424)
        >>> net[0].shared
        SharedWeight((8, 64), 1 codebooks of 16)
    """
    require_kind(model, nn.Module, "share takes a model, a torch.nn.Module", CompressError)
    _refuse_impossible(k, per, keep)
    state, ties = layout(model)
    aliases = {tie.alias for tie in ties}
    total = sum(tensor.nbytes for name, tensor in state.items() if name not in aliases)
    del state  # which would keep weights in memory that are replaced
    as_is = as_is or {}
    found = list(_candidates(model, as_is))
    kept = _kept(keep, [one.name for one in found])
    found = [one for one in found if k is not None or one.name in as_is]
    for one in found:
        refuse_importance(one.name, one.weight, (importance or {}).get(one.name))
    lines: list[Line] = []
    while found:
        one = found.pop(0)
        why = "it was to be kept" if one.name in kept else _why_not_here(model, one, ties)
        given = None if importance is None else importance.get(one.name)
        line, shared = _learned(one.name, one.weight.detach(), as_is.get(one.name) or (k or 0, per), given, why)
        lines.append(line)
        if shared is not None:
            if shadows and isinstance(shared, SharedWeight):
                shared.shadow = nn.Parameter(one.weight.detach())
            for name, module in one.places.items():
                put(module, name.rpartition(".")[2], shared)
    _rename_ties(model)
    return Report(lines, total - sum(line.bytes_before for line in lines))


def share_tensors(
    tensors: dict[str, Tensor],
    k: int | None,
    per: Per = "row",
    keep: Sequence[str] = (),
    as_is: Mapping[str, AsIs] | None = None,
) -> tuple[Report, dict[str, Compressed]]:
    """Take out of a state dict all floating tensors of two axes or more, and give them back as codebooks or patterns.

    Nothing but names and shapes says what these tensors are: embeddings are shared, too.

    Args:
        tensors: each weight under one name. Those that are shared are taken out.
        k, per, as_is: see `share`.
        keep: names of tensors that stay; or of modules, for all below them.

    Raises:
        CompressError: no dict of tensors, k or per out of range, or a `keep` that is no list of names that are there.

    Example:
        >>> state = {"weight": torch.randn(8, 64), "bias": torch.zeros(8)}
        >>> report, shared = share_tensors(state, k=4, per="tensor")
        >>> list(state), shared, report.bytes_after  # 512 codes of 2 bits, 4 values, and the bias
        (['bias'], {'weight': SharedWeight((8, 64), 1 codebooks of 4)}, 176)
    """
    require_kind(tensors, dict, "A state dict maps names to tensors", CompressError)
    for name, tensor in tensors.items():
        require_kind(tensor, Tensor, f"A state dict maps {name!r} to a tensor", CompressError)
    _refuse_impossible(k, per, keep)
    names = [name for name, tensor in tensors.items() if tensor.ndim > 1 and tensor.is_floating_point()]
    if ordered := {"first", "last"} & set(keep) - {name.partition(".")[0] for name in tensors}:
        raise CompressError(f"A file does not say which of its tensors is the {min(ordered)} one; keep it by its name.")
    kept = _kept(keep, names)
    total = sum(tensor.nbytes for tensor in tensors.values())
    lines: list[Line] = []
    found: dict[str, Compressed] = {}
    as_is = as_is or {}
    for name in names if k is not None else as_is:
        why = "it was to be kept" if name in kept else ""
        line, shared = _learned(name, tensors[name], as_is.get(name) or (k or 0, per), None, why)
        lines.append(line)
        if shared is not None:
            del tensors[name]
            found[name] = shared
    return Report(lines, total - sum(line.bytes_before for line in lines)), found


def shared_weights(model: nn.Module) -> dict[str, SharedWeight]:
    """The weights of a model that are codebooks, each under the first of its names.

    Raises:
        CompressError: no model.
    """
    require_kind(model, nn.Module, "shared_weights takes a model, a torch.nn.Module", CompressError)
    found: dict[int, tuple[str, SharedWeight]] = {}
    for path, module in model.named_modules():
        for leaf, shared in parts(module).items():
            if isinstance(shared, SharedWeight):
                found.setdefault(id(shared), (f"{path}.{leaf}".removeprefix("."), shared))
    return dict(found.values())


def packed_bytes(n: int, bits: int) -> int:
    """Bytes of n codes, one after another in words of 32 bits, as `compress.save` writes them."""
    return 4 * kernels.codes.words_in_row(n, bits)


def _learned(
    name: str, weight: Tensor, asked: AsIs, importance: Tensor | None, why: str
) -> tuple[Line, Compressed | None]:
    """The line of the report, and the weight as codebooks or by its pattern unless there is a reason why not."""
    if isinstance(asked, Pattern):
        return _patterned(name, weight, asked, why)
    (k, per), shape, before = asked, tuple(weight.shape), weight.nbytes
    why = why or _why_not(weight, k, per)
    if why:
        return Line(name, shape, 0, 0, 0.0, 0.0, before, before, why), None
    codes, values = nearest(weight, k, per, importance)
    error, largest = errors(weight, codes, values)
    shared = SharedWeight(codes, values, shape)
    after = packed_bytes(weight.numel(), shared.bits) + values.nbytes
    return Line(name, shape, int(k), len(values), error, largest, before, after), shared


def _patterned(name: str, weight: Tensor, pattern: Pattern, why: str) -> tuple[Line, PatternWeight | None]:
    """The line of the report, and the weight by its pattern unless there is a reason why not."""
    shape, before = tuple(weight.shape), weight.nbytes
    why = why or _why_no_pattern(weight, pattern)
    made = None if why else PatternWeight.of(weight, pattern)
    if made is None:
        why = why or "its elements are near the pattern and not equal"
    elif made.stored_bytes >= before:
        why = "its pattern would save nothing"
    if made is None or why:
        return Line(name, shape, 0, 0, 0.0, 0.0, before, before, why), None
    return Line(name, shape, pattern.n_weights, 0, 0.0, 0.0, before, made.stored_bytes, pattern=str(pattern)), made


def _why_no_pattern(weight: Tensor, pattern: Pattern) -> str:
    """Why a weight cannot be stored by a pattern, if it cannot."""
    if weight.dtype not in kernels.codes.FLOATS:
        return f"its elements are {weight.dtype}"
    if pattern.n_full > MOST_CELLS:
        return f"it has {pattern.n_full:,} elements, and a file holds patterns of at most {MOST_CELLS:,}"
    try:
        read(str(pattern), arrays_of(pattern), pattern.n_full)
    except PatternError as error:
        return f"a file cannot hold its pattern ({error})"
    return ""


def _why_not(weight: Tensor, k: int, per: Per) -> str:
    """Why a weight is better left alone, if it is."""
    if weight.ndim < 2:
        return "it is a vector"
    if weight.dtype not in kernels.codes.FLOATS:
        return f"its elements are {weight.dtype}"
    n = weight.numel()
    rows = rows_of(len(weight), per)
    codebooks = -(-len(weight) // rows)
    after = packed_bytes(n, kernels.bits_for(k)) + codebooks * k * weight.element_size()
    fewest = (len(weight) - (codebooks - 1) * rows) * (n // len(weight)) if n else 0
    if after >= weight.nbytes or fewest < k:
        return f"{codebooks:,} codebooks of {k} values for {n:,} elements would save nothing"
    if not bool(torch.stack(weight.aminmax()).isfinite().all()):  # which takes no second copy of the weight
        return "it has elements that are not finite"
    return ""


def _candidates(model: nn.Module, named: Collection[str]) -> Iterator[Candidate]:
    """The weights of the layers that are shared, and those named, each once, in the order of the modules."""
    found = [
        (name, layer._parameters.get(leaf))
        for path, layer in model.named_modules()
        for leaf in leaves(layer)
        if (name := f"{path}.{leaf}".removeprefix(".")) in named or isinstance(layer, LAYERS)
    ]
    done: set[int] = set()
    for name, weight in found:
        if weight is None or id(weight) in done or not weight.numel():
            continue
        done.add(id(weight))
        places = {
            f"{at}.{leaf}".removeprefix("."): module
            for at, module in model.named_modules()
            for leaf, parameter in module._parameters.items()
            if parameter is weight
        }
        yield Candidate(name, weight, places)


def _why_not_here(model: nn.Module, one: Candidate, ties: Sequence[Equation]) -> str:
    """Why the ties of a weight would not survive, if they would not."""
    for name, module in one.places.items():
        if name.rpartition(".")[2] not in leaves(module) or isinstance(module, Living):
            return f"`{name}` uses it too, and cannot read it from codebooks"
    for tie in ties:
        for name, other in ((tie.alias, tie.source), (tie.source, tie.alias)):
            one_parameter = record.parameter(model, other) is one.weight
            if name in one.places and not one_parameter and not computed(model, other):
                return f"`{other}` lies in its memory"
    return ""


def _rename_ties(model: nn.Module) -> None:
    """Let declared ties of weights that are one part now speak of that: `b.shared = a.shared`."""
    for prefix, owner in record.records(model):
        owner.declared = [_renamed(model, prefix, equation) for equation in owner.declared]


def _renamed(model: nn.Module, prefix: str, equation: Equation) -> Equation:
    alias, source = (_part(name) for name in (equation.alias, equation.source))
    shared = record.submodule(model, prefix + alias)
    one = isinstance(shared, Compressed) and shared is record.submodule(model, prefix + source)
    return Equation(alias, source) if one and not equation.transforms else equation


def _part(name: str) -> str:
    path, dot, leaf = name.rpartition(".")
    return path + dot + part(leaf)


def _refuse_impossible(k: int | None, per: Per, keep: Sequence[str]) -> None:
    if k is not None and not (isinstance(k, WHOLE) and 1 <= k <= 256):
        raise CompressError(f"A codebook has 1 to 256 values; got {k!r}.")
    if per not in ("row", "tensor") and not (isinstance(per, WHOLE) and per >= 1):
        raise CompressError(f"A codebook is per 'row', 'tensor', or per so many rows, from 1 on; got {per!r}.")
    if isinstance(keep, str) or not isinstance(keep, Collection):
        raise CompressError(f"The layers to keep are a list of names, such as ['last']; got {keep!r:.60}.")


def _kept(keep: Sequence[str], names: Sequence[str]) -> set[str]:
    """The weights that stay, by the names of weights or modules, or by their order."""
    kept: set[str] = set()
    for word in keep:
        ordered = {"first": names[:1], "last": names[-1:]}.get(word, [])
        chosen = [name for name in names if name == word or name.startswith(f"{word}.")] or list(ordered)
        if not chosen:
            known = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise CompressError(f"There is no weight {word!r} to keep; there are {known or 'none that can be shared'}.")
        kept.update(chosen)
    return kept
