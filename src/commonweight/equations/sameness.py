"""How same two tensors are, in levels; and what is tied in a model although nobody said so."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from math import isfinite

import torch
from torch import Tensor, nn

from commonweight.equations.turning import sum_of_bits, turnable, turned
from commonweight.notation import Equation
from commonweight.transforms import Slice, SliceItem, Transform, Transpose


class Level(StrEnum):
    """From the strongest to the weakest. All but the last three are found without being declared."""

    SAME_MODULE = "same module"
    SAME_PARAMETER = "same parameter"
    SAME_STORAGE = "same storage"
    EQUAL_BITS = "equal bits"
    EQUAL_TRANSFORMED = "equal up to a transform"
    CLOSE = "close"
    DIVERGED = "diverged"
    MISSING = "missing"


@dataclass(frozen=True)
class Tie:
    """A tie of a model: its equation, and what is true of it.

    Attributes:
        equation: alias, source and transforms.
        level: how same the two are.
        origin: "declared" by `tie`, "found" in the model, or "untied" on purpose.
        difference: max |Δ| between the alias and what it should be; None where there are no two values to compare.
    """

    equation: Equation
    level: Level
    origin: str
    difference: float | None = None

    def __str__(self) -> str:
        delta = f", max |Δ| {self.difference:.3g}" if self.difference else ""
        return f"{self.equation}  ({self.origin}: {self.level}{delta})"


def difference(first: Tensor, second: Tensor) -> float | None:
    """max |first - second|: 0 for no elements, infinity where only one is NaN, None where values cannot be compared."""
    if first is second:
        return 0.0
    if first.shape != second.shape or first.device != second.device or first.is_meta:
        return None
    if torch.equal(first, second) or not first.numel():
        return 0.0
    wide = torch.complex128 if first.is_complex() or second.is_complex() else torch.float64
    one, two = first.detach().to(wide), second.detach().to(wide)
    delta = torch.where((one == two) | (one.isnan() & two.isnan()), 0.0, (one - two).abs())
    return float(delta.nan_to_num(nan=torch.inf, posinf=torch.inf).max())


def level(first: Tensor, second: Tensor) -> tuple[Level, float | None]:
    """The level of two tensors that are not one, and max |Δ|; close means that rounding explains it."""
    delta = difference(first, second)
    if delta is None:
        return Level.DIVERGED, None
    if delta == 0:
        return Level.EQUAL_BITS, delta
    close = rounded(first.detach(), second.detach(), float(second.detach().abs().max()))
    return Level.CLOSE if close else Level.DIVERGED, delta


def rounded(first: Tensor, second: Tensor, largest: float) -> bool:
    """Whether rounding explains how two tensors differ.

        |Δ| <= ε max(|first|, |second|) + min(8 ε, 2^-20) largest

    for each value, where ε is the machine epsilon of the coarser type: each was rounded once to its type, and sums lose
    a little of the largest value.
    """
    types = [t.dtype for t in (first, second)]
    if not (isfinite(largest) and all(t.is_floating_point or t.is_complex for t in types)):
        return False
    epsilon = max(torch.finfo(t).eps for t in types)
    wide = torch.complex128 if any(t.is_complex for t in types) else torch.float64
    one, two = first.to(wide), second.to(wide)
    delta = (one - two).abs()
    allowed = epsilon * torch.maximum(one.abs(), two.abs()) + min(8 * epsilon, 2**-20) * largest
    return bool(((one == two) | (delta.isfinite() & (delta <= allowed))).all())


def find(model: nn.Module, values: bool = True) -> Iterator[Tie]:
    """The ties that a model has, declared or not, the strongest first; without `values`, those of objects and storages.

    Modules and Parameters are compared as the objects they are, storages by the memory that a tensor covers in them:
    two views of one flat buffer at different places are no tie. Equal values count from two elements on that are not
    all the same, since biases that start at 0 are not tied. A tensor without memory (on the meta device, or empty) has
    neither storage nor values.
    """
    modules: dict[int, str] = {}
    doubled: list[str] = []
    for path, module in model.named_modules(remove_duplicate=False):
        if any(path.startswith(f"{above}.") for above in doubled):
            continue
        if modules.setdefault(id(module), path) != path:
            doubled.append(path)
            yield Tie(Equation(path, modules[id(module)]), Level.SAME_MODULE, "found")
    owners: dict[int, tuple[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if any(name.startswith(f"{above}.") for above in doubled):
            continue
        first = owners.setdefault(id(parameter), (name, parameter))[0]
        if first != name:
            yield Tie(Equation(name, first), Level.SAME_PARAMETER, "found")
    tensors = {name: p.detach() for name, p in owners.values() if _has_memory(p)}
    of_storage = {tie.equation.alias: tie for tie in same_storage(tensors)}
    yield from of_storage.values()
    if values:
        yield from _equal_values({name: tensor for name, tensor in tensors.items() if name not in of_storage})


def _has_memory(parameter: nn.Parameter) -> bool:
    """Whether this is an ordinary tensor with values; those of other classes, such as sharded ones, are left alone."""
    lazy = nn.parameter.is_lazy(parameter)
    return not lazy and type(parameter) is nn.Parameter and not parameter.is_meta and parameter.numel() > 0


def same_storage(values: dict[str, Tensor]) -> Iterator[Tie]:
    of_storage: defaultdict[tuple[object, int], list[str]] = defaultdict(list)
    for name, value in values.items():  # all alive, so that equal addresses mean one storage
        of_storage[value.device, value.untyped_storage().data_ptr()].append(name)
    for names in of_storage.values():
        aliases: set[str] = set()
        for one, two in combinations(names, 2):
            for source, alias in ((one, two), (two, one)):
                within = _within(values[source], values[alias])
                if within is not None and not {alias, source} & aliases:
                    aliases.add(alias)
                    yield Tie(Equation(alias, source, within), Level.SAME_STORAGE, "found")


def _within(source: Tensor, alias: Tensor) -> tuple[Transform, ...] | None:
    """The transforms from one view of a storage to another: none for all of it, its transpose, a block; or None."""
    if source.dtype != alias.dtype or source.ndim != alias.ndim:
        return None
    if source.is_conj() != alias.is_conj() or source.is_neg() != alias.is_neg():
        return None  # the same memory, read as other values
    place = int(alias.storage_offset() - source.storage_offset())
    if place == 0 and source.ndim == 2 and source.T.shape == alias.shape and source.T.stride() == alias.stride():
        return () if source.shape == alias.shape and source.stride() == alias.stride() else (Transpose(),)
    if source.stride() != alias.stride() or place < 0:
        return None
    items: list[SliceItem] = [(None, None, None)] * source.ndim
    for axis in sorted(range(source.ndim), key=source.stride, reverse=True):
        start, place = divmod(place, max(source.stride(axis), 1)) if source.shape[axis] > 1 else (0, place)
        stop = start + alias.shape[axis]
        if stop > source.shape[axis]:
            return None
        if alias.shape[axis] < source.shape[axis]:
            items[axis] = (start, stop, None)
    if place:
        return None
    while items and items[-1] == (None, None, None):
        items.pop()
    return (Slice(tuple(items)),) if items else ()


def _equal_values(values: dict[str, Tensor]) -> Iterator[Tie]:
    alike: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, value in values.items():
        if turnable(value) and not bool((value == value.reshape(-1)[0]).all()):
            alike[value.dtype, value.device, *sorted(value.shape), sum_of_bits(value)].append(name)
    for names in alike.values():
        aliases: set[str] = set()
        for source, alias in combinations(names, 2):
            if not {source, alias} & aliases and (equal := turned(values[source], values[alias])) is not None:
                aliases.add(alias)
                kind = Level.EQUAL_TRANSFORMED if equal else Level.EQUAL_BITS
                yield Tie(Equation(alias, source, equal), kind, "found", 0.0)
