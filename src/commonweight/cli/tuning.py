"""Search for good settings."""

import json
from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.application import AsJson, TaskOption, app, path_option
from commonweight.cli.training import Preparation


@app.command()
def tune(
    data: Annotated[str, typer.Argument(help="A name of `commonweight data`, or a file or folder of your own.")],
    net: Annotated[str | None, typer.Option(help="A name of `commonweight nets`, or file.py:factory.")] = None,
    target: Annotated[str | None, typer.Option(help="Target column of a table; by default the last one.")] = None,
    task: TaskOption = None,
    prepare: Annotated[Preparation, typer.Option(help="What samples go through.")] = Preparation.standard,
    trials: Annotated[int | None, typer.Option(help="Trials in all, by all workers; 30 if no time is given.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Begin no further trial after so long.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of a database that several workers share; by default a file in the folder."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, of each training and of the search.")] = 0,
    out: Annotated[
        Path | None,
        path_option("Folder; by default a new one below runs/. One that is there: go on."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for good settings on the validation part, then train with the best of them."""
    from commonweight.train.tune import tune as search

    tuned = search(
        data,
        net=net,
        target=target,
        task=task,
        prepare=prepare.value,
        trials=trials,
        minutes=minutes,
        storage=storage,
        seed=seed,
        out="auto" if out is None else out,
    )
    if as_json:
        best = {**tuned.best.settings, "structure": tuned.best.structure}
        print(json.dumps({**tuned.run.to_json(), "best": best, "trials": len(tuned.study.trials)}))
        return
    print(f"\nbest of {len(tuned.study.trials)} trials: {tuned.best}  (validation score {tuned.study.best_value:.4f})")
    if tuned.importance:
        print("what decides: " + ", ".join(f"{name} {share:.0%}" for name, share in tuned.importance.items()))
    print(tuned.run.summary())
    print(f"picture: {(tuned.run.folder or Path()).parent / 'trials.png'}")
