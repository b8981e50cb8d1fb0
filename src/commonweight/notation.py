"""A tie between tensors, written as an equation between their names: read here, expanded, and printed.

    ALIAS = [-]SOURCE[.T | .flip(d, ...) | [slice, ...]]...

Left stands the alias, right the owner of the weights, both by path as in `named_parameters`. The transforms read from
left to right as in torch; the minus comes last. `.T` is the transpose of a matrix, `.flip(d, ...)` reverses axes,
`[1:4, :, 0]` takes a part of the source. Stars and brace lists write many ties at once (`expand` has the rule). A name
that would read as something else, such as one with a blank or one that ends in `.T`, is put in double quotes.
"""

from __future__ import annotations  # and no torch, so that the audit of a file starts at once

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NoReturn, TypeAlias, overload

from commonweight.errors import TieError
from commonweight.transforms import Flip, Minus, Slice, SliceItem, Transform, Transpose, canonical, print_transforms

if TYPE_CHECKING:
    from torch import Tensor

_WORD = re.compile(r"""[^\s\0=.*{}\[\](),"]+""")
_LONGEST = 1 << 16
_MOST_TIES = 1 << 20
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True)
class Equation:
    """One tie: `alias` is `source` after `transforms`, in their canonical order.

    Example:
        >>> import torch
        >>> equation = Equation("decoder.weight", "encoder.weight", (Minus(), Transpose()))
        >>> print(equation)
        decoder.weight = -encoder.weight.T
        >>> equation.apply(torch.tensor([[1., 2.]]))
        tensor([[-1.],
                [-2.]])
    """

    alias: str
    source: str
    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", canonical(self.transforms))

    def __str__(self) -> str:
        return f"{_print_name(self.alias)} = {print_transforms(self.transforms, _print_name(self.source))}"

    def apply(self, source: Tensor) -> Tensor:
        """What the alias equals; differentiable, so that the gradient of the source is the sum over both uses.

        Raises:
            TieError: a transform does not fit the shape of the source.
        """
        for transform in self.transforms:
            source = transform.apply(source)
        return source

    @overload
    def pull_back(self, alias: Tensor, base: Tensor) -> Tensor: ...

    @overload
    def pull_back(self, alias: Tensor, base: None = None) -> Tensor | None: ...

    def pull_back(self, alias: Tensor, base: Tensor | None = None) -> Tensor | None:
        """The source whose `apply` is `alias`: every transform but a slice has an inverse.

        Args:
            alias: of the shape that `apply` gives.
            base: a source, from which come the values that a slice leaves out; never written to.

        Returns:
            The source; None when a slice leaves some of it open and there is no base.
        """
        if not any(isinstance(transform, Slice) for transform in self.transforms):
            for transform in reversed(self.transforms):  # each of them is its own inverse
                alias = transform.apply(alias)
            return alias
        if base is None:
            return None
        import torch

        place = torch.arange(base.numel(), device=base.device).view(base.shape)
        places = Equation(self.alias, self.source, tuple(t for t in self.transforms if t != Minus())).apply(place)
        whole = base.detach().clone(memory_format=torch.contiguous_format)
        whole.view(-1)[places.reshape(-1)] = (-alias if Minus() in self.transforms else alias).reshape(-1)
        return whole

    def after(self, other: Equation) -> Equation:
        """This tie, when `other` says what its source is: c = b.T after b = -a is c = -a.T.

        >>> print(parse_one("c = b.T").after(parse_one("b = -a")))
        c = -a.T
        """
        return Equation(self.alias, other.source, (*other.transforms, *self.transforms))


