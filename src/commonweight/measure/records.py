"""What is written down while a network learns: one stream that diagnosis, report and lab all read.

A `Record` is a line of `records.jsonl`. Floats that are not finite are written as strings ("nan", "inf"), so that every
line is plain JSON.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from commonweight.errors import FileError

MAX_BYTES = 1 << 30
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Floats = tuple[float, ...]
Made = TypeVar("Made")


@dataclass(frozen=True)
class LayerStatistics:
    """How one layer (a module with weights of its own) stands at one step.

    Attributes:
        name: path of the module, as in `named_modules`.
        weight_mean, weight_std, weight_max: mean, deviation and largest size of its weights.
        gradient_norm: ‖∂L/∂θ‖ of the last batch.
        update_ratio: ‖θ - θ before‖ / ‖θ before‖ of the last step.
        activation_mean, activation_std: over the outputs for the last batch.
        zero_fraction: share of its outputs that are exactly zero.
        weight_quantiles: of its weights, for the shares in `QUANTILES`; empty in records of earlier versions.
        dead_fraction: share of the hidden units feeding it that are 0 for all samples of the last batch.
        saturated_fraction: share of the values of these units within 5 % of the ends of their range, exact zeros apart.
    """

    name: str
    weight_mean: float
    weight_std: float
    weight_max: float
    gradient_norm: float
    update_ratio: float
    activation_mean: float
    activation_std: float
    zero_fraction: float
    weight_quantiles: Floats = ()
    dead_fraction: float = 0.0
    saturated_fraction: float = 0.0


@dataclass(frozen=True)
class Record:
    """The state of training at a check.

    Attributes:
        step: optimiser steps so far.
        epoch: passes over the training part so far, with fractions.
        seconds: training time so far, checks not counted.
        rate: learning rate of the last step.
        loss: mean training loss since the last record, of labels smoothed as they are learned.
        metric: training metric since the last record: accuracy, or root mean squared error in units of the target.
        validation_loss, validation_metric: the same on the whole validation part.
        layers: statistics of each layer at this step; empty at a check that takes none, see `layers.is_observed`.
        loss_deviation: standard deviation of the training losses of the single steps since the last record.
    """

    step: int
    epoch: float
    seconds: float
    rate: float
    loss: float
    metric: float
    validation_loss: float
    validation_metric: float
    layers: tuple[LayerStatistics, ...] = ()
    loss_deviation: float = 0.0

    def to_line(self) -> str:
        """One line of JSON, without the line end."""
        return json.dumps(plain(asdict(self)), allow_nan=False)

    @staticmethod
    def from_line(line: str) -> "Record":
        """Read a line back: `Record.from_line(record.to_line()) == record`, NaN aside.

        Raises:
            FileError: not a record.
        """
        try:
            values = json.loads(line)
            layers = tuple(typed(LayerStatistics, layer) for layer in values.pop("layers"))
            return replace(typed(Record, values), layers=layers)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise FileError(
                f"Not a training record: {line[:80]!r} ({error}); expected a line of records.jsonl."
            ) from error


def mean_and_deviation(losses: Sequence[float]) -> tuple[float, float]:
    """Of the losses of some steps, without numpy: it takes longer to call than so few numbers to add up.

    >>> mean_and_deviation([1.0, 3.0]), mean_and_deviation([1.0, math.inf])
    ((2.0, 1.0), (inf, nan))
    """
    mean = sum(losses) / len(losses)
    return mean, math.sqrt(sum((loss - mean) * (loss - mean) for loss in losses) / len(losses))


def read_records(path: Path) -> list[Record]:
    """All records of a file, in order. A last line without its line end, cut off by a crash, is left out.

    Raises:
        FileError: no such file, larger than 1 GiB, or a whole line that is not a record.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(f"{path} is larger than {MAX_BYTES} bytes; a records.jsonl of a run is far smaller.")
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"Cannot read the records {path}: {error}.") from error
    return [Record.from_line(line) for line in lines[:-1]]


def to_lines(records: Iterable[Record]) -> str:
    """The text of a records.jsonl."""
    return "".join(record.to_line() + "\n" for record in records)


def plain(value: Any) -> Any:
    """The same value with tuples as lists, and numbers that JSON has no word for as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def typed(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """A dataclass from what `plain` made of its values, which have to be of the types of its fields.

    Raises:
        TypeError, ValueError, KeyError: they are not, or are those of other fields.
    """
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    return kind(**{key: _cast(types[key], value) for key, value in values.items()})


def _cast(kind: Any, value: Any) -> Any:
    if kind is float:
        return float(value)
    if kind in (int, bool, str):
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is no list")
    (inner, _) = kind.__args__
    return tuple(_cast(inner, item) for item in value)
