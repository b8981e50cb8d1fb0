"""What the view Run shows of a run folder: its facts, findings, curves and layers, as plain values and arrays."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import CommonweightError, FileError, TrainError
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.folder_files import way_out
from commonweight.measure.diagnosis import Finding
from commonweight.measure.diagnosis.words import LANGUAGES, advised, found
from commonweight.measure.records import QUANTILES, Record, read_records
from commonweight.train.run import DESCRIPTION, RECORDS, findings_of, read_description

MOST_RUNS, MOST_CHECKS, MOST_LAYERS = 200, 256, 64
FIELDS = ("weight_std", "weight_max", "gradient_norm", "update_ratio", "zero_fraction", "saturated_fraction")
QUIET_SECONDS = 60.0
"""A run without results that was not written to for so long was interrupted."""

KEPT = ("optimizer", "lr", "batch_size", "epochs", "seed", "init", "l2", "l1", "label_smoothing", "patience")


@dataclass(frozen=True, eq=False)
class Shown:
    """A run as it stands.

    Attributes:
        name: of its folder.
        goes_on: whether it has no results yet and was written to a moment ago.
        told: everything in plain values.
        findings: what is wrong with it.
        curves: (checks, 8): step, epoch, loss, validation loss, metric, validation metric, rate, seconds.
        layers: (checks, layers, 6), the numbers in `FIELDS`.
        quantiles: (checks, layers, 5), of the weights.
    """

    name: str
    goes_on: bool
    told: dict[str, Any]
    findings: list[Finding]
    curves: NDArray[np.float32]
    layers: NDArray[np.float32]
    quantiles: NDArray[np.float32]


def require_name(folder: Path, name: str) -> str:
    """The name of a run folder that is there.

    Raises:
        LabError: it is not in the folder, no run, or a link in it leads out.
    """
    place = folder / name
    if Path(name).name != name or name == ".." or place.is_symlink() or not (place / DESCRIPTION).is_file():
        raise RefusalError("no_run", name=quoted(name, 80))
    if (link := way_out(place, folder)) is not None:
        raise RefusalError("link_leads_out", name=name, link=quoted(link, 100))
    return name


def runs_in(folder: Path) -> list[dict[str, Any]]:
    """Names and outcomes of the runs of a folder, the newest first; links that lead out of it are not followed."""
    if not folder.is_dir():
        return []
    places = [path for path in folder.glob(f"*/{DESCRIPTION}") if not path.parent.is_symlink()]
    places.sort(key=_written, reverse=True)
    kept = [path.parent for path in places[:MOST_RUNS] if way_out(path.parent, folder) is None]
    return [told for place in kept if (told := _outcome(place)) is not None]


def _written(path: Path) -> float:
    """When a file was written last; at the beginning of time where it went a moment ago."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _outcome(folder: Path) -> dict[str, Any] | None:
    """A line of the list; None for a folder that is no run of this version."""
    try:
        description = read_description(folder)
        results = description["results"]
        return {
            "name": folder.name,
            "net": str(description["net"]),
            "data": str(description["data"]["name"]),
            "finished": bool(results),
            "test": results.get("test", {}),
        }
    except (CommonweightError, KeyError, AttributeError, TypeError):
        return None


def shown(folder: Path) -> Shown:
    """Read a run folder.

    Raises:
        LabError: it is damaged.
    """
    try:
        return _shown(folder)
    except (FileError, KeyError, TypeError, AttributeError, ValueError) as error:  # not what a run writes
        raise RefusalError("damaged_run", name=folder.name) from error


def _shown(folder: Path) -> Shown:
    description = read_description(folder)
    everything = _filled(read_records(folder / RECORDS)) if (folder / RECORDS).is_file() else []
    records = everything[:: max(1, -(-len(everything) // MOST_CHECKS))] if everything else []
    if everything and records[-1] is not everything[-1]:
        records.append(everything[-1])
    try:
        findings, judged = findings_of(folder), True
    except TrainError:  # nothing to judge by yet, or a rule without steps
        findings, judged = [], False
    settings = description["settings"]
    curves, layers, quantiles = _arrays(records)
    told = {
        "name": folder.name,
        "net": description["net"],
        "data": description["data"]["name"],
        "task": description["data"]["task"],
        "settings": {key: settings[key] for key in KEPT if settings.get(key) or (key == "seed" and key in settings)},
        "results": {key: value for key, value in description["results"].items() if key != "findings"},
        "repaired": description.get("repaired", []),
        "findings": [_told(finding) for finding in findings],
        "judged": judged,
        "layers": [layer.name for layer in records[-1].layers[: layers.shape[1]]] if records else [],
        "n_layers": len(records[-1].layers) if records else 0,
        "fields": list(FIELDS),
        "quantiles": list(QUANTILES),
    }
    written = max(_written(folder / DESCRIPTION), _written(folder / RECORDS))
    goes_on = not description["results"] and time.time() - written < QUIET_SECONDS
    told["state"] = "finished" if description["results"] else "goes on" if goes_on else "interrupted"
    return Shown(folder.name, goes_on, told, findings, curves, layers, quantiles)


def _told(finding: Finding) -> dict[str, Any]:
    """A finding with its words in every language of the page."""
    return {
        "code": finding.code,
        "layer": finding.layer,
        "advice": finding.advice.code,
        "found": {language: found(finding, language) for language in LANGUAGES},
        "advised": {language: advised(finding, language) for language in LANGUAGES},
    }


def _filled(records: list[Record]) -> list[Record]:
    """The records, those of checks without statistics with the last ones before."""
    filled: list[Record] = []
    for record in records:
        filled.append(record if record.layers or not filled else replace(record, layers=filled[-1].layers))
    return filled


def _arrays(records: list[Record]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Curves, statistics and quantiles of the records, of the layers that all of them have."""
    checks = len(records)
    count = min(min((len(r.layers) for r in records), default=0), MOST_LAYERS)
    curves = [
        [r.step, r.epoch, r.loss, r.validation_loss, r.metric, r.validation_metric, r.rate, r.seconds] for r in records
    ]
    layers = [[[getattr(layer, key) for key in FIELDS] for layer in r.layers[:count]] for r in records]
    unknown = (float("nan"),) * len(QUANTILES)
    spread = [[layer.weight_quantiles or unknown for layer in r.layers[:count]] for r in records]
    return (
        np.array(curves, dtype=np.float32).reshape(checks, 8),
        np.array(layers, dtype=np.float32).reshape(checks, count, len(FIELDS)),
        np.array(spread, dtype=np.float32).reshape(checks, count, len(QUANTILES)),
    )
