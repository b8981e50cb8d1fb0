"""Whether all processes hold the same weights after a step, and every tied weight moves in each of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from commonweight.equations import record
from commonweight.equations.planning import alive
from commonweight.errors import TieError
from commonweight.notation import Equation
from commonweight.parallel.groups import parameters_behind

T = TypeVar("T")
Rows: TypeAlias = list[tuple[int, int]]  # the first and the last row of each stretch, counted from 0
SHOWN = 3  # weights that differ, and stretches of rows, in one sentence
MARKED_AT_ONCE = 1 << 22  # elements


def check(model: nn.Module) -> None:
    """Do nothing if all processes agree on the weights of a model, and every tied weight moves.

    Called after a step, in every process. It checks that the declared ties hold in each of them; that those which hold
    the same part of a weight (all of it under DistributedDataParallel, the same rows under hybrid sharding) hold the
    same bits; and, from the second call on, that every row of every tied weight has changed in each process since the
    call before. Without torch.distributed it does the same for this process.

    Args:
        model: may be wrapped or sharded. What it holds is remembered, by 8 bytes for each row of a tied weight.

    Raises:
        TieError: in every process alike; it names the tie or the weight, the process, and the rows.

    Example:
        >>> from commonweight.equations import tie
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        >>> _ = tie(model, "1.weight = 0.weight.T", keep="source")
        >>> check(model)
        >>> with torch.no_grad():
        ...     model[0].weight[0] += 1
        >>> check(model)
        Traceback (most recent call last):
        commonweight.errors.TieError: `0.weight` of the tie `1.weight = 0.weight.T` has not moved in process 0 since ...
    """
    declared = record.declared(model)
    sources = {equation.alias: equation for equation in declared}
    lost = [str(equation) for equation in declared if not alive(model, equation, sources)]
    holdings = {name: _Holding.of(parameter) for name, parameter in model.named_parameters()}
    tied = _tied(model, declared)
    before = _before.get(model, {})
    resting = {name: holdings[name].same_rows(before[name]) for name in tied if name in before}
    _before[model] = {name: holdings[name] for name in tied if model.get_parameter(name).requires_grad}
    parts = {name: (holding.part, int(_marks(holding.marks[None]))) for name, holding in holdings.items()}
    everyone = _from_all((lost, resting, parts))
    problems = [
        f"`{text}` does not hold in process {rank}: commonweight.check(model) says why, and "
        f"commonweight.parallel.fsdp_groups(model) how to shard the model"
        for rank, (texts, _, _) in enumerate(everyone)
        for text in texts
    ]
    problems += _differences([parts for _, _, parts in everyone], holdings)
    problems += [
        f"`{name}` of the tie `{tied[name]}` has not moved in process {rank} since the last check, in {_said(rows)} of "
        f"{holdings[name].total}: no gradient comes there, or no optimiser holds it"
        for rank, (_, resting, _) in enumerate(everyone)
        for name, rows in resting.items()
        if rows
    ]
    if problems:
        raise TieError(f"{'; '.join(problems)}.")


@dataclass(frozen=True)
class _Holding:
    """What this process holds of a weight.

    Attributes:
        part: which part of the weight it is: two processes with the same one hold copies.
        first: its first row in the whole weight.
        total: rows of the whole weight.
        marks: a number for each row, which changes with the row.
    """

    part: tuple[int, ...]
    first: int
    total: int
    marks: Tensor

    @staticmethod
    def of(parameter: Tensor) -> "_Holding":
        """A weight has a row for each index of its first axis; a scalar has one."""
        total = len(parameter) if parameter.ndim else 1
        if not isinstance(parameter, DTensor):
            return _Holding((), 0, total, _marks(parameter))
        mesh = parameter.device_mesh
        at: Sequence[int] = mesh.get_coordinate() or ()
        shares = [axis for axis, placement in enumerate(parameter.placements) if not placement.is_replicate()]
        first = 0
        if len(shares) == 1 and parameter.placements[shares[0]].is_shard(0):
            first = min(total, at[shares[0]] * -(-total // mesh.size(shares[0])))
        return _Holding(tuple(at[axis] for axis in shares), first, total, _marks(parameter.to_local()))

    def same_rows(self, before: "_Holding") -> Rows:
        """The rows of the whole weight that are what they were; none where another part was held."""
        if (self.part, len(self.marks)) != (before.part, len(before.marks)):
            return []
        return _stretches(self.first + row for row in (self.marks == before.marks).nonzero().flatten().tolist())


_before: WeakKeyDictionary[nn.Module, dict[str, _Holding]] = WeakKeyDictionary()


def _tied(model: nn.Module, declared: list[Equation]) -> dict[str, str]:
    """The weights that are tied, by their first name, each with a tie that it is the source of."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, str] = {}
    for equation in record.by_tensor(model, declared):
        for parameter in parameters_behind(model, equation.source):
            found.setdefault(names[parameter], str(equation))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name != names[parameter]:
            found.setdefault(names[parameter], str(Equation(name, names[parameter])))
    return found