class Star:
    """`*` in a path: one component, or at the end of a path all that is left of it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Star)

    def __hash__(self) -> int:
        return hash(Star)

    def __repr__(self) -> str:
        return "*"


Braces: TypeAlias = tuple[str, ...]  # {a,b,c}
Component: TypeAlias = Star | tuple[str | Braces, ...]


@dataclass(frozen=True)
class EquationPattern:
    """An equation as it was written, with its stars and brace lists still in it."""

    text: str
    left: tuple[Component, ...]
    right: tuple[Component, ...]
    transforms: tuple[Transform, ...]


def parse(text: str) -> EquationPattern:
    """Read an equation.

    Raises:
        TieError: no text of at most 65,536 characters, or no equation; the sentence says at which character, what was
            expected there and what was found.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        what = f"{len(text):,} characters" if isinstance(text, str) else f"a {type(text).__name__}"
        raise TieError(
            f"A tie is an equation such as 'b.weight = a.weight', of at most {_LONGEST:,} characters; got {what}."
        )
    reader = _Reader(text)
    left = reader.path()
    if len(left) > 1 and left[-1] == ("T",) and not reader.quoted:
        reader.fail("`=` (a transform belongs to the right side; a tensor whose name is T is written in quotes)")
    reader.expect("=", "`=`")
    negative = reader.accept("-")
    right = list(reader.path())
    transforms: list[Transform] = []
    while not reader.quoted and len(right) > 1 and right[-1] == ("T",):
        right.pop()
        transforms.append(Transpose())
    if not reader.quoted and len(right) > 1 and right[-1] == ("flip",) and reader.accept("("):
        right.pop()
        while len(right) > 1 and right[-1] == ("T",):
            right.pop()
            transforms.append(Transpose())
        transforms.append(reader.flip())
    transforms += reader.transforms()
    reader.end()
    return EquationPattern(text, left, tuple(right), (*transforms, Minus()) if negative else tuple(transforms))


def parse_one(text: str) -> Equation:
    """Read an equation without stars and brace lists, whatever the names are.

    Raises:
        TieError: it is not one.
    """
    pattern = parse(text)
    for path in (pattern.left, pattern.right):
        if _stars(path) or _braces(path):
            raise TieError(f"`{text}` stands for several ties; expected one, without stars and brace lists.")
    return Equation(_fill(pattern.left, [], []), _fill(pattern.right, [], []), pattern.transforms)


def parse_transforms(text: str) -> tuple[Transform, ...]:
    """Read the right side of an equation with its name left out.

    >>> parse_transforms("-.T")
    (Transpose(), Minus())

    Raises:
        TieError: it is not one.
    """
    reader = _Reader(text)
    negative = reader.accept("-")
    transforms = reader.transforms()
    reader.end()
    return canonical((*transforms, Minus()) if negative else transforms)


