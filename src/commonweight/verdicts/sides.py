"""What is audited, seen alike whatever it is: its tensors, which are meant to be tied, and how same two of them are.

A side is a file, a state dict, or (in `commonweight.verdicts.live`) a model. Nothing here imports torch before values
are read.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from commonweight import manifest
from commonweight.checkpoints import Checkpoint
from commonweight.errors import FileError
from commonweight.notation import Equation
from commonweight.transforms import Flip, Slice, Transform, Transpose
from commonweight.verdicts.intent import Intent, of_config, of_metadata
from commonweight.verdicts.report import Verdict
from commonweight.verdicts.words import say

if TYPE_CHECKING:
    from torch import Tensor

    from commonweight.checkpoints import Content

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One name of a side.

    Attributes:
        shape: of its tensor.
        nbytes: of its values; 0 for one that is computed from another.
        memory: equal for two names exactly when their values begin at the same place of the same memory.
        strides: in elements; None where there are none, as on the meta device.
        holder: equal for two names exactly when they are the same object; None in a file.
        floating: whether its values are floats.
        readable: whether its values can be compared: torch has the type, and it is no sharded or sparse tensor.
        filled: whether it has values at all: on the meta device it has none.
        weight: whether it is a weight and no buffer; in a file all are taken for weights.
    """

    shape: Shape
    nbytes: int
    memory: Hashable
    strides: Shape | None
    holder: Hashable = None
    floating: bool = True
    readable: bool = True
    filled: bool = True
    weight: bool = True

    @property
    def place(self) -> Hashable:
        """Equal for two names exactly when they are the same memory in the same layout."""
        return self.memory, self.shape, self.strides

    @property
    def turned(self) -> Hashable:
        """The place of the transpose of this matrix; None for any other tensor."""
        if self.strides is None or len(self.shape) != 2:
            return None
        return self.memory, self.shape[::-1], self.strides[::-1]


@dataclass(frozen=True)
class State:
    """What is true of a declared tie on one side.

    Attributes:
        verdict: how same the two are.
        difference: max |Δ|; None where nothing was compared.
        text: the same in a few words, for a column.
        holds: whether it is as the equation says, or may be; None where that was not looked at.
        instead: the equation that holds in place of the declared one.
    """

    verdict: Verdict
    difference: float | None
    text: str
    holds: bool | None
    instead: Equation | None = None


@dataclass(frozen=True)
class Found:
    """Names that are equal on a side: the equations of the aliases with their one owner."""

    verdict: Verdict
    equations: tuple[Equation, ...]
    text: str


