"""A model in one file: each weight once, its ties in a manifest, every byte checked; whole or not there.

The file is plain safetensors. It stores every tensor of the state dict that owns its values; the names that are tied to
one of them stand in the manifest (`commonweight.manifest`), with the SHA-256 of every tensor. So nothing is loaded that
was not saved, and no tie gets lost or made up between a model, its file and the next model.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar, overload

import torch
from torch import Tensor, nn

from commonweight.atomic import write_tensors
from commonweight.checkpoints import Stored, content_of, open_checkpoint
from commonweight.checkpoints.bounded import damaged, opened, read_at, shown
from commonweight.checkpoints.dtypes import SAFETENSORS, TORCH
from commonweight.equations import check, record
from commonweight.equations.sameness import difference, same_storage
from commonweight.errors import FileError, KernelError, PatternError, TieError, require_kind
from commonweight.kernels.flat import written_out
from commonweight.manifest import KEY, LONGEST, Manifest, Patterned, declared, find
from commonweight.notation import Equation
from commonweight.operators.spread import Spread, numbers
from commonweight.pattern_text import read as read_pattern
from commonweight.patterns import Pattern

Model = TypeVar("Model", bound=nn.Module)

ARCHITECTURE = "commonweight.architecture"
"""In the metadata: how the net was made (`commonweight.nets.architecture`), where `nets.build` made it."""

_INDICES = (torch.uint8, torch.int16, torch.int32, torch.int64)
_FLOAT4 = TORCH["float4_e2m1fn_x2"].dtype
_LARGE = 1 << 23
"""Bytes of a tensor from which a second thread pays for itself in hashing."""
_COPIES = 256
ROOM = 1 << 28
"""What is made of the tensors of a file, aliases and the matrices of patterns, may take up so many times the bytes of
the file, and so many bytes more: no small file fills the memory."""


def save(model: nn.Module, path: str | Path) -> None:
    """Write a model to a safetensors file: each weight once, and its ties in the manifest.

    Stored is every entry of the state dict but the aliases: those of declared ties, and names that share a tensor or
    its memory (all of it, its transpose, a block). Plain `safetensors.torch.load_model` reads the file into a model
    whose ties are plain. The file is written under another name first, then renamed.

    Args:
        model: on any device; its ties must hold.
        path: where to; folders are made, a file that is there is replaced.

    Raises:
        TieError: a declared tie does not hold.
        FileError: not a model, or no path; an entry that safetensors cannot hold; the file cannot be written.

    Example:
        >>> from commonweight.equations import tie
        >>> model = nn.ModuleDict({"encoder": nn.Linear(4, 2, bias=False), "decoder": nn.Linear(2, 4, bias=False)})
        >>> _ = tie(model, "decoder.weight = encoder.weight.T", keep="source")
        >>> save(model, "autoencoder.safetensors")
        >>> from safetensors.torch import load_file
        >>> list(load_file("autoencoder.safetensors"))
        ['encoder.weight']
    """
    if not isinstance(model, nn.Module):
        raise FileError(
            f"save writes a model (torch.nn.Module) with its ties; got a {type(model).__name__}, "
            f"which has none: write it by safetensors.torch.save_file."
        )
    require_kind(path, str | PathLike, "save writes to a path", FileError)
    tensors, ties = layout(model)
    for name, value in tensors.items():
        _refuse_type(name, value)
    stored = _apart({name: value for name, value in tensors.items() if name not in {tie.alias for tie in ties}})
    manifest = str(Manifest({name: _sha256(value) for name, value in stored.items()}, tuple(ties)))
    if len(manifest) > LONGEST:
        raise FileError(f"The names of {len(tensors):,} tensors need a manifest of more than {LONGEST:,} characters.")
    architecture = getattr(model, "architecture", None)
    more = {ARCHITECTURE: architecture} if isinstance(architecture, str) else {}
    write_tensors(Path(path), stored, {"format": "pt", KEY: manifest, **more})


@overload
def load(path: str | Path, model: None = None, *, expand: bool = False) -> dict[str, Tensor]: ...


@overload
def load(path: str | Path, model: Model, *, expand: bool = False) -> Model: ...


def load(path: str | Path, model: Model | None = None, *, expand: bool = False) -> dict[str, Tensor] | Model:
    """Read a safetensors file with its ties: as a state dict, or into a model.

    Ties are those of the manifest, or of the metadata that `safetensors.torch.save_model` and Hugging Face write. Of a
    file with a manifest every tensor is checked against its SHA-256. A weight that is stored as codes and codebooks, or
    as the free weights of a pattern (`commonweight.compress`), is written out. Nothing stays connected to the file.

    Args:
        path: of a file by `save` or any other safetensors file.
        model: to be filled in place: wholly, or not at all. A name that the file lacks gets its values by a tie of the
            model. None: return a state dict.
        expand: False keeps the ties: in a state dict a plain alias is the same tensor as its owner, and another one is
            computed from it (a view for `.T` and slices, a copy for `.flip` and minus). True gives every name memory
            of its own, for readers that know no ties and for models that are to have none.

    Returns:
        The state dict, sorted by name; or the model.

    Raises:
        FileError: not a whole safetensors file; not the bytes that were saved; codes without a value; names, shapes or
            data types that are not the model's.
        TieError: the file has a tie that the model has not (and `expand` is False), or different values where the
            model has a tie. The model is unchanged.

    Example:
        >>> from commonweight.equations import tie
        >>> model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
        >>> _ = tie(model, "head.weight = embed.weight", keep="source")
        >>> save(model, "model.safetensors")
        >>> state = load("model.safetensors")
        >>> state["head.weight"] is state["embed.weight"]
        True
    """
    require_kind(path, str | PathLike, "load takes the path of a file", FileError)
    path = Path(path)
    read = _read(path)
    if model is None:
        return _state(path, read, expand)
    _fill(path, model, read, expand)
    return model


def layout(model: nn.Module) -> tuple[dict[str, Tensor], list[Equation]]:
    """The state dict of a model, and those of its names that are aliases, each of one that is not.

    An entry without elements is no alias: it has nothing to share.

    Raises:
        TieError: a declared tie does not hold.
        FileError: an entry that is no tensor, or has no values, or holds them in a way of its own.
    """
    check(model)
    state = dict(model.state_dict(keep_vars=True))
    for name, value in state.items():
        _refuse_without_values(name, value)
    known = {
        tie.alias: tie
        for tie in record.by_tensor(model, record.declared(model))
        if tie.alias in state and tie.source in state and state[tie.alias].numel()
    }
    values = {name: value.detach() for name, value in state.items() if name not in known and value.numel()}
    known |= {tie.equation.alias: tie.equation for tie in same_storage(values)}
    return state, [record.follow(known, alias) for alias in known]


def _refuse_without_values(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise FileError(
            f"`{name}` of the model is a {type(value).__name__}; a safetensors file holds tensors only: make it a "
            f"buffer, or keep it elsewhere."
        )
    if nn.parameter.is_lazy(value):
        raise FileError(f"`{name}` of the model has no shape yet; run the model once first.")
    if value.is_meta:
        raise FileError(f"`{name}` of the model is on the meta device, without values; model.to_empty(...) first.")
    own_way = type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__
    if own_way or value.layout != torch.strided:
        kind = type(value).__name__ if own_way else value.layout
        raise FileError(f"`{name}` of the model is a {kind}; make it an ordinary dense tensor first.")


def _refuse_type(name: str, value: Tensor) -> None:
    if value.dtype not in {_FLOAT4, *(kind.dtype for kind in SAFETENSORS.values())}:
        raise FileError(f"`{name}` of the model has data type {value.dtype}, which safetensors has not; convert it.")
    if value.dtype == _FLOAT4 and not value.ndim:
        raise FileError(f"`{name}` of the model is a pair of 4-bit floats without an axis; give it an axis.")
    if name == "__metadata__":
        raise FileError("`__metadata__` is the one name that a safetensors file keeps for itself; choose another.")


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values on the CPU, row-major, with no memory in common."""
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        whole = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        if whole.untyped_storage().nbytes() != whole.nbytes or whole.untyped_storage().data_ptr() in taken:
            whole = whole.clone(memory_format=torch.contiguous_format)
        taken.add(whole.untyped_storage().data_ptr())
        apart[name] = whole
    return apart


