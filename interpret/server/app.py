"""The routes: the page's own files, questions that answer with a stream of events, and results as files."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Collection
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from interpret.server.answers import FILES, Answers
from interpret.server.asked import Body
from interpret.server.guard import TOO_LARGE, Guard, TooLargeError
from interpret.server.jobs import LAST, Event, FullError, Job, Worker
from nexttoken import NextTokenLM

STATIC = files("interpret.server").joinpath("static")
QUESTIONS = ("predict", "token", "explain", "continuation", "flip", "reduce", "command")
HEARTBEAT = 5.0  # seconds without an event after which an empty line is sent, which shows whether anybody reads


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
    routes: list[BaseRoute] = [Route("/api/about", _about(answers))]
    routes += [Route(f"/api/{name}", _Question(worker, getattr(answers, name)), methods=["POST"]) for name in QUESTIONS]
    routes += [
        Route("/api/result/{name}", _result(answers)),
        Route("/", _index),
        Mount("/static", StaticFiles(directory=str(STATIC))),
    ]
    return Guard(Starlette(routes=routes), hosts, token)


async def _index(request: Request) -> Response:
    text = await run_in_threadpool(STATIC.joinpath("index.html").read_text, "utf-8")
    return Response(text, media_type="text/html")


def _about(answers: Answers) -> Callable[[Request], Any]:
    async def about(request: Request) -> Response:
        return JSONResponse(answers.about())

    return about


def _result(answers: Answers) -> Callable[[Request], Any]:
    """A result that was kept: as a map in JSON, or as a file where `as` names an ending."""

    async def result(request: Request) -> Response:
        name, asked = request.path_params["name"], request.query_params
        by, ending, row = asked.get("by", "piece"), asked.get("as"), asked.get("row")
        number = int(row) if row is not None and row.isdigit() else None
        try:
            if ending is None:
                return JSONResponse(await run_in_threadpool(answers.map_of, name, number, by))
            if ending not in FILES:
                raise ValueError(f"there is no file of the kind {ending!r}")
            data = await run_in_threadpool(answers.file, name, number, by, ending)
        except KeyError:
            return JSONResponse({"message": "this result is not kept any more; run it again"}, 404)
        except ValueError as error:
            return JSONResponse({"message": str(error)}, 400)
        return Response(data, media_type=FILES[ending], headers={
            "Content-Disposition": f'attachment; filename="why.{ending}"'
        })  # fmt: skip

    return result


class _Question:
    """An endpoint that answers with events, a line of JSON each; who leaves cancels the work."""

    def __init__(self, worker: Worker, work: Callable[[Body, Job], Event]):
        self.worker, self.work = worker, work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = Body.of(json.loads(await request.body()))
        except TooLargeError:
            await JSONResponse({"message": TOO_LARGE}, 413)(scope, receive, send)
            return
        except (ValueError, RecursionError):
            await JSONResponse({"message": "the body must be a JSON object"}, 400)(scope, receive, send)
            return
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def emit(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(events.put_nowait, event)

        try:
            job = self.worker.ask(Job(lambda job: self.work(body, job), emit))
        except FullError as error:
            await JSONResponse({"message": str(error)}, 503)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", b"application/x-ndjson"), (b"x-accel-buffering", b"no"),
        ]})  # fmt: skip
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await _sent(events, send, gone)
        finally:
            gone.cancel()
            self.worker.cancel(job)


async def _sent(events: asyncio.Queue[Event], send: Send, gone: asyncio.Future[None]) -> None:
    """Send events as they come, until the last one, or until nobody listens any more."""
    while not gone.done():
        coming = asyncio.ensure_future(events.get())
        both: set[asyncio.Future[Any]] = {coming, gone}
        await asyncio.wait(both, timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            coming.cancel()
            return
        event = coming.result() if coming.done() else None
        if event is None:
            coming.cancel()
        line = b"\n" if event is None else json.dumps(event, allow_nan=False).encode() + b"\n"
        last = event is not None and event["event"] in LAST
        try:
            await send({"type": "http.response.body", "body": line, "more_body": not last})
        except OSError:
            return
        if last:
            return


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
