"""The claims: the harness with claims made up here, and the claims of the project as they are stored."""

import json
from pathlib import Path

import matplotlib
import pytest
import torch
from typer.testing import CliRunner

from commonweight import claims
from commonweight.claims import load_claim, page, run_claims
from commonweight.cli import app
from commonweight.errors import ClaimError

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "claims").glob("c*.py"))
CHEAP = ("C1", "C2", "C3", "C4", "C6")
EXACT = ("C1", "C2", "C3", "C4")

CLAIM = '''"""{sentence}

Half true | at best.

Criterion: the answer is at least 42.
"""

from matplotlib.figure import Figure

from commonweight.claims import Result
from commonweight.errors import DataError


def run():
    answer = {answer}
    figure = Figure()
    figure.subplots().plot([0, answer])
    table = [["question", "answer"], ["a | b", f"{{answer:,}}"]]
    return Result(answer >= 42, f"The answer is {{answer}}.", {{"answer": answer, "share": 0.25}}, table, figure)
'''
RAISING = CLAIM.replace("    answer = {answer}\n", "    raise {answer}\n    answer = 0\n")


def write(folder: Path, name: str, answer: object, sentence: str = "Somebody says so.", text: str = CLAIM) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text.format(sentence=sentence, answer=answer), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder of two claims: C1 holds, C2 does not."""
    write(tmp_path / "claims", "c01_large.py", 4200)
    write(tmp_path / "claims", "c02_small.py", 41, "Another says so.")
    return tmp_path / "claims"


def outcome(folder: Path, name: str) -> dict:
    return json.loads((folder / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_a_claim_that_holds_is_said_stored_and_shown(folder):
    said = []
    assert run_claims(["C1"], folder, say=said.append)
    text = "\n".join(said)
    assert "C1: Somebody says so.\nCriterion: the answer is at least 42." in text
    assert "question  answer\na | b      4,200" in text
    assert "answer  4,200\nshare    0.25" in text
    assert "C1 holds: The answer is 4200." in text
    stored = outcome(folder, "C1")
    assert stored["holds"] is True
    assert stored["numbers"] == {"answer": 4200, "share": 0.25}
    assert (stored["file"], stored["remarks"]) == ("claims/c01_large.py", ["Half true | at best."])
    shown = (folder.parent / "docs" / "claims.md").read_text(encoding="utf-8")
    assert "## C1 · Somebody says so\n\nHalf true | at best.\n\n> Criterion: the answer is at least 42.\n" in shown
    assert "**Holds.** The answer is 4200." in shown
    assert "| a \\| b | 4,200 |" in shown
    assert "![Somebody says so.](claims/C1.svg)" in shown
    assert (folder.parent / "docs" / "claims" / "C1.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_a_claim_that_does_not_hold_is_said_and_shown_to(folder):
    said = []
    assert not run_claims([], folder, say=said.append)
    assert "C1 holds: The answer is 4200." in "\n".join(said)
    assert "C2 does not hold: The answer is 41." in "\n".join(said)
    shown = (folder.parent / "docs" / "claims.md").read_text(encoding="utf-8")
    assert "| C2 · Another says so. | **does not hold** |" in shown
    assert "**Does not hold.** The answer is 41." in shown


def test_a_run_of_some_claims_renews_only_their_sections(folder):
    run_claims([], folder, say=lambda text: None)
    before, stored = page(folder), outcome(folder, "C1")
    write(folder, "c02_small.py", 43, "Another says so.")
    write(folder, "c01_large.py", 1)
    assert run_claims(["c2"], folder, say=lambda text: None)
    after = page(folder)
    assert outcome(folder, "C1") == stored
    assert after[after.index("## C1") : after.index("## C2")] == before[before.index("## C1") : before.index("## C2")]
    assert "**Holds.** The answer is 43." in after


def test_the_page_needs_only_what_is_stored(folder):
    run_claims([], folder, say=lambda text: None)
    write(folder, "c01_large.py", "1 / 0")
    assert page(folder) == (folder.parent / "docs" / "claims.md").read_text(encoding="utf-8")


def test_a_figure_has_the_same_bytes_each_time_and_goes_with_its_claim(folder):
    picture = folder.parent / "docs" / "claims" / "C1.svg"
    settings = dict(matplotlib.rcParams)
    run_claims(["C1"], folder, say=lambda text: None)
    first = picture.read_bytes()
    run_claims(["C1"], folder, say=lambda text: None)
    assert picture.read_bytes() == first
    assert dict(matplotlib.rcParams) == settings
    write(folder, "c01_large.py", 42, text=CLAIM.replace("table, figure)", "table)"))
    run_claims(["C1"], folder, say=lambda text: None)
    assert not picture.exists()
    assert outcome(folder, "C1")["figure"] is None


def test_an_expected_error_in_one_claim_lets_the_others_run(folder):
    write(folder, "c01_large.py", 'DataError("no data; install some")', text=RAISING)
    write(folder, "c02_small.py", 42)
    said = []
    assert not run_claims([], folder, say=said.append)
    assert "C1 could not be run: no data; install some\n" in said
    assert not (folder / "results" / "C1.json").exists()
    assert outcome(folder, "C2")["holds"]


def test_a_fault_in_an_experiment_is_raised_and_earlier_outcomes_stay(folder):
    write(folder, "c02_small.py", 'ZeroDivisionError("a fault")', text=RAISING)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        run_claims([], folder, say=lambda text: None)
    assert "## C1" in (folder.parent / "docs" / "claims.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("answer", ["__import__('torch').get_num_threads()", "__import__('torch').no_such_name"])
def test_an_experiment_runs_on_one_thread_and_gives_the_others_back(folder, answer):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        claim = load_claim(write(folder, "c03_threads.py", answer))
        if "no_such_name" in answer:
            with pytest.raises(AttributeError, match="no_such_name"):
                claim.run()
        else:
            assert claim.run().numbers["answer"] == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_wrong_ids_files_and_folders_are_refused_in_a_sentence(folder, tmp_path, monkeypatch):
    def refused(sentence: str, ids: tuple[str, ...] = (), place: Path | None = folder) -> None:
        with pytest.raises(ClaimError, match=sentence):
            run_claims(ids, place, say=lambda text: None)

    refused(r"^There is no claim C9; the claims in .*claims are C1, C2\.$", ids=("C1", "C9"))
    refused(r"^There are no claims in .*nowhere: they come with the source, not", place=tmp_path / "nowhere")
    monkeypatch.setattr(claims, "_CHECKOUT", tmp_path / "site-packages")
    monkeypatch.chdir(folder)
    refused(r"site-packages.claims or .*claims.claims: they come with the source", place=None)
    run_claims(["C1"], folder, say=lambda text: None)
    for damaged in ('{"id": "C1"', "[]", '{"id": "C1"}'):
        (folder / "results" / "C1.json").write_text(damaged, encoding="utf-8")
        refused(r"C1\.json is damaged \(.*\): delete it, then run `commonweight claims C1`\.$", ids=("C2",))
    write(folder, "c02_twice.py", 42)
    refused(r"^c02_small\.py and c02_twice\.py are both C2: give one of them another number\.$")
    (folder / "c02_twice.py").write_text(
        '"""No criterion.\n\nAt all.\n"""\n\n\ndef run():\n    ...\n', encoding="utf-8"
    )
    with pytest.raises(ClaimError, match="does not say when its claim holds: end its docstring in a paragraph"):
        load_claim(folder / "c02_twice.py")
    (folder / "c02_twice.py").write_text("", encoding="utf-8")
    with pytest.raises(ClaimError, match="does not say when its claim holds"):
        load_claim(folder / "c02_twice.py")
    (folder / "c02_twice.py").write_text('"""So.\n\nCriterion: none.\n"""\n', encoding="utf-8")
    with pytest.raises(ClaimError, match=r"c02_twice\.py has no function run\(\) that returns a Result: write one\.$"):
        load_claim(folder / "c02_twice.py")
    with pytest.raises(
        ClaimError, match=r"There is no claim file .*c03_none\.py; give one that is called cNN_name\.py"
    ):
        load_claim(folder / "c03_none.py")


@pytest.mark.parametrize(("ids", "code"), [(["C1"], 0), ([], 1)])
def test_the_command_says_by_its_exit_code_whether_all_hold(folder, monkeypatch, ids, code):
    monkeypatch.setattr(claims, "_CHECKOUT", folder.parent)
    result = CliRunner().invoke(app, ["claims", *ids])
    assert result.exit_code == code
    assert "C1 holds: The answer is 4200." in result.output


def test_the_page_is_what_the_stored_outcomes_make():
    assert (ROOT / "docs" / "claims.md").read_text(encoding="utf-8") == page(ROOT / "claims")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_stored_outcome_belongs_to_its_claim_as_it_now_stands(path):
    """A result counts for the text that was fixed before the run: who edits the text runs the claim again."""
    claim = load_claim(path)
    stored = outcome(path.parent, claim.id)
    assert (stored["claim"], tuple(stored["remarks"]), stored["criterion"]) == (
        claim.sentence,
        claim.remarks,
        claim.criterion,
    )
    assert stored["file"] == f"claims/{path.name}"
    assert (stored["figure"] is not None) == (ROOT / "docs" / "claims" / f"{claim.id}.svg").exists()


def test_no_outcome_or_figure_is_left_of_a_claim_that_is_gone():
    ids = {load_claim(path).id for path in FILES}
    assert {path.stem for path in (ROOT / "claims" / "results").iterdir()} == ids
    assert {path.stem for path in (ROOT / "docs" / "claims").iterdir()} <= ids


@pytest.mark.parametrize("name", CHEAP)
def test_the_cheap_claims_come_out_as_stored(name):
    path = next(path for path in FILES if path.name.startswith(f"c{int(name[1:]):02d}_"))
    random_state = torch.get_rng_state()
    result, stored = load_claim(path).run(), outcome(ROOT / "claims", name)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert result.holds == stored["holds"]
    assert result.numbers.keys() == stored["numbers"].keys()
    if name in EXACT:
        assert dict(result.numbers) == stored["numbers"]
        assert [list(row) for row in result.table] == stored["table"]


def test_claims_draw_without_the_global_state_of_pyplot():
    for path in FILES:
        assert "pyplot" not in path.read_text(encoding="utf-8"), path.name
