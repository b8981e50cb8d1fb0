"""The packed file: each codebook once, codes without gaps, the free weights of patterns, and everything else as
`commonweight.save` has it.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from commonweight import kernels
from commonweight.atomic import write_tensors
from commonweight.checkpoints import content_of, open_checkpoint
from commonweight.compress.nearest import AT_ONCE
from commonweight.compress.patterned import PatternWeight
from commonweight.compress.places import Compressed, leaves, part, parts, put
from commonweight.compress.weight import SharedWeight
from commonweight.equations import record
from commonweight.errors import FileError, require_kind
from commonweight.files import layout, load, pattern_of
from commonweight.kernels.flat import flat_codes, flat_words
from commonweight.manifest import KEY, Coded, Manifest, Patterned, find
from commonweight.notation import Equation
from commonweight.pattern_text import arrays_of, smallest

Model = TypeVar("Model", bound=nn.Module)


def save(model: nn.Module, path: str | Path) -> None:
    """Write a model with shared weights to a packed safetensors file.

    It holds the names that the model had before: `commonweight.load(path)` gives its state dict with every weight
    written out, and `commonweight.load(path, model)` fills a model that was not compressed. The same model gives the
    same bytes.

    Raises:
        TieError: a declared tie does not hold.
        FileError: an entry that safetensors cannot hold, or the file cannot be written.

    Example:
        >>> import commonweight as cw
        >>> from commonweight.compress import share
        >>> net = nn.Linear(64, 8)
        >>> _ = share(net, k=16, per="tensor")
        >>> save(net, "packed.safetensors")
        >>> {name: tuple(tensor.shape) for name, tensor in cw.load("packed.safetensors").items()}
        {'bias': (8,), 'weight': (8, 64)}
    """
    state, plain = layout(model)
    shared: dict[str, Compressed] = {}
    owners: dict[int, str] = {}
    ties: dict[str, Equation] = {}
    for at, module in model.named_modules(remove_duplicate=False):
        prefix = f"{at}." if at else ""
        for leaf, weight in parts(module).items():
            for key in weight.state_dict():
                state.pop(f"{prefix}{part(leaf)}.{key}")
            name = prefix + leaf
            owner = owners.setdefault(id(weight), name)
            if owner == name:
                shared[name] = weight
            else:
                ties[name] = Equation(name, owner)
    for tie in [*plain, *record.by_tensor(model, record.declared(model))]:
        source = ties[tie.source].source if tie.source in ties else tie.source
        if tie.alias in state and (source in state or source in shared):
            ties.setdefault(tie.alias, Equation(tie.alias, source, tie.transforms))
    save_tensors({name: t.detach() for name, t in state.items() if name not in ties}, shared, ties.values(), path)


def save_tensors(
    tensors: Mapping[str, Tensor], shared: Mapping[str, Compressed], ties: Iterable[Equation], path: str | Path
) -> None:
    """Write tensors, weights that are codebooks or have a pattern, and ties, each of a further name to one of these.

    Raises:
        FileError: no tensors or compressed weights by their names, a tensor that safetensors cannot hold, or the file
            cannot be written.
    """
    for given, what in ((tensors, "tensors"), (shared, "compressed weights")):
        require_kind(given, Mapping, f"save_tensors takes {what} by their names", FileError)
    stored = {name: tensor.cpu().clone() for name, tensor in tensors.items()}
    coded, patterned = [], []
    for name, weight in shared.items():
        if isinstance(weight, PatternWeight):
            patterned.append(_store_pattern(name, weight, stored))
            continue
        of_codes, of_values = _free(f"{name}.codes", stored), _free(f"{name}.codebooks", stored)
        stored[of_codes] = flat_words(_codes(weight), weight.bits)
        stored[of_values] = weight.values.detach().cpu().clone()
        coded.append(Coded(name, weight.shape, weight.bits, of_codes, of_values))
    hashes = {name: content_of(tensor).sha256 for name, tensor in stored.items()}
    manifest = Manifest(hashes, tuple(ties), tuple(coded), tuple(patterned))
    write_tensors(Path(path), stored, {KEY: str(manifest)})  # one entry: safetensors orders several at random


def _store_pattern(name: str, weight: PatternWeight, stored: dict[str, Tensor]) -> Patterned:
    """What the manifest says of a weight that has a pattern, whose parts become tensors."""
    of_weights = _free(f"{name}.weights", stored)
    stored[of_weights] = weight.weights.detach().cpu().clone()
    of_arrays = []
    for number, array in enumerate(arrays_of(weight.pattern)):
        of_arrays.append(_free(f"{name}.pattern.{number}", stored))
        stored[of_arrays[-1]] = torch.from_numpy(smallest(array))
    return Patterned(name, weight.shape, str(weight.pattern), of_weights, tuple(of_arrays))


def open_shared(path: str | Path, model: Model) -> Model:
    """Fill a model that was not compressed from a packed file, and let its weights be what the file has of them.

    That is codebooks, which run by kernels, and patterns, which run by the operators of `lower`.

    Raises:
        FileError, TieError: what `commonweight.load(path, model)` refuses; a weight that no module holds as `weight`.

    Example:
        >>> from commonweight.compress import share
        >>> net = nn.Linear(64, 8)
        >>> _ = share(net, k=16, per="tensor")
        >>> save(net, "packed.safetensors")
        >>> open_shared("packed.safetensors", nn.Linear(64, 8)).shared
        SharedWeight((8, 64), 1 codebooks of 16)
    """
    load(path, model)
    checkpoint = open_checkpoint(path)
    manifest = find(checkpoint.metadata)
    for one in manifest.made if manifest else ():
        weight = record.parameter(model, one.name)
        users = [
            (user, leaf) for user in model.modules() for leaf in leaves(user) if user._parameters.get(leaf) is weight
        ]
        if weight is None or not users:
            raise FileError(
                f"{path} has codebooks or a pattern for `{one.name}`, which is the `weight` of no module; load it "
                f"written out."
            )
        first, *others = (checkpoint.read(name) for name in one.parts)
        if isinstance(one, Patterned):
            made: Compressed = PatternWeight(pattern_of(one, first, others), first.clone(), one.shape)
        else:
            values = others[0].clone()
            made = SharedWeight(flat_codes(first, values, one.shape, one.bits), values, one.shape)
        shared = made.to(weight.device)
        for module, leaf in users:
            put(module, leaf, shared)
    return model


def _codes(weight: SharedWeight) -> Tensor:
    """Which value each element is, shape (O, I), uint8: unpacked in parts, as numbers of four bytes."""
    step = max(1, AT_ONCE // weight.columns)
    parts = weight.words.cpu().split(step)  # type: ignore[no-untyped-call]
    return torch.cat([kernels.unpack(part, weight.columns, weight.bits).to(torch.uint8) for part in parts])


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or the first that is not taken of those with underscores behind it."""
    while name in taken:
        name += "_"
    return name