def expand(pattern: EquationPattern, names: Iterable[str], hidden: Iterable[str] = ()) -> list[Equation]:
    """The ties that a written equation stands for, among these names of tensors.

    A star is one component of a path; at the end of a path it is all that is left of it, one component or more. A brace
    list is each of its items. Stars pair with stars and brace lists with brace lists, counted from the end of each
    side: what the left one is, the right one is too, brace lists item by item. One that only the left side has is
    free, so that many aliases get one source; then the source itself is left out. The right side has no more of them
    than the left. When the right side continues the left side's own path by plain names, as in
    `layers.* = layers.0.*`, the left side gets a free star for each of these names: every other layer equals layer 0.
    A path without stars may be that of a module, and then both sides are.

    Args:
        pattern: of `parse`.
        names: the tensors that there are; modules are what stands before their dots.
        hidden: further tensors that can be named, but that no star stands for, such as buffers.

    Raises:
        TieError: a name does not exist (with the nearest that do), a tensor with a module, a transform of a module,
            lists of different lengths, brace lists with more than 2^20 choices, nothing found.

    Example:
        >>> names = [f"layers.{n}.{kind}" for n in range(3) for kind in ("weight", "bias")]
        >>> print(*expand(parse("layers.{1,2}.* = layers.0.*"), names), sep="\\n")
        layers.1.weight = layers.0.weight
        layers.1.bias = layers.0.bias
        layers.2.weight = layers.0.weight
        layers.2.bias = layers.0.bias
    """
    visible = list(names)
    tensors = dict.fromkeys([*visible, *hidden])
    modules = {name[: dot.start()] for name in tensors for dot in re.finditer(r"\.", name)}
    left, right = _aligned(pattern)
    free = len(_stars(left)) + len(_braces(left)) > len(_stars(right)) + len(_braces(right))
    found: list[Equation] = []
    for alias, source in _pairs(pattern.text, left, right, visible):
        if alias == source and free:
            continue
        equation = Equation(alias, source, pattern.transforms)
        _refuse_misfit(pattern.text, equation, tensors.keys(), modules)
        found.append(equation)
    if not found:
        raise TieError(
            f"`{pattern.text}` ties nothing: its left side fits none of the {len(visible)} names of tensors."
        )
    return found


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about a name that does not exist: those that come nearest."""
    close = get_close_matches(name, list(names), n=3)
    return f"; nearest: {', '.join(f'`{other}`' for other in close)}" if close else ""


def _aligned(pattern: EquationPattern) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
    left, right = pattern.left, pattern.right
    stem, inner = left[:-1], right[len(left) - 1 : -1]
    continues = left[-1] == right[-1] == Star() and right[: len(stem)] == stem
    if continues and not _stars(inner) and not _braces(inner):
        left = (*stem, *(Star() for _ in inner), Star())
    for kind, count in (("stars", _stars), ("brace lists", _braces)):
        if len(count(right)) > len(count(left)):
            raise TieError(
                f"`{pattern.text}` has more {kind} on its right side ({len(count(right))}) than on its left "
                f"({len(count(left))}); each on the right takes its meaning from one on the left."
            )
    return left, right


def _pairs(
    text: str, left: tuple[Component, ...], right: tuple[Component, ...], tensors: list[str]
) -> Iterator[tuple[str, str]]:
    """Alias and source for every choice of the left side's brace lists and every fit of its stars."""
    lists, lists_right = _braces(left), _braces(right)
    paired = lists[len(lists) - len(lists_right) :]
    for ours, theirs in zip(paired, lists_right, strict=True):
        if len(ours) != len(theirs):
            raise TieError(
                f"`{text}` pairs a brace list of {len(ours)} with one of {len(theirs)}; expected equal lengths."
            )
    if (count := prod(map(len, lists))) > _MOST_TIES:
        raise TieError(f"`{text}` stands for {count:,} choices of its brace lists; at most {_MOST_TIES:,} are tried.")
    stars = len(_stars(right))
    for choice in product(*(range(len(items)) for items in lists)):
        items = [options[n] for options, n in zip(lists, choice, strict=True)]
        partners = [options[n] for options, n in zip(lists_right, choice[len(lists) - len(paired) :], strict=True)]
        if not _stars(left):
            yield _fill(left, items, []), _fill(right, partners, [])
            continue
        # A mark that no name can contain stands for the stars until the rest of the path is escaped.
        open_path = re.escape(_fill(left, items, ["\0"] * len(_stars(left))))
        wild = re.compile(re.sub("\0$", "(.+)", open_path).replace("\0", r"([^.]+)"), re.DOTALL)
        for name in tensors:
            if fit := wild.fullmatch(name):
                yield name, _fill(right, partners, list(fit.groups()[len(fit.groups()) - stars :]))


def _refuse_misfit(text: str, equation: Equation, tensors: Iterable[str], modules: set[str]) -> None:
    alias, source = equation.alias, equation.source
    for name in (alias, source):
        if name not in tensors and name not in modules:
            known = [*tensors, *sorted(modules)]
            raise TieError(f"`{text}` names `{name}`, which does not exist{nearest(name, known)}.")
    if alias == source:
        raise TieError(f"`{text}` ties `{alias}` to itself; name two different tensors.")
    if (alias in tensors) != (source in tensors):
        tensor, module = (alias, source) if alias in tensors else (source, alias)
        raise TieError(
            f"`{text}` ties the tensor `{tensor}` and the module `{module}`; tie two tensors or two modules "
            f"(`{module}.*` stands for the tensors of a module)."
        )
    if alias not in tensors and equation.transforms:
        raise TieError(f"`{text}` transforms the module `{source}`; a transform takes a tensor, such as `{source}.*`.")
    if alias not in tensors and (alias.startswith(f"{source}.") or source.startswith(f"{alias}.")):
        raise TieError(f"`{text}` ties a module to a part of itself; name two modules side by side.")


def _stars(path: Sequence[Component]) -> list[Star]:
    return [component for component in path if isinstance(component, Star)]


