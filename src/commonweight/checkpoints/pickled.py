"""A pickle as a tree of plain nodes: its operations are followed, nothing is imported, called or made.

A pickle is a program for a small stack machine (Python's pickletools documents it). To find the tensors in one it is
enough to note what would be called with which arguments. So a hostile pickle can do nothing, and the pickle of a
whole model can be read without the model's code.
"""

import pickletools
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commonweight.checkpoints.bounded import damaged, shown

MAX_OPERATIONS = 2**22
"""The longest pickle that is followed, in operations: some thirty for each tensor."""


@dataclass(frozen=True)
class Named:
    """A class or a function, by module and name."""

    path: str


@dataclass(eq=False, repr=False)
class Reference:
    """Something that lies outside of the pickle, such as a storage."""

    to: object


@dataclass(eq=False, repr=False)
class Made:
    """What a call would have made.

    Attributes:
        by: the class or function, nearly always a `Named`.
        arguments: of the call.
        items: what was put into it as into a dict or a list.
        state: what its attributes were set from.
    """

    by: object
    arguments: tuple[Any, ...]
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


def follow(raw: bytes | bytearray, path: Path) -> Any:
    """What a pickle describes: dicts, lists, tuples, numbers and texts as they are, all else as nodes.

    Keys of dicts that are neither text nor a number are replaced by objects that equal nothing.

    Raises:
        FileError: not a whole pickle, an operation without its operands, or too long.
    """
    machine = _Machine()
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(bytes(raw))):
            if count >= MAX_OPERATIONS:
                raise ValueError(f"more than {MAX_OPERATIONS:,} operations")
            machine.step(operation.name, argument)
        return machine.stack[-1]
    except _BROKEN as error:
        what = f"its pickle cannot be followed ({type(error).__name__}: {str(error)[:100]})"
        raise damaged(path, what) from error


class _Machine:
    """The stack, the stacks below the marks, and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            if isinstance(argument, int) and not -(2**64) < argument < 2**64:
                raise ValueError("a number of more than 64 bits")
            self.stack.append(argument)
        elif name in _TUPLES:
            self._replace(_TUPLES[name], tuple)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memory[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self._memory[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            getattr(self, f"_{name.lower()}")(argument)

    def _replace(self, n: int, make: Any) -> None:
        """The last n of the stack become one."""
        taken = [self.stack.pop() for _ in range(n)][::-1]
        self.stack.append(make(taken))

    def _since_mark(self) -> list[Any]:
        taken, self.stack = self.stack, self._marked.pop()
        return taken

    def _memoize(self, _: Any) -> None:
        self._memory[len(self._memory)] = self.stack[-1]

    def _mark(self, _: Any) -> None:
        self._marked.append(self.stack)
        self.stack = []

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self._marked.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    _empty_set = _empty_list

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _tuple(self, _: Any) -> None:
        taken = self._since_mark()
        self.stack.append(tuple(taken))

    def _list(self, _: Any) -> None:
        taken = self._since_mark()
        self.stack.append(taken)

    _frozenset = _list

    def _dict(self, _: Any) -> None:
        taken = self._since_mark()
        self.stack.append({})
        self._put(taken)

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    _additems = _appends

    def _extend(self, values: list[Any]) -> None:
        into = self.stack[-1]
        if isinstance(into, Made):
            into.items |= {len(into.items) + n: value for n, value in enumerate(values)}
        elif isinstance(into, list):
            into.extend(values)
        else:
            raise TypeError(f"appending to {shown(into)}")

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def _setitems(self, _: Any) -> None:
        self._put(self._since_mark())

    def _put(self, flat: list[Any]) -> None:
        into = self.stack[-1].items if isinstance(self.stack[-1], Made) else self.stack[-1]
        if not isinstance(into, dict):
            raise TypeError(f"items for {shown(into)}")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            into[_key(key)] = value

    def _global(self, argument: str) -> None:
        self.stack.append(Named(argument.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        self._replace(2, lambda taken: Named(".".join(taken)))

    def _reduce(self, _: Any) -> None:
        self._replace(2, lambda taken: Made(taken[0], _arguments(taken[1])))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self._replace(3, lambda taken: Made(taken[0], _arguments(taken[1])))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Made):
            self.stack[-1].state = state

    def _binpersid(self, _: Any) -> None:
        self._replace(1, lambda taken: Reference(taken[0]))


def _arguments(arguments: Any) -> tuple[Any, ...]:
    if not isinstance(arguments, tuple):
        raise TypeError(f"arguments {shown(arguments)}")
    return arguments


def _key(key: Any) -> Hashable:
    """Tuples could be nested so that to hash one takes for ever."""
    return key if isinstance(key, str | int | float | bytes | None) else object()


# What an operation without its operands leads to. The warning, if warnings are errors, is of an odd `\\` in a text.
_BROKEN = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, DeprecationWarning)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LITERALS = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
