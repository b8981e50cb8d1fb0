"""Families that learn by a rule of their own: fitted in one piece, scored and stored as any other run."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from commonweight.atomic import write_text
from commonweight.census import count
from commonweight.data.dataset import Data
from commonweight.errors import TrainError
from commonweight.files import save
from commonweight.measure.records import Record, to_lines
from commonweight.measure.report import write_report
from commonweight.nets.architecture import Architecture
from commonweight.train.objective import Part, evaluate, loss_function
from commonweight.train.run import (
    BY_RULE,
    RECORDS,
    REPORT,
    WEIGHTS,
    WHITENING,
    Run,
    describe,
    new_folder,
    write_description,
)
from commonweight.train.settings import require_epochs
from commonweight.train.together import Team

NOT_GIVEN = (None, "auto")


def fit_estimator(
    estimator: Any,
    data: Data,
    *,
    net: str,
    seed: int,
    out: str | Path | None = "auto",
    parameters: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """Fit an estimator to the training part and score it on the test part.

    Where several processes train together, each fits it, and only the first writes the folder, all of it at the end.

    Args:
        estimator: see `commonweight.nets.estimators`; it is handed normalised samples, flat.
        data: what to learn from.
        net: the name it was made by.
        seed: of the split and of the estimator.
        out: the run folder, as in `fit`.
        parameters: of the estimator, set before it is fitted.
        settings: those of `fit`. Of these an estimator knows at most the number of epochs, as `max_iter`.

    Returns:
        The run, with the fitted module as its model.

    Raises:
        TrainError: a setting or parameter that it has no use for or cannot have, or samples that it cannot learn from.
        FileError: the run folder cannot be written, or already holds a run.
    """
    usual = {name: value for name, value in estimator.get_params().items() if name in (parameters or {})}
    description = describe(net, data, {**_set(estimator, net, parameters or {}, settings), "seed": seed})
    team = Team.current()
    folder = None if out is None else team.agree(lambda: new_folder(out, f"{data.name}-{net}"))
    started = time.perf_counter()
    x = data.normalisation.apply(data.x[data.train]).flatten(1).numpy()
    y = data.normalisation.apply_target(data.y[data.train]).numpy()
    try:
        estimator.fit(x, y)
    except ValueError as error:
        raise TrainError(f"{net} cannot learn {data.name}: {error}") from error
    except (TypeError, OverflowError, RuntimeError) as error:
        if not parameters:
            raise
        told = str(error).partition("\n")[0]  # torch goes on with a trace of its own
        raise TrainError(f"{net} cannot learn with {dict(parameters)}: {told}; usual is {usual}.") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{net} learns in one piece, so nothing was written: train it anew") from None
    seconds = time.perf_counter() - started
    model = estimator.module_.eval()
    model.built_as = net
    description["structure"] = dict(estimator.structure_)
    model.architecture = Architecture(net, data.in_shape, data.n_outputs, data.task, description["structure"]).to_json()
    run = Run(model, description, [], folder, whitening=data.normalisation.whitening)
    _score(run, data, getattr(estimator, "n_iter_", 1), seconds)
    if folder is not None and team.leads:
        _write(run, folder, data)
    return run


def _set(estimator: Any, net: str, parameters: Mapping[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Hand parameters and the number of epochs to the estimator; refuse all else. Returns the parameters it has then.

    Raises:
        TrainError: a setting or parameter that it has no use for, or no epoch at all.
    """
    given = {name: value for name, value in settings.items() if value not in NOT_GIVEN}
    known = sorted(set(estimator.get_params()) - {"random_state", "in_shape"})
    for name in parameters:
        if name not in known:
            raise TrainError(f"{net} has no parameter {name!r}: it has {', '.join(known)}.")
    estimator.set_params(**parameters)
    if "epochs" in given and "max_iter" in known:
        require_epochs(given["epochs"])
        estimator.set_params(max_iter=given.pop("epochs"))
    if given:
        others = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise TrainError(f"{net} learns by a rule of its own, which has no use for {others}: leave that out.")
    has: dict[str, Any] = estimator.get_params()
    return {name: value for name, value in has.items() if name != "random_state"}


def _score(run: Run, data: Data, epochs: int, seconds: float) -> None:
    """Note the scores on all three parts, and the weights and connections."""
    model = run.model
    loss = loss_function(model, data, label_smoothing=0.0)
    scores = {}
    for name, index in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        inputs = data.normalisation.apply(data.x[index])
        part = Part(inputs, data.normalisation.apply_target(data.y[index]))
        scores[name] = evaluate(model, part, loss, data, nullcontext)
    metric = "accuracy" if data.task == "classification" else "rmse"
    train, validation = scores["train"], scores["validation"]
    run.records.append(
        Record(
            step=epochs,
            epoch=epochs,
            seconds=seconds,
            rate=0.0,
            loss=train["loss"],
            metric=train[metric],
            validation_loss=validation["loss"],
            validation_metric=validation[metric],
            layers=(),
        )
    )
    run.census = count(model, torch.zeros(1, *data.in_shape))
    run.description["results"] = {
        "epochs": epochs,
        "train_seconds": seconds,
        "goal_seconds": None,
        "stopped": BY_RULE,
        "best_epoch": epochs,
        "test": scores["test"],
        "weights": run.census.weights,
        "connections": run.census.connections,
    }


def _write(run: Run, folder: Path, data: Data) -> None:
    """Write weights, records, report, description, and what whitens the samples."""
    if run.whitening is not None:
        run.whitening.save(folder / WHITENING)
    save(run.model, folder / WEIGHTS)
    write_text(folder / RECORDS, to_lines(run.records))
    write_report(
        folder / REPORT,
        description=run.description,
        records=run.records,
        census=run.census,
        model=run.model,
        data=data,
    )
    write_description(folder, run.description)
