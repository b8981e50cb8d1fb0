"""Count, audit and compress shared weights."""

import json
from math import prod
from pathlib import Path
from typing import Annotated, Any

import typer

from commonweight.cli.application import AsJson, app, listed, path_argument, path_option
from commonweight.errors import CompressError, NetError

MAX_INPUTS = 2**22
"""So many numbers make up a sample at most: an image of 3 x 1024 x 1024 is one of 3 million."""


@app.command()
def count(
    net: Annotated[str, typer.Argument(help="A name of `commonweight nets`, or file.py:factory.")],
    shape: Annotated[
        str | None, typer.Option(help="Shape of one input, such as 3x32x32; by default the net's own.")
    ] = None,
    outputs: Annotated[int, typer.Option(help="Number of classes or values.", min=1, max=100_000)] = 10,
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
    words = text.lower().split("x")
    sizes = tuple(int(word) for word in words if word.isdecimal() and len(word) < 9)
    if len(sizes) < len(words) or not 0 < prod(sizes) <= MAX_INPUTS:
        raise NetError(
            f"A shape is whole numbers joined by x, such as 3x32x32, of {MAX_INPUTS:,} inputs at most; got {text!r}."
        )
    return sizes


@app.command()
def audit(
    path: Annotated[Path, path_argument("A checkpoint: .safetensors, .pt, .pth, .onnx, an index, a folder, or a run.")],
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

    if (path / "run.json").is_file():
        path /= "weights.safetensors"
    found = audited(path, against, before=before, suggest=suggest, headers_only=headers_only)
    print(json.dumps(found.to_json()) if as_json else found)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def share(
    path: Annotated[Path, path_argument("A run folder, or a state dict: .safetensors, .pt, .pth.")],
    codebook: Annotated[
        int | None,
        typer.Option(help="Values in a codebook: 16 are 4 bits for a weight. 16 by default, none if only tied."),
    ] = None,
    per: Annotated[str, typer.Option(help="Who has a codebook: row, tensor, or a number of rows.")] = "row",
    depth: Annotated[
        str | None, typer.Option(help="Make neighbouring layers one, such as every=2; train them by --finetune.")
    ] = None,
    suggest: Annotated[bool, typer.Option("--suggest", help="Follow what `audit --suggest` finds exactly.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(help="Data by which elements are weighed, instead of the run's own for the rest too.")
    ] = None,
    finetune: Annotated[int, typer.Option(help="Epochs of training the shared values afterwards.", min=0)] = 0,
    keep: Annotated[str, typer.Option(help="Layers to leave alone, by commas: first, last, or names.")] = "",
    out: Annotated[
        Path | None,
        path_option("Run folder or file to write; by default the name with -shared behind it."),
    ] = None,
    net: Annotated[str | None, typer.Option(help="file.py:factory, for a run with a net of your own.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compress a trained network: its weights become a few shared values, with packed codes that say which."""
    from commonweight.compress import share_file
    from commonweight.train.compressing import share_run

    kept = listed(keep)
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
        if target.is_file() and (target.suffix != ".safetensors" or target.samefile(path)):
            raise CompressError(f"{target} is to be a new file of safetensors: say --out NAME.safetensors.")
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
