"""Tables, CSV and Parquet: cells in columns with names, each a number, text, or missing."""

import csv
import math
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from commonweight.data.finite import place
from commonweight.data.reading import nearest, require_file, require_memory
from commonweight.data.targets import class_name
from commonweight.errors import DataError

SUFFIXES = (".csv", ".tsv", ".parquet")

MAX_TEXT = 2**30
"""The largest CSV file that is read, in bytes."""

_DELIMITER_WINDOW = 2**16

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+\s*")
"""A number as it is written where semicolons separate cells."""

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})
"""Cells (in lower case) that say that a value is missing."""


@dataclass(frozen=True, eq=False)
class Table:
    """The cells of a file, before anybody says which column is the target.

    Attributes:
        source: the path, for the sentences of errors.
        names: of the columns; "column 1"... where the file gives none.
        has_header: whether the names come from the file.
        numbers: float64, shape (N, columns); NaN where a cell is missing or holds text.
        text: for each column with text, its text by row; other cells of the column are numbers or missing.
        lines: the line of the file that each row ends on; empty for Parquet, which has no lines.
    """

    source: str
    names: tuple[str, ...]
    has_header: bool
    numbers: NDArray[np.float64]
    text: dict[int, dict[int, str]]
    lines: Sequence[int]

    def is_text(self, column: int) -> bool:
        """Whether most cells of a column, of those that hold something, are text: a few may be slips of the pen."""
        text = len(self.text.get(column, ()))
        return text > int(np.count_nonzero(~np.isnan(self.numbers[:, column])))

    def texts(self, column: int) -> list[str]:
        """The cells of a column as text, numbers too; "" where one is missing."""
        text = self.text.get(column, {})
        numbers = enumerate(self.numbers[:, column].tolist())
        return [text.get(row) or ("" if math.isnan(number) else class_name(number)) for row, number in numbers]

    def gaps(self, column: int) -> NDArray[np.bool_]:
        """Where cells of a column are missing, shape (N,)."""
        empty = np.isnan(self.numbers[:, column])
        empty[list(self.text.get(column, ()))] = False
        return empty

    def column(self, name: str) -> int:
        """The index of the column of that name."""
        if name in self.names:
            return self.names.index(name)
        hint = nearest(name, self.names) or f"it has {', '.join(map(repr, self.names[:20]))}"
        raise DataError(f"'{self.source}' has no column '{name}'; {hint}")


def target_values(table: Table, column: int) -> NDArray[np.float64] | NDArray[np.object_]:
    """The target, shape (N,): float64 when no cell is text, else all of it as text."""
    if column not in table.text:
        return table.numbers[:, column]
    for row in np.flatnonzero(table.gaps(column)).tolist():
        raise DataError(
            f"'{table.source}' has no target in {place(row, table.lines)}, column '{table.names[column]}';"
            " fill in the class or remove the row"
        )
    return np.array(table.texts(column), dtype=object)


def is_table(path: Path) -> bool:
    """Whether the suffix is one of a table."""
    return path.suffix.lower() in SUFFIXES


def read_table(path: Path, known: Sequence[str] = ()) -> Table:
    """Read CSV or Parquet, by the suffix; `known` are column names that a header would hold."""
    return read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path, known)


def read_csv(path: Path, known: Sequence[str] = ()) -> Table:
    """Read text with one row a line, cells separated by comma, semicolon or tab (the most frequent in the first line).
    Where semicolons separate cells, 2,5 is a number.

    The first row is a header when it holds the `known` names, or no number at all, or some column that goes on with
    nothing but numbers starts with text, or its numbers, three or more, are 0, 1, 2... as the place of each says, which
    is how pandas names columns that have no name. Rows without content are skipped. The encoding is UTF-8.

    Raises:
        DataError: an empty or too large file, rows of different lengths, a header with empty or equal names.
    """
    if require_file(path) > MAX_TEXT:
        raise DataError(
            f"'{path}' has {path.stat().st_size:,} bytes, more than the {MAX_TEXT:,} that are read; use Parquet"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return parse(file, path, known)
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not text in UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"'{path}' is not a readable CSV file ({error}); check its quotes") from error


def parse(file: TextIO, path: Path, known: Sequence[str], lines_before: int = 0) -> Table:
    """Read CSV text as `read_csv` says; lines are counted on from `lines_before`."""
    delimiter = _delimiter(file)
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    cells = _Cells(decimal_comma=delimiter == ";")
    first: list[str] = []
    for row in reader:
        if not "".join(row).strip():
            continue
        if not first:
            first = [cell.strip() for cell in row]
        if len(row) != len(first):
            raise DataError(
                f"'{path}' has {len(row)} cells in line {lines_before + reader.line_num}, but {len(first)} in line"
                f" {cells.lines[0]}; give every row the same number of cells"
            )
        cells.add(row, lines_before + reader.line_num)
    numbers = np.frombuffer(cells.numbers, dtype=np.float64).reshape(len(cells.lines), len(first))
    has_header = bool(first) and _is_header(first, numbers[1:], cells.text, known)
    if len(cells.lines) == has_header:
        raise DataError(f"'{path}' has no rows of data; give a table with samples")
    if not has_header:
        names = tuple(f"column {number}" for number in range(1, len(first) + 1))
        return Table(str(path), names, False, numbers, cells.text, cells.lines)
    _require_names(first, path)
    below = {column: {row - 1: cell for row, cell in rows.items() if row} for column, rows in cells.text.items()}
    text = {column: rows for column, rows in below.items() if rows}
    return Table(str(path), tuple(first), True, numbers[1:], text, cells.lines[1:])


