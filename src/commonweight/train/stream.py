"""Learning from a stream of CSV: a run on the first rows, then online, row by row, in bounded memory."""

import io
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from commonweight import nets
from commonweight.atomic import append_text
from commonweight.data import columns, tables
from commonweight.data.dataset import Data, prepare
from commonweight.data.targets import class_name, encode
from commonweight.errors import CommonweightError, DataError, TrainError, require_seed
from commonweight.files import save
from commonweight.measure.records import Record, to_lines
from commonweight.train.loop import fit
from commonweight.train.objective import evaluate, part_of
from commonweight.train.online import RATE, OnlineLearner, Sums
from commonweight.train.run import RECORDS, WEIGHTS, Run, write_description
from commonweight.train.settings import require_rate
from commonweight.train.start import default_net

FIRST_ROWS = 500
"""So many lines are a data set of their own: columns, classes, statistics, first weights and a part to validate by."""
BATCH = 32
REPORTED = 1000
"""Rows between two records."""
LONGEST_LINE = 1 << 20
STREAM = Path("standard input")


def learn_stream(
    lines: TextIO,
    *,
    net: str | None = None,
    target: str | None = None,
    task: str | None = None,
    seed: int = 0,
    lr: float | None = None,
    out: str | Path | None = "auto",
    structure: Mapping[str, Any] | None = None,
    say: Callable[[str], None],
) -> Run:
    """Learn from CSV text, one row a line, until it ends or the user interrupts.

    Args:
        lines: the text, such as standard input; at most `FIRST_ROWS` lines of it are held at once.
        net, target, task, seed, structure: see `train.start.start_run`.
        lr: the rate of the online steps; 0.001 by default.
        out: the run folder, as for `fit`.
        say: is handed a line for the user every `REPORTED` rows.

    Returns:
        The run, with the last weights; what came after the first rows is in `results["stream"]`: their number, and the
        scores of the answers that were given before learning.

    Raises:
        DataError: a row that does not fit the first ones, with its line; a seed out of range.
        TrainError: a rate that is none, a net that learns by a rule of its own, or a loss that is no
            longer finite. What was learned before such a row, or such a loss, is kept.
    """
    require_rate(lr)
    seed = require_seed(seed, DataError)
    source = _lines(lines)
    head = list(itertools.islice(source, FIRST_ROWS))
    table = tables.parse(io.StringIO("".join(head)), STREAM, ())
    if not table.has_header:
        raise DataError("a stream begins with the names of its columns, which cannot be guessed; add that line")
    data = prepare(columns.to_samples(table, "stream", target, task), seed)
    net = net or default_net(data.in_shape)
    if nets.estimator(net, data.in_shape, task=data.task, seed=seed) is not None:
        raise TrainError(f"{net} learns by a rule of its own, from all samples at once: choose another --net.")
    model = nets.build(net, data.in_shape, data.n_outputs, task=data.task, seed=seed, structure=structure)
    try:
        run = fit(model, data, net=net, seed=seed, out=out, progress=False)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the first rows of a stream cannot come again: begin anew") from None
    header = next(line for line in head if line.strip())
    say(f"first {len(data):,} rows: {run.summary().splitlines()[1]}")
    learner, total = OnlineLearner(model, data, lr or RATE), Sums()
    try:
        _learn(run, learner, _batches(source, header, data, len(head)), total, say)
    except KeyboardInterrupt:
        say(f"interrupted after {total.n:,} rows; what was learned is kept")
    except CommonweightError:
        say(f"stopped by an error after {total.n:,} rows; what was learned is kept")
        raise
    finally:
        _keep(run, learner, total)
    return run


def _keep(run: Run, learner: OnlineLearner, total: Sums) -> None:
    """Note the scores of the rows after the first ones, and write the weights of now."""
    scores = {"loss": total.loss / total.n, _metric(learner.data): learner.score(total)} if total.n else {}
    run.description["results"]["stream"] = {"rows": total.n, **scores}
    run.model.eval()
    if run.folder is not None:
        save(run.model, run.folder / WEIGHTS)
        write_description(run.folder, run.description)


