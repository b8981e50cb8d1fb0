"""Every family of networks on real data over five seeds, beside a named peer: writes docs/networks.md.

`python benchmarks/networks.py` runs all families, `python benchmarks/networks.py som rbf` runs some files of
benchmarks/families and keeps the other rows, which are stored in benchmarks/results/networks.json. Ours and the peer
run in turns, with the same seeds and so on the same splits. A family is below its peer beyond noise when the mean
difference over the seeds is worse by more than two of its standard errors.
"""

import importlib
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from families.case import Case, Score
from machine import setting

from commonweight.atomic import write_text

SEEDS = range(5)
FOLDER = Path(__file__).parent
STORE = FOLDER / "results" / "networks.json"
PAGE = FOLDER.parent / "docs" / "networks.md"
LESS_IS_BETTER = ("rmse",)


def run(case: Case) -> dict[str, object]:
    """Train both on every seed."""
    pairs = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        pairs.append((case.ours(seed), case.theirs(seed)))
        ours, theirs = pairs[-1]
        print(f"{case.family} on {case.data}, seed {seed}: {ours.test:.4f} against {theirs.test:.4f}", flush=True)
    told = {name: getattr(case, name) for name in ("family", "data", "metric", "peer", "shares")}
    return {**told, "setting": setting(), "pairs": [list(map(asdict, p)) for p in pairs]}


def row(stored: dict) -> list[str]:
    """The cells of a stored outcome."""
    pairs = [tuple(Score(**score) for score in pair) for pair in stored["pairs"]]
    sign = -1 if stored["metric"] in LESS_IS_BETTER else 1
    differences = [sign * (ours.test - theirs.test) for ours, theirs in pairs]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    difference = statistics.mean(differences)
    judged = "below" if difference < -2 * error else "above" if difference > 2 * error else "even"
    ours, theirs = ([pair[side].test for pair in pairs] for side in (0, 1))
    ratio = statistics.median(theirs.seconds / ours.seconds for ours, theirs in pairs)
    counted = pairs[0][0]
    sizes = [f"{counted.weights:,}", f"{counted.connections:,}"]
    cells = [stored["family"], stored["data"], stored["metric"], _spread(ours), stored["peer"], _spread(theirs), judged]
    return [*cells, f"{ratio:.2g}", *sizes, stored["shares"]]


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


ABOUT = """# Networks

Every family on real data: the mean and the deviation of the score on the test part over five seeds, each with its own
split (where there is no official test part), beside a peer on the same splits. *Even* means that the mean difference
over the seeds is within two of its standard errors. The ratio of times is that of fitting, median over the seeds; where
the peer is of another kind, it is a figure to know, not to compare. This page is written by `make networks` from what
it measured; do not edit it. What the families are, their rules and sources, is said in their files in
`commonweight.nets`, one each; `commonweight nets` lists them.
"""
HEAD = [
    "net",
    "data",
    "score",
    "ours",
    "peer",
    "peer's",
    "we are",
    "times as fast",
    "weights",
    "connections",
    "sharing",
]


def write_page(outcomes: dict[str, dict]) -> None:
    """docs/networks.md, from everything stored."""
    lines = [ABOUT, f"| {' | '.join(HEAD)} |", f"| {' | '.join('---' for _ in HEAD)} |"]
    lines += [f"| {' | '.join(row(outcomes[key]))} |" for key in sorted(outcomes)]
    settings = sorted({stored["setting"] for stored in outcomes.values()})
    lines += ["", *(f"Measured {setting}." for setting in settings)]
    write_text(PAGE, "\n".join(lines) + "\n")


def main(names: list[str]) -> None:
    files = sorted(path.stem for path in (FOLDER / "families").glob("*.py") if path.stem not in ("__init__", "case"))
    outcomes = json.loads(STORE.read_text()) if STORE.exists() else {}
    for name in names or files:
        for case in importlib.import_module(f"families.{name}").CASES:
            outcomes[f"{case.family} {case.data} {case.metric}"] = run(case)
            write_text(STORE, json.dumps(outcomes, indent=1) + "\n")
            write_page(outcomes)


if __name__ == "__main__":
    main(sys.argv[1:])
