"""What comes before weights become codebooks: neighbouring layers as one, and what suggestions find to be equal.

`share_depth` makes neighbours in a stack of layers one, which changes what the net computes; `follow` and
`follow_in_tensors` do what `audit(suggest=True)` says where nothing changes: ties between tensors are made, and for
weights that have few values or a pattern it is said which, as `share` takes it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor, nn

from commonweight.compress.report import Followed, Line
from commonweight.compress.sharing import AsIs
from commonweight.equations import record, share_layers, tie
from commonweight.errors import CompressError, TieError, require_kind
from commonweight.notation import Equation, expand, parse
from commonweight.sizes import WHOLE
from commonweight.verdicts import audit
from commonweight.verdicts.suggestion import Suggestion

TIES = ("tie", "layers")
"""Kinds of what is tied, by an equation."""


def share_depth(model: nn.Module, every: int) -> list[Followed]:
    """Make so many neighbours one, in each run of layers that are set up alike: they all get the mean of their weights.

    A run stands in an `nn.ModuleList` or `nn.Sequential`; of runs within layers of another run only the outer one
    counts. The last of a run may have fewer neighbours. See `commonweight.equations.share_layers`.

    Args:
        model: changed in place.
        every: at least 2.

    Returns:
        A line for each layer that is another one now, with max |Δ| between the weights of both and their mean.

    Raises:
        CompressError: no model, fewer than 2, or no two neighbours are alike.
        TieError: ties that the model has already stand against it.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 4), *(nn.Linear(4, 4) for _ in range(4)))
        >>> [line.text for line in share_depth(net, every=2)]
        ['2 = 1', '4 = 3']
    """
    require_kind(model, nn.Module, "share_depth takes a model, a torch.nn.Module", CompressError)
    if not isinstance(every, WHOLE) or every < 2:
        raise CompressError(f"So many neighbouring layers become one: a whole number of at least 2; got {every!r}.")
    stacks = list(_stacks(model))
    if not stacks:
        raise CompressError(
            f"Nothing can share its depth: {type(model).__name__} has no two neighbours in an nn.ModuleList or "
            f"nn.Sequential that are set up alike, such as layers.0 and layers.1."
        )
    lines = []
    for path, blocks, runs in stacks:
        groups = [run[first : first + every] for run in runs for first in range(0, len(run), every)]
        spreads = {group[0]: _spread(blocks, group) for group in groups}
        for made in share_layers(blocks, groups=groups):
            equation = Equation(path + made.alias, path + made.source)
            lines.append(Followed("layers", equation.alias, str(equation), spreads[int(made.source)]))
    return lines


def _stacks(model: nn.Module) -> Iterator[tuple[str, nn.Module, list[list[int]]]]:
    """The outermost stacks with runs of layers that are alike: path with a dot behind it, stack, positions."""
    above: list[str] = []
    for name, module in model.named_modules():
        path = f"{name}." if name else ""
        if not isinstance(module, nn.ModuleList | nn.Sequential) or path.startswith(tuple(above)):
            continue
        runs = [list(run) for _, run in groupby(range(len(module)), lambda n: _set_up(module[n]))]  # noqa: B023
        if runs := [run for run in runs if len(run) > 1 and any(True for _ in module[run[0]].parameters())]:
            above.append(path)
            yield path, module, runs


def _set_up(module: nn.Module) -> tuple[str, list[tuple[str, torch.Size]]]:
    """Equal for modules that can be one."""
    return repr(module), [(name, record.present(module, name).shape) for name in record.tensor_names(module)]


def _spread(blocks: nn.Module, group: list[int]) -> float:
    """max |Δ| between the weights of some blocks and their mean."""
    worst = 0.0
    for name, _ in blocks.get_submodule(str(group[0])).named_parameters():
        values = torch.stack([record.present(blocks, f"{n}.{name}").detach() for n in group])
        worst = max(worst, float((values - values.mean(0)).abs().max()))
    return worst


def follow(model: nn.Module) -> tuple[list[Followed], dict[str, AsIs]]:
    """Tie, in a model, what `audit(suggest=True)` finds to be equal; nothing that the model computes changes.

    Returns:
        A line for each suggestion, and what holds a weight as it is, by the names that the suggestions have: codebooks
        of few values, or a pattern.
    """
    lines = []
    suggestions = audit(model, suggest=True).suggestions or ()
    for one in suggestions:
        left = _left(one)
        if not left and one.kind in TIES:
            try:
                tie(model, one.text)
            except TieError as error:
                left = f"it cannot be tied ({error})"
        lines.append(Followed(one.kind, one.names[0], one.text, one.error, left))
    return lines, _as_is(suggestions)


def follow_in_tensors(tensors: Mapping[str, Tensor]) -> tuple[list[Followed], list[Equation], dict[str, AsIs]]:
    """Which tensors of a state dict, each weight under one name, are others by `audit(suggest=True)`.

    Returns:
        A line for each suggestion, the ties that they stand for, and what holds a tensor as it is, see `follow`.
    """
    suggestions = (audit(tensors, suggest=True).suggestions or ()) if tensors else ()
    lines = [Followed(one.kind, one.names[0], one.text, one.error, _left(one)) for one in suggestions]
    texts = [one.text for one in suggestions if one.kind in TIES and not _left(one)]
    return lines, [tie for text in texts for tie in expand(parse(text), tensors)], _as_is(suggestions)


def settled(followed: Iterable[Followed], shared: Iterable[Line]) -> list[Followed]:
    """The lines of `follow`, when it is known which weights were replaced."""
    why = {line.name: line.left for line in shared}
    no_weight = "it is the `weight` of no module"
    return [
        one if one.left or one.kind in TIES else replace(one, left=why.get(one.name, no_weight)) for one in followed
    ]


def _as_is(suggestions: Iterable[Suggestion]) -> dict[str, AsIs]:
    held = ((one.names[0], one.codebook or one.pattern) for one in suggestions if not _left(one))
    return {name: how for name, how in held if how is not None}


def _left(one: Suggestion) -> str:
    """Why a suggestion is not followed, if it is not."""
    if one.error:
        return f"it is close, not equal: max |Δ| = {one.error:.3g}"
    if one.kind not in TIES and not one.codebook and not one.pattern:
        return "a file holds ties of whole tensors and their parts, codebooks and patterns only"
    return ""