class _Cells:
    """The cells of a CSV file as they come: numbers in one flat array, text aside by column and row."""

    def __init__(self, decimal_comma: bool) -> None:
        self.decimal_comma = decimal_comma
        self.numbers = array("d")
        self.text: dict[int, dict[int, str]] = {}
        self.lines = array("q")

    def add(self, row: list[str], line: int) -> None:
        index = len(self.lines)
        self.lines.append(line)
        if self.decimal_comma:
            row = [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]
        for column, value in enumerate(_all_numbers(row) or map(_number, row)):
            if value is None:
                self.text.setdefault(column, {})[index] = sys.intern(row[column].strip())
            self.numbers.append(math.nan if value is None else value)


def _all_numbers(row: list[str]) -> list[float] | None:
    """The usual row, converted at once; None when some cell is not a plain number."""
    try:
        return None if "_" in "".join(row) else list(map(float, row))
    except ValueError:
        return None


def _number(cell: str) -> float | None:
    """The value of a cell: NaN when missing, None when text. Python's "1_000" is text here.

    >>> _number("2.5"), _number("NA"), _number("red")
    (2.5, nan, None)
    """
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return math.nan if cell.strip().lower() in MISSING else None


def _delimiter(file: TextIO) -> str:
    """The most frequent separator, outside quotes, of the first line with text in it; the file is rewound."""
    lines = file.read(_DELIMITER_WINDOW).splitlines()
    file.seek(0)
    line = re.sub(r'"[^"]*"', "", next((line for line in lines if line.strip()), ""))
    return max(",;\t", key=line.count)


def _is_header(
    first: list[str], numbers_below: NDArray[np.float64], text: dict[int, dict[int, str]], known: Sequence[str]
) -> bool:
    if known and set(known) <= set(first):
        return True
    values = [_number(cell) for cell in first]
    if all(value is None or math.isnan(value) for value in values):
        return True
    counted = [cell == str(column) for column, cell in enumerate(first) if values[column] is not None]
    if all(counted) and len(counted) >= 3:
        return True
    heads_numbers = np.any(np.isfinite(numbers_below), axis=0).tolist()
    return any(
        value is None and len(text[column]) == 1 and heads_numbers[column] for column, value in enumerate(values)
    )


def _require_names(names: Sequence[str], path: Path) -> None:
    """A column is found by its name: none may be empty, no two alike."""
    if "" in names:
        raise DataError(
            f"'{path}' has no name for column {names.index('') + 1}; name it, or remove it if it only counts rows"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"'{path}' has the column '{twice}' more than once; rename one")


def read_parquet(path: Path) -> Table:
    """Read a Parquet file whose columns are numbers, booleans (0 and 1) or text.

    Raises:
        DataError: pyarrow is not installed; a damaged or too large file, columns of another type.
    """
    require_file(path)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"'{path}' needs pyarrow to be read; pip install pyarrow") from error
    try:
        with parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        _require_names(schema.names, path)
        require_memory(8 * rows * len(schema.names), path, f"{rows:,} rows of {len(schema.names)} columns")
        with_text = _text_columns(schema, path)
        # As a dictionary, a long text in many rows is in memory once.
        with parquet.ParquetFile(path, read_dictionary=with_text) as file:
            return _from_arrow(file.read(), with_text, path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"'{path}' is a truncated or damaged Parquet file ({_one_line(error)}); write it again"
        ) from error


def _text_columns(schema: Any, path: Path) -> list[str]:
    """The names of the columns with text; the others must be numbers."""
    from pyarrow import types

    with_text = []
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if types.is_string(kind) or types.is_large_string(kind):
            with_text.append(field.name)
        elif not (
            types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
        ):
            raise DataError(
                f"'{path}' has the column '{field.name}' of type {kind}, expected numbers or text; convert it"
            )
    return with_text


def _from_arrow(table: Any, with_text: Sequence[str], path: Path) -> Table:
    import pyarrow

    if not table.num_rows:
        raise DataError(f"'{path}' has no rows of data; give a table with samples")
    numbers = np.full(table.shape, math.nan)
    text: dict[int, dict[int, str]] = {}
    for index, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if name not in with_text:
            numbers[:, index] = column.cast(pyarrow.float64(), safe=False).to_numpy()
        elif cells := _text_by_row(column.dictionary_encode()):
            text[index] = cells
    return Table(str(path), tuple(table.column_names), True, numbers, text, ())


def _text_by_row(column: Any) -> dict[int, str]:
    """The cells of a dictionary-encoded Arrow column that are neither null nor blank, by row."""
    cells: dict[int, str] = {}
    row = 0
    for chunk in column.chunks:
        values = [(value or "").strip() for value in chunk.dictionary.to_pylist()]
        for code in chunk.indices.to_pylist():
            if code is not None and values[code]:
                cells[row] = values[code]
            row += 1
    return cells


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
