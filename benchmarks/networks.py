"""Every family of networks on real data over five seeds, beside a named peer: writes docs/networks.md.

`python benchmarks/networks.py` measures every row, `python benchmarks/networks.py som rbf` those of some files of
benchmarks/families; the other rows stay as benchmarks/results/networks.json has them. Each training is kept as soon as
it is done, in networks.unfinished.json beside that file: interrupted, the same command goes on where it was, and a run
that comes to its end takes its rows out of there.

Ours and the peer run in turns, with the same seeds and so on the same splits. A family is below its peer beyond noise
when the mean difference over the seeds is worse by more than two of its standard errors.
"""

import importlib
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from families.case import Case, Score
from machine import setting

from commonweight.atomic import write_text

SEEDS = range(5)
FOLDER = Path(__file__).parent
STORE = FOLDER / "results" / "networks.json"
UNFINISHED = FOLDER / "results" / "networks.unfinished.json"
PAGE = FOLDER.parent / "docs" / "networks.md"
LESS_IS_BETTER = ("rmse",)
NOTHING = "–"

Rows = dict[str, dict[str, Any]]
"""What is known of each row: what the case says, the scores of ours and of the peer for each seed, and where."""


def key_of(case: Case) -> str:
    return f"{case.family} {case.data} {case.metric}"


def train_both(case: Case, seed: int) -> list[dict[str, Any]]:
    """The scores of ours and of the peer, trained with a seed."""
    torch.manual_seed(seed)
    ours, theirs = case.ours(seed), case.theirs(seed)
    print(f"  seed {seed}: {case.metric} {ours.test:.4f}, of the peer {theirs.test:.4f}", flush=True)
    return [asdict(ours), asdict(theirs)]


def measure(cases: list[Case]) -> None:
    """Measure the rows that an interrupted run has not, and write the store and the page after each."""
    unfinished = read(UNFINISHED)
    for number, case in enumerate(cases, 1):
        key = key_of(case)
        told = {name: getattr(case, name) for name in ("family", "data", "metric", "peer", "shares", "same_rule")}
        row = unfinished[key] = {"pairs": [], **unfinished.get(key, {}), **told}
        kept = f" ({len(row['pairs'])} of {len(SEEDS)} seeds are kept)" if row["pairs"] else ""
        print(f"{number} of {len(cases)}: {case.family} on {case.data}, beside {case.peer}{kept}", flush=True)
        for seed in SEEDS[len(row["pairs"]) :]:
            row["pairs"].append(train_both(case, seed))
            row["setting"] = setting()
            write(UNFINISHED, unfinished)
        stored = read(STORE) | {key: row}
        write(STORE, stored)
        write_page(stored)
    write(UNFINISHED, {key: row for key, row in unfinished.items() if key not in map(key_of, cases)})


def read(path: Path) -> Rows:
    """Rows that were written before."""
    rows: Rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return rows


def write(path: Path, rows: Rows) -> None:
    write_text(path, json.dumps(rows, indent=1) + "\n")


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row."""
    pairs = [(Score(**ours), Score(**theirs)) for ours, theirs in row["pairs"]]
    sign = -1 if row["metric"] in LESS_IS_BETTER else 1
    differences = [sign * (ours.test - theirs.test) for ours, theirs in pairs]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    difference = statistics.mean(differences)
    judged = "**below**" if difference < -2 * error else "above" if difference > 2 * error else "even"
    ours, theirs = (_spread([pair[side].test for pair in pairs]) for side in (0, 1))
    ratio = statistics.median(theirs.seconds / ours.seconds for ours, theirs in pairs)
    counted = pairs[0][0]
    sizes = [f"{size:,}" if size else NOTHING for size in (counted.weights, counted.connections)]
    times = f"{ratio:.2g}" if row["same_rule"] else NOTHING
    first = [row["family"], row["data"], row["metric"], ours, row["peer"], theirs, judged, times]
    return [*first, *sizes, row["shares"], row["setting"].partition(":")[0]]


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


ABOUT = """# Networks

Every family on real data: the mean and the deviation of the score on the test part over five seeds, each with its own
split (where there is no official test part), beside a peer on the same splits. *Even* means that the mean difference
over the seeds is within two of its standard errors. *Times as fast* is the peer's time to fit divided by ours, the
median over the seeds; it is left out where the peer fits by quite another kind of rule, or not at all. Connections are
those of one answer: a net that also makes samples or reconstructions has weights beside them. Both are left out where
there is no net. The comparators `logistic`, `naive_bayes`, `ridge`, `svm` and `tree` are scikit-learn's, so they are
beside scikit-learn's own models: their rows say what a net is to be compared with. This page is written by
`make networks` from what it measured; do not edit it. What the families are, their rules and sources, is said in their
files in `commonweight.nets`, one each; `commonweight nets` lists them.
"""
HEAD = (
    "net", "data", "score", "ours", "peer", "peer's", "we are", "times as fast", "weights", "connections", "sharing",
    "measured",
)  # fmt: skip


def write_page(rows: Rows) -> None:
    """docs/networks.md, from everything stored."""
    lines = [ABOUT, f"| {' | '.join(HEAD)} |", f"| {' | '.join('---' for _ in HEAD)} |"]
    lines += [f"| {' | '.join(cells(rows[key]))} |" for key in sorted(rows)]
    minutes = sum(score["seconds"] for row in rows.values() for pair in row["pairs"] for score in pair) / 60
    settings = sorted({row["setting"] for row in rows.values()})
    lines += ["", f"Fitting took {minutes:.0f} minutes in all."]
    lines += [f"Measured {one}." for one in settings]
    write_text(PAGE, "\n".join(lines) + "\n")


def main(names: list[str]) -> None:
    files = sorted(path.stem for path in (FOLDER / "families").glob("*.py"))
    modules = [importlib.import_module(f"families.{name}") for name in names or files]
    measure([case for module in modules for case in getattr(module, "CASES", ())])


if __name__ == "__main__":
    main(sys.argv[1:])
