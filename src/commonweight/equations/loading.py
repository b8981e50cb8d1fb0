"""What happens to ties when a state dict is loaded: it must agree with them, and none of its forms may break them.

The keys of a state dict are those of the same model without ties, in both directions: torch finds under an alias what
it finds under the owner. A state dict that lacks some of a tie's names loads with strict=False, and the names it lacks
are reported as missing, as torch does it; each name follows the one that is there.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.equations import record
from commonweight.equations.sameness import difference
from commonweight.errors import TieError
from commonweight.notation import Equation


def reconcile(
    model: nn.Module,
    ties: list[Equation],
    state: dict[str, Any],
    prefix: str,
    assign: bool,
    missing: list[str],
) -> None:
    """Make a state dict complete for the ties that hold, before torch reads it.

    Args:
        ties: between tensors, each with its last source.
        state: changed: an owner that only an alias speaks for is added; with `assign`, shared names get one Parameter.
        prefix: stands in front of the model's names in `state` and `missing`.
        missing: gets the names that were added.

    Raises:
        TieError: an alias contradicts its owner, or another alias of it; nothing is loaded.
    """
    groups: defaultdict[str, list[Equation]] = defaultdict(list)
    for equation in ties:
        groups[equation.source].append(equation)
    contradictions: list[str] = []
    values: dict[str, Tensor] = {}
    for owner, equations in groups.items():
        if not _stored(model, owner):
            continue  # a parametrization computes it, so that a state dict has what it computes it from
        present = [equation for equation in equations if isinstance(state.get(prefix + equation.alias), Tensor)]
        given = state.get(prefix + owner)
        value = given if isinstance(given, Tensor) else _from_aliases(model, owner, present, state, prefix)
        if value is None or not _fits(model, owner, value):
            continue  # nothing to load, or torch says itself that the shape is wrong
        values[owner] = value
        contradictions += [text for equation in present if (text := _contradiction(equation, value, state, prefix))]
    if contradictions:
        raise TieError(
            f"The state dict contradicts {len(contradictions)} of the model's ties and was not loaded: "
            f"{'; '.join(contradictions[:8])}{' ...' if len(contradictions) > 8 else ''}. Either 1. make it agree: "
            f"commonweight.equations.shared_state(model, state_dict), or 2. load only one name of each tie, with "
            f"strict=False, or 3. cw.untie(model, alias) first, if they are meant to differ."
        )
    for owner, value in values.items():
        if prefix + owner not in state:
            state[prefix + owner] = value
            missing.append(prefix + owner)
        if assign:
            _assign_one(model, owner, groups[owner], state, prefix, missing)


def write_through(model: nn.Module, equation: Equation, given: Tensor) -> None:
    """Give the owner the values under which the alias is `given`; nothing where it has them, or has no memory."""
    owner = record.tensor(model, equation.source)
    if owner is None or owner.is_meta or given.is_meta:
        return
    with torch.no_grad():
        given = given.to(owner.device, owner.dtype)
        if not torch.equal(equation.apply(owner), given):
            owner.copy_(equation.pull_back(given, owner))


def _from_aliases(
    model: nn.Module, owner: str, present: list[Equation], state: dict[str, Any], prefix: str
) -> Tensor | None:
    """The owner's value as its aliases give it; a slice leaves the rest of the owner as it is."""
    base = record.tensor(model, owner)
    if not present or base is None:
        return None
    value = base.detach()
    for equation in present:
        given = state[prefix + equation.alias]
        if given.shape != equation.apply(base).shape:
            return None
        whole = equation.pull_back(given)
        if whole is not None:
            return whole
        value = equation.pull_back(given.to(value.device, value.dtype), value)
    return value


def _stored(model: nn.Module, name: str) -> bool:
    path, _, leaf = name.rpartition(".")
    module = record.submodule(model, path)
    return module is not None and (leaf in module._parameters or leaf in module._buffers)


def _fits(model: nn.Module, owner: str, value: Tensor) -> bool:
    own = record.tensor(model, owner)
    return own is not None and own.shape == value.shape


def _contradiction(equation: Equation, value: Tensor, state: dict[str, Any], prefix: str) -> str | None:
    alias, expected = state[prefix + equation.alias], equation.apply(value)
    if alias.shape != expected.shape or alias is value:
        return None
    delta = difference(alias.to(expected.device), expected)
    if not delta:  # 0, or nothing to compare
        return None
    names = f"`{prefix}{equation.alias}` and `{prefix}{equation.source}`"
    return f"`{equation}` does not hold between {names}, which differ by up to {delta:.3g}"


def _assign_one(
    model: nn.Module, owner: str, equations: list[Equation], state: dict[str, Any], prefix: str, missing: list[str]
) -> None:
    """Torch assigns each entry of the state dict by itself: give it the same Parameter under each shared name."""
    own = record.parameter(model, owner)
    if own is None:
        return
    value = state[prefix + owner]
    one = value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=own.requires_grad)
    state[prefix + owner] = one
    for equation in equations:
        if equation.transforms or record.parameter(model, equation.alias) is None:
            continue
        if prefix + equation.alias not in state:
            missing.append(prefix + equation.alias)
        state[prefix + equation.alias] = one
