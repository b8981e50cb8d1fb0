"""A run: a trained network with everything that is known about how it came to be, in memory and as a folder.

run.json                 settings, versions, threads, seed, fingerprint of the data, normalisation, results
records.jsonl            one line for each check (see `commonweight.measure.records`)
weights.safetensors      the weights of the best check, each once, with their ties: a file of commonweight.save, or
                         of commonweight.compress.save in a run that `commonweight share` made
whitening.safetensors    what whitens samples after mean and scale, in a run on whitened data
checkpoint.safetensors   from which `--resume` goes on, bit for bit
report.html              the run for people
"""

import itertools
import json
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import commonweight
from commonweight import nets
from commonweight.atomic import own_tensors, read_text, write_text
from commonweight.census import Census
from commonweight.checkpoints import open_checkpoint
from commonweight.compress import open_shared
from commonweight.data.dataset import Data
from commonweight.data.normalise import Normalisation
from commonweight.data.whiten import WAYS, Whitening
from commonweight.equations import tie
from commonweight.errors import FileError, TieError, TrainError, require_kind
from commonweight.files import ROOM
from commonweight.manifest import find
from commonweight.measure.diagnosis import Evidence, Finding, diagnose
from commonweight.measure.records import Record, read_records

FORMAT = 1
PARTS = ("data", "normalisation", "settings", "results")
DATA_KEYS = ("name", "source", "task", "in_shape", "n_outputs", "classes", "features", "target", "sizes", "fingerprint")
BY_RULE = "rule"  # why training stopped, of a family that learns in one piece by a rule of its own
SHARED = "shared"  # in the description of a run that `commonweight share` made: what was asked for, and what came out
DESCRIPTION, RECORDS, WEIGHTS = "run.json", "records.jsonl", "weights.safetensors"
CHECKPOINT, REPORT, WHITENING = "checkpoint.safetensors", "report.html", "whitening.safetensors"
MOST_COMPRESSED = 64  # bytes of weights for a byte of file: codes of 1 bit are 32
MAX_UNTRAINED = 1 << 26  # stands for the size of a file of weights that is not there yet
LITTLE = 1 << 20