def _sha256(tensor: Tensor) -> str:
    return content_of(tensor, threads=2 if tensor.nbytes > _LARGE else 1).sha256


class _Read(NamedTuple):
    """The tensors that a file holds, checked; the ties that it declares, each to one of them; bytes that it stores."""

    tensors: dict[str, Tensor]
    ties: list[Equation]
    nbytes: int


def _read(path: Path) -> _Read:
    checkpoint = open_checkpoint(path)
    if checkpoint.format != "safetensors":
        raise FileError(f"{path} is no safetensors file, which load reads, but {checkpoint.format}; audit reads it.")
    try:
        manifest = find(checkpoint.metadata)
        ties = declared(checkpoint.metadata, checkpoint.tensors) if manifest is None else list(manifest.ties)
    except FileError as error:
        raise FileError(f"Cannot load {path}. {error}") from error
    if manifest and (names := sorted(manifest.tensors.keys() ^ checkpoint.tensors.keys())):
        where = "the manifest" if names[0] in manifest.tensors else "the file"
        raise damaged(path, f"only {where} has {shown(names[0])}")
    tensors: dict[str, Tensor] = {}
    with opened(path) as (file, _):
        for name, stored in checkpoint.tensors.items():
            tensors[name] = _tensor(file, stored)
            if manifest and _sha256(tensors[name]) != manifest.tensors[name]:
                remedy = "take another copy, or save anew if a program changed it on purpose"
                raise damaged(path, f"{shown(name)} is not what was saved: its SHA-256 is another one", remedy)
    n_bytes = sum(tensor.nbytes for tensor in tensors.values())
    for one in manifest.coded if manifest else ():
        codes, values = tensors.pop(one.codes), tensors.pop(one.values)
        try:
            tensors[one.name] = written_out(codes, values, one.shape, one.bits)
        except KernelError as error:
            raise damaged(path, f"{shown(one.name)} cannot be made of its codebooks ({error})") from error
    _write_out(path, manifest.patterned if manifest else (), tensors, ROOM + _COPIES * n_bytes)
    return _Read(tensors, _single(path, tensors, ties), n_bytes)


