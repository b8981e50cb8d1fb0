"""Claims as experiments: each file of `claims/` runs one, its outcome is stored, and a page shows all that is stored.

A claim file `cNN_name.py` has a docstring and a function `run() -> Result`. The docstring is the claim: its sentence,
what is said about it and where that is half true, and at the end a paragraph `Criterion: ...` that says, before
anything has run, when the claim holds. Outcomes are stored beside the files, as `results/C1.json`; the page is
`docs/claims.md`, with its figures in `docs/claims/`.
"""

import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from commonweight.atomic import read_text, replacing, write_text
from commonweight.errors import ClaimError, CommonweightError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHECKOUT = Path(__file__).parents[2]
_FILES = "c[0-9][0-9]_*.py"
_PAGE_HEAD = """# Claims

Each claim is an experiment: a file of `claims/` that says when the claim holds, runs with fixed seeds, on real data
where it needs data, and answers by that criterion, whatever comes out. This page is written by `commonweight claims`
from the outcomes stored in `claims/results/`; do not edit it. `commonweight claims C1 C7` runs these claims again and
renews their sections; with no argument, it runs all.
"""


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes:
        holds: whether the criterion in the docstring of the claim is met.
        verdict: one to three sentences: what came out, and what of the claim is only half true.
        numbers: what was measured, by name.
        table: rows of cells, the first row is the head.
        figure: a picture, where one helps.
    """

    holds: bool
    verdict: str
    numbers: Mapping[str, int | float]
    table: Sequence[Sequence[str]] = ()
    figure: "Figure | None" = field(default=None, compare=False)


@dataclass(frozen=True)
class Claim:
    """A claim as its file states it.

    Attributes:
        id: C1 for the file c01_name.py.
        path: the file.
        sentence: the first paragraph of its docstring.
        remarks: the paragraphs between the first and the criterion.
        criterion: when the claim holds.
        experiment: its function `run`.
    """

    id: str
    path: Path
    sentence: str
    remarks: tuple[str, ...]
    criterion: str
    experiment: Callable[[], Result]

    def run(self) -> Result:
        """Run the experiment on one thread: sums then have one order on every machine, and small nets run faster."""
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.experiment()
        finally:
            torch.set_num_threads(n_threads)


def run_claims(ids: Sequence[str], folder: Path | None = None, *, say: Callable[[str], None]) -> bool:
    """Run claims, store what they find, and write the page anew after each of them.

    Args:
        ids: such as "C1"; empty for all.
        folder: where the claim files are; by default `claims` in the checkout that this module belongs to, or else in
            the current folder.
        say: is handed each piece of text for the reader, such as `print`.

    Returns:
        Whether all of them could be run and hold. An expected error of this library in one claim is said, and the
        others still run; any other error is a fault of the experiment and is raised.

    Raises:
        ClaimError: no folder of claims, a file in it that is not a claim, an unknown id, or a damaged stored outcome.
    """
    folder = _folder([_CHECKOUT / "claims", Path.cwd() / "claims"] if folder is None else [folder])
    paths = _paths(folder)
    unknown = [name for name in ids if name.upper() not in paths]
    if unknown:
        raise ClaimError(f"There is no claim {unknown[0]}; the claims in {folder} are {', '.join(paths)}.")
    chosen = [load_claim(paths[name.upper()]) for name in ids] if ids else [load_claim(path) for path in paths.values()]
    all_hold = True
    for claim in chosen:
        say(f"{claim.id}: {claim.sentence}\nCriterion: {claim.criterion}")
        start = time.process_time()
        try:
            result = claim.run()
        except CommonweightError as error:
            say(f"{claim.id} could not be run: {error}\n")
            all_hold = False
            continue
        _store(claim, result, time.process_time() - start)
        write_text(_page_path(folder), page(folder))
        say(_as_text(claim, result))
        all_hold &= result.holds
    return all_hold


def load_claim(path: Path) -> Claim:
    """Read a claim file, named cNN_name.py: run its top level, and take its docstring apart.

    Raises:
        ClaimError: no such file, no docstring that ends in a criterion, or no function `run`.
    """
    if not path.is_file():
        raise ClaimError(f"There is no claim file {path}; give one that is called cNN_name.py.")
    module = ModuleType(path.stem)
    SourceFileLoader(path.stem, str(path)).exec_module(module)
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", module.__doc__ or "")]
    sentence, *remarks, last = paragraphs if len(paragraphs) > 1 else ["", ""]
    if not sentence or not last.startswith("Criterion: "):
        raise ClaimError(
            f"{path} does not say when its claim holds: end its docstring in a paragraph 'Criterion: ...'."
        )
    if not callable(getattr(module, "run", None)):
        raise ClaimError(f"{path} has no function run() that returns a Result: write one.")
    return Claim(_id(path), path, sentence, tuple(remarks), last.removeprefix("Criterion: "), module.run)


def page(folder: Path) -> str:
    """The page of all stored outcomes, in Markdown."""
    outcomes = [_stored(folder, name) for name in _paths(folder) if _outcome_path(folder, name).exists()]
    answer = {True: "holds", False: "**does not hold**"}
    rows = [("claim", "by its criterion")]
    rows += [(f"{outcome['id']} · {outcome['claim']}", answer[outcome["holds"]]) for outcome in outcomes]
    return "\n".join([_PAGE_HEAD, _markdown_table(rows), *map(_section, outcomes), ""])


def _folder(places: Sequence[Path]) -> Path:
    """The first of these folders that has claims in it."""
    for place in places:
        if any(place.glob(_FILES)):
            return place
    raise ClaimError(
        f"There are no claims in {' or '.join(map(str, places))}: they come with the source, not with the installed "
        f"package, so run them in a checkout of the repository."
    )


def _paths(folder: Path) -> dict[str, Path]:
    """The claim files of a folder by id, in order."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.glob(_FILES)):
        name = _id(path)
        if name in paths:
            raise ClaimError(f"{paths[name].name} and {path.name} are both {name}: give one of them another number.")
        paths[name] = path
    return paths


