"""What the browser talks to: the page, what there is to choose from, and one WebSocket."""

import asyncio
import os
import secrets
import socket
import time
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketState

from commonweight.errors import LabError
from commonweight.lab.guard import App, Guard
from commonweight.lab.hub import Hub, to_json
from commonweight.lab.packed_pictures import PLAIN
from commonweight.lab.refusals import RefusalError, said
from commonweight.lab.uploads import NAME
from commonweight.lab.viewer import Viewer

STATIC = Path(__file__).parent / "static"
MOST_MESSAGE = 1 << 16
"""Bytes of one message from a page."""

LOCAL = ("127.0.0.1", "localhost", "[::1]")


class Kept(BaseModel):
    """An upload that was taken: what a view is opened for."""

    subject: str


class Refused(BaseModel):
    """Why something could not be met, in one sentence, by language; in English at least."""

    text: dict[str, str]


UPLOADED: dict[int | str, dict[str, Any]] = {200: {"model": Kept}, 400: {"model": Refused}}


def _given(name: str) -> dict[str, Any]:
    """What an upload sends, in the words of OpenAPI: the pattern of its name, and bytes."""
    named = {"name": "name", "in": "query", "required": True, "schema": {"type": "string", "pattern": name}}
    body = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    return {"parameters": [named], "requestBody": body}


def make_app(folder: Path, token: str, hosts: frozenset[str], static: Path) -> App:
    """The lab as an ASGI application.

    Args:
        folder: below which runs and files may be read.
        token: the first part of every path.
        hosts: what the header Host may say.
        static: the built page.
    """
    hub = Hub(folder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await hub.prepare()
        yield
        await hub.close()

    app = FastAPI(
        title="commonweight lab", version=version("commonweight"), lifespan=lifespan, docs_url=None, redoc_url=None
    )

    @app.websocket("/ws")
    async def talk(page: WebSocket) -> None:
        await _talk(hub, page)

    @app.post("/uploads", responses=UPLOADED, openapi_extra=_given(f"^{NAME.pattern}$"))
    async def upload(request: Request) -> JSONResponse:
        """Keep a checkpoint or a table, the bytes of the request, for the views Audit and Play."""
        return await _keep(request, hub.uploads.take)

    @app.post("/uploads/pictures", responses=UPLOADED, openapi_extra=_given(f"^{PLAIN.pattern}$"))
    async def upload_pictures(request: Request) -> JSONResponse:
        """Keep a folder of pictures, packed as docs/lab_protocol.md says, for the view Play."""
        return await _keep(request, hub.uploads.take_pictures)

    app.mount("/", StaticFiles(directory=static, html=True, check_dir=False))
    app.state.hub = hub
    return Guard(app, token, hosts)


async def _keep(request: Request, take: Callable[[str, AsyncIterator[bytes]], Awaitable[str]]) -> JSONResponse:
    """Have the bytes of a request kept: the subject to open them by, or why they were not taken."""
    try:
        return JSONResponse({"subject": await take(request.query_params.get("name", ""), request.stream())})
    except LabError as error:
        return JSONResponse({"text": said(error)}, 400)
    except ClientDisconnect:  # nobody is there to be told
        return JSONResponse({}, 400)


async def _talk(hub: Hub, page: WebSocket) -> None:
    """Send and receive until the page is closed."""
    await page.accept()
    try:
        viewer = hub.join()
    except LabError as error:
        await page.send_text(_refused(error))
        await page.close(1013)
        return
    sending = asyncio.create_task(_send(viewer, page))
    try:
        while page.application_state is WebSocketState.CONNECTED:  # until a send finds the page gone
            message = await page.receive_text()
            if len(message) > MOST_MESSAGE or not viewer.may_ask(time.monotonic()):
                viewer.say(_refused(RefusalError("too_much")).encode())
                await asyncio.sleep(0.1)
                await page.close(1008)
                return
            try:
                await asyncio.shield(hub.ask(viewer, message))  # a page that goes leaves no job half begun
            except LabError as error:
                viewer.say(_refused(error).encode())
    except WebSocketDisconnect:
        pass
    except KeyError:  # bytes where text was expected
        await page.close(1003)
    finally:
        hub.leave(viewer)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending


async def _send(viewer: Viewer, page: WebSocket) -> None:
    """What waits, as fast as the page takes it."""
    with suppress(WebSocketDisconnect, RuntimeError):  # a RuntimeError: closed while we were sending
        while True:
            for item in await viewer.next():
                if isinstance(item, str):
                    await page.send_text(item)
                else:
                    await page.send_bytes(item)


def _refused(error: LabError) -> str:
    return to_json({"type": "refused", "text": said(error)}).decode()


def serve(
    folder: Path,
    *,
    fragment: str = "",
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    browser: bool = True,
    say: Callable[[str], None],
) -> None:
    """Serve the lab until it is interrupted.

    Args:
        folder: below which runs and files may be read.
        fragment: what the page opens with, such as #run?subject=digits-lenet5-1.
        host: the address to listen at; another than 127.0.0.1 needs a token.
        port: 0 for any that is free.
        token: the first part of every path; None for a random one.
        browser: whether to open the page.
        say: told the address.

    Raises:
        LabError: no token for a host that others can reach, an address that cannot be had, or a page that is not built.
        KeyboardInterrupt: it was interrupted.
    """
    import uvicorn

    if host in ("0.0.0.0", "::", ""):
        raise LabError("Say by --host under which address others reach this machine, such as 192.168.1.5.")
    if host not in LOCAL and not token:
        raise LabError(f"--host {host} lets others in: say by --token which word the address has in it.")
    if token is not None and not (len(token) >= 8 and token.replace("-", "").replace("_", "").isalnum()):
        raise LabError("A token has 8 letters, digits, - or _ at least; leave --token out for a random one.")
    if not (STATIC / "index.html").is_file():
        raise LabError("The page of the lab is not built: run `make web` in the checkout (it needs node and npm).")
    listening = _listen(host, port)
    port, token = listening.getsockname()[1], token or secrets.token_urlsafe(18)
    names = LOCAL if host in LOCAL else (*LOCAL, host)
    app = make_app(folder, token, frozenset(f"{name}:{port}" for name in names), STATIC)
    address = f"http://{host}:{port}/{token}/{fragment}"
    say(f"The lab is at {address}   (Ctrl+C ends it)")
    if browser:
        webbrowser.open(address)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        ws_max_size=MOST_MESSAGE,
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # frames go no further than this machine: packing them would only take its time
    )
    with suppress(KeyboardInterrupt):  # none comes where SIGINT is ignored, as in a script's background
        uvicorn.Server(config).run(sockets=[listening])
    raise KeyboardInterrupt("the lab has ended")


def _listen(host: str, port: int) -> socket.socket:
    """A socket at the address.

    Raises:
        LabError: it cannot be had.
    """
    try:
        return socket.create_server((host.strip("[]"), port), family=_family(host))
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise LabError(
            f"The lab cannot listen at {host}:{port} ({reason}): choose another --port, 0 for any, or another --host."
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
