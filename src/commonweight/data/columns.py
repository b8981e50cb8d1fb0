"""From the columns of a table to the features of a net: numbers as they are, text as a column for each of its values.

A feature says by its name how it is read: "age" is the column of that name, "city=Rome" is 1 where column "city" holds
"Rome" and 0 elsewhere, "age is missing" is 1 where the cell of "age" is empty. So a net that knows the names of its
features reads any other table the same way.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.data.dataset import Samples
from commonweight.data.finite import place, require_finite
from commonweight.data.missing import SUFFIX, fill, marked
from commonweight.data.tables import Table, repeated, target_values
from commonweight.data.targets import class_name, encode
from commonweight.errors import DataError

MAX_VALUES = 50
"""A column with more different texts is left out."""

_IDENTIFIER = re.compile(r"(?i:id|index|key)|.*([^a-zA-Z](?i:id)|[a-z]I[dD])")
"""The name of a column that says which row it is: id, Index, customer_id, PassengerId."""

_WRITTEN_NUMBER = re.compile(r"[^\w]*\d[\d.,'’\s]*[^\w]*")
"""A number with separators of thousands, a decimal comma, a currency or a per cent sign: 1,250 or $3.20 or 7%."""


def to_samples(table: Table, name: str, target: str | None, task: str | None) -> Samples:
    """Every column but the target is read for features; the target is the column of that name, by default the last.

    `targets.encode` states the rule by which a target is classes or numbers, `choose` that for features.

    Raises:
        DataError: no such column, a table without features, a few cells of text among numbers, an infinite value.
    """
    if len(table.names) < 2:
        raise DataError(
            f"'{table.source}' has only the column '{table.names[0]}'; expected features and a target, with commas,"
            " semicolons or tabs between them"
        )
    chosen = len(table.names) - 1 if target is None else table.column(target)
    kind, y, classes = encode(
        target_values(table, chosen), task, f"the target of '{table.source}'", [table.names[chosen]], table.lines
    )
    features, notes = choose(table, [column for column in range(len(table.names)) if column != chosen])
    return Samples(
        name=name,
        task=kind,
        x=read(table, features),
        y=y,
        classes=classes,
        features=features,
        target=table.names[chosen],
        lines=table.lines,
        notes=notes,
    )


def choose(table: Table, columns: Sequence[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the features that the columns give, and a sentence for each column that gives none or is doubtful.

    A column is text if most of its cells are. It gives a feature for each of its values, of which there may be
    `MAX_VALUES` and one for each three rows at most: names, dates and the like say nothing about rows to come. Whole
    numbers that look like an identifier, by their name or since they count the rows, may be a quantity: they are kept.

    Raises:
        DataError: no column is left, or two features would have one name.
    """
    names: list[str] = []
    notes: list[str] = []
    for column in columns:
        name = table.names[column]
        if table.is_text(column):
            values = sorted(set(table.texts(column)) - {""})
            if len(values) <= min(MAX_VALUES, len(table.numbers) // 3):
                names += [f"{name}={value}" for value in values]
            else:
                notes.append(_left_out(name, values))
        elif not table.gaps(column).all():
            names += [name] + [name + SUFFIX] * bool(table.gaps(column).any())
            notes += [_kept(name, table.numbers[:, column])] * _is_identifier(name, table.numbers[:, column])
        else:
            notes.append(f"column '{name}' is left out: it is empty")
    if not names:
        raise DataError(f"'{table.source}' has no feature to learn from: {'; '.join(notes)}; add columns of numbers")
    twice = repeated(names)
    if twice is not None:
        raise DataError(
            f"'{table.source}' has a column '{twice}', as a feature made of another one is called; rename it"
        )
    return tuple(names), tuple(notes)


def _is_identifier(name: str, numbers: NDArray[np.float64]) -> bool:
    """Whether numbers count the rows, or are whole and all different under the name of an identifier."""
    if not (np.isfinite(numbers) & (numbers == np.floor(numbers))).all():
        return False
    named = _IDENTIFIER.fullmatch(name) is not None and len(np.unique(numbers)) == len(numbers)
    return named or bool((np.diff(numbers) == 1).all())


def _kept(name: str, numbers: NDArray[np.float64]) -> str:
    """That a column may be no quantity, and what to do then."""
    first = ", ".join(map(class_name, numbers[:3].tolist()))
    return (
        f"column '{name}' looks like an identifier, with another whole number in each row ({first}, ...), and is"
        " learned from as a quantity; take it out of the table if it is none"
    )


def _left_out(name: str, values: Sequence[str]) -> str:
    """Why a column of text gives no feature, with the remedy where numbers are only written otherwise."""
    hint = "; write its numbers plainly, as 1234.5" if _WRITTEN_NUMBER.fullmatch(values[0]) else ""
    return f"column '{name}' is left out: it holds {len(values):,} different texts, such as '{values[0][:40]}'{hint}"


def read(table: Table, features: Sequence[str], missing: Tensor | None = None) -> Tensor:
    """The features of those names, float32, shape (N, F).

    Args:
        table: any that has the columns.
        features: as `choose` names them.
        missing: shape (F,), what stands where a value is missing; by default NaN does.

    Raises:
        DataError: a column that is not there, text where numbers were, text that no feature stands for, or a value that
            is missing or not finite where none was missing before.
    """
    x = np.empty((len(table.numbers), len(features)), dtype=np.float32)
    cells: dict[int, NDArray[np.str_]] = {}
    known: dict[int, set[str]] = {}
    for index, feature in enumerate(features):
        column, value = _source(table, feature)
        if value is not None:
            if column not in cells:
                cells[column] = np.array(table.texts(column))
            known.setdefault(column, {""}).add(value)
            x[:, index] = cells[column] == value
        elif feature == table.names[column]:
            with np.errstate(over="ignore"):
                x[:, index] = _numbers(table, column)
        else:
            x[:, index] = table.gaps(column)
    for column, values in known.items():
        _require_known(table, column, cells[column], values)
    found = torch.from_numpy(x)
    may_lack = marked(features)
    require_finite(torch.where(found.isnan() & may_lack, 0, found), f"'{table.source}'", features, table.lines)
    return found if missing is None else fill(found, features, missing)


def _source(table: Table, feature: str) -> tuple[int, str | None]:
    """The column that a feature is read from, and the text that it stands for, if it does."""
    for name in (feature, feature.removesuffix(SUFFIX)):
        if name in table.places:
            return table.places[name], None
    for end, sign in enumerate(feature):
        if sign == "=" and feature[:end] in table.places:
            return table.places[feature[:end]], feature[end + 1 :]
    return table.column(feature.partition("=")[0]), None


def _numbers(table: Table, column: int) -> NDArray[np.float64]:
    for row, cell in table.text.get(column, {}).items():
        raise DataError(
            f"'{table.source}' holds text in column '{table.names[column]}' ({place(row, table.lines)}: '{cell[:40]}'),"
            " where the others are numbers; write a number, or leave the cell empty if others are"
        )
    return table.numbers[:, column]


def _require_known(table: Table, column: int, cells: NDArray[np.str_], values: set[str]) -> None:
    new = np.flatnonzero(~np.isin(cells, list(values)))
    if len(new):
        listed = ", ".join(repr(value) for value in sorted(values - {""})[:20])
        raise DataError(
            f"'{table.source}' holds '{cells[new[0]][:40]}' in column '{table.names[column]}'"
            f" ({place(int(new[0]), table.lines)}), of which nothing was learned; expected one of {listed}, or an"
            " empty cell"
        )