def _write_out(path: Path, patterned: Sequence[Patterned], tensors: dict[str, Tensor], room: int) -> None:
    """Put weights, which may take so many bytes, in the place of the tensors that they are made of by patterns."""
    for one in patterned:
        weights, *arrays = (tensors.pop(name) for name in one.parts)
        room -= prod(one.shape) * weights.element_size()
        if room < 0:
            raise damaged(path, f"its patterns would take {_COPIES} times its size in memory", "distrust it")
        try:
            pattern = pattern_of(one, weights, arrays)
        except PatternError as error:
            told = " ".join(f"{error!s:.300}".split())  # the error may say what the file gives
            raise damaged(path, f"{shown(one.name)} cannot be made by its pattern ({told})") from error
        tensors[one.name] = Spread((pattern.n_out, pattern.n_in), numbers(pattern))(weights).reshape(one.shape)


def pattern_of(one: Patterned, weights: Tensor, arrays: Sequence[Tensor]) -> Pattern:
    """The pattern of a weight that a file stores so, which anyone may have written.

    Args:
        one: what the manifest says of it.
        weights, arrays: the tensors that it names.

    Raises:
        PatternError: no pattern, or one that does not fit the shape of the weight, its free weights or its arrays.
    """
    if others := [array.dtype for array in arrays if array.dtype not in _INDICES]:
        raise PatternError(f"The arrays of a pattern are whole numbers; got {others[0]}.")
    pattern = read_pattern(one.pattern, [array.numpy() for array in arrays], prod(one.shape))
    fits = (pattern.n_out, pattern.n_in) == (one.shape[0], prod(one.shape[1:]))
    floating = weights.is_floating_point() and weights.element_size() > 1
    if not fits or not floating or tuple(weights.shape) != pattern.weight_shape:
        raise PatternError(
            f"{pattern!s:.200} makes a matrix of {pattern.n_out:,} rows and {pattern.n_in:,} columns of floating "
            f"weights of shape {pattern.weight_shape}; got {weights.dtype} of shape {tuple(weights.shape)} for a "
            f"weight of shape {one.shape}."
        )
    return pattern