def _differences(everyone: list[dict[str, tuple[tuple[int, ...], int]]], holdings: Mapping[str, _Holding]) -> list[str]:
    """The weights of which two processes hold different copies; all processes call this alike.

    Args:
        everyone: for each process the part that it holds of each weight, and a number that changes with it.
    """
    seen: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
    pairs: dict[str, tuple[int, int]] = {}
    for rank, parts in enumerate(everyone):
        for name, (part, mark) in parts.items():
            first, expected = seen.setdefault((name, part), (rank, mark))
            if mark != expected:
                pairs.setdefault(name, (first, rank))
    problems = []
    for name, (first, rank) in islice(pairs.items(), SHOWN):
        marks = _from_all(holdings[name].marks.tolist() if name in holdings else [])
        copies = zip_longest(marks[first], marks[rank])
        rows = _said(_stretches(row for row, (one, other) in enumerate(copies) if one != other))
        problems.append(
            f"`{name}` has other values in process {rank} than in process {first}, in {rows} of {len(marks[first])}: "
            f"begin with the same weights everywhere, as DistributedDataParallel does, and change no copy alone"
        )
    more = len(pairs) - len(problems)
    return [*problems, f"{more} more weights differ as well"] if more > 0 else problems


def _marks(tensor: Tensor) -> Tensor:
    """A number for each row, Σ bits · factor modulo 2^64 with odd factors, so that a change of one value changes it."""
    values = tensor.detach()
    values = torch.view_as_real(values) if values.is_complex() else values
    rows = values.reshape(1, 1) if values.ndim == 0 else values[:, None] if values.ndim == 1 else values.flatten(1)
    bits = rows.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[rows.element_size()])
    n = bits.shape[1]
    half = torch.randint(-(1 << 62), 1 << 62, (n,), generator=torch.Generator().manual_seed(n))
    factors = (2 * half + 1).to(bits.device)
    blocks = torch.split(bits, max(1, MARKED_AT_ONCE // max(1, n)))
    return torch.cat([(block.long() * factors).sum(1) for block in blocks]).cpu()


def _from_all(mine: T) -> list[T]:
    """What every process has, in their order."""
    if not (dist.is_available() and dist.is_initialized()):
        return [mine]
    gathered: list[T] = [mine] * dist.get_world_size()
    dist.all_gather_object(gathered, mine)
    return gathered


def _stretches(rows: Iterable[int]) -> Rows:
    """Rows in ascending order, with neighbours drawn together."""
    found: Rows = []
    for row in rows:
        if found and found[-1][1] == row - 1:
            found[-1] = (found[-1][0], row)
        else:
            found.append((row, row))
    return found


def _said(rows: Rows) -> str:
    """For a sentence.

    >>> _said([(3, 3)]), _said([(0, 1), (4, 6)])
    ('row 3', 'rows 0 to 1, 4 to 6')
    """
    shown = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in rows[:SHOWN])
    single = len(rows) == 1 and rows[0][0] == rows[0][1]
    return f"{'row' if single else 'rows'} {shown}{' and more' if len(rows) > SHOWN else ''}"
