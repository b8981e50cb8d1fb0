"""Where trials are kept: a file of SQLite, or a database that several workers reach by its URL."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commonweight.errors import TrainError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage

SECONDS_TO_CONNECT = 10
SECONDS_TO_MAKE_TABLES = 2.0
RANDOM_TRIALS = 8
FIRST_TRIALS, FIRST_TENTHS = 5, 2
"""So many trials are run to their end, and so many tenths of each later one, before any is given up."""


def sqlite_url(path: Path) -> str:
    """The URL of a file; its folder is made.

    >>> sqlite_url(Path("/tmp/trials.db"))
    'sqlite:////tmp/trials.db'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Whatever goes wrong with the database inside the block becomes one sentence, without its password.

    Raises:
        TrainError: it cannot be reached, has no driver, or is no database of trials.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().split("\n")[0]
        raise TrainError(
            f"The storage {_without_password(url)} cannot be used ({reason}); give sqlite:///FILE or a URL such as "
            f"postgresql+psycopg://USER@HOST/DATABASE of a server that runs."
        ) from error


def open_study(url: str, name: str, about: Mapping[str, Any], default: Mapping[str, Any]) -> "Study":
    """The study of that name, begun or gone on with; the first trial of a new one takes the defaults.

    A trial that is below the median of the others at the same tenth of its epochs is given up.

    Args:
        about: what the study is about, which must be the same for all its workers.
        default: what is tried first.

    Raises:
        TrainError: the study is about something else, or the storage cannot be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with reached(url):
        study = optuna.create_study(
            storage=_storage(url),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_TENTHS),
        )
        known = study.user_attrs
        for key, value in about.items():
            if known.get(key, value) != value:
                raise TrainError(
                    f"{name} in {_without_password(url)} was begun on other data, or with another preparation, net or "
                    f"seed: choose another --out, or a new storage."
                )
            study.set_user_attr(key, value)
        study.enqueue_trial(dict(default), skip_if_exists=True)
    return study


def chooser(seed: int, number: int) -> "BaseSampler":
    """What chooses the trial of a number: the tree-structured Parzen estimator (Bergstra et al. 2011).

    It draws by seed and number, so that workers that begin together do not try the same.
    """
    from optuna.samplers import TPESampler

    drawn = np.random.SeedSequence([seed, number]).generate_state(1)
    return TPESampler(seed=int(drawn[0]), n_startup_trials=RANDOM_TRIALS)


def _storage(url: str) -> "RDBStorage":
    """The database, with its tables: where two workers make them at the same moment, the slower one comes again."""
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    # Several workers write to one file by turns, so that each waits; a server that is not there would never answer.
    waiting = {"sqlite": {"timeout": 60}, "postgresql": {"connect_timeout": SECONDS_TO_CONNECT}}
    given = {"connect_args": waiting.get(url.partition(":")[0].partition("+")[0], {})}
    try:
        return RDBStorage(url, engine_kwargs=given)
    except (IntegrityError, ProgrammingError):
        time.sleep(SECONDS_TO_MAKE_TABLES)
        return RDBStorage(url, engine_kwargs=given)


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return repr(url)
