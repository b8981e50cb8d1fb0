"""The command line: parse, call, print. Torch is imported only by the commands that need it."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commonweight.errors import CommonweightError, CompressError, TrainError

if TYPE_CHECKING:
    from torch import Tensor

    from commonweight.train.run import Run

app = typer.Typer(
    help="Neural networks with shared weights: which connections use the same weight, made visible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
TaskOption = Annotated[str | None, typer.Option("--task", help="classification or regression, where both can be.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


class Precision(StrEnum):
    """Number format of the multiplications in a net."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Device(StrEnum):
    """Where a net is trained."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Rule(StrEnum):
    """Rules by which weights are updated."""

    auto = "auto"
    muon = "muon"
    sgd = "sgd"
    momentum = "momentum"
    nesterov = "nesterov"
    rmsprop = "rmsprop"
    adam = "adam"
    adamw = "adamw"


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Argument(help="A name of `commonweight data`, or a file or folder of your own.")
    ] = None,
    net: Annotated[str | None, typer.Option(help="A name of `commonweight nets`, or file.py:factory.")] = None,
    target: Annotated[str | None, typer.Option(help="Target column of a table; by default the last one.")] = None,
    task: TaskOption = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many passes over the training part.")] = None,
    goal: Annotated[str | None, typer.Option(help='Stop when validation reaches it, e.g. "accuracy>=0.99".')] = None,
    optimizer: Annotated[Rule, typer.Option(help="Update rule.")] = Rule.auto,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples for each update.")] = None,
    precision: Annotated[Precision, typer.Option(help="Number format of the multiplications.")] = Precision.auto,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    seed: Annotated[int, typer.Option(help="Seed of the split, the first weights and the order of samples.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Run folder; by default a new one below runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with an interrupted run folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a network and write a run folder with its weights, records and report."""
    from commonweight.train.start import resume_run, start_run
    from commonweight.train.together import joined

    with joined() as team:
        try:
            if resume is not None:
                _refuse_settings(context)
                run = resume_run(resume, name=data, net=net)
            elif data is None:
                raise TrainError("Say what to train on, for instance `commonweight train digits`, or `--resume RUN`.")
            else:
                settings: dict[str, Any] = {"epochs": epochs, "goal": goal, "lr": lr, "batch_size": batch_size}
                settings |= {"optimizer": optimizer.value, "precision": precision.value, "device": device.value}
                folder = "auto" if out is None else out
                run = start_run(data, net=net, target=target, task=task, out=folder, seed=seed, **settings)
        except KeyboardInterrupt:
            raise TrainError("Interrupted; the run goes on with `commonweight train --resume RUN`.") from None
    if not team.leads:
        return
    if as_json:
        print(json.dumps(run.to_json()))
    else:
        print(f"\n{run.census}\n\n{run.summary()}")


