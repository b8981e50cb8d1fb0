"""What is written is true: examples run, public names and options are documented, generated pages are current."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import commonweight
from commonweight import patterns
from commonweight.lower import RULES

ROOT = Path(__file__).parents[1]
NAMES = [m.name for m in pkgutil.walk_packages(commonweight.__path__, "commonweight.")]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Examples may write run folders: let them do it in a folder that is thrown away."""
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("name", NAMES)
def test_docstring_examples_run(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_code_on_pages_runs(page):
    """Python blocks run from top to bottom; `# -> text` behind an expression is what it prints."""
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
        if test.examples:
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            runner.run(test, clear_globs=False)
            assert runner.failures == 0
            names = test.globs
        else:
            exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("name", commonweight.__all__)
def test_public_names_are_documented(name):
    assert getattr(commonweight, name).__doc__
    assert re.search(rf"^::: commonweight\S*\.{name}$", (ROOT / "docs" / "api.md").read_text(), re.M)


def test_command_line_page_is_what_the_program_says():
    """Written by `make docs`; every command and option is on it because the program itself lists them."""
    command = [sys.executable, "-m", "typer", "commonweight.cli", "utils", "docs", "--name", "commonweight"]
    says = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert says.strip() == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").strip()


def test_the_json_of_every_command_has_a_section():
    cli, json = ((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("cli", "json"))
    commands = [part.split("`")[0] for part in cli.split("\n## `commonweight ")[1:] if "* `--json`" in part]
    headings = "\n".join(re.findall("^## .*", json, re.M))
    assert commands[:2] == ["train", "predict"]
    assert [name for name in commands if f"`commonweight {name} " not in headings] == []


def test_every_rule_of_lowering_is_on_its_page():
    rows = re.findall(r"^\| ([a-z ]+) \| ", (ROOT / "docs" / "lowering.md").read_text(encoding="utf-8"), re.M)
    assert [row for row in rows if row not in ("rule", "choice")] == [rule.name for rule in RULES]


def test_every_pattern_is_on_the_page_of_the_idea():
    page = (ROOT / "docs" / "idea.md").read_text(encoding="utf-8")
    values = vars(patterns).items()
    made = {name for name, value in values if isinstance(value, partial | type) and name.islower()}
    made -= {"partial"}
    assert made > {"dense", "conv2d", "compose"}
    assert [name for name in made if f"`{re.sub('[123]d$', '1d', name)}" not in page] == []


@pytest.mark.parametrize("name", commonweight._MODULES)
def test_modules_are_documented(name):
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert re.search(rf"^::: commonweight\.{name}\b", pages, re.M)
