"""Every example runs as it stands, and prints what its first lines say."""

import ast
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(path, capsys):
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)
    expected = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == expected