def _refuse_settings(context: typer.Context) -> None:
    """Refuse what `--resume` takes from the run."""
    kept = {"data", "net", "resume", "as_json"}
    sources = {name: context.get_parameter_source(name) for name in context.params if name not in kept}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        others = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise TrainError(f"--resume goes on with the settings of the run: leave {others} out.")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    files: Annotated[list[Path], typer.Argument(help="Image files, or CSV files with a row for each sample.")],
    net: Annotated[str | None, typer.Option(help="file.py:factory, for a run with a net of your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what the network of a run makes of images or of the rows of a CSV file."""
    import torch

    from commonweight.data import read_inputs
    from commonweight.train.run import Run

    loaded = Run.load(run, net=net)
    about = loaded.description["data"]
    names, inputs = read_inputs(
        files, like=tuple(about["in_shape"]), features=tuple(about["features"]), target=about["target"] or None
    )
    with torch.no_grad():
        answers = _answers(loaded, inputs)
    for name, answer in zip(names, answers, strict=True):
        if as_json:
            print(json.dumps({"input": name, **answer}))
        else:
            sure = f"  {answer['probability']:.1%}" if answer["probability"] is not None else ""
            print(f"{name}: {answer['label']}{sure}")


def _answers(run: "Run", inputs: "Tensor") -> Iterable[dict[str, Any]]:
    """For each input the label with its probability, or the value (a list where there are several) with none."""
    outputs, classes = run.outputs(inputs), run.description["data"]["classes"]
    if classes:
        probability, index = outputs.softmax(1).max(1)
        for chosen, sure in zip(index.tolist(), probability.tolist(), strict=True):
            yield {"label": classes[chosen], "probability": sure}
    else:
        for values in outputs.tolist():
            yield {"label": values[0] if len(values) == 1 else values, "probability": None}


@app.command()
def count(
    net: Annotated[str, typer.Argument(help="A name of `commonweight nets`, or file.py:factory.")],
    shape: Annotated[
        str | None, typer.Option(help="Shape of one input, such as 3x32x32; by default the net's own.")
    ] = None,
    outputs: Annotated[int, typer.Option(help="Number of classes or values.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Count a network's weights and the connections that use them, layer by layer."""
    import torch

    from commonweight import nets
    from commonweight.census import count as census

    in_shape = nets.natural_shape(net) if shape is None else _shape(shape)
    counted = census(nets.build(net, in_shape, outputs), torch.zeros(1, *in_shape))
    print(json.dumps(counted.to_json()) if as_json else counted)


def _shape(text: str) -> tuple[int, ...]:
    """Read `3x32x32`."""
    sizes = text.lower().split("x")
    if not all(size.isdecimal() and 0 < int(size) <= 10_000 for size in sizes):
        raise typer.BadParameter(f"A shape is whole numbers joined by x, such as 3x32x32; got {text!r}.")
    return tuple(map(int, sizes))


@app.command()
def audit(
    path: Annotated[Path, typer.Argument(help="A checkpoint: .safetensors, .pt, .pth, .onnx, an index, or a folder.")],
    against: Annotated[Path | None, typer.Option(help="A checkpoint that it should equal.")] = None,
    before: Annotated[
        Path | None, typer.Option(help="The checkpoint it was trained or merged from: say what did not move.")
    ] = None,
    suggest: Annotated[bool, typer.Option("--suggest", help="Also say what else could be tied.")] = False,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Read no values: an answer at once, for a file of any size.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say which tensors of a checkpoint are one weight, which should be, and what is wrong: exit code 1 if anything."""
    from commonweight.verdicts import audit as audited

    found = audited(path, against, before=before, suggest=suggest, headers_only=headers_only)
    print(json.dumps(found.to_json()) if as_json else found)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def share(
    path: Annotated[Path, typer.Argument(help="A run folder, or a state dict: .safetensors, .pt, .pth.")],
    codebook: Annotated[
        int | None,
        typer.Option(help="Values in a codebook: 16 are 4 bits for a weight. 16 by default, none if only tied."),
    ] = None,
    per: Annotated[str, typer.Option(help="Who has a codebook: row, tensor, or a number of rows.")] = "row",
    depth: Annotated[
        str | None, typer.Option(help="Make neighbouring layers one, such as every=2; train them by --finetune.")
    ] = None,
    suggest: Annotated[bool, typer.Option("--suggest", help="Tie what `audit --suggest` finds to be equal.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(help="Data by which elements are weighed, instead of the run's own for the rest too.")
    ] = None,
    finetune: Annotated[int, typer.Option(help="Epochs of training the shared values afterwards.", min=0)] = 0,
    keep: Annotated[str, typer.Option(help="Layers to leave alone, by commas: first, last, or names.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Run folder or file to write; by default the name with -shared behind it.")
    ] = None,
    net: Annotated[str | None, typer.Option(help="file.py:factory, for a run with a net of your own.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compress a trained network: its weights become a few shared values, with packed codes that say which."""
    from commonweight.compress import share_file
    from commonweight.train.compressing import share_run

    kept = [word.strip() for word in keep.split(",") if word.strip()]
    rows: Any = int(per) if per.isdecimal() else per
    k = codebook if codebook is not None or depth or suggest else 16
    if (path / "run.json").is_file():
        target = out or path.with_name(f"{path.name}-shared")
        given: dict[str, Any] = {"calibrate": calibrate, "epochs": finetune, "seed": seed, "net": net}
        given |= {"depth": _neighbours(depth), "suggest": suggest}
        report = share_run(path, target, k, rows, kept, **given)
    elif calibrate or finetune or net or depth:
        raise CompressError(f"{path} is no run folder; a file of tensors has no net to calibrate or to train.")
    else:
        target = out or path.with_name(f"{path.stem}-shared.safetensors")
        report = share_file(path, target, k, rows, kept, suggest=suggest)
    if as_json:
        print(json.dumps({"out": str(target), **report.to_json()}))
    else:
        print(f"{report}\nwritten: {target}")


def _neighbours(depth: str | None) -> int | None:
    """Read `every=2`."""
    if depth is None:
        return None
    word, _, number = depth.partition("=")
    if word != "every" or not number.isdecimal():
        raise CompressError(f"--depth says how many neighbouring layers become one, such as every=2; got {depth!r}.")
    return int(number)


@app.command()
def nets(as_json: AsJson = False) -> None:
    """List the networks that `train` and `count` know by name."""
    from commonweight import nets as catalogue

    entries = catalogue.entries()
    if as_json:
        print(json.dumps([{"name": e.name, "summary": e.summary, "source": e.source} for e in entries]))
    else:
        _print_table(["net", "what it is", "source"], [[e.name, e.summary, e.source] for e in entries])


@app.command("data")
def show_data(
    name: Annotated[str | None, typer.Argument(help="A name of this list, or a file or folder of your own.")] = None,
    target: Annotated[str | None, typer.Option(help="Target column of a table; by default the last one.")] = None,
    task: TaskOption = None,
    picture: Annotated[Path | None, typer.Option(help="Where to draw samples; by default NAME.png.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, and of generated data.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List the data sets, or show one: its shape, its classes, and a picture of samples."""
    from commonweight import data

    if name is None:
        entries = data.entries()
        if as_json:
            keys = ("name", "summary", "task", "source", "available", "install")
            print(json.dumps([{key: getattr(e, key) for key in keys} for e in entries]))
        else:
            rows = [[e.name, e.task, e.summary, "yes" if e.available else e.install] for e in entries]
            _print_table(["data", "task", "what it is", "installed"], rows)
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
    if as_json:
        print(json.dumps(about, ensure_ascii=False))
        return
    path = picture or Path(f"{Path(loaded.name).stem}.png")
    data.picture_grid(loaded, path)
    print(loaded)
    if loaded.classes:
        print("classes: " + ", ".join(loaded.classes))
    if loaded.features:
        print("features: " + ", ".join(loaded.features))
    print(f"picture: {path}")


@app.command()
def claims(
    ids: Annotated[list[str] | None, typer.Argument(help="Such as C1 C7; all of them by default.")] = None,
) -> None:
    """Run the claims of the project as experiments and say which hold (in a checkout of the repository)."""
    from commonweight.claims import run_claims

    if not run_claims(ids or [], say=print):
        raise typer.Exit(1)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """Run a command; an expected error is one sentence on standard error and exit code 2."""
    # How long threads of GNU OpenMP look for work before they sleep. With other programs on the cores, the default lets
    # each small product wait for a thread that has none: 5 to 10 times the time. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app()
    except CommonweightError as error:
        print(f"commonweight: {error}", file=sys.stderr)
        sys.exit(2)
