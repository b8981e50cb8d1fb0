"""A data set ready to train on: samples, targets, their names, the split, and the statistics of its training part."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from commonweight.data.finite import require_finite
from commonweight.data.missing import fill, marked
from commonweight.data.missing import means as missing_means
from commonweight.data.normalise import Normalisation
from commonweight.data.split import three_parts
from commonweight.data.targets import Task
from commonweight.errors import DataError
from commonweight.numerals import counted

MIN_SAMPLES = 10
"""Fewer cannot be split 70/15/15 into parts that say anything."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples:
    """What a reader hands over: everything it found, before checks, split and statistics.

    Attributes:
        official_test: the last so many samples are the published test part; 0 when there is none.
        lines: the line of the file that each sample comes from, for the sentences of errors.

    A feature of a table that has another one beside it that marks its gaps (module `missing`) holds NaN there.

    The other attributes are those of `Data`.
    """

    name: str
    task: Task
    x: Tensor
    y: Tensor
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    target: str = ""
    official_test: int = 0
    lines: Sequence[int] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """Samples with their targets and a seeded split. Values are raw; `normalisation.apply` makes them ready for a net.

    Attributes:
        name: a name of `commonweight.data.names`, or the last part of a path.
        x: float32, shape (N, C, H, W) with values in [0, 1] for images, (N, C, L) for series, (N, F) for tables.
        y: int64 class indices of shape (N,), or float32 targets of shape (N, T) for regression.
        classes: the name of each class; empty for regression.
        features: the name of each column; empty for images and series, and where columns have no names.
        train, validation, test: ascending int64 indices into `x` and `y`: disjoint, and together all of them.
        normalisation: fitted on the training part.
        target: the name of the target column of a table in a file, else empty.
        source: what `commonweight.data.load` was given, to load the same data again; empty for data made otherwise.
        prepare: how the normalisation was fitted, see `Normalisation.fit`.
        notes: what a reader has to say, a sentence each, such as which columns it left out.

    >>> from commonweight import data
    >>> data.load("digits", seed=0)
    digits: classification, 1,797 images of 1x8x8, 10 classes; split 1,257 / 270 / 270
    """

    name: str
    task: Task
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    features: tuple[str, ...]
    train: Tensor
    validation: Tensor
    test: Tensor
    normalisation: Normalisation
    target: str = ""
    source: str = ""
    prepare: str = "standard"
    notes: tuple[str, ...] = ()

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (C, H, W) of images, (C, L) of series, (F,) of rows of a table."""
        return tuple(self.x.shape[1:])

    @property
    def n_outputs(self) -> int:
        """What a network has to put out: one number for each class, or for each of the T targets."""
        return len(self.classes) if self.task == "classification" else self.y.shape[1]

    @property
    def is_image(self) -> bool:
        return len(self.in_shape) == 3

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        shape = "x".join(str(size) for size in self.in_shape)
        features = counted(self.in_shape[-1], "feature")
        kind = {3: f"images of {shape}", 2: f"series of {shape}", 1: f"rows of {features}"}[len(self.in_shape)]
        samples = f"{len(self):,} {kind}"
        classification = self.task == "classification"
        outputs = f"{len(self.classes)} classes" if classification else counted(self.n_outputs, "target")
        parts = " / ".join(f"{len(part):,}" for part in (self.train, self.validation, self.test))
        return f"{self.name}: {self.task}, {samples}, {outputs}; split {parts}"

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the dtypes, shapes and bytes of `x`, `y` and the split.

        Two data sets with equal fingerprints train alike; a run that is taken up again refuses any other.
        """
        digest = hashlib.sha256()
        for part in (self.x, self.y, self.train, self.validation, self.test):
            digest.update(f"{part.dtype} {tuple(part.shape)}\n".encode())
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()


def prepare(samples: Samples, seed: int, way: str = "standard") -> Data:
    """Check the samples, split them by `seed`, and fit the normalisation on the training part, in the given way.

    What is missing becomes the mean of the training part (0 where nothing is prepared, by "none"), which is also what
    the normalisation takes away, so that a network meets the same for what is missing later.

    Raises:
        DataError: values that are not finite, too few samples, only one class, a class too small for three parts, or a
            preparation that is unknown or that they are too large for.
    """
    _require_learnable(samples)
    strata = samples.y if samples.task == "classification" else torch.zeros(len(samples.y), dtype=torch.int64)
    train, validation, test = three_parts(strata.numpy(), seed, samples.official_test)
    x = samples.x
    if marked(samples.features).any():
        means = missing_means(x[train], samples.features)
        x = fill(x, samples.features, torch.zeros_like(means) if way == "none" else means)
    require_finite(x, samples.name, samples.features, samples.lines)
    return Data(
        name=samples.name,
        task=samples.task,
        x=x,
        y=samples.y,
        classes=samples.classes,
        features=samples.features,
        train=train,
        validation=validation,
        test=test,
        normalisation=Normalisation.fit(x, samples.y, train, way),
        target=samples.target,
        prepare=way,
        notes=samples.notes,
    )


def _require_learnable(samples: Samples) -> None:
    """Refuse what cannot be split into three parts that show every class; an official test part may lack some."""
    if len(samples.x) < MIN_SAMPLES:
        raise DataError(
            f"{samples.name} has {counted(len(samples.x), 'sample')}, a split into three parts needs at least"
            f" {MIN_SAMPLES}; add samples"
        )
    if samples.task == "regression":
        return
    if len(samples.classes) < 2:
        raise DataError(
            f"{samples.name} has only one class, '{samples.classes[0]}'; to tell classes apart, give at least two"
        )
    needed = 2 if samples.official_test else 3
    where = "the training part of " if samples.official_test else ""
    sizes = np.bincount(samples.y[: len(samples.y) - samples.official_test].numpy(), minlength=len(samples.classes))
    small = [f"'{name}' has {size}" for name, size in zip(samples.classes, sizes, strict=True) if size < needed]
    if small:
        listed = ", ".join(small[:5]) + (f" and {len(small) - 5} more have too few" if len(small) > 5 else "")
        raise DataError(
            f"every class in {where}{samples.name} needs at least {needed} samples, one for each part, but {listed};"
            " add samples, merge classes, or say task='regression' (--task regression) if the target is a quantity"
        )
