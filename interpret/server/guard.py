"""Who may ask: only a browser that shows this page, from this machine or with the token; and how much at once."""

from __future__ import annotations

import json
from collections.abc import Collection
from hmac import compare_digest

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2**20  # of a body
TOO_LARGE = f"the body is larger than {MOST_BYTES} bytes"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses what does not come from the page itself, and puts the policy on every answer.

    Args:
        app: what is guarded.
        hosts: what `Host` may say, with the port; None for anything, where a token protects the page.
        token: without which nothing under /api is answered; None where the page is for this machine alone.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None, token: str | None = None):
        self.app, self.hosts, self.token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._refused(scope)
        if refused is not None:
            await answer(send, *refused)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MOST_BYTES:
                raise TooLargeError
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, limited, guarded)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is not answered, with its status."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and host.lower() not in self.hosts:
            return 421, "this server answers only under its own address"
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return 403, "this server answers only its own page"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "this server answers only its own page"
        if not scope["path"].startswith("/api/"):
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.token is not None and not compare_digest(given.encode(), self.token.encode()):
            return 401, "this page needs the token in its address, which the server printed"
        if scope["method"] == "POST":
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return 415, "the body must be JSON"
            length = headers.get("content-length", "0")
            if length.isdigit() and int(length) > MOST_BYTES:
                return 413, TOO_LARGE
        return None


class TooLargeError(Exception):
    """A body that is larger than it may be, without having said so."""


async def answer(send: Send, status: int, message: str) -> None:
    """An error in one sentence, as JSON."""
    body = json.dumps({"message": message}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **HEADERS}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
