"""The command line: parse, call, print. Torch is imported only by the commands that need it."""

import os
import sys
from importlib import import_module

from commonweight.cli.application import app
from commonweight.errors import CommonweightError

__all__ = ["app", "main"]

# Files of commands, in the order in which --help lists them.
for group in ("training", "tuning", "diagnosing", "looking", "sharing", "listing", "lab"):
    import_module(f"commonweight.cli.{group}")


def main() -> None:
    """Run a command; an expected error is one sentence on standard error and exit code 2."""
    # How long threads of GNU OpenMP look for work before they sleep. With other programs on the cores, the default lets
    # each small product wait for a thread that has none: 5 to 10 times the time. Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app()
    except CommonweightError as error:
        print(f"commonweight: {error}", file=sys.stderr)
        sys.exit(2)
