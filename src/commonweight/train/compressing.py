"""A run, compressed: what `commonweight share RUN` does, from a run folder to a smaller one."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from commonweight.atomic import read_text, write_text
from commonweight.compress import Followed, Report, follow, save, share, share_depth
from commonweight.compress.following import TIES, settled
from commonweight.compress.nearest import Per
from commonweight.data.dataset import Data
from commonweight.errors import CompressError, DataError
from commonweight.train.finetune import finetune, importance, score
from commonweight.train.run import RECORDS, SHARED, WEIGHTS, WHITENING, Run, new_folder, write_description
from commonweight.train.start import load_data


def share_run(
    folder: str | Path,
    out: str | Path,
    k: int | None,
    per: Per = "row",
    keep: Sequence[str] = (),
    *,
    depth: int | None = None,
    suggest: bool = False,
    calibrate: str | None = None,
    epochs: int = 0,
    seed: int = 0,
    net: str | None = None,
) -> Report:
    """Compress the net of a run, train its shared values, and write a run folder that `predict` reads as any other.

    Args:
        folder: a run folder.
        out: the new one, which must not hold a run.
        k, per, keep: see `compress.share`.
        depth: first make so many neighbouring layers one, see `compress.share_depth`.
        suggest: first tie what is equal, and hold weights that have few values or a pattern by these, see
            `compress.follow`.
        calibrate: data (a name or a file) on which the importance of each element is measured, which then counts in the
            search for codebooks. It also takes the place of the run's own data in what follows.
        epochs: of training after it, see `finetune`; 0 for none.
        seed: of the order of samples.
        net: file.py:factory, for a run with a net of the user's own.

    Returns:
        What it cost and saved, with scores on the test part before and after where the data are there.

    Raises:
        FileError: no run there, or one in `out`.
        CompressError: settings out of range, a run that is compressed already, or data of another shape.
        DataError: data that are needed and cannot be loaded.
        TrainError: training that cannot be done.
    """
    run = Run.load(folder, net=net)
    if SHARED in run.description:
        raise CompressError(f"{folder} is compressed already: compress the run that it was made from.")
    new_folder(out, "")
    samples = _samples(run, calibrate, needed=bool(calibrate or epochs))
    before = score(run.model, samples) if samples else {}
    weigh = importance(run.model, samples, seed=seed) if samples and calibrate else None
    size = sum(tensor.nbytes for tensor in [*run.model.parameters(), *run.model.buffers()])
    lines: list[Followed] = share_depth(run.model, depth) if depth is not None else []
    found, as_is = follow(run.model) if suggest else ([], {})
    tied = size - sum(tensor.nbytes for tensor in [*run.model.parameters(), *run.model.buffers()])
    report = share(run.model, k, per, keep, weigh, epochs > 0, as_is)
    if samples and epochs:
        finetune(run.model, samples, epochs=epochs, seed=seed)
    after = score(run.model, samples) if samples else {}
    report = replace(report, tied=tied, followed=[*lines, *settled(found, report.lines)], before=before, after=after)
    asked = {"codebook": k, "per": per, "keep": list(keep), "calibrate": calibrate, "epochs": epochs, "seed": seed}
    ties = [one.text for one in report.followed if one.kind in TIES and not one.left]
    results = {**run.results, **({"test": report.after} if samples else {})}
    folder, out = Path(folder), Path(out)
    save(run.model, out / WEIGHTS)
    write_text(out / RECORDS, read_text(folder / RECORDS, limit=1 << 30))
    shared: dict[str, Any] = {**asked, "ties": ties, "layers": [asdict(line) for line in report.lines]}
    if run.whitening is not None:
        run.whitening.save(out / WHITENING)
    write_description(out, {**run.description, "results": results, SHARED: shared})
    return report


def _samples(run: Run, calibrate: str | None, *, needed: bool) -> Data | None:
    """The data of the run, or those given; normalised as the net was trained. None where there are none to be had."""
    about = run.description["data"]
    source = calibrate or about["source"]
    if not source:
        if needed:
            raise CompressError(f"{run.folder} was trained on data made in Python: say which to use by --calibrate.")
        return None
    try:
        loaded = load_data(source, run.description)
    except DataError:
        if needed:
            raise
        return None
    if (list(loaded.in_shape), loaded.n_outputs) != (about["in_shape"], about["n_outputs"]):
        raise CompressError(
            f"The net takes samples of shape {tuple(about['in_shape'])} and gives {about['n_outputs']} outputs; "
            f"{source} has samples of shape {loaded.in_shape} for {loaded.n_outputs}."
        )
    return replace(loaded, normalisation=run.normalisation)