def _id(path: Path) -> str:
    """C1 for c01_name.py."""
    return f"C{int(path.name[1:3])}"


def _outcome_path(folder: Path, name: str) -> Path:
    return folder / "results" / f"{name}.json"


def _page_path(folder: Path) -> Path:
    return folder.parent / "docs" / "claims.md"


def _store(claim: Claim, result: Result, seconds: float) -> None:
    """Write the outcome beside the claim, and its figure beside the page."""
    folder = claim.path.parent
    picture = _page_path(folder).parent / "claims" / f"{claim.id}.svg"
    if result.figure is None:
        picture.unlink(missing_ok=True)
    else:
        _draw(result.figure, picture)
    outcome = {
        "id": claim.id,
        "file": f"{folder.name}/{claim.path.name}",
        "claim": claim.sentence,
        "remarks": claim.remarks,
        "criterion": claim.criterion,
        "holds": result.holds,
        "verdict": result.verdict,
        "numbers": dict(result.numbers),
        "table": [list(row) for row in result.table],
        "figure": None if result.figure is None else f"claims/{picture.name}",
        "seconds": round(seconds, 1),
        "with": f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores",
    }
    write_text(_outcome_path(folder, claim.id), json.dumps(outcome, indent=1, ensure_ascii=False) + "\n")


def _stored(folder: Path, name: str) -> dict[str, Any]:
    """The outcome of an earlier run."""
    path = _outcome_path(folder, name)
    try:
        outcome = json.loads(read_text(path))
        if not isinstance(outcome, dict) or not outcome.keys() >= {"id", "claim", "holds", "numbers", "table"}:
            raise ValueError("entries are missing")
    except ValueError as error:
        raise ClaimError(f"{path} is damaged ({error}): delete it, then run `commonweight claims {name}`.") from error
    return outcome


def _draw(figure: "Figure", path: Path) -> None:
    """Write an SVG file that has the same bytes each time."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.stem}), replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _section(outcome: Mapping[str, Any]) -> str:
    """One claim on the page."""
    answer = "Holds." if outcome["holds"] else "Does not hold."
    parts = [
        f"## {outcome['id']} · {outcome['claim'].removesuffix('.')}",
        *outcome["remarks"],
        f"> Criterion: {outcome['criterion']}",
    ]
    parts.append(f"**{answer}** {outcome['verdict']}")
    if outcome["table"]:
        parts.append(_markdown_table(outcome["table"]))
    if outcome["figure"]:
        parts.append(f"![{outcome['claim']}]({outcome['figure']})")
    parts.append(_markdown_table([("measured", "value"), *_formatted(outcome["numbers"])]))
    command = f"commonweight claims {outcome['id']}"
    parts.append(f"`{command}` · `{outcome['file']}` · {outcome['seconds']} s of processor time with {outcome['with']}")
    return "\n" + "\n\n".join(parts)


def _as_text(claim: Claim, result: Result) -> str:
    """One outcome for a terminal."""
    parts = [_aligned(result.table)] if result.table else []
    parts.append(_aligned(_formatted(result.numbers)))
    parts.append(f"{claim.id} {'holds' if result.holds else 'does not hold'}: {result.verdict}\n")
    return "\n\n".join(parts)


def _formatted(numbers: Mapping[str, int | float]) -> list[tuple[str, str]]:
    return [(name, f"{value:,}" if isinstance(value, int) else f"{value:.6g}") for name, value in numbers.items()]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "| --- " + "| ---: " * (len(rows[0]) - 1) + "|")
    return "\n".join(lines)
