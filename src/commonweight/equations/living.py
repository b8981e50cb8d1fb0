"""How a tie lives in a module, so that nothing that is done to the module loses it.

A plain tie is one Parameter in two modules. Any other alias is no Parameter any more: its module computes it from the
owner at each access, found by its path. Both need a module that takes part when torch moves, copies, saves and loads
it: its class becomes a subclass, of the same name, made for it alone (as torch.nn.utils.parametrize does it).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.equations import loading, record
from commonweight.errors import TieError
from commonweight.notation import Equation

_ALIASES = "_commonweight_aliases"


@dataclass
class Alias:
    """A tensor of a module that is computed: `equation` says from which, by paths from `root`.

    `root` is None in a copy that was made without the model; `kept` is then the value at that time.
    """

    root: nn.Module | None
    equation: Equation
    kept: nn.Parameter | None = None

    def __post_init__(self) -> None:
        *self.path, self.leaf = self.equation.source.split(".")

    def value(self) -> Tensor:
        """The alias now, differentiable with respect to its owner.

        Raises:
            TieError: the owner is gone.
        """
        at: Any = self.root
        for part in (*self.path, self.leaf):
            at = getattr(at, part, None)
        if not isinstance(at, Tensor):
            raise TieError(
                f"`{self.equation.alias}` is computed from `{self.equation.source}`, which is not there any more; "
                f"put it back, or replace the module of `{self.equation.alias}` too."
            )
        return self.equation.apply(at)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Alias":
        if id(self.root) in memo:
            return Alias(memo[id(self.root)], self.equation)
        with torch.enable_grad():  # else the copy of a trained weight would be a frozen one
            return Alias(None, self.equation, own_copy(self.value()))


class Living(nn.Module):
    """What is added to the class of a module that has a record of ties, or computes an alias."""

    _commonweight_base: type[nn.Module]

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> "Living":
        """`to`, `to_empty` and their like may replace each Parameter: what was one is made one again."""
        shared = [equation for equation in resolved(self) if not equation.transforms and holds(self, equation)]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for equation in shared:
            owner = record.parameter(self, equation.source)
            if owner is not None and record.parameter(self, equation.alias) is not None:
                share(self, equation.alias, owner)
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for leaf, alias in aliases(self).items():
            # Contiguous, since safetensors reads no other layout that shares memory.
            destination[prefix + leaf] = alias.value() if keep_vars else alias.value().detach().contiguous()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        held = [equation for equation in resolved(self) if holds(self, equation)]
        assign = bool(local_metadata.get("assign_to_params_buffers"))
        loading.reconcile(self, held, state_dict, prefix, assign, missing_keys)
        for leaf, alias in aliases(self).items():
            if (given := state_dict.pop(prefix + leaf, None)) is None:
                missing_keys.append(prefix + leaf)
            elif given.shape != alias.value().shape:
                error_msgs.append(
                    f"size mismatch for {prefix}{leaf}: its shape is {tuple(given.shape)} in the state dict and "
                    f"{tuple(alias.value().shape)} in the model, where it is computed by `{alias.equation}`."
                )
            elif alias.root is not None:
                loading.write_through(alias.root, alias.equation, given)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        if name in aliases(self):
            _refuse_assignment(self, name)
        super().register_parameter(name, param)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A class made for one module cannot be found by its name: it is made again for the copy."""
        return _revive, (type(self)._commonweight_base, tuple(aliases(self))), self.__getstate__()  # type: ignore[no-untyped-call]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for leaf, alias in list(aliases(self).items()):
            if alias.root is None:
                del aliases(self)[leaf]
                self._parameters[leaf] = alias.kept


def aliases(module: nn.Module) -> dict[str, Alias]:
    """The tensors that a module computes, by their names in it."""
    found: dict[str, Alias] = module.__dict__.get(_ALIASES, {})
    return found


def computed(model: nn.Module, name: str) -> bool:
    """Whether a tensor is an alias that is computed."""
    path, _, leaf = name.rpartition(".")
    module = record.submodule(model, path)
    return module is not None and leaf in aliases(module)


def resolved(model: nn.Module) -> list[Equation]:
    """The declared ties between tensors, each with its last source."""
    return record.by_tensor(model, record.declared(model))


def holds(model: nn.Module, equation: Equation) -> bool:
    """Whether a tie between tensors, with its last source, is alive: one Parameter, or an alias that is computed."""
    path, _, leaf = equation.alias.rpartition(".")
    module = record.submodule(model, path)
    if module is None:
        return False
    if leaf in aliases(module):
        alias = aliases(module)[leaf]
        return alias.equation.transforms == equation.transforms and _same_place(alias, model, equation.source)
    owner = record.tensor(model, equation.source)
    return owner is not None and not equation.transforms and record.tensor(model, equation.alias) is owner


def _same_place(alias: Alias, model: nn.Module, source: str) -> bool:
    """Whether an alias reads what stands at this path of this model, be it by a path from a module within."""
    ours, theirs = source.rpartition("."), alias.equation.source.rpartition(".")
    if alias.root is None or ours[2] != theirs[2]:
        return False
    owner = record.submodule(model, ours[0])
    return owner is not None and owner is record.submodule(alias.root, theirs[0])


def enliven(module: nn.Module) -> None:
    """Make a module take part: its class becomes a subclass of the same name, once."""
    if not isinstance(module, Living):
        module.__class__ = _living(type(module))


def share(model: nn.Module, name: str, owner: nn.Parameter) -> None:
    """Make the alias the very same Parameter as its owner."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    aliases(module).pop(leaf, None)
    module._parameters.setdefault(leaf, None)
    setattr(module, leaf, owner)  # not by _parameters: an LSTM keeps a list of its own up to date


def compute(model: nn.Module, equation: Equation) -> None:
    """Make the alias no Parameter any more, but computed from its owner at each access."""
    path, _, leaf = equation.alias.rpartition(".")
    module = model.get_submodule(path)
    enliven(module)
    module._parameters.pop(leaf, None)
    module.__dict__.setdefault(_ALIASES, {})[leaf] = Alias(model, equation)
    setattr(type(module), leaf, _computed(leaf))


def own_copy(value: Tensor) -> nn.Parameter:
    """A Parameter of its own with these values."""
    return nn.Parameter(value.detach().clone().contiguous(), requires_grad=value.requires_grad)


def _computed(leaf: str) -> property:
    """The attribute of a class: the alias while it is one, and an ordinary Parameter after it was untied."""

    def get(self: nn.Module) -> Tensor | None:
        alias = aliases(self).get(leaf)
        return self._parameters[leaf] if alias is None else alias.value()

    def put(self: nn.Module, value: object) -> None:
        _refuse_assignment(self, leaf)

    return property(get, put)


def _refuse_assignment(module: nn.Module, leaf: str) -> None:
    equation = aliases(module)[leaf].equation
    raise TieError(
        f"`{equation.alias}` cannot be assigned: it is computed by `{equation}`; assign `{equation.source}`, "
        f"or untie `{equation.alias}` first."
    )


def _living(base: type[nn.Module]) -> type[Living]:
    names = {"_commonweight_base": base, "__module__": base.__module__, "__qualname__": base.__qualname__}
    return type(base.__name__, (Living, base), {**names, "__doc__": base.__doc__})


def _revive(base: type[nn.Module], leaves: tuple[str, ...]) -> nn.Module:
    module = base.__new__(base)
    enliven(module)
    for leaf in leaves:
        setattr(type(module), leaf, _computed(leaf))
    return module