def _learn(
    run: Run,
    learner: OnlineLearner,
    batches: Iterator[tuple[Tensor, Tensor]],
    total: Sums,
    say: Callable[[str], None],
) -> None:
    """Learn batches until they end, and add up what was said of them; a record for every `REPORTED` rows."""
    recent, started = Sums(), time.perf_counter()
    for x, y in batches:
        found = learner.partial_fit(x, y)
        total.add(found)
        recent.add(found)
        if recent.n >= REPORTED:
            record = _record(run, learner, recent, time.perf_counter() - started)
            say(
                f"row {total.n:,}: loss {record.loss:.4f}, {_metric(learner.data)} {record.metric:.4g} before "
                f"learning them, {record.validation_metric:.4g} on rows held back"
            )
            recent = Sums()


def _record(run: Run, learner: OnlineLearner, recent: Sums, seconds: float) -> Record:
    """Score the part held back of the first rows, and write a record."""
    data = learner.data
    scores = evaluate(learner.model, part_of(data, data.validation), learner.loss, data, nullcontext)
    last = run.records[-1]
    record = Record(
        step=last.step + recent.n // BATCH,
        epoch=last.epoch + recent.n / len(data.train),
        seconds=run.results["train_seconds"] + seconds,
        rate=learner.optimizer.param_groups[0]["lr"],
        loss=recent.loss / recent.n,
        metric=learner.score(recent),
        validation_loss=scores["loss"],
        validation_metric=scores[_metric(data)],
    )
    run.records.append(record)
    if run.folder is not None:
        append_text(run.folder / RECORDS, to_lines([record]))
    return record


def _metric(data: Data) -> str:
    return "accuracy" if data.task == "classification" else "rmse"


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a text, none longer than `LONGEST_LINE`, without the mark that spreadsheets begin UTF-8 with.

    Raises:
        DataError: a longer one, or bytes that are no text.
    """
    try:
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise DataError(f"'{STREAM}' has a line of more than {LONGEST_LINE:,} characters; expected rows of CSV")
            yield line.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"'standard input' is not text in UTF-8 ({error.reason}); send CSV in UTF-8") from error


def _batches(lines: Iterator[str], header: str, data: Data, n_before: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (B, F) and targets of `BATCH` rows at a time, read as the table of the first ones.

    Args:
        lines: those that follow.
        header: the line with the names of the columns.
        data: of the first rows.
        n_before: lines that were read before.

    Raises:
        DataError: another number of cells, text or a missing value where numbers stood, or a class that is new.
    """
    while batch := list(itertools.islice(lines, BATCH)):
        if any(line.strip() for line in batch):
            text = io.StringIO("".join([header, *batch]))
            table = tables.parse(text, STREAM, (*data.features, data.target), n_before - 1)
            x = columns.read(table, data.features, data.normalisation.mean)
            yield x, _targets(table, data)
        n_before += len(batch)


def _targets(table: tables.Table, data: Data) -> Tensor:
    """The index of each row's class, (B,), or its value, (B, 1).

    Raises:
        DataError: a class that is new, or a target that is no number.
    """
    values = tables.target_values(table, table.column(data.target))
    if not data.classes:
        _, y, _ = encode(values, "regression", f"the target of '{STREAM}'", [data.target], table.lines)
        return y
    names = [value if isinstance(value, str) else class_name(value) for value in values.tolist()]
    for name, line in zip(names, table.lines, strict=True):
        if name not in data.classes:
            raise DataError(
                f"'{STREAM}' has the class '{name[:40]}' in line {line}, which the first {FIRST_ROWS} lines have"
                " not; send a few rows of every class first"
            )
    return torch.tensor([data.classes.index(name) for name in names])
