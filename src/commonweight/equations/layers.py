"""Sharing the layers of a deep network: several blocks of a stack become one, and back.

Repeated blocks with the same weights are ALBERT's cross-layer sharing (Lan et al. 2019) and MobileLLM's block-wise
sharing (Liu et al. 2024): `every=2` uses each block twice in a row, `every=len(blocks)` is one block throughout.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from commonweight.equations import record
from commonweight.equations.declaring import tie, untie
from commonweight.equations.planning import mean
from commonweight.errors import TieError
from commonweight.notation import Equation


def share_layers(
    blocks: nn.Module,
    *,
    every: int | None = None,
    groups: Sequence[Sequence[int]] | None = None,
    start: Literal["mean"] | int = "mean",
) -> list[Equation]:
    """Make blocks of a stack one module each: a tie of whole modules, for `every` neighbours or for each group.

    Args:
        blocks: an `nn.ModuleList` or `nn.Sequential` of blocks that are set up alike.
        every: so many neighbours are one; the last ones may be fewer.
        groups: or the positions of the blocks that are one, such as [[0, 3], [1, 2]].
        start: the weights that a group begins with: "mean" of its blocks, the default, or those of the one at this
            place in the group (0 the first, -1 the last).

    Returns:
        The ties, kept with `blocks`, between its positions.

    Raises:
        TieError: not exactly one of `every` and `groups`; positions that do not exist or occur twice; a place that a
            group does not have; blocks that are not set up alike.

    Example:
        >>> blocks = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
        >>> print(*share_layers(blocks, every=2), sep="\\n")
        1 = 0
        3 = 2
        >>> sum(p.numel() for p in blocks.parameters())
        40
    """
    members = _groups(blocks, every, groups)
    if start != "mean" and not isinstance(start, int):
        raise TieError(f"start is 'mean' or a place in each group; got {start!r}.")
    for group in members:
        if isinstance(start, int) and not -len(group) <= start < len(group):
            raise TieError(f"start={start} is no place in the group {list(group)}, which has {len(group)} blocks.")
    equations = [f"{position} = {group[0]}" for group in members for position in group[1:]]
    if start == "mean":
        return tie(blocks, *equations, keep="mean")
    chosen = {group[0]: _values(blocks, group[start]) for group in members}
    made = tie(blocks, *equations, keep="source")
    with torch.no_grad():
        for position, values in chosen.items():
            for name, value in values.items():
                record.present(blocks, f"{position}.{name}").copy_(value)
    return made


def unshare_layers(blocks: nn.Module) -> None:
    """Give every block of `share_layers` weights of its own again, with the values that were shared.

    Example:
        >>> blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        >>> _ = share_layers(blocks, every=2)
        >>> unshare_layers(blocks)
        >>> sum(p.numel() for p in blocks.parameters())
        40
    """
    for equation in record.declared(blocks):
        if equation.alias in blocks._modules:
            untie(blocks, equation.alias)


def shared_state(
    model: nn.Module, state: Mapping[str, Tensor], start: Literal["mean", "source"] = "mean"
) -> dict[str, Tensor]:
    """A state dict of the model without ties, changed so that the tied model loads it.

    The other way needs nothing: the state dict of a tied model has all keys, and loads into the model without ties.

    Args:
        model: with ties that are declared.
        state: has the keys of `model.state_dict()`, and values that need not obey the ties. It is not changed.
        start: each owner gets the "mean" over itself and its aliases, or keeps its own values: "source".

    Raises:
        TieError: not a model, not a state dict, or one without an owner or an alias; no such start.

    Example:
        >>> blocks = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> _ = share_layers(blocks, every=2)
        >>> shared_state(blocks, {"0.weight": torch.tensor([[1.]]), "1.weight": torch.tensor([[3.]])})
        {'0.weight': tensor([[2.]]), '1.weight': tensor([[2.]])}
    """
    if start not in ("mean", "source"):
        raise TieError(f"start is 'mean' or 'source'; got {start!r}.")
    record.refuse_no_model(model)
    if not isinstance(state, Mapping):
        raise TieError(f"A state dict maps names to tensors; got a {type(state).__name__}.")
    out = dict(state)
    kept = model.state_dict(keep_vars=True)
    groups: defaultdict[str, list[Equation]] = defaultdict(list)
    for equation in record.by_tensor(model, record.declared(model)):
        if equation.source not in kept:
            continue  # a buffer that torch does not save
        for name in (equation.alias, equation.source):
            if name not in state:
                raise TieError(f"The state dict has no `{name}`, which `{equation}` names; it needs both.")
        groups[equation.source].append(equation)
    for owner, equations in groups.items():
        value = state[owner].detach()
        if start == "mean" and (value.is_floating_point() or value.is_complex()):
            value = mean(value, [(equation, state[equation.alias].detach()) for equation in equations])
        out[owner] = value
        for equation in equations:
            out[equation.alias] = equation.apply(value)
    return out


def _groups(blocks: nn.Module, every: int | None, groups: Sequence[Sequence[int]] | None) -> list[Sequence[int]]:
    record.refuse_no_model(blocks)
    positions = [int(name) for name, _ in blocks.named_children() if name.isdecimal()]
    count = len(blocks._modules)
    if sorted(map(str, positions)) != sorted(blocks._modules):
        raise TieError(
            f"share_layers takes an nn.ModuleList or nn.Sequential, which numbers its blocks and has none twice; got "
            f"{type(blocks).__name__} with {count} modules, {len(positions)} of them numbered and different."
        )
    if (every is None) == (groups is None):
        raise TieError("share_layers takes either every=... or groups=..., and one of them.")
    if every is not None:
        if not isinstance(every, int) or every < 1:
            raise TieError(f"every is how many neighbours become one, at least 1; got {every!r}.")
        return [range(first, min(first + every, count)) for first in range(0, count, every)]
    if not isinstance(groups, Sequence) or not all(isinstance(group, Sequence) for group in groups):
        raise TieError(f"groups is a list of lists of positions, such as [[0, 3], [1, 2]]; got {groups!r}.")
    members = [group for group in groups if group]
    named = [position for group in members for position in group]
    wrong = sorted({position for position in named if position not in range(count) or named.count(position) > 1})
    if wrong:
        raise TieError(f"groups name each block from 0 to {count - 1} at most once; got {wrong} twice or out of range.")
    return members


def _values(blocks: nn.Module, position: int) -> dict[str, Tensor]:
    module = blocks.get_submodule(str(position))
    return {name: record.present(module, name).detach().clone() for name in record.tensor_names(module)}