def _tensor(file: BinaryIO, stored: Stored) -> Tensor:
    dtype, shape = stored.dtype, stored.shape
    if stored.type == "F4" and shape and shape[-1] % 2 == 0:  # torch counts the bytes, with two values in each
        dtype, shape = _FLOAT4, (*shape[:-1], shape[-1] // 2)
    if dtype is None:
        raise damaged(stored.file, f"{shown(stored.name)} has type {stored.type}, which torch has not", "convert it")
    try:
        raw = torch.empty(stored.nbytes, dtype=torch.uint8)
    except RuntimeError as error:
        raise damaged(stored.file, f"{shown(stored.name)} needs {stored.nbytes:,} bytes", "free memory") from error
    if read_at(file, stored.offset, raw.numpy().data) < stored.nbytes:
        raise damaged(stored.file, "it became shorter while it was read", "load it again")
    return raw.view(dtype).reshape(shape)


def _single(path: Path, tensors: dict[str, Tensor], ties: list[Equation]) -> list[Equation]:
    """The ties; a name that others both tie and store loses its own tensor, which must be that of its owner."""
    for tie in ties:
        if tie.alias in tensors and not _same_bits(tensors[tie.alias], tensors[tie.source]):
            raise FileError(
                f"{path} contradicts itself: its metadata says that {shown(tie.alias)} is {shown(tie.source)}, and it "
                f"stores another tensor under each; take out one of the two, or that entry of the metadata."
            )
    for tie in ties:
        tensors.pop(tie.alias, None)
    return ties


def _state(path: Path, read: _Read, expand: bool) -> dict[str, Tensor]:
    """The state dict, sorted by name; as a rule a file of some bytes fills some bytes of memory, whatever it ties."""
    tensors, ties, n_bytes = read
    room = ROOM + _COPIES * n_bytes
    state = dict(tensors)
    for tie in ties:
        source = tensors[tie.source]
        try:
            value = tie.apply(source)
        except (TieError, RuntimeError) as error:  # a matrix is needed, or negatives of a type that has none
            shape = f"{source.dtype} of shape {tuple(source.shape)}"
            raise damaged(path, f"its tie {shown(str(tie))} does not fit {shape}") from error
        if expand:
            value = value.clone(memory_format=torch.contiguous_format)
        if value.untyped_storage().data_ptr() != source.untyped_storage().data_ptr():
            room -= value.nbytes
        if room < 0:
            raise damaged(path, f"its {len(ties):,} ties would take {_COPIES} times its size in memory", "distrust it")
        state[tie.alias] = value
    return dict(sorted(state.items()))


def _fill(path: Path, model: nn.Module, read: _Read, expand: bool) -> None:
    own, own_ties = layout(model)
    state, ties = _state(path, read, expand), read.ties
    _refuse_misfit(path, own, state)
    _complete(own_ties, state)
    if missing := sorted(own.keys() - state.keys()):
        raise FileError(f"{path} belongs to another model: the model has `{missing[0]}`, the file has not.")
    owner = {tie.alias: tie.source for tie in own_ties}
    lost = [tie for tie in ties if owner.get(tie.alias, tie.alias) != owner.get(tie.source, tie.source)]
    if lost and not expand:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise TieError(
            f"{path} has the tie `{lost[0]}`{more}, which the model has not. Either 1. tie the model first: "
            f'commonweight.tie(model, "{lost[0]}", keep="source"), or 2. commonweight.load(path, model, expand=True) '
            f"gives each name weights of its own."
        )
    for tie in own_ties:
        _refuse_contradiction(path, tie, state)
    _refuse_overlap(path, {name: value for name, value in own.items() if name not in owner}, state)
    model.load_state_dict(state)


def _refuse_misfit(path: Path, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if name not in own:
            raise FileError(f"{path} belongs to another model: the file has {shown(name)}, the model has not.")
        if value.shape != own[name].shape:
            shapes = f"{tuple(value.shape)} in the file, {tuple(own[name].shape)} in the model"
            raise FileError(f"{path} belongs to another model: `{name}` has shape {shapes}.")
        if value.dtype != own[name].dtype:
            raise FileError(
                f"`{name}` is {value.dtype} in {path} and {own[name].dtype} in the model: bring the model to "
                f"{value.dtype} first, load, then convert it as a whole."
            )


def _complete(ties: list[Equation], state: dict[str, Tensor]) -> None:
    """Add the names that the file lacks and the model ties to one that the file has."""
    for tie in ties:
        if tie.source not in state and tie.alias in state:
            value = tie.pull_back(state[tie.alias])
            state |= {} if value is None else {tie.source: value}
    for tie in ties:
        if tie.alias not in state and tie.source in state:
            state[tie.alias] = tie.apply(state[tie.source])


def _refuse_contradiction(path: Path, tie: Equation, state: Mapping[str, Tensor]) -> None:
    alias, expected = state[tie.alias], tie.apply(state[tie.source])
    if alias is expected or _same_bits(alias, expected):
        return
    delta = None if alias.dtype == _FLOAT4 else difference(alias, expected)
    if delta == 0 and (alias.is_floating_point() or alias.is_complex()):
        return  # 0.0 and -0.0, or two kinds of NaN
    raise TieError(
        f"The model has the tie `{tie}`, and {path} holds values for the two that differ"
        f"{f' by up to {delta:.3g}' if delta else ''}. Either 1. commonweight.untie(model, "
        f'"{tie.alias}") first, or 2. make the two agree in state = commonweight.load(path), and '
        f"model.load_state_dict(state)."
    )


def _refuse_overlap(path: Path, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Refuse values that cannot stand side by side in tensors that overlap, in a way that no tie says: try it out."""
    overlapping: defaultdict[tuple[torch.device, int], list[str]] = defaultdict(list)
    for name, value in own.items():
        if value.numel():
            overlapping[value.device, value.untyped_storage().data_ptr()].append(name)
    for names in overlapping.values():
        if len(names) == 1:
            continue
        memory = torch.empty(own[names[0]].untyped_storage().nbytes(), dtype=torch.uint8)
        views = {name: _like(memory, own[name]) for name in names}
        for name, view in views.items():
            view.copy_(_in_memory(own[name], state[name]))
        for name, view in views.items():
            if not _same_bits(view, _in_memory(own[name], state[name])):
                others = ", ".join(f"`{other}`" for other in names if other != name)
                raise TieError(
                    f"`{name}` shares memory with {others} in the model, and {path} holds values that contradict this; "
                    f"give it memory of its own first."
                )


def _like(memory: Tensor, value: Tensor) -> Tensor:
    """The view of some memory that a tensor is of its own."""
    whole = memory[: memory.numel() // value.element_size() * value.element_size()].view(value.dtype)
    return whole.as_strided(value.shape, value.stride(), value.storage_offset())


def _in_memory(own: Tensor, value: Tensor) -> Tensor:
    """What a tensor's memory has to hold for it to read as this value: it may be a lazy conjugate or negative."""
    value = value.conj().resolve_conj() if own.is_conj() else value
    return -value if own.is_neg() else value


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors on the CPU are equal in type, shape and every bit, NaN included."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    whole = [value.contiguous().as_strided((value.numel(),), (1,)).view(torch.uint8) for value in (first, second)]
    return torch.equal(whole[0], whole[1])
