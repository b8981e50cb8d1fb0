"""Train a network, and ask it."""

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commonweight.cli.application import AsJson, TaskOption, app, listed, path_argument, path_option
from commonweight.errors import TrainError

if TYPE_CHECKING:
    from torch import Tensor

    from commonweight.train.run import Run


ONLINE = {"net", "target", "task", "lr", "seed", "out", "structure"}
"""The settings of learning from a stream."""

# The groups of options in `commonweight train --help`.
DATA = "Data"
MOVE = "How weights begin and move"
HOLD = "What holds a net back"
FOLDER = "The run"


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
    descent = "descent"
    lbfgs = "lbfgs"
    newton = "newton"
    lm = "lm"
    lm_bayes = "lm-bayes"
    genetic = "genetic"


class Init(StrEnum):
    """Rules for first weights."""

    auto = "auto"
    uniform = "uniform"
    positive = "positive"
    xavier_uniform = "xavier-uniform"
    xavier_normal = "xavier-normal"
    he = "he"
    lecun = "lecun"
    orthogonal = "orthogonal"
    lsuv = "lsuv"
    autoencoder = "autoencoder"
    genetic = "genetic"
    zero = "zero"
    constant = "constant"


class Preparation(StrEnum):
    """What samples go through before a net."""

    standard = "standard"
    mean = "mean"
    none = "none"
    pca = "pca"
    zca = "zca"


