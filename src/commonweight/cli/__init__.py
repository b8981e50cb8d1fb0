"""The command line: parse, call, print. Torch is imported only by the commands that need it."""

import os
import sys
from importlib import import_module
from typing import Any

import typer

from commonweight.cli.application import app
from commonweight.errors import CommonweightError

__all__ = ["app", "main"]

EXPECTED = {
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}
"""What an option is, for each kind of pydantic's errors about numbers."""

# Files of commands, in the order in which --help lists them.
for group in ("training", "tuning", "diagnosing", "looking", "sharing", "listing", "lab"):
    import_module(f"commonweight.cli.{group}")


def main() -> None:
    """Run a command; an expected error is one sentence on standard error and exit code 2."""
    # How long threads of GNU OpenMP look for work before they sleep. With other programs on the cores, the default lets
    # each small product wait for a thread that has none: 5 to 10 times the time. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        sys.exit(app(prog_name="commonweight", standalone_mode=False))
    except typer.TyperException as error:
        sentence = _unparsed(error)
    except CommonweightError as error:
        sentence = str(error)
    except OSError as error:
        sentence = f"{error.filename or 'A file'}: {error.strerror or error}; check the path, its rights and the space."
    if sentence:
        print(f"commonweight: {sentence}", file=sys.stderr)
    sys.exit(2)


def _unparsed(error: typer.TyperException) -> str:
    """What cannot be parsed, in one sentence; none where a command without words has printed its help."""
    context = getattr(error, "ctx", None)
    wrong: list[Any] = getattr(error.__cause__, "errors", list)()
    if wrong and wrong[0]["type"] in EXPECTED:  # pydantic's, whose own sentence does not say what was given
        expected = EXPECTED[wrong[0]["type"]].format(**wrong[0].get("ctx", {}))
        told = f"{error.param.opts[0]} is {expected}; got {wrong[0]['input']!r:.60}"  # type: ignore[attr-defined]
    else:
        # "Value error" is how pydantic opens the sentences of others.
        told = error.format_message().replace("Value error, ", "").rstrip(".")
    command = context.command_path if context else "commonweight"
    return f"{told}{'' if told.endswith('?') else '.'} See `{command} --help`." if told else ""
