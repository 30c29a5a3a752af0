"""The routes, and who may ask: only a browser that shows this page, from this machine or with the token."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from hmac import compare_digest
from mimetypes import guess_type
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interpret.server.answers import KINDS, Answers
from interpret.session.work import LAST, Event, FullError, Job, Worker, in_words
from nexttoken import NextTokenLM

STATIC = Path(__file__).parent / "static"
HEARTBEAT = 5.0  # seconds without an event after which an empty line is sent, which shows whether anybody reads

MAX_BYTES = 2**20  # of a body
TOO_LARGE = f"the body is larger than {MAX_BYTES} bytes"
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


def application(
    lm: NextTokenLM, worker: Worker, hosts: Collection[str] | None = None, token: str | None = None
) -> ASGIApp:
    """The page of a model, as an ASGI application.

    Args:
        lm: the model, which only the worker uses.
        worker: what does the work.
        hosts: what the `Host` of a request may be; None for anything, which needs a token.
        token: of the page; None where it is for this machine alone.

    Raises:
        ValueError: neither hosts nor a token.
    """
    if hosts is None and token is None:
        raise ValueError("a page that answers under every name needs a token")
    answers = Answers(lm)
    routes: list[BaseRoute] = [
        Route("/api/about", lambda request: JSONResponse(answers.about())),
        *(Route(f"/api/{kind}", partial(_question, answers, worker, kind), methods=["POST"]) for kind in KINDS),
        Route("/api/result/{name}", partial(_result, answers)),
        Route("/", lambda request: FileResponse(STATIC / "index.html")),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Guard(Starlette(routes=routes, exception_handlers={HTTPException: _refuse}), hosts, token)


def _refuse(request: Request, error: Exception) -> Response:
    """An error in one sentence, as JSON."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"message": error.detail}, error.status_code)


def _result(answers: Answers, request: Request) -> Response:
    """A result that was kept: an attribution as JSON, or as a file where `as` names an ending."""
    name, asked = request.path_params["name"], request.query_params
    by, ending, row = asked.get("by", "piece"), asked.get("as"), asked.get("row", "")
    number = int(row) if row.isdigit() else None
    try:
        if ending is None:
            return JSONResponse(answers.map_of(name, number, by))
        data, file = answers.file(name, number, by, ending), f"why.{ending}"
    except KeyError:
        raise HTTPException(404, "this result is not kept any more; run it again") from None
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    return Response(data, 200, {"Content-Disposition": f'attachment; filename="{file}"'}, guess_type(file)[0])


async def _question(answers: Answers, worker: Worker, kind: str, request: Request) -> Response:
    """Answers with events, a line of JSON each; who leaves cancels the work."""
    try:
        body = json.loads(await request.body())
        if not isinstance(body, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body must be a JSON object") from None
    loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

    def emit(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(events.put_nowait, event)

    try:
        job = worker.ask(Job(partial(answers.ask, kind, body), emit))
    except FullError as error:
        raise HTTPException(503, str(error)) from None
    return _Events(events, partial(worker.cancel, job))


class _Events(StreamingResponse):
    """Events as they come, until the last one, or until nobody listens any more."""

    def __init__(self, events: asyncio.Queue[Event], gone: Callable[[], None]):
        super().__init__(self._lines(events), headers={"X-Accel-Buffering": "no"}, media_type="application/x-ndjson")
        self.gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.gone()

    @staticmethod
    async def _lines(events: asyncio.Queue[Event]) -> AsyncIterator[bytes]:
        event: Event = {"event": None}
        while event["event"] not in LAST:
            try:
                event = await asyncio.wait_for(events.get(), HEARTBEAT)
            except TimeoutError:
                yield b"\n"
                continue
            if "error" in event:
                event = {"event": "error", "message": in_words(event["error"])}
            yield json.dumps(event, allow_nan=False).encode() + b"\n"


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
        answering = self.app if refused is None else JSONResponse({"message": refused[1]}, refused[0])
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
            await send(message)

        await answering(scope, limited, guarded)

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
            if length.isdigit() and int(length) > MAX_BYTES:
                return 413, TOO_LARGE
        return None
