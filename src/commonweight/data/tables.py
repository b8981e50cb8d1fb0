"""Tables, CSV and Parquet: cells in columns with names, each a number, text, or missing."""

import codecs
import csv
import math
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
_BLOCK = 2**12
"""Rows that are converted together."""

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

    @cached_property
    def places(self) -> dict[str, int]:
        """The index of each column by its name."""
        return {name: column for column, name in enumerate(self.names)}

    def column(self, name: str) -> int:
        """The index of the column of that name."""
        if name in self.places:
            return self.places[name]
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
    is how pandas names columns that have no name. Rows without content are skipped, and empty columns without a name at
    the end. The encoding is UTF-8, or UTF-16 where the file begins with its mark.

    Raises:
        DataError: an empty or too large file, rows of different lengths, a header with empty or equal names.
    """
    if require_file(path) > MAX_TEXT:
        raise DataError(
            f"'{path}' has {path.stat().st_size:,} bytes, more than the {MAX_TEXT:,} that are read; use Parquet"
        )
    try:
        with path.open("rb") as binary:
            encoding = "utf-16" if binary.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        with path.open(newline="", encoding=encoding) as file:
            return parse(file, path, known)
    except UnicodeError as error:
        raise DataError(
            f"'{path}' is not text in UTF-8 ({getattr(error, 'reason', error)}); save it as CSV in UTF-8"
        ) from error


def parse(file: TextIO, path: Path, known: Sequence[str], lines_before: int = 0) -> Table:
    """Read CSV text as `read_csv` says; lines are counted on from `lines_before`."""
    delimiter = _delimiter(file, path)
    cells = _Cells(decimal_comma=delimiter == ";")
    first: list[str] = []
    for row, line in _rows(file, path, delimiter, lines_before):
        if not first:
            first = [cell.strip() for cell in row]
        if len(row) != len(first):
            raise DataError(
                f"'{path}' has {len(row)} cells in line {line}, but {len(first)} in line {cells.lines[0]}; give every"
                " row the same number of cells"
            )
        cells.add(row, line)
    numbers, text, lines = cells.numbers(len(first)), cells.text, cells.lines
    # Spreadsheets write empty columns behind the last one.
    while first and not first[-1] and len(first) - 1 not in text and np.isnan(numbers[:, len(first) - 1]).all():
        del first[-1]
    numbers = numbers[:, : len(first)]
    has_header = bool(first) and _is_header(first, numbers[1:], text, known)
    if len(lines) == has_header:
        raise DataError(f"'{path}' has no rows of data; give a table with samples")
    if not has_header:
        names = tuple(f"column {number}" for number in range(1, len(first) + 1))
        return Table(str(path), names, False, numbers, text, lines)
    _require_names(first, path)
    below = {column: {row - 1: cell for row, cell in rows.items() if row} for column, rows in text.items()}
    text = {column: rows for column, rows in below.items() if rows}
    return Table(str(path), tuple(first), True, numbers[1:], text, lines[1:])


def _rows(file: TextIO, path: Path, delimiter: str, lines_before: int) -> Iterator[tuple[list[str], int]]:
    """The rows with content, and the line that each ends on.

    Raises:
        DataError: quotes that do not close, or text behind one that does.
    """
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if "".join(row).strip():
                yield row, lines_before + reader.line_num
    except csv.Error as error:
        line = lines_before + reader.line_num
        raise DataError(f"'{path}' is not a readable CSV file ({error} in line {line}); check its quotes") from error


class _Cells:
    """The cells of a CSV file as they come, converted in blocks of rows: numbers, and text aside by column and row."""

    def __init__(self, decimal_comma: bool) -> None:
        self.decimal_comma = decimal_comma
        self.text: dict[int, dict[int, str]] = {}
        self.lines = array("q")
        self._rows: list[list[str]] = []
        self._blocks: list[NDArray[np.float64]] = []

    def add(self, row: list[str], line: int) -> None:
        self.lines.append(line)
        self._rows.append(row)
        if len(self._rows) == _BLOCK:
            self._convert()

    def numbers(self, n_columns: int) -> NDArray[np.float64]:
        """Those of all rows, shape (N, columns); NaN where a cell is missing or holds text."""
        if self._rows:
            self._convert()
        return np.concatenate(self._blocks) if self._blocks else np.empty((0, n_columns))

    def _convert(self) -> None:
        before = len(self.lines) - len(self._rows)
        block = np.empty((len(self._rows), len(self._rows[0])))
        for column, cells in enumerate(zip(*self._rows, strict=True)):
            if self.decimal_comma:
                cells = tuple(cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells)
            values = _all_numbers(cells)
            if values is None:
                values = [_number(cell) for cell in cells]
                text = {before + row: sys.intern(cells[row].strip()) for row, v in enumerate(values) if v is None}
                if text:
                    self.text.setdefault(column, {}).update(text)
            block[:, column] = values  # None becomes NaN
        self._blocks.append(block)
        self._rows.clear()


def _all_numbers(cells: Sequence[str]) -> Sequence[float | None] | None:
    """The usual column, converted at once; None when some cell is not a plain number."""
    try:
        return None if "_" in "".join(cells) else list(map(float, cells))
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


def _delimiter(file: TextIO, path: Path) -> str:
    """The most frequent separator, outside quotes, of the first line with text in it; the file is rewound."""
    window = file.read(_DELIMITER_WINDOW)
    file.seek(0)
    if "\0" in window:
        raise DataError(f"'{path}' is not text in UTF-8 (zero bytes); save it as CSV in UTF-8")
    lines = window.splitlines()
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
    twice = repeated(names)
    if twice is not None:
        raise DataError(f"'{path}' has the column '{twice}' more than once; rename one")


def repeated(names: Sequence[str]) -> str | None:
    """The first name that is there already.

    >>> repeated(["age", "city", "age"])
    'age'
    """
    seen = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def read_parquet(path: Path) -> Table:
    """Read a Parquet file whose columns are numbers, booleans (0 and 1) or text, which is read as in CSV.

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
        # pandas writes the labels of rows as columns behind the others.
        names = [name for name in schema.names if not name.startswith("__index_level_")]
        _require_names(names, path)
        require_memory(8 * rows * len(names), path, f"{rows:,} rows of {len(names)} columns")
        with_text = _text_columns([schema.field(name) for name in names], path)
        # As a dictionary, a long text in many rows is in memory once.
        with parquet.ParquetFile(path, read_dictionary=with_text) as file:
            return _from_arrow(file.read(names), with_text, path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"'{path}' is a truncated or damaged Parquet file ({_one_line(error)}); write it again"
        ) from error


