"""List nets, data and claims."""

import json
from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.application import AsJson, TaskOption, app, path_option, print_table


@app.command()
def nets(as_json: AsJson = False) -> None:
    """List the networks that `train` and `count` know by name."""
    from commonweight import nets as catalogue

    entries = catalogue.entries()
    if as_json:
        print(json.dumps([{"name": e.name, "summary": e.summary, "source": e.source} for e in entries]))
    else:
        print_table(["net", "what it is", "source"], [[e.name, e.summary, e.source] for e in entries])


@app.command("data")
def show_data(
    name: Annotated[str | None, typer.Argument(help="A name of this list, or a file or folder of your own.")] = None,
    target: Annotated[str | None, typer.Option(help="Target column of a table; by default the last one.")] = None,
    task: TaskOption = None,
    picture: Annotated[
        Path | None,
        path_option("PNG to draw samples in; by default NAME-samples.png."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, and of generated data.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List the data sets, or show one: its shape, its classes, and a picture of samples."""
    from commonweight import data
    from commonweight.errors import DataError

    if name is None and (target or task or picture):
        raise DataError("--target, --task and --picture are for one data set: say which, as `commonweight data iris`.")
    if name is None:
        entries = data.entries()
        if as_json:
            keys = ("name", "summary", "task", "source", "available", "install")
            print(json.dumps([{key: getattr(e, key) for key in keys} for e in entries]))
        else:
            rows = [[e.name, e.task, e.summary, "yes" if e.available else e.install] for e in entries]
            print_table(["data", "task", "what it is", "installed"], rows)
        return
    loaded = data.load(name, target=target, task=task, seed=seed)
    about = {
        "name": loaded.name,
        "task": loaded.task,
        "samples": len(loaded),
        "in_shape": list(loaded.in_shape),
        "classes": list(loaded.classes),
        "features": list(loaded.features),
        "split": [len(loaded.train), len(loaded.validation), len(loaded.test)],
    }
    if picture is None and not as_json:
        picture = Path(f"{Path(loaded.name).stem}-samples.png")
    if picture is not None:
        data.picture_grid(loaded, picture)
    if as_json:
        print(json.dumps(about, ensure_ascii=False))
        return
    print(loaded)
    if loaded.classes:
        print("classes: " + ", ".join(loaded.classes))
    if loaded.features:
        print("features: " + ", ".join(loaded.features))
    for note in loaded.notes:
        print(note)
    print(f"picture: {picture}")


@app.command()
def claims(
    ids: Annotated[list[str] | None, typer.Argument(help="Such as C1 C7; all of them by default.")] = None,
) -> None:
    """Run the claims of the project as experiments and say which hold (in a checkout of the repository)."""
    from commonweight.claims import run_claims

    if not run_claims(ids or [], say=print):
        raise typer.Exit(1)
