"""The design, held by tests: which module may import which, what is public, how large a file may grow."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import commonweight

ROOT = Path(commonweight.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

# A part may import the parts of lower levels, and parts of its own name (data.* among themselves).
LEVELS = [
    {"errors", "folding", "functional", "numerals"},
    {"sizes", "instruction_sets"},
    {"tiemap", "atomic", "transforms", "views"},
    {"patterns", "data", "notation", "checkpoints", "kernels"},
    {"codebook", "hashing", "reordering"},
    {"operators", "manifest", "pattern_text"},
    {"reference", "lower", "recognise", "census", "equations"},
    {"tied", "files"},
    {"nets", "verdicts", "export", "parallel"},
    {"compress"},
    {"measure"},
    {"train", "claims"},
    {"lab"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
NEEDS_NO_NET = {
    "atomic",
    "census",
    "files",
    "recognise",
    "operators",
    "lower",
    "tied",
    "verdicts",
    "export",
    "parallel",
    "compress",
}


def imported(path: Path) -> set[str]:
    """The parts of commonweight that a file imports, at the top or inside functions.

    An import by name (`import_module`) says the name as a text, and a lazy table of names is one; so every text that
    begins with `commonweight.` and a part counts too, but for docstrings.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by dots, which this test does not follow: name the package"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            names = re.findall(r"^commonweight\.\w+", node.value)
        found |= {name.split(".")[1] for name in names if name.startswith("commonweight.")}
    return found & LEVEL.keys()


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("__init__", "")])
def test_imports_run_one_way(name):
    part = name.split(".")[0]
    assert part in LEVEL, f"{name} has no place in the order of parts: add it to LEVELS"
    for other in imported(MODULES[name]) - {part}:
        assert LEVEL[other] < LEVEL[part], f"{name} imports {other}, which stands on the same level or above"
        assert not (part in NEEDS_NO_NET and other == "nets"), f"{name} must not need a net"
        assert not (part == "measure" and other in ("train", "nets")), f"{name} reads models, it does not make them"


def test_the_idea_fits_into_three_short_files():
    lines = [len((ROOT / name).read_text().splitlines()) for name in ("patterns.py", "tiemap.py", "reference.py")]
    assert sum(lines) < 700


@pytest.mark.parametrize("name", MODULES)
def test_files_and_functions_stay_short(name):
    text = MODULES[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            code = [line for line in node.body if not isinstance(getattr(line, "value", None), ast.Constant)]
            assert not code or node.end_lineno - code[0].lineno < 60, f"{node.name} has 60 lines or more"


def test_every_file_says_first_what_it_is():
    for name, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{name} has no first sentence"


def test_public_names_are_few_and_no_module_bears_one():
    assert len(commonweight.__all__) <= 12
    assert all(getattr(commonweight, name) is not None for name in commonweight.__all__)
    assert not {name.split(".")[-1] for name in MODULES} & set(commonweight.__all__)


def test_an_unknown_public_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'tye'"):
        _ = commonweight.tye


def test_help_and_package_load_without_torch():
    code = "import sys, commonweight, commonweight.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_load_without_what_only_draws_or_fits_others():
    code = "import sys, commonweight as c; [getattr(c, name) for name in c.__all__]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"rich", "matplotlib", "sklearn", "scipy", "pandas", "optuna", "PIL", "typer"} & set(loaded)


def test_no_eval_no_pickle_no_print():
    banned = {"eval", "exec", "print"}
    for name, path in MODULES.items():
        if name.split(".")[0] == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in banned, f"{name} calls {node.func.id}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                assert "pickle" not in modules, f"{name} imports pickle"
