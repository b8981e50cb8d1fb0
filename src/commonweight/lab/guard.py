"""Who may talk to the lab: whoever knows the token, by the name the lab was started under, from its own page.

The token is the first part of every path. Host is checked so that a page of a stranger cannot reach the lab under a
name of his own (DNS rebinding), Origin so that it cannot open a WebSocket to it. Either may be said once only.
"""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Guard:
    """Lets a request through to the app, or turns it away.

    Args:
        app: what is guarded.
        token: the first part of every path.
        hosts: what the header Host may say, such as 127.0.0.1:8765.
    """

    def __init__(self, app: App, token: str, hosts: frozenset[str]) -> None:
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            scope = {**scope, "path": self._inner(scope["path"]), "raw_path": b""}
            await self.app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        else:
            await _answer(_with_headers(send), *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is turned away, with its status; None when it is not."""
        names = [name for name, _ in scope["headers"]]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self.hosts or names.count(b"host") > 1 or names.count(b"origin") > 1:
            return 421, "This lab does not go by that name: open the address that it was started with."
        if origin is not None and origin != f"http://{host}":
            return 403, "Requests to this lab come from its own page."
        if scope["type"] == "websocket" and origin is None:
            return 403, "A WebSocket to this lab is opened by its own page, which says its Origin."
        given = scope["path"].split("/", 2)[1:2]
        if not given or not secrets.compare_digest(given[0].encode(), self.token.encode()):
            return 403, "The address of this lab has a token in it: open the whole address that it printed."
        return None

    def _inner(self, path: str) -> str:
        return path[1 + len(self.token) :] or "/"


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [entry for entry in message["headers"] if entry[0].decode().lower() not in HEADERS]
            message["headers"] = kept + [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
