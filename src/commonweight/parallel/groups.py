"""What FSDP2 has to shard together, so that every tie of a model holds.

`fully_shard` gives the modules of one call one tensor for a weight that they share. A tie holds if all modules that
read the weight belong to one call.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from commonweight.equations import Level, check, record, ties
from commonweight.equations.living import aliases
from commonweight.equations.planning import parametrized
from commonweight.errors import TieError
from commonweight.notation import Equation


@dataclass(frozen=True)
class Group:
    """What one call of `fully_shard` gets.

    Attributes:
        path: of the module in the model; empty for the model itself.
        module: the module.
        n_weights: how many weights the call shards.
        ties: those among these weights.
    """

    path: str
    module: nn.Module
    n_weights: int
    ties: tuple[Equation, ...]

    def __str__(self) -> str:
        module = f'model.get_submodule("{self.path}")' if self.path else "model"
        held = f": {', '.join(map(str, self.ties))}" if self.ties else ""
        return f"fully_shard({module})  # {self.n_weights:,} weights{held}"


@dataclass(frozen=True)
class Groups:
    """The calls of `fully_shard` under which the ties of a model hold, in their order.

    Prints as the code; iterates over the modules.
    """

    groups: tuple[Group, ...]

    def __iter__(self) -> Iterator[nn.Module]:
        return (group.module for group in self.groups)

    def __str__(self) -> str:
        return "\n".join(["from torch.distributed.fsdp import fully_shard", *map(str, self.groups)])


def fsdp_groups(model: nn.Module) -> Groups:
    """How to call `fully_shard` so that every tie of a model holds.

    Each block of an `nn.ModuleList` or `nn.Sequential` is a group of its own where all modules that read its weights
    are inside of it; where they are not, the largest parts of it for which this is so. What is left belongs to the
    model's own call, the last one: its weights stay gathered from the forward to the end of the backward pass.

    Args:
        model: not yet sharded; it may be on the meta device.

    Raises:
        TieError: a declared tie does not hold, or two Parameters share memory, which sharding would copy.

    Example:
        >>> from commonweight.equations import tie
        >>> model = nn.ModuleDict({"embed": nn.Embedding(5, 2), "blocks": nn.ModuleList([nn.Linear(2, 2)])})
        >>> model["head"] = nn.Linear(2, 5, bias=False)
        >>> _ = tie(model, "head.weight = embed.weight", keep="source")
        >>> print(fsdp_groups(model))
        from torch.distributed.fsdp import fully_shard
        fully_shard(model.get_submodule("blocks.0"))  # 6 weights
        fully_shard(model)  # 10 weights: head.weight = embed.weight

    and then, in each process: `for module in fsdp_groups(model): fully_shard(module)`.
    """
    check(model)
    found = ties(model)
    for tie in found:
        if tie.level is Level.SAME_STORAGE:
            raise TieError(
                f"`{tie.equation}` holds because two Parameters share memory, of which sharding makes two copies: "
                f'make them one by commonweight.tie(model, "{tie.equation}") first.'
            )
    modules = [*_separable(model), ("", model)]
    strong = (Level.SAME_MODULE, Level.SAME_PARAMETER)
    equations = [tie.equation for tie in found if tie.level in strong]
    group_of: dict[nn.Parameter, int] = {}
    for number, (_, module) in enumerate(modules):
        for parameter in module.parameters():
            group_of.setdefault(parameter, number)
    n_weights, held = [0] * len(modules), defaultdict[int, list[Equation]](list)
    for parameter, number in group_of.items():
        n_weights[number] += parameter.numel()
    for equation in equations:
        for parameter in parameters_behind(model, equation.source)[:1]:
            held[group_of[parameter]].append(equation)
    return Groups(tuple(Group(path, module, n_weights[n], tuple(held[n])) for n, (path, module) in enumerate(modules)))


def _separable(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The outermost blocks, or parts of blocks, that share nothing with the rest of the model."""
    reads = {module: _reads(module) for module in model.modules()}
    readers, parents = defaultdict[nn.Parameter, set[nn.Module]](set), defaultdict[nn.Module, set[nn.Module]](set)
    for module in model.modules():
        for parameter in reads[module]:
            readers[parameter].add(module)
        for child in module.children():
            parents[child].add(module)

    def closed(module: nn.Module) -> bool:
        inside = set(module.modules())
        own = all(readers[parameter] <= inside for part in inside for parameter in reads[part])
        return own and all(parents[part] <= inside for part in inside - {module})

    seen: set[nn.Module] = set()

    def visit(path: str, module: nn.Module, in_stack: bool) -> Iterator[tuple[str, nn.Module]]:
        if module in seen or parametrized(module):
            return
        seen.add(module)
        runs = type(module).forward is not nn.Module.forward
        if in_stack and runs and any(True for _ in module.parameters()) and closed(module):
            yield path, module
            return
        for name, child in module.named_children():
            below = in_stack or isinstance(module, nn.ModuleList | nn.Sequential)
            yield from visit(f"{path}.{name}" if path else name, child, below)

    return list(visit("", model, in_stack=False))


def _reads(module: nn.Module) -> list[nn.Parameter]:
    """The Parameters that a module itself computes with: its own, and those that its aliases are computed from."""
    own = [parameter for parameter in module._parameters.values() if parameter is not None]
    owners = [
        parameter
        for alias in aliases(module).values()
        if alias.root is not None
        for parameter in parameters_behind(alias.root, alias.equation.source)
    ]
    return [*own, *owners]


def parameters_behind(model: nn.Module, name: str) -> list[nn.Parameter]:
    """The Parameters behind a name: of a module, of a weight, or of what computes a parametrized weight."""
    whole = record.submodule(model, name)
    if whole is not None:
        return list(whole.parameters())
    own = record.parameter(model, name)
    path, _, leaf = name.rpartition(".")
    behind = record.submodule(model, f"{path}.parametrizations.{leaf}".lstrip("."))
    return [own] if own is not None else [] if behind is None else list(behind.parameters())