def _braces(path: Sequence[Component]) -> list[Braces]:
    return [part for component in path if isinstance(component, tuple) for part in component if isinstance(part, tuple)]


def _fill(path: Sequence[Component], items: Sequence[str], stars: Sequence[str]) -> str:
    """The path as text, with one item for each of its brace lists and one text for each of its stars."""
    next_item, next_star = iter(items), iter(stars)
    return ".".join(
        next(next_star)
        if isinstance(component, Star)
        else "".join(part if isinstance(part, str) else next(next_item) for part in component)
        for component in path
    )


def _print_name(name: str) -> str:
    components = name.split(".")
    plain = all(_WORD.fullmatch(component) for component in components) and not name.startswith("-")
    if plain and not (len(components) > 1 and components[-1] == "T"):
        return name
    return '"' + name.replace('"', '""') + '"'


class _Reader:
    """A place in the text of an equation, which moves on as the text is read."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.quoted = text, 0, False

    def fail(self, expected: str) -> NoReturn:
        self.blank()
        found = f"`{self.text[self.at]}`" if self.at < len(self.text) else "the end"
        raise TieError(
            f"Cannot read the tie `{self.text}`: expected {expected} at character {self.at + 1}, found {found}."
        )

    def blank(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def accept(self, sign: str) -> bool:
        self.blank()
        found = self.text.startswith(sign, self.at)
        self.at += len(sign) * found
        return found

    def expect(self, sign: str, expected: str) -> None:
        if not self.accept(sign):
            self.fail(expected)

    def end(self) -> None:
        self.blank()
        if self.at < len(self.text):
            self.fail("`.T`, `.flip(d, ...)`, a slice or the end")

    def path(self) -> tuple[Component, ...]:
        self.blank()
        self.quoted = self.text.startswith('"', self.at)
        if self.quoted:
            return ((self.quotation(),),)
        components = [self.component()]
        while self.text.startswith(".", self.at):
            self.at += 1
            components.append(self.component())
        return tuple(components)

    def quotation(self) -> str:
        quote = re.compile(r'"((?:[^"]|"")*)"', re.DOTALL).match(self.text, self.at)
        if quote is None:
            self.at = len(self.text)
            self.fail('a closing `"`')
        self.at = quote.end()
        return quote[1].replace('""', '"')

    def component(self) -> Component:
        if self.text.startswith("*", self.at):
            self.at += 1
            return Star()
        parts: list[str | Braces] = []
        while True:
            if self.text.startswith("{", self.at):
                self.at += 1
                items = [self.word("an item of the brace list")]
                while self.accept(","):
                    items.append(self.word("an item of the brace list"))
                self.expect("}", "`,` or `}`")
                parts.append(tuple(items))
            elif _WORD.match(self.text, self.at):
                parts.append(self.word("a name"))
            elif parts:
                return tuple(parts)
            else:
                self.fail("a name, `*` or a brace list")

    def word(self, expected: str) -> str:
        word = _WORD.match(self.text, self.at) or self.fail(expected)
        self.at = word.end()
        return word[0]

    def number(self) -> int | None:
        self.blank()
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            return int(number[0])
        return None

    def transforms(self) -> list[Transform]:
        found: list[Transform] = []
        while True:
            if self.accept(".flip("):
                found.append(self.flip())
            elif self.accept(".T"):
                found.append(Transpose())
            elif self.accept("["):
                found.append(self.slice())
            else:
                return found

    def flip(self) -> Flip:
        dims: list[int] = []
        while not dims or self.accept(","):
            dim = self.number()
            if dim is None or dim in dims:
                self.fail("the number of an axis, each once")
            dims.append(dim)
        self.expect(")", "`,` or `)`")
        return Flip(tuple(dims))

    def slice(self) -> Slice:
        items: list[SliceItem] = []
        while not items or self.accept(","):
            start = self.number()
            if not self.accept(":"):
                if start is None:
                    self.fail("an index or a slice")
                items.append(start)
                continue
            stop = self.number()
            step = self.number() if self.accept(":") else None
            if step is not None and step < 1:
                self.fail("a step of at least 1 before this")
            items.append((start, stop, step))
        self.expect("]", "`,` or `]`")
        return Slice(tuple(items))
