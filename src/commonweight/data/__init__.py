"""Real data by name or by path: read, checked, split by a seed, and with the statistics of its training part.

    >>> from commonweight import data
    >>> digits = data.load("digits", seed=0)
    >>> digits.x.shape, digits.classes[:3], len(digits.train)
    (torch.Size([1797, 1, 8, 8]), ('0', '1', '2'), 1257)

One format, one module: `idx`, `arrays` (NPZ), `tables` (CSV, Parquet), `images` (a folder for each class), `named`
(installed sets), `toys` (drawn sets). Each hands over `Samples`; `dataset.prepare` makes them `Data`.
"""

from dataclasses import replace
from os import PathLike
from pathlib import Path

from commonweight.data import arrays, columns, dataset, idx, images, named, tables
from commonweight.data.dataset import Data, Samples
from commonweight.data.inputs import read_inputs
from commonweight.data.named import Entry, entries, names
from commonweight.data.normalise import Normalisation
from commonweight.data.picture import picture_grid
from commonweight.data.reading import nearest, readable, require_file
from commonweight.data.targets import require_task
from commonweight.errors import DataError, require_kind, require_seed

__all__ = ["Data", "Entry", "Normalisation", "entries", "load", "names", "picture_grid", "read_inputs"]


def load(
    source: str | Path,
    *,
    target: str | None = None,
    task: str | None = None,
    seed: int = 0,
    prepare: str = "standard",
) -> Data:
    """Load a data set and split it: 70 % for training, 15 % for validation, 15 % for the test.

    Args:
        source: a name of `names()`, or the path of
            - a table, `.csv`, `.tsv` or `.parquet` (module `tables`);
            - `.npz` with the arrays x and y (module `arrays`);
            - an IDX file of images, gzipped or not, with its labels beside it (module `idx`);
            - a folder with the four files of a set like MNIST, whose test part stays the test part;
            - a folder with a folder of pictures for each class (module `images`).
            A name wins over a folder of that name; write "./digits" for the folder.
        target: the column to learn, for tables; by default the last.
        task: "classification" or "regression", for tables and NPZ; by default whole numbers of at most 20 values and
            text are classes, other numbers are quantities (`targets.encode` states the rule).
        seed: of the split, and of the points of the sets that are drawn; 0 to 2**32 - 1.
        prepare: what the samples go through before the network, found on the training part: "standard" (mean 0 and
            deviation 1), "mean" (only mean 0), "none", or whitened by "pca" or "zca"; see `Normalisation.fit`.

    Raises:
        DataError: one sentence that says what is wrong with the data, and where.

    >>> load("iris", seed=1)
    iris: classification, 150 rows of 4 features, 3 classes; split 106 / 22 / 22
    """
    require_kind(source, str | PathLike, "Data is loaded by a name, such as 'digits', or by a path", DataError)
    seed = require_seed(seed, DataError)
    require_task(task)
    with readable(source):
        return replace(dataset.prepare(_read(source, target, task, seed), seed, prepare), source=str(source))


def _read(source: str | Path, target: str | None, task: str | None, seed: int) -> Samples:
    """Find the reader by name, by kind of path, or by suffix."""
    if not str(source).strip():
        raise DataError("the data have no name; give one of `commonweight data`, a path, or . for the current folder")
    path = Path(source)
    if isinstance(source, str) and source in names():
        _refuse_options(source, target=target, task=task)
        return named.read(source, seed)
    if not path.exists() and path.name == str(source) and not path.suffix:
        hint = nearest(str(source), names()) or f"give one of {', '.join(names())}, or a path"
        raise DataError(f"data '{source}' is unknown: neither a name nor a path; {hint}")
    if path.is_dir():
        _refuse_options(str(path), target=target, task=task)
        return idx.read_folder(path) if idx.holds_idx(path) else images.read_folder(path)
    require_file(path)
    if tables.is_table(path):
        return columns.to_samples(tables.read_table(path), path.name, target, task)
    if path.suffix.lower() == ".npz":
        _refuse_options(str(path), target=target)
        return arrays.read_file(path, task)
    if idx.is_idx(path):
        _refuse_options(str(path), target=target, task=task)
        return idx.read_file(path)
    raise DataError(
        f"'{path}' is of a kind that cannot be read; expected {', '.join(tables.SUFFIXES)}, .npz, an IDX file such as"
        " train-images-idx3-ubyte.gz, or a folder with a folder of pictures for each class"
    )


def _refuse_options(source: str, **options: str | None) -> None:
    """What a source cannot follow is not ignored."""
    for option, value in options.items():
        if value is not None:
            raise DataError(f"'{source}' takes no {option}, but {option}='{value}' was given; its {option} is fixed")