@dataclass
class Side:
    """Something with tensors under names, as it is stored.

    Attributes:
        label: what it is, for sentences.
        entries: its tensors.
        intents: what is meant to be tied in it.
        read: gives the tensor of a name.
        digest: gives the `Content` of tensors by their names; each byte is read once.
        values: whether values may be read.
        in_memory: whether it is a model or a state dict.
        live: whether it is a model, in which two equal tensors are one too many.
        untied: ties that were given up on purpose.
        unsaved: names that are never saved, since their values are computed.
        hashes: what the contents of a file's tensors were when it was saved, as its manifest says.
        release: gives back the memory that tensors mapped from a file have taken.
    """

    label: str
    entries: Mapping[str, Entry]
    intents: list[Intent]
    read: "Callable[[str], Tensor]"
    digest: "Callable[[Sequence[str]], Mapping[str, Content]]"
    values: bool
    in_memory: bool = False
    live: bool = False
    untied: tuple[Equation, ...] = ()
    unsaved: frozenset[str] = frozenset()
    hashes: Mapping[str, str] = field(default_factory=dict)
    release: Callable[[], object] = lambda: None

    @cached_property
    def owners(self) -> dict[Hashable, str]:
        """The first name of each memory."""
        first: dict[Hashable, str] = {}
        for name, entry in self.entries.items():
            if 0 not in entry.shape:
                first.setdefault(entry.place, name)
        return first

    @cached_property
    def contents(self) -> "Mapping[str, Content]":
        """What the values of every tensor are, under every name; nothing when values may not be read."""
        if not self.values:
            return {}
        owners = [name for name in self.owners.values() if self.entries[name].readable or not self.in_memory]
        content = self.digest(owners)
        owner = {name: self.owners.get(entry.place, name) for name, entry in self.entries.items()}
        return {name: content[owner[name]] for name in self.entries if owner[name] in content}

    def bytes(self, names: Collection[str]) -> int:
        """What tensors take, each memory counted once; a name may be that of a module."""
        largest: dict[Hashable, int] = {}
        for entry in (self.entries[name] for wanted in names for name in self.within(wanted)):
            largest[entry.memory] = max(largest.get(entry.memory, 0), entry.nbytes)
        return sum(largest.values())

    def within(self, name: str) -> list[str]:
        """The tensor of this name, or those of the module of this name."""
        return [name] if name in self.entries else [other for other in self.entries if other.startswith(f"{name}.")]

    def pairs(self, equation: Equation) -> list[Equation]:
        """A tie of two modules as one for each of their tensors; that of two tensors as it is."""
        if equation.alias in self.entries or equation.source in self.entries:
            return [equation]
        ends = [name.removeprefix(path) for path in (equation.source, equation.alias) for name in self.within(path)]
        parts = [Equation(equation.alias + end, equation.source + end) for end in dict.fromkeys(ends)]
        return parts or [equation]

    def state(self, equation: Equation) -> State:
        """What is true of a tie between two tensors or two modules."""
        order = list(Verdict)
        states = map(self.compare, self.pairs(equation))
        return max(states, key=lambda state: (order.index(state.verdict), state.difference or 0.0))

    def compare(self, equation: Equation) -> State:
        """What is true of a tie between two tensors."""
        alias, source = self.entries.get(equation.alias), self.entries.get(equation.source)
        if alias is None and source is None:
            return State(Verdict.MISSING, None, say("neither"), False)
        if alias is None:
            return State(Verdict.SAME_STORAGE, 0.0, say("stored_once"), True)
        if source is None:
            if any(isinstance(transform, Slice) for transform in equation.transforms):
                return State(Verdict.MISSING, None, say("only_part"), False)
            return State(Verdict.SAME_STORAGE, 0.0, say("stored_as_alias"), True)
        if not equation.transforms and alias.place == source.place:
            one = alias.holder is not None and alias.holder == source.holder
            return State(Verdict.SAME_OBJECT if one else Verdict.SAME_STORAGE, 0.0, say("two_names"), True)
        return self._valued(equation, alias, source)

    def _valued(self, equation: Equation, alias: Entry, source: Entry) -> State:
        """The state of two different tensors, by their shapes and then by their values."""
        fits = shape_after(equation.transforms, source.shape) == alias.shape
        may_fit = alias.shape[1:] == source.shape[1:] or sorted(alias.shape) == sorted(source.shape)
        comparable = self.values and alias.readable and source.readable
        if not fits and (equation.transforms or not may_fit or not comparable):
            return State(Verdict.DIVERGED, None, say("shapes", one=alias.shape, other=source.shape), False)
        if fits and self._same_bits(equation):
            return State(Verdict.EQUAL_BITS, 0.0, say("equal_copies", count=2), True)
        if comparable:
            from commonweight.verdicts.grading import Grader

            return Grader(self.release).grade(equation, self.read(equation.alias), self.read(equation.source))
        if equation.alias in self.contents and not equation.transforms:
            return State(Verdict.DIVERGED, None, say("two_unequal"), False)
        return State(Verdict.UNREAD, None, say("two_unread"), None)

    def _same_bits(self, equation: Equation) -> bool:
        alias, source = self.contents.get(equation.alias), self.contents.get(equation.source)
        return not equation.transforms and alias is not None and source is not None and alias.sha256 == source.sha256

    def found(self) -> Iterator[Found]:
        """What is equal on this side, declared or not: names of one memory, equal bits, equal when turned.

        Values count when they are not all the same: biases that start at 0 are not tied.
        """
        by_place: defaultdict[Hashable, list[str]] = defaultdict(list)
        for name, entry in self.entries.items():
            if entry.nbytes:
                by_place[entry.place].append(name)
        for names in by_place.values():
            if len(names) > 1:
                holders = {self.entries[name].holder for name in names}
                one = len(holders) == 1 and None not in holders
                verdict = Verdict.SAME_OBJECT if one else Verdict.SAME_STORAGE
                yield Found(verdict, tuple(Equation(name, names[0]) for name in names[1:]), say("one_tensor"))
        met = set()
        for name in self.owners.values():
            met.add(name)
            turned = self.owners.get(self.entries[name].turned)
            if turned in met - {name}:
                yield Found(Verdict.SAME_STORAGE, (Equation(name, turned, (Transpose(),)),), say("one_tensor"))
        yield from self._equal()

    def _equal(self) -> Iterator[Found]:
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.owners.values():
            content = self.contents.get(name)
            if content is not None and not content.constant and not content.zero and _many(self.entries[name].shape):
                alike[content.sha256].append(name)
        for names in alike.values():
            if len(names) > 1:
                aliases = tuple(Equation(name, names[0]) for name in names[1:])
                yield Found(Verdict.EQUAL_BITS, aliases, say("equal_copies", count=len(names)))
        once = [names[0] for names in alike.values() if self.entries[names[0]].readable]
        if once:
            from commonweight.verdicts.grading import Grader

            shapes = {name: self.entries[name].shape for name in once}
            for equation in Grader(self.release).turned_pairs(shapes, self.read):
                yield Found(Verdict.TRANSFORMED, (equation,), say("equal_turned"))


