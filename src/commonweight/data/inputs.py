"""Inputs for a network that is already trained: pictures or rows of tables, in the shape that it learned from."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from commonweight.data import columns, images, tables
from commonweight.data.reading import readable, require_memory
from commonweight.errors import DataError, require_kind


def read_inputs(
    paths: Sequence[str | Path],
    like: tuple[int, ...],
    features: Sequence[str] = (),
    target: str | None = None,
    missing: Tensor | None = None,
) -> tuple[list[str], Tensor]:
    """Read pictures (one sample each) or tables (one sample a row); values are raw, as in `Data.x`.

    Pictures are brought to the channels and the size that the network takes. Columns are found by the names in
    `features`, in any order, and all others are ignored; where the file has no header or `features` is empty, they are
    taken in their order, without the target. A series is a row of C·L numbers, channel after channel.

    Args:
        paths: at least one file; a folder stands for all pictures below it, by name.
        like: the shape of one sample, (C, H, W), (C, L) or (F,).
        features: the names of the F columns, empty when they have none.
        target: the name of the target column, which the file may hold or not.
        missing: shape (F,), what stands for a missing value where some were missing in training: `normalisation.mean`.

    Returns:
        a name for each sample (the path, for tables with the line: "new.csv:3"), and float32 of shape (N, *like).

    Raises:
        DataError: no list of paths, a file that cannot be read, missing columns, text or missing values where there
            were none.
    """
    require_kind(paths, list | tuple, "read_inputs takes a list of paths", DataError)
    require_kind(like, tuple, "read_inputs is told the shape of one sample by a tuple, such as (1, 28, 28)", DataError)
    if not paths:
        raise DataError("there is nothing to predict: no files were given; give pictures or tables")
    files = [Path(path) for path in paths]
    if len(like) == 3:
        return _read_pictures([file for path in files for file in _pictures(path)], like)
    sample_names, rows = _read_rows(files, math.prod(like), features, target, missing)
    return sample_names, rows.reshape(-1, *like)


def _pictures(path: Path) -> list[Path]:
    """The file itself, or the pictures below a folder."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if images.is_image(file))
    if not found:
        raise DataError(f"'{path}' is a folder without pictures ({', '.join(images.SUFFIXES)}); give one with some")
    return found


def _read_pictures(paths: list[Path], like: tuple[int, ...]) -> tuple[list[str], Tensor]:
    channels, height, width = like
    if channels not in (1, 3):
        raise DataError(
            f"the network takes images of {channels} channels, but pictures have 1 or 3; predict from Python"
        )
    require_memory(4 * len(paths) * channels * height * width, paths[0], f"{len(paths):,} pictures of {like}")
    for path in paths:
        if tables.is_table(path):
            raise DataError(
                f"'{path}' is a table, but the network takes pictures of {width} x {height} pixels; give such"
            )
    return [str(path) for path in paths], torch.stack(
        [torch.from_numpy(images.read_image(path, channels, (height, width))) for path in paths]
    )


def _read_rows(
    paths: list[Path], n_features: int, features: Sequence[str], target: str | None, missing: Tensor | None
) -> tuple[list[str], Tensor]:
    names: list[str] = []
    parts: list[Tensor] = []
    for path in paths:
        if not tables.is_table(path):
            raise DataError(
                f"'{path}' is no table, but the network takes rows of {n_features} numbers;"
                f" give {', '.join(tables.SUFFIXES)}"
            )
        with readable(path):
            table = tables.read_table(path, features)
        parts.append(columns.read(table, _names(table, n_features, features, target), missing))
        names += [f"{path}:{line}" for line in table.lines or range(1, len(table.numbers) + 1)]
    return names, torch.cat(parts)


def _names(table: tables.Table, n_features: int, features: Sequence[str], target: str | None) -> Sequence[str]:
    """Which features the network takes from the table, in its order."""
    if features and (table.has_header or set(features) <= set(table.names)):
        return features
    names = [name for name in table.names if name != target]
    if len(names) != n_features:
        raise DataError(
            f"'{table.source}' has {len(names)} columns without the target, but the network takes {n_features}"
            f"{': ' + ', '.join(features) if features else ''}; give these columns alone, or add a header"
        )
    return names
