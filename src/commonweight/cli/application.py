"""The application that commands register with, and what several of them share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Neural networks with shared weights: which connections use the same weight, made visible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
TaskOption = Annotated[str | None, typer.Option("--task", help="classification or regression, where both can be.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def path_option(words: str, **more: Any) -> Any:
    """An option that says where to write, with these words as its help."""
    return typer.Option(parser=_path, metavar="<path>", help=words, **more)


def path_argument(words: str) -> Any:
    """An argument that says what to read, with these words as its help."""
    return typer.Argument(parser=_path, help=words)


def _path(text: str) -> Path:
    """The path that was typed; nothing would be the current folder, which nobody means.

    Raises:
        BadParameter: as said.
    """
    if not text.strip():
        raise typer.BadParameter("it is empty; give a path, or . for the current folder")
    return Path(text)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads; in a pipe each row is one line, so that grep finds it whole."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, console.measure(table, options=console.options.update(width=1_000)).maximum)
    console.print(table)


def listed(words: str) -> list[str]:
    """What an option lists by commas, without the spaces around.

    >>> listed("shift, flip,")
    ['shift', 'flip']
    """
    return [word.strip() for word in words.split(",") if word.strip()]