@dataclass
class Run:
    """What `fit` returns and `Run.load` reads.

    Attributes:
        model: the network with the weights of its best check, in evaluation mode.
        description: the contents of run.json.
        records: one for each check, in order.
        folder: where the run is stored; None when it is not.
        census: its weights, connections and uses; None for a run that was loaded.
        whitening: what follows on mean and scale where the data are whitened, else None.
    """

    model: nn.Module
    description: dict[str, Any]
    records: list[Record]
    folder: Path | None
    census: Census | None = None
    whitening: Whitening | None = None

    @property
    def name(self) -> str:
        """The data and the net, such as digits-lenet5."""
        return f"{self.description['data']['name']}-{self.description['net'] or type(self.model).__name__}"

    @property
    def results(self) -> dict[str, Any]:
        """Scores on the test part, times, counts; empty until training has ended."""
        results: dict[str, Any] = self.description["results"]
        return results

    @property
    def normalisation(self) -> Normalisation:
        """The statistics of the training part that inputs and targets are normalised by."""
        return replace(Normalisation.from_json(self.description["normalisation"]), whitening=self.whitening)

    def findings(self) -> list[Finding]:
        """What is wrong with the run: see `findings_of`."""
        return diagnose(self.records, _evidence(self.name, self.description, self.records))

    def outputs(self, x: Tensor) -> Tensor:
        """What the network says about raw samples, shape (N, *in_shape): logits, or values in units of the target."""
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        outputs = self.model(self.normalisation.apply(x).to(device)).float().cpu()
        return self.normalisation.restore_target(outputs)

    @property
    def missed_goal(self) -> str | None:
        """The goal that a finished run had and did not reach."""
        goal: str | None = self.description["settings"].get("goal")
        return None if self.results["stopped"] == "goal" else goal

    def summary(self) -> str:
        """The outcome in a few lines for a person."""
        results, (n_train, n_validation, n_test) = self.results, self.description["data"]["sizes"]
        seconds, stopped = f"{results['train_seconds']:.1f} s", results["stopped"]
        scored = ", ".join(f"{name} {value:.4g}" for name, value in results["test"].items())
        if stopped == BY_RULE:
            lines = [f"{self.name}: learned in {seconds} by a rule of its own"]
            chosen = f"held back {n_validation:,}"
        else:
            why = {"goal": "the goal was reached", "epochs": "all epochs done", "patience": "it got no better"}
            missed = f"; the goal {self.missed_goal} was not reached" if self.missed_goal else ""
            epochs = f"{results['epochs']:.3g} epoch{'s' if results['epochs'] != 1 else ''}"
            lines = [f"{self.name}: {epochs} in {seconds} ({why[stopped]}{missed})"]
            chosen = f"chosen by {n_validation:,}"
        lines += self.description["data"].get("notes", [])
        lines.append(f"trained on {n_train:,} samples, {chosen}, tested once on {n_test:,}: {scored}")
        if self.folder is not None:
            lines.append(f"run: {self.folder}   report: {self.folder / REPORT}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The stable summary that `commonweight train --json` prints."""
        keys = ("epochs", "train_seconds", "goal_seconds", "test", "weights", "connections")
        return {
            "run": None if self.folder is None else str(self.folder),
            "net": self.description["net"],
            "data": self.description["data"]["name"],
            **{key: self.results[key] for key in keys},
            "seed": self.description["seed"],
        }

    @staticmethod
    def load(folder: str | Path, *, net: str | None = None) -> "Run":
        """Read a finished or unfinished run; its network is built anew from its name and filled with its weights.

        The weights of a compressed run stay codebooks, and run by the kernels.

        Args:
            folder: the run folder.
            net: file.py:factory of a net of the user's own, or of one like it where that was not made by name. That
                file is run only because it is named here: the folder may come from a stranger.

        Raises:
            FileError: no run there, a damaged file, or a network that was not made by name and is not named here.
        """
        folder = as_folder(folder)
        description = read_description(folder)
        model = build_net(folder, description, net)
        _tie_as_shared(folder, model, description)
        open_shared(folder / WEIGHTS, model)
        records = read_records(folder / RECORDS)
        return Run(model.eval(), description, records, folder, whitening=_read_whitening(folder, description))


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """What Ctrl-C raises within the block says how the run goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if run.folder is None:
            raise
        raise KeyboardInterrupt(f"the run goes on with `commonweight train --resume {run.folder}`") from None


def _read_whitening(folder: Path, description: dict[str, Any]) -> Whitening | None:
    """What whitens the samples of a run, if anything does; runs from before whitening do not say."""
    about = description["data"]
    if about.get("prepare") not in WAYS:
        return None
    return Whitening.load(folder / WHITENING, tuple(about["in_shape"]))


def _tie_as_shared(folder: Path, model: nn.Module, description: dict[str, Any]) -> None:
    """Tie what `commonweight share` tied.

    Raises:
        FileError: these are no equations for this net.
    """
    try:
        for text in description.get(SHARED, {}).get("ties", []):
            tie(model, text, keep="source")
    except (TieError, AttributeError, TypeError) as error:
        raise FileError(f"{folder / DESCRIPTION} has ties that its net cannot have ({error}).") from error


def build_net(folder: Path, description: dict[str, Any], net: str | None) -> nn.Module:
    """The net that a run began with, with the first weights of its seed; where it had no name, the one named by `net`.

    Raises:
        FileError: it is the user's own and not named by `net`, or is far larger than its weights.
        NetError: a net that cannot be built as described.
        TrainError: `net` names another one.
    """
    began_with = description["net"]
    if began_with is None and net is None:
        raise FileError(
            f"The net of {folder} was not made by name, or was changed by a repair: name one like it, as --net "
            f"file.py:factory."
        )
    if began_with is not None and net not in (None, began_with):
        raise TrainError(f"{folder} was begun with the net {began_with}, not {net}: leave --net out.")
    if net is None and began_with not in nets.names():
        raise FileError(f"{folder} was begun with a net of your own: say --net {began_with} to run that file again.")
    description = {**description, "net": began_with or net}
    if description["net"] in nets.names():
        _refuse_giant(folder, description)
    return _build(description)


def _build(description: dict[str, Any]) -> nn.Module:
    data = description["data"]
    given = {"task": data["task"], "seed": description["seed"], "structure": description.get("structure")}
    return nets.build(description["net"], tuple(data["in_shape"]), data["n_outputs"], **given)


def _refuse_giant(folder: Path, description: dict[str, Any]) -> None:
    """Refuse a net that its file of weights cannot fill, before any memory is taken: the folder may be hostile."""
    trained = (folder / WEIGHTS).is_file()
    stored = (folder / WEIGHTS).stat().st_size if trained else MAX_UNTRAINED
    manifest = find(open_checkpoint(folder / WEIGHTS).metadata) if trained else None
    little = ROOM if manifest and manifest.patterned else LITTLE
    try:
        with torch.device("meta"):
            needed = sum(tensor.nbytes for tensor in own_tensors(_build(description)).values())
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RuntimeError) as error:
        raise FileError(f"{folder / DESCRIPTION} does not describe a net ({error}).") from error
    if needed > MOST_COMPRESSED * stored + little:
        raise FileError(
            f"{folder / DESCRIPTION} describes a net of {needed:,} bytes, far more than the {stored:,} bytes of its "
            f"{WEIGHTS} can fill: one of the two is damaged or from elsewhere."
        )


def describe(
    net: str | None, data: Data, settings: Mapping[str, Any], structure: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The contents of run.json at the start; `structure` is what the net was built with beside its name."""
    about = {
        "name": data.name,
        "source": data.source,
        "task": data.task,
        "in_shape": list(data.in_shape),
        "n_outputs": data.n_outputs,
        "classes": list(data.classes),
        "features": list(data.features),
        "target": data.target,
        "sizes": [len(data.train), len(data.validation), len(data.test)],
        "fingerprint": data.fingerprint(),
        "prepare": data.prepare,
        "notes": list(data.notes),
    }
    versions = {
        "commonweight": commonweight.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    return {
        "format": FORMAT,
        "net": net,
        "structure": dict(structure or {}),
        "seed": settings["seed"],
        "data": about,
        "normalisation": data.normalisation.to_json(),
        "settings": dict(settings),
        "versions": versions,
        "threads": torch.get_num_threads(),
        "results": {},
    }


def as_folder(folder: str | Path) -> Path:
    """Where a run is.

    Raises:
        FileError: no path.
    """
    require_kind(folder, str | PathLike, "A run is given by the path of its folder", FileError)
    return Path(folder)


def new_folder(out: str | Path, name: str) -> Path:
    """The folder for a new run: `out` itself, or for "auto" the first free one of runs/NAME-1, runs/NAME-2, ...

    Raises:
        FileError: `out` is empty, or holds a run already.
    """
    require_kind(out, str | PathLike, "A run is stored in a folder, given by its path", FileError)
    if out == "":
        raise FileError("The run folder has no name: give a path, or . for the current folder.")
    if out == "auto":
        stem = re.sub(r"[^\w.-]+", "-", name).lower()
        numbered = (Path("runs") / f"{stem}-{number}" for number in itertools.count(1))
        return next(folder for folder in numbered if not folder.exists())
    if (Path(out) / DESCRIPTION).exists():
        raise FileError(f"{out} holds a run already: choose another folder, or go on with it by `train --resume`.")
    return Path(out)


def begin_folder(out: str | Path, name: str, description: dict[str, Any], whitening: Whitening | None) -> Path:
    """Make the folder for a new run, as `new_folder` chooses it, with its run.json and what whitens its samples."""
    folder = new_folder(out, name)
    if whitening is not None:
        whitening.save(folder / WHITENING)
    write_description(folder, description)
    return folder


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write run.json."""
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2, ensure_ascii=False) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Read run.json.

    Raises:
        FileError: missing, not JSON, of another format, or without one of its parts.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        beside = [other.parent.name for other in folder.parent.glob(f"*/{DESCRIPTION}")]
        near = [str(folder.parent / name) for name in get_close_matches(folder.name, beside, 2)]
        hint = f"did you mean {' or '.join(near)}?" if near else "start one with `commonweight train`."
        raise FileError(f"There is no run in {folder}: {DESCRIPTION} is missing; {hint}")
    try:
        description = json.loads(read_text(path))
        found = description["format"]
        absent = [part for part in PARTS if not isinstance(description.get(part), dict)]
        absent += [part for part in ("net", "seed") if part not in description]
        if "data" not in absent:
            absent += [f"{part} of its data" for part in DATA_KEYS if part not in description["data"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(f"{path} is not the description of a run ({error}).") from error
    if found != FORMAT:
        raise FileError(f"{path} has format {found!r}; this version reads format {FORMAT}.")
    if absent:
        raise FileError(f"{path} is not the description of a run: it has no {' nor '.join(absent)}.")
    return dict(description)


def findings_of(folder: str | Path) -> list[Finding]:
    """What is wrong with a run, the likeliest cause first: `diagnose` of what `evidence_of` reads.

    Raises:
        FileError, TrainError: see `evidence_of`.
    """
    return diagnose(*evidence_of(folder))


def evidence_of(folder: str | Path) -> tuple[list[Record], Evidence]:
    """What a run is judged by, from its folder alone: neither its net nor its data is read.

    Raises:
        FileError: no run there, or a damaged one.
        TrainError: nothing is stored to judge by.
    """
    folder = as_folder(folder)
    description = read_description(folder)
    records = read_records(folder / RECORDS) if description.get("evidence") else []
    return records, _evidence(str(folder), description, records)


def _evidence(name: str, description: dict[str, Any], records: list[Record]) -> Evidence:
    stored = description.get("evidence")
    if not stored:
        raise TrainError(
            f"{name} stores no evidence to judge by: it is of an earlier version, has not begun yet, or was learned by "
            f"a rule of its own, without steps of a gradient."
        )
    evidence = Evidence.from_json(stored)
    if not records:
        raise TrainError(
            f"{name} holds no check of its training, so that nothing can be judged yet: let it train on, or go on with "
            f"it by `commonweight train --resume`."
        )
    return evidence
