"""The page: what came out on top, the sections below it, and how to repeat the run."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from commonweight.atomic import write_text
from commonweight.census.result import Census
from commonweight.data.dataset import Data
from commonweight.measure.records import Record
from commonweight.measure.report.anatomy import first_kernels, spread, through_the_net
from commonweight.measure.report.ladder import ladder
from commonweight.measure.report.learning import learning
from commonweight.measure.report.markup import Markup, paragraph, section, tag
from commonweight.measure.report.mistakes import mistakes
from commonweight.measure.report.naming import short
from commonweight.measure.report.observe import ask, observing
from commonweight.measure.report.outcome import outcome
from commonweight.measure.report.plane import plane
from commonweight.measure.report.views import views
from commonweight.measure.report.wrong import wrong
from commonweight.numerals import counted, duration, number, percent, times

STYLE = Path(__file__).with_name("style.css")

_ENDED = {
    "epochs": "all epochs were done",
    "goal": "the goal was reached",
    "patience": "the validation part had not got better for long",
    "rule": "the net's own learning rule had come to its end",
}

OPTIONS = (
    "epochs",
    "goal",
    "optimizer",
    "lr",
    "batch_size",
    "precision",
    "device",
    "init",
    "label_smoothing",
    "patience",
)
RESTRAINTS = ("l1", "l2", "max_norm", "noise", "sparsity", "augment", "soft_sharing")
"""Settings that are options of `commonweight train` under the same name; of the second kind, 0 and nothing say no."""


def write_report(
    path: Path,
    *,
    description: Mapping[str, Any],
    records: Sequence[Record],
    census: Census | None,
    model: nn.Module,
    data: Data,
) -> None:
    """Write a run as one HTML file that needs nothing else: no network, no script, light and dark, narrow and wide.

    The net is asked about the test part and about one sample, layer by layer; its mode is restored. The same arguments
    give the same bytes.

    Args:
        path: the file; it is written whole or not at all.
        description: the contents of run.json.
        records: one for each check of the training, in order.
        census: what `commonweight.count` says of the net; None leaves the ladder out.
        model: the trained net: normalised samples to logits or normalised targets.
        data: what it was trained on.

    Raises:
        FileError: the file cannot be written.
    """
    with observing(model):
        sections = _sections(description, records, census, model, data)
    title = f"{short(description['net'] or type(model).__name__)} on {short(data.name)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · commonweight"),
        tag("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    main = tag(
        "main", _opening(title, description, data), _contents(sections), *sections.values(), _repeat(description)
    )
    version = description["versions"].get("commonweight", "")
    foot = tag("footer", f"Written by commonweight {version}. This file is complete: it loads nothing from elsewhere.")
    write_text(path, f"<!doctype html>\n{tag('html', head, tag('body', main, foot), lang='en')}\n")


def _sections(
    description: Mapping[str, Any], records: Sequence[Record], census: Census | None, model: nn.Module, data: Data
) -> dict[str, Markup]:
    """The sections under the words that the contents call them by, in order."""
    answers = ask(model, data)
    through, order = through_the_net(model, answers, data)
    on_plane = data.task == "classification" and data.in_shape == (2,)
    found = {
        "wrong": wrong(description, records),
        "learning": learning(records, data),
        "outcome": outcome(answers, data, description["results"]["test"]),
        "plane": plane(answers, model, data) if on_plane else None,
        "mistakes": mistakes(answers, data),
        "ladder": ladder(census) if census and census.connections else None,
        "kernels": first_kernels(model, order, data),
        "views": views(model, data),
        "through": through,
        "weights": spread(model),
    }
    return {name: part for name, part in found.items() if part is not None}


_CALLED = {
    "wrong": "Diagnosis",
    "learning": "Learning",
    "outcome": "Test",
    "plane": "The plane",
    "mistakes": "Mistakes",
    "ladder": "Shared weights",
    "kernels": "Kernels",
    "views": "What it shows",
    "through": "One sample",
    "weights": "Weights",
    "run": "The run",
}


def _contents(sections: Mapping[str, Markup]) -> Markup:
    links = [tag("a", _CALLED[name], href=f"#{name}") for name in (*sections, "run")]
    return tag("nav", *links, aria_label="Contents")


def _opening(title: str, description: Mapping[str, Any], data: Data) -> Markup:
    """The name of the run, its score in large, and its figures."""
    results = description["results"]
    weights, connections = results["weights"], results["connections"]
    if "accuracy" in results["test"]:
        score, unit = percent(results["test"]["accuracy"]), "of the test samples answered rightly"
    else:
        score, unit = number(results["test"]["rmse"]), "typical error (RMSE) on the test samples"
    kind = {3: "images", 2: "series", 1: "rows"}[len(data.in_shape)]
    others = "did not see" if results["stopped"] == "rule" else "was chosen by"
    lead = (
        f"It learned from {len(data.train):,} {kind}, {others} {len(data.validation):,} others, and is tested here on "
    )
    lead += f"{len(data.test):,} that it never saw. "
    if weights < connections:
        lead += f"Its {connections:,} connections use {counted(weights, 'weight')}: a weight is used "
        lead += f"{times(connections / weights)} on average."
    elif weights == connections:
        lead += f"Each of its {weights:,} weights is used by one connection: nothing is shared."
    else:
        lead += f"Of its {weights:,} weights some have no part in its answers, which take {connections:,} connections."
    facts = [tag("div", tag("dt", name), tag("dd", value)) for name, value in _facts(results)]
    words = tag("div", paragraph("Training report", class_="over"), tag("h1", title), paragraph(lead, class_="lead"))
    large = tag("p", tag("strong", score), tag("span", unit), class_="score")
    return tag("header", tag("div", words, large, class_="top"), tag("dl", *facts, class_="facts"))


def _facts(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "weights", f"{results['weights']:,}"
    yield "connections", f"{results['connections']:,}"
    yield "epochs", number(results["epochs"])
    yield "training time", duration(results["train_seconds"])
    if results["goal_seconds"] is not None:
        yield "goal reached after", duration(results["goal_seconds"])
    for name, value in results["test"].items():
        if name not in ("accuracy", "rmse"):
            yield {"r2": "test R²", "loss": "test loss"}.get(name, f"test {name}"), number(value)


def _repeat(description: Mapping[str, Any]) -> Markup:
    """The command that repeats the run, and everything it depends on."""
    stopped = description["results"]["stopped"]
    threads = description.get("threads")
    how_many = f"{counted(threads, 'thread')} (OMP_NUM_THREADS={threads})" if threads else "number of threads"
    words = [
        paragraph(
            f"The same command, with the same versions and {how_many} on the same kind of machine, gives the same "
            "weights, bit for bit; with other threads, sums are rounded otherwise."
        ),
        paragraph(f"Training ended because {_ENDED.get(stopped, stopped)}.", class_="aside"),
    ]
    versions = {name: str(version) for name, version in description["versions"].items()}
    content = [
        tag(
            "figure",
            tag("h3", "How to repeat it"),
            tag("pre", tag("code", *_unbroken(command(description))), tabindex="0"),
        ),
        _list("Settings", _flat({**description["settings"], "seed": description["seed"]})),
        _list("Data", _flat({k: v for k, v in description["data"].items() if k not in ("classes", "features")})),
        _list("Versions", versions),
    ]
    return section("run", "The run", words, content)


def command(description: Mapping[str, Any]) -> str:
    """The command line that repeats a run, or the call where net or data were not made by name.

    >>> about = {"source": "digits", "target": "", "task": "classification"}
    >>> command({"net": "cnn", "data": about, "settings": {"epochs": 5, "goal": None}, "seed": 0})
    'commonweight train digits --net cnn --epochs 5 --seed 0'
    """
    given, about = description["settings"], description["data"]
    by_rule = description.get("results", {}).get("stopped") == "rule"  # then all that is given are parameters of it
    settings = {key: given[key] for key in OPTIONS if not by_rule and given.get(key) is not None}
    settings |= {key: given[key] for key in RESTRAINTS if not by_rule and given.get(key)}
    settings["seed"] = description["seed"]
    if description["net"] is None or not about["source"]:
        return f"commonweight.fit(model, data, {', '.join(f'{key}={value!r}' for key, value in settings.items())})"
    if about["target"]:  # a table, whose last column and kind of value are only the defaults
        settings = {"target": about["target"], "task": about["task"], **settings}
    words = ["commonweight", "train", about["source"], "--net", description["net"]]
    structure = {k: v for k, v in given.items() if k != "seed"} if by_rule else description.get("structure", {})
    if about.get("prepare", "standard") != "standard":
        words += ["--prepare", about["prepare"]]
    for key, value in structure.items():
        words += ["--structure", f"{key}={json.dumps(value)}"]
    for key, value in settings.items():
        words += [f"--{key.replace('_', '-')}", ",".join(value) if isinstance(value, list | tuple) else str(value)]
    return shlex.join(words)


def _unbroken(line: str) -> Iterator[str]:
    """A command whose lines break only before options."""
    first, *options = line.split(" --")
    yield first
    for option in options:
        yield " "
        yield tag("span", f"--{option}")


def _list(heading: str, items: Mapping[str, str]) -> Markup:
    rows = [tag("div", tag("dt", name), tag("dd", short(value, 200))) for name, value in items.items()]
    return tag("figure", tag("h3", heading), tag("dl", *rows, class_="list"))


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "–"
    return "–" if value in (None, "") else str(value)
