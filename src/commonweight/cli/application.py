"""The application that commands register with, and what several of them share."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from commonweight.instruction_sets import wanted_instructions


class Interruptible(TyperGroup):
    """The commands. Ctrl-C ends one with a sentence and exit code 130; typer itself would say nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed; a `KeyboardInterrupt` may bring its own words of what it left.

        Raises:
            KernelError: the environment asks for kernels that do not exist.
        """
        try:
            wanted_instructions()  # a wrong word would be met only where a kernel is needed
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            left = str(interrupt) or "no file was left half written"
            print(f"commonweight: Interrupted; {left}.", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Interruptible,
    help="Neural networks with shared weights: which connections use the same weight, made visible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_versions(asked: bool) -> None:
    """Say what runs here, as a report of an error should, and stop.

    Raises:
        Exit: that was all that was asked for.
        KernelError: the environment asks for kernels that do not exist, or that cannot run here.
    """
    if not asked:
        return
    import platform

    import torch

    from commonweight import __version__
    from commonweight.kernels.native_library import instructions, library

    kernels = instructions() if library() else "off, none were compiled; install a C++ compiler, and this package again"
    print(f"commonweight {__version__}, torch {torch.__version__}, Python {platform.python_version()}")
    print(f"kernels: {kernels}")
    raise typer.Exit


@app.callback()
def _of_all_commands(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_versions, is_eager=True, help="Print versions, and which kernels run."
        ),
    ] = False,
) -> None: ...


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