def _text_columns(fields: Sequence[Any], path: Path) -> list[str]:
    """The names of the columns with text; the others must be numbers, or hold nothing."""
    from pyarrow import types

    is_number = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    with_text = []
    for field in fields:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if types.is_string(kind) or types.is_large_string(kind):
            with_text.append(field.name)
        elif not any(fits(kind) for fits in is_number):
            raise DataError(
                f"'{path}' has the column '{field.name}' of type {kind}, expected numbers or text; convert it"
            )
    return with_text


def _from_arrow(table: Any, with_text: Sequence[str], path: Path) -> Table:
    import pyarrow

    if 0 in table.shape:
        lacking = "rows" if table.num_columns else "columns"
        raise DataError(f"'{path}' has no {lacking} of data; give a table with samples")
    numbers = np.full(table.shape, math.nan)
    text: dict[int, dict[int, str]] = {}
    for index, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if name not in with_text:
            numbers[:, index] = column.cast(pyarrow.float64(), safe=False).to_numpy()
        elif cells := _read_text(column.dictionary_encode(), numbers[:, index]):
            text[index] = cells
    return Table(str(path), tuple(table.column_names), True, numbers, text, ())


def _read_text(column: Any, numbers: NDArray[np.float64]) -> dict[int, str]:
    """The cells of a dictionary-encoded Arrow column that are text, by row; `numbers` takes those that say a number."""
    text: dict[int, str] = {}
    row = 0
    for chunk in column.chunks:
        cells = [(cell or "").strip() for cell in chunk.dictionary.to_pylist()]
        values = [_number(cell) for cell in cells]
        for code in chunk.indices.to_pylist():
            value = math.nan if code is None else values[code]
            if value is None:
                text[row] = cells[code]
            else:
                numbers[row] = value
            row += 1
    return text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