def _names(choices: type[StrEnum]) -> str:
    """What an option may be, for its help."""
    return f"One of {', '.join(choices)}."


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Argument(help="A name of `commonweight data`, or a file or folder of your own.")
    ] = None,
    net: Annotated[str | None, typer.Option(help="A name of `commonweight nets`, or file.py:factory.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Target column of a table; by default the last one.", rich_help_panel=DATA)
    ] = None,
    task: TaskOption = None,
    prepare: Annotated[
        Preparation,
        typer.Option(
            metavar="WAY",
            help=f"What samples go through: mean 0 and deviation 1, only mean 0, or whitening. {_names(Preparation)}",
            rich_help_panel=DATA,
        ),
    ] = Preparation.standard,
    epochs: Annotated[int | None, typer.Option(help="At most so many passes over the training part.")] = None,
    goal: Annotated[str | None, typer.Option(help='Stop when validation reaches it, e.g. "accuracy>=0.99".')] = None,
    optimizer: Annotated[
        Rule, typer.Option(metavar="RULE", help=f"Update rule; auto says why. {_names(Rule)}", rich_help_panel=MOVE)
    ] = Rule.auto,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate.", rich_help_panel=MOVE)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples for each update.", rich_help_panel=MOVE)] = None,
    precision: Annotated[
        Precision, typer.Option(help="Number format of the multiplications.", rich_help_panel=FOLDER)
    ] = Precision.auto,
    device: Annotated[Device, typer.Option(help="Where to compute.", rich_help_panel=FOLDER)] = Device.auto,
    structure: Annotated[
        list[str] | None, typer.Option(help="An argument of the net, such as hidden=[64,64]; may be repeated.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the split, the first weights and the order of samples.", rich_help_panel=FOLDER)
    ] = 0,
    init: Annotated[
        Init,
        typer.Option(
            metavar="RULE",
            help=f"First weights; by default as the net itself begins. {_names(Init)}",
            rich_help_panel=MOVE,
        ),
    ] = Init.auto,
    out: Annotated[
        Path | None,
        path_option("Run folder; by default a new one below runs/.", rich_help_panel=FOLDER),
    ] = None,
    l1: Annotated[
        float | None,
        typer.Option(help="Penalty on the sizes of weights: their sum, so many times.", rich_help_panel=HOLD),
    ] = None,
    l2: Annotated[
        float | None, typer.Option(help="Penalty on the squares of weights: half their sum.", rich_help_panel=HOLD)
    ] = None,
    max_norm: Annotated[
        float | None, typer.Option(help="Largest norm of the connections into a unit.", rich_help_panel=HOLD)
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Deviation of noise added to normalised inputs.", rich_help_panel=HOLD)
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of the weights that end as 0.", rich_help_panel=HOLD)
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="Move images: shift,rotate,flip, or some of these.", rich_help_panel=DATA)
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of a label given to all classes.", rich_help_panel=HOLD)
    ] = None,
    patience: Annotated[
        float | None, typer.Option(help="Stop after so many epochs without a better check.", rich_help_panel=HOLD)
    ] = None,
    soft_sharing: Annotated[
        int | None, typer.Option(help="Values that each weight tensor ends with.", rich_help_panel=HOLD)
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Begin again with what is wrong put right; keep the better run.", rich_help_panel=FOLDER
        ),
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with an interrupted run folder.", rich_help_panel=FOLDER)
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Learn from CSV on standard input, row by row.", rich_help_panel=FOLDER)
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a network and write a run folder with its weights, records and report."""
    from commonweight.train.start import resume_run, start_run
    from commonweight.train.together import joined

    with joined() as team:
        try:
            if stream:
                _refuse_settings(context, "--stream learns row by row", {"stream", *ONLINE})
                run = _learn_stream(net, target, task, lr, seed=seed, out=out, structure=structure)
            elif resume is not None:
                _refuse_settings(context, "--resume goes on with the settings of the run", {"resume", "data", "net"})
                run = resume_run(resume, name=data, net=net)
            elif data is None:
                raise TrainError("Say what to train on, for instance `commonweight train digits`, or `--resume RUN`.")
            else:
                settings: dict[str, Any] = {"epochs": epochs, "goal": goal, "lr": lr, "batch_size": batch_size}
                settings |= {"repair": True} if repair else {}
                settings |= {"optimizer": optimizer.value, "precision": precision.value, "device": device.value}
                held: dict[str, Any] = {"l1": l1, "l2": l2, "max_norm": max_norm, "noise": noise, "sparsity": sparsity}
                held |= {"augment": augment and listed(augment), "label_smoothing": label_smoothing}
                held |= {"patience": patience, "soft_sharing": soft_sharing}
                settings |= {name: value for name, value in held.items() if value is not None}
                settings |= {"init": init.value, "out": "auto" if out is None else out, "prepare": prepare.value}
                settings |= {"structure": _structure(structure or []), "seed": seed}
                run = start_run(data, net=net, target=target, task=task, **settings)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(str(interrupt) or "no run was begun") from None
    if not team.leads:
        return
    if as_json:
        print(json.dumps(run.to_json()))
    else:
        print(f"\n{run.census}\n\n{run.summary()}")
    if run.missed_goal:
        raise TrainError(
            f"The goal {run.missed_goal} was not reached; the run is kept: train longer with --epochs, or aim lower."
        )


def _structure(given: list[str]) -> dict[str, Any]:
    """Read `hidden=[64,64]` and `activation=tanh`: values are JSON, or else words."""
    structure = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise TrainError(f"--structure is written NAME=VALUE, such as hidden=[64,64]; got {text!r}.")
        try:
            structure[name] = json.loads(value)
        except ValueError:
            if value[:1] in ("[", "{"):
                raise TrainError(f"--structure {text} has brackets that are no JSON: write hidden=[64,64].") from None
            structure[name] = value
    return structure


def _learn_stream(
    net: str | None,
    target: str | None,
    task: str | None,
    lr: float | None,
    *,
    seed: int,
    out: Path | None,
    structure: list[str] | None,
) -> "Run":
    """Learn from standard input, and show on standard error how it goes."""
    from commonweight.train.stream import learn_stream

    return learn_stream(
        sys.stdin,
        net=net,
        target=target,
        task=task,
        lr=lr,
        seed=seed,
        out="auto" if out is None else out,
        structure=_structure(structure or []),
        say=lambda text: print(text, file=sys.stderr),
    )


def _refuse_settings(context: typer.Context, why: str, taken: set[str]) -> None:
    """Refuse what was given beside the options that are taken."""
    kept = {"as_json", *taken}
    sources = {name: context.get_parameter_source(name) for name in context.params if name not in kept}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        others = ", ".join("the data" if name == "data" else f"--{name.replace('_', '-')}" for name in given)
        raise TrainError(f"{why}: leave {others} out.")


@app.command()
def predict(
    run: Annotated[Path, path_argument("A run folder.")],
    files: Annotated[list[Path], path_argument("Images, folders of them, or tables of samples.")],
    net: Annotated[str | None, typer.Option(help="file.py:factory, for a run with a net of your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what the network of a run makes of images or of the rows of a table."""
    import torch

    from commonweight.data import read_inputs
    from commonweight.train.run import Run

    loaded = Run.load(run, net=net)
    about = loaded.description["data"]
    names, inputs = read_inputs(
        files,
        like=tuple(about["in_shape"]),
        features=tuple(about["features"]),
        target=about["target"] or None,
        missing=loaded.normalisation.mean,
    )
    with torch.no_grad():
        answers = _answers(loaded, inputs)
    for name, answer in zip(names, answers, strict=True):
        if as_json:
            print(json.dumps({"input": name, **answer}))
        else:
            print(f"{name}: {_written(answer['label'])}{_sure(answer)}")


def _written(answer: str | float | list[float]) -> str:
    """A label, or values to six digits, as many as float32 is good for."""
    if isinstance(answer, list):
        return ", ".join(map(_written, answer))
    return f"{answer:.6g}" if isinstance(answer, float) else answer


def _sure(answer: dict[str, Any]) -> str:
    """How sure the net is of its answer: a probability, a score, or nothing of values."""
    if "score" in answer:
        return f"  score {answer['score'] + 0:.4g}"  # -0 is 0
    return "" if answer["probability"] is None else f"  {answer['probability']:.1%}"


def _answers(run: "Run", inputs: "Tensor") -> Iterable[dict[str, Any]]:
    """For each input the label with its probability, or the value (a list where there are several) with none.

    Of a net that only scores classes, the score of the label stands beside it, and no probability.
    """
    outputs, classes = run.outputs(inputs), run.description["data"]["classes"]
    if classes:
        scores_only = getattr(run.model, "scores_only", False)
        best, index = (outputs if scores_only else outputs.softmax(1)).max(1)
        for chosen, sure in zip(index.tolist(), best.tolist(), strict=True):
            told = {"probability": None, "score": sure} if scores_only else {"probability": sure}
            yield {"label": classes[chosen], **told}
    else:
        for values in outputs.tolist():
            yield {"label": values[0] if len(values) == 1 else values, "probability": None}