def of_checkpoint(checkpoint: Checkpoint, values: bool) -> Side:
    """A file or folder as a side.

    Raises:
        FileError: its manifest is damaged.
    """
    entries = {}
    for name, stored in checkpoint.tensors.items():
        entries[name] = Entry(
            shape=stored.shape,
            nbytes=stored.nbytes,
            memory=(stored.file, stored.storage, stored.offset, stored.type),
            strides=stored.strides or row_major(stored.shape),
            floating=stored.value_type.floats is not None,
            readable=not values or stored.dtype is not None,
        )
    try:
        intents = of_metadata(checkpoint.metadata, entries)
        ours = manifest.find(checkpoint.metadata)
    except FileError as error:
        raise FileError(f"Cannot audit {checkpoint.path}. {error}") from error
    if checkpoint.config is not None:
        intents += of_config(checkpoint.config, entries)

    def digest(names: "Sequence[str]") -> "Mapping[str, Content]":
        from commonweight.checkpoints import contents

        return contents(checkpoint, names)

    hashes = {} if ours is None else ours.tensors
    return Side(
        checkpoint.path.name,
        entries,
        intents,
        checkpoint.read,
        digest,
        values,
        hashes=hashes,
        release=checkpoint.release,
    )


def row_major(shape: Shape) -> Shape:
    """The usual strides, in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def shape_after(transforms: Sequence[Transform], shape: Shape) -> Shape | None:
    """The shape that transforms make of a shape; None if they do not fit it.

    >>> shape_after((Transpose(), Slice(((1, None, None),))), (2, 5))
    (4, 2)
    """
    for transform in transforms:
        if isinstance(transform, Transpose):
            if len(shape) != 2:
                return None
            shape = shape[::-1]
        elif isinstance(transform, Flip):
            axes = [axis % len(shape) for axis in transform.dims if -len(shape) <= axis < len(shape)]
            if len(set(axes)) != len(transform.dims):
                return None
        elif isinstance(transform, Slice):
            sizes = _sliced(transform, shape)
            if sizes is None:
                return None
            shape = sizes
    return shape


def _sliced(transform: Slice, shape: Shape) -> Shape | None:
    items = transform.items
    if len(items) > len(shape):
        return None
    if any(isinstance(item, int) and not -size <= item < size for item, size in zip(items, shape, strict=False)):
        return None
    pairs = list(zip(items, shape, strict=False))
    kept = [len(range(size)[slice(*item)]) for item, size in pairs if not isinstance(item, int)]
    return (*kept, *shape[len(items) :])


def _many(shape: Shape) -> bool:
    """Whether a tensor of this shape has more than one element."""
    return any(size > 1 for size in shape)
