"""Look at a trained net: its weights, what its units answer to, and the loss around it."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commonweight.cli.application import app, listed, path_argument, path_option, print_table
from commonweight.errors import TrainError

if TYPE_CHECKING:
    from commonweight.data.dataset import Data
    from commonweight.train.run import Run

RunArgument = Annotated[Path, path_argument("A run folder.")]
OutOption = Annotated[
    Path | None,
    path_option("Folder for what is written; by default that of the run."),
]
DataOption = Annotated[str | None, typer.Option(help="Where the data of the run is now, if it has moved.")]
NetOption = Annotated[str | None, typer.Option(help="file.py:factory, for a run with a net of your own.")]


class Values(StrEnum):
    """Formats that weights are written in."""

    csv = "csv"
    npz = "npz"
    json = "json"


def _opened(folder: Path, source: str | None, net: str | None) -> "tuple[Run, Data]":
    """The run, and the data that it was trained on.

    Raises:
        TrainError: other data, or data that was made in Python.
    """
    from commonweight.train.run import Run
    from commonweight.train.start import load_data

    run = Run.load(folder, net=net)
    about = run.description["data"]
    if not (source or about["source"]):
        raise TrainError(f"{folder} was begun with data made in Python: look at it there, by commonweight.measure.")
    data = load_data(source or about["source"], run.description)
    if data.fingerprint() != about["fingerprint"]:
        raise TrainError(f"{source or about['source']} is not the data that {folder} was begun with.")
    return run, data


@app.command()
def weights(
    run: RunArgument,
    values: Annotated[Values, typer.Option(help="Format of the file of all weights.")] = Values.npz,
    out: OutOption = None,
    data: DataOption = None,
    net: NetOption = None,
) -> None:
    """Write a run's weights out, draw how they are spread, and say how few directions they need."""
    from commonweight.measure.components import cost_of_dropping, spectra
    from commonweight.measure.figures.weights import draw_components, draw_distributions
    from commonweight.measure.weights import write_values

    loaded, samples = _opened(run, data, net)
    folder = out or run
    paths = [folder / f"values.{values.value}", folder / "weights.png", folder / "components.png"]
    write_values(loaded.model, paths[0])
    draw_distributions(loaded.model, loaded.records, paths[1], f"Weights of {loaded.name}")
    found, kept = spectra(loaded.model), list(cost_of_dropping(loaded.model, samples))
    score = "accuracy" if samples.task == "classification" else "R²"
    draw_components(found, kept, paths[2], f"Components of the weights of {loaded.name}", score)
    whole = kept[-1].score
    rows = []
    for one in found:
        own = [k for k in kept if k.layer == one.name]
        enough = next((k for k in own if k.score >= whole - 0.01), own[-1])
        shares = [f"{one.components_for(share)}" for share in (0.5, 0.9, 0.99)]
        size = f"{one.shape[0]} x {one.shape[1]}"
        rows.append(
            [
                one.name.removesuffix(".weight"),
                size,
                f"{one.stable_rank:.1f}",
                *shares,
                f"{enough.components} ({enough.variance:.0%})",
            ]
        )
    heads = ["weights", "matrix", "stable rank", "for 50 %", "90 %", "99 % of variance", f"enough for {score}"]
    print_table(heads, rows)
    print(f"Enough: alone kept, they leave the test {score} of {whole:.4g} within 0.01, with all other layers whole.")
    together = [f"{k.variance:.0%}: {k.score:.4g}" for k in kept if not k.layer]
    print(f"All layers cut to the same share of their variance: {', '.join(together)}")
    print("\n".join(f"written: {path}" for path in paths))


@app.command()
def features(
    run: RunArgument,
    sample: Annotated[int, typer.Option(help="Sample of the test part whose feature maps are drawn.", min=0)] = 0,
    out: OutOption = None,
    data: DataOption = None,
    net: NetOption = None,
) -> None:
    """Draw filters, feature maps, what units answer to, and how the net divides and bends space."""
    from commonweight.measure import selectivity
    from commonweight.measure.features import layers, strongest
    from commonweight.measure.figures.features import draw_filters, draw_maps, draw_units
    from commonweight.measure.figures.space import draw_space
    from commonweight.measure.space import bent, readable

    loaded, samples = _opened(run, data, net)
    if sample >= len(samples.test):
        raise TrainError(f"The test part has {len(samples.test):,} samples; there is no sample {sample}.")
    model, folder = loaded.model, out or run
    names = layers(model, samples)
    answered = {layer: strongest(model, samples, layer) for layer in names}
    bends = [bent(model, samples, layer) for layer in names[1:]]
    paths = {name: folder / f"{name}.png" for name in ("filters", "maps", "units", "space")}
    if not draw_filters(model, samples, paths["filters"], f"Filters of {loaded.name}"):
        del paths["filters"]
    draw_maps(model, samples, int(samples.test[sample]), paths["maps"], f"What the layers of {loaded.name} put out")
    draw_units(model, samples, answered, paths["units"], f"What units of {loaded.name} answer to")
    draw_space(model, samples, bends, paths["space"], f"How {loaded.name} divides and bends space")
    rows = []
    for layer, found in answered.items():
        window = "x".join(
            str(max(one.stop - one.start for one in axis)) for axis in zip(*found[0].windows, strict=True)
        )
        edges = (
            f"{float(selectivity.orientation(model, layer, samples.in_shape).mean()):.2f}" if samples.is_image else ""
        )
        is_named = samples.task == "classification"
        classes = f"{float(selectivity.class_selectivity(model, samples, layer).mean()):.2f}" if is_named else ""
        rows.append([layer, str(len(found)), window or "all", edges, classes])
    print_table(["layer", "units", "sees", "chooses a direction", "chooses a class"], rows)
    print("Choosing: 0 is no choice, 1 answers only one direction of an edge, or only one class.")
    readings = [f"inputs {readable(samples):.3f}"]
    readings += [f"before {one.layer} {one.linear:.3f}" for one in bends]
    print(f"A linear model reads the target from: {', '.join(readings)}")
    print("\n".join(f"written: {path}" for path in paths.values()))


@app.command()
def surface(
    run: RunArgument,
    paths: Annotated[
        str, typer.Option(help="Update rules, by commas, that train the net again from its start to draw their paths.")
    ] = "",
    side: Annotated[int, typer.Option(help="Points along each side of the grid.", min=3, max=201)] = 31,
    samples: Annotated[int, typer.Option(help="Training samples whose mean loss is the height.", min=1)] = 200,
    out: OutOption = None,
    data: DataOption = None,
    net: NetOption = None,
) -> None:
    """Draw the loss around a run's weights, and the paths of several update rules on it."""
    from commonweight.measure.figures.surface import draw_surfaces
    from commonweight.train.paths import surface_of_paths, surface_of_run

    loaded, known = _opened(run, data, net)
    found = [surface_of_run(loaded, known, side, samples)]
    rules = listed(paths)
    if rules:
        found.append(surface_of_paths(loaded, known, rules, side, samples, net=net))
    path = (out or run) / "surface.png"
    draw_surfaces(found, path, f"The training loss of {loaded.name}")
    for one in found:
        heights = one.surface.loss
        print(f"{one.heading}: loss {float(heights.min()):.4g} to {float(heights.max()):.4g}; {one.axes}")
    print(f"written: {path}")
