"""How a compressed weight takes the place of a module's `weight`, as a part of the module."""

from functools import cache
from typing import TypeAlias

from torch import Tensor, nn

from commonweight.compress.patterned import PatternWeight
from commonweight.compress.weight import SharedWeight
from commonweight.patterns import Pattern, bias

Compressed: TypeAlias = SharedWeight | PatternWeight


class Sharing(nn.Module):
    """What is added to the class of a module of which weights are compressed, each kept as a part of the module.

    The part is called `shared` for `weight`, and `shared_ih_l0` for the `weight_ih_l0` of a recurrent layer. Under its
    old name the weight is written out, at each access.
    """


class _SharingLinear(Sharing):
    shared: Compressed
    bias: nn.Parameter | None

    def forward(self, x: Tensor) -> Tensor:
        """x (*lead, I) -> (*lead, O), by the kernel for codebooks, or the operator of the pattern."""
        return self.shared.product(x, self.bias)


class _PatternedLinear(_SharingLinear):
    """With the attributes by which `commonweight.count` counts a pattern."""

    shared: PatternWeight

    @property
    def pattern(self) -> Pattern:
        return self.shared.pattern

    @property
    def bias_pattern(self) -> Pattern | None:
        return None if self.bias is None else bias("unit", (self.shared.pattern.n_out,))


class _SharingRecurrent(Sharing):
    """torch multiplies by a list of its own, which is written out at each call."""

    _flat_weights_names: list[str]

    def _update_flat_weights(self) -> None: ...

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, value: object) -> None: ...


def leaves(module: nn.Module) -> list[str]:
    """The names in a module of the weights that can be compressed."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return [name for name in module._parameters if name.startswith("weight_")]
    return ["weight"]


def part(leaf: str) -> str:
    """The name of the part that a weight of this name becomes."""
    return leaf.replace("weight", "shared", 1)


def parts(module: nn.Module) -> dict[str, Compressed]:
    """The weights of this very module that are compressed, by the names that they had."""
    if not isinstance(module, Sharing):
        return {}
    found = {name.replace("shared", "weight", 1): one for name, one in module._modules.items()}
    return {leaf: one for leaf, one in found.items() if isinstance(one, Compressed)}


def put(module: nn.Module, leaf: str, shared: Compressed) -> None:
    """Make a weight the one of this name in a module, in the place of its Parameter.

    The module stays the object that it is; its class becomes a subclass of the same name. `torch.nn.Linear` multiplies
    by the kernel, or runs the operator, from now on; any other module sees the weight written out.
    """
    del module._parameters[leaf]
    module.__dict__.pop("_flat_weights", None)  # of a recurrent layer
    module.__class__ = _sharing(type(module), leaf, isinstance(shared, PatternWeight))  # type: ignore[arg-type]  # mypy takes the class for an instance
    setattr(module, part(leaf), shared)


@cache
def _sharing(base: type[nn.Module], leaf: str, patterned: bool) -> type[nn.Module]:
    kind = Sharing
    if base.forward is nn.Linear.forward:
        kind = _PatternedLinear if patterned else _SharingLinear
    if issubclass(base, nn.RNNBase):
        kind = _SharingRecurrent
    bases = (base,) if issubclass(base, Sharing) else (kind, base)
    written_out = property(lambda module: getattr(module, part(leaf))())
    own = {"__module__": base.__module__, "__doc__": base.__doc__, leaf: written_out}
    return type(base.__name__, bases, own)
