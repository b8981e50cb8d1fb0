"""Open the lab in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.application import app, path_argument


@app.command()
def lab(
    target: Annotated[Path | None, path_argument("A run folder, a file of data or a checkpoint, to open it.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for any.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at; another than this one needs --token.")] = "127.0.0.1",
    token: Annotated[str | None, typer.Option(help="Word in the address; by default a random one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open a local page: build a network, share its weights, and watch it learn."""
    from commonweight.lab.opening import opening
    from commonweight.lab.server import serve

    folder, fragment = opening(target)
    serve(folder, fragment=fragment, host=host, port=port, token=token, browser=browser, say=typer.echo)
