"""Which weights a tensor of the forward pass is made of, and whether it carries a signal.

While the pass is watched, every tensor is one of these:
    weights     a parameter, a view of one, or something computed from parameters alone (w.t(), w * mask);
    signal      something computed from the inputs;
    fresh       made during the pass from neither (torch.zeros, torch.arange);
    constant    anything else: buffers, fixed tensors.

A tensor is known by the memory that it lies in, so that all views of it are known with it. A weak reference to that
memory keeps its address from being used again without keeping the values, and it works on the meta device, where all
data pointers are 0. Parameters that lie side by side in one memory are told apart by their place in it.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from commonweight.census.operations import PLACEMENTS, Operation

# The output holds the units of the first input, some of them several times or among padding.
COPIES = {
    *("aten::clone", "aten::_to_copy", "aten::repeat", "aten::im2col", "aten::constant_pad_nd"),
    *(f"aten::{kind}_pad{axes}d" for kind in ("reflection", "replication") for axes in (1, 2, 3)),
}


class Origin(NamedTuple):
    """How a tensor and a parameter are related.

    Attributes:
        share: the part of the tensor's elements that come from the parameter.
        cover: the part of the parameter's elements that the tensor holds.
    """

    share: Fraction
    cover: Fraction


Origins = dict[str, Origin]
Memory = StorageWeakRef | None


class _Region(NamedTuple):
    """The place of a parameter in its memory, in elements."""

    start: int
    stop: int
    name: str


class _Made(NamedTuple):
    """What was computed from parameters alone: its origins and its number of different elements."""

    origins: Origins
    units: int


class Ancestry:
    """What is known of the tensors of one forward pass.

    Args:
        parameters: the model's parameters by name; they must outlive this object.
        batch: the number of samples in the batch.
        batch_dim: the dimension of the samples; None when the inputs are a single sample.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], batch: int, batch_dim: int | None) -> None:
        self._parameters, self._batch, self._batch_dim = parameters, batch, batch_dim
        # An id is safe here: the caller keeps the parameters alive, so that no other tensor can get it.
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._regions: dict[Memory, list[_Region]] = {}
        for name, parameter in parameters.items():
            memory = _memory(parameter)
            if memory is not None:
                self._regions.setdefault(memory, []).append(_Region(*_span(parameter), name))
        self._made: dict[Memory, _Made] = {}
        self._signals: dict[Memory, bool] = {}
        self._fresh: set[Memory] = set()
        self._units: dict[Memory, int] = {}
        self._padded: dict[Memory, tuple[Sequence[int], list[range]]] = {}

    def origins(self, tensor: Tensor) -> Origins:
        """The parameters that the tensor consists of; empty for anything but weights."""
        memory = _memory(tensor)
        name = self._names.get(id(tensor)) or self._names.get(id(tensor._base))
        if name is not None:
            return {name: self._origin(tensor, name, Fraction(1))}
        if memory in self._regions:
            start, stop = _span(tensor)
            common = {
                region.name: min(stop, region.stop) - max(start, region.start) for region in self._regions[memory]
            }
            return {name: self._origin(tensor, name, Fraction(n, stop - start)) for name, n in common.items() if n > 0}
        if memory in self._made:
            made = self._made[memory]
            part = min(Fraction(1), Fraction(self.units(tensor), max(made.units, 1)))
            return {name: Origin(share, cover * part) for name, (share, cover) in made.origins.items()}
        return {}

    def _origin(self, view: Tensor, name: str, share: Fraction) -> Origin:
        held = Fraction(share * self.units(view), max(self._parameters[name].numel(), 1))
        return Origin(share, min(Fraction(1), held))

    def is_signal(self, tensor: Tensor) -> bool:
        """Whether the tensor was computed from the inputs."""
        return _memory(tensor) in self._signals

    def is_fresh(self, tensor: Tensor) -> bool:
        """Whether the tensor was made during the pass, from neither inputs nor weights nor buffers."""
        return _memory(tensor) in self._fresh

    def batched(self, tensor: Tensor) -> bool:
        """Whether the tensor has values for each sample.

        Of a signal this is known. Anything else has them if it was laid out so: repeated for each sample, or of two
        and more dimensions with the batch size at the first one or at that of the samples.
        """
        known = self._signals.get(_memory(tensor))
        if known is not None:
            return known
        if self._batch == 1 or self._batch_dim is None:
            return True
        repeated = tensor.numel() >= self._batch * max(self.units(tensor), 1)
        laid_out = (*tensor.shape[:1], *tensor.shape[self._batch_dim :][:1])
        return repeated or (tensor.ndim > 1 and self._batch in laid_out)

    def units(self, tensor: Tensor) -> int:
        """Number of different units that the tensor holds: elements, without copies and padding."""
        memory = _memory(tensor)
        if memory is None:
            return tensor.numel()
        different = prod(n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0)
        stored = tensor.untyped_storage().nbytes() // tensor.element_size()
        return min(different, stored, self._units.get(memory, different))

    def real(self, tensor: Tensor) -> list[range]:
        """For each dimension the positions that are not zeros put there by an earlier padding."""
        shape, ranges = self._padded.get(_memory(tensor), ((), []))
        return list(ranges) if ranges and shape == tensor.shape else [range(n) for n in tensor.shape]

    def parameters_in(self, tensor: Tensor) -> list[nn.Parameter]:
        """The parameters that live in the memory of the tensor."""
        return [self._parameters[region.name] for region in self._regions.get(_memory(tensor), [])]

    def add_signal(self, tensor: Tensor, batched: bool) -> None:
        """Take the tensor for a signal from now on; `batched` when it has values for each sample."""
        memory = _memory(tensor)
        if memory is not None and memory not in self._regions:
            self._signals[memory] = batched or self._signals.get(memory, False)
            self._made.pop(memory, None)
            self._fresh.discard(memory)

    def add_copy(self, copy: Tensor, original: Tensor) -> None:
        """Note that the copy holds no other units than the original."""
        memory = _memory(copy)
        if memory is not None:
            self._units[memory] = self.units(original)

    def follow(self, operation: Operation, signal: bool, batched: bool) -> None:
        """Hand down to the outputs what is known of the inputs; `signal` when the outputs carry one."""
        inputs = {_memory(tensor) for tensor in operation.inputs}
        written = {_memory(tensor) for tensor in operation.written}
        origins = {} if signal else self._merged(operation)
        fresh = not operation.inputs or operation.ignores_values or any(map(self.is_fresh, operation.inputs))
        for tensor in (*operation.outputs, *operation.written):
            memory = _memory(tensor)
            if memory is None or memory in self._regions or memory in inputs - written:
                continue
            if operation.name in COPIES:
                self.add_copy(tensor, operation.inputs[0])
            if operation.name == "aten::constant_pad_nd" and not operation.arguments["value"]:
                self._padded[memory] = tensor.shape, self._inside_padding(operation)
            if signal:
                self.add_signal(tensor, batched)
            elif origins and (tensor.is_floating_point() or tensor.is_complex()):
                self._made[memory] = _Made(origins, self.units(tensor))
                self._fresh.discard(memory)
            elif fresh:
                self._fresh.add(memory)

    def _merged(self, operation: Operation) -> Origins:
        """The origins of what an operation computes from weights, where no signal takes part."""
        merged: Origins = {}
        if operation.ignores_values:
            return merged
        total = sum(tensor.numel() for tensor in operation.outputs)
        for tensor in operation.inputs:
            part = Fraction(tensor.numel(), max(total, 1)) if operation.name in PLACEMENTS else Fraction(1)
            for name, (share, cover) in self.origins(tensor).items():
                before = merged.get(name, Origin(Fraction(0), Fraction(0)))
                share = before.share + share * part if operation.name in PLACEMENTS else max(before.share, share)
                merged[name] = Origin(min(share, Fraction(1)), min(before.cover + cover, Fraction(1)))
        return merged

    def _inside_padding(self, operation: Operation) -> list[range]:
        source, pads = operation.inputs[0], operation.arguments["pad"]
        ranges = self.real(source)
        for dim, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True), start=1):
            old, length = ranges[-dim], source.shape[-dim] + before + after
            ranges[-dim] = range(max(old.start + before, 0), min(old.stop + before, length))
        return ranges


def _memory(tensor: Tensor) -> Memory:
    """The memory that the tensor lies in; sparse and nested tensors and the like have none of their own."""
    try:
        return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]  # torch's own lacks types
    except (NotImplementedError, RuntimeError):
        return None


def _span(tensor: Tensor) -> tuple[int, int]:
    """First and one past the last place of the tensor in its memory, in elements."""
    start = int(tensor.storage_offset())
    if tensor.numel() == 0:
        return start, start
    return start, start + 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
