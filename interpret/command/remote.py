"""`nexttoken explain` by a page that runs already: its model is loaded, so an answer takes a fraction of a second."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from interpret.command.options import Computation, Output, Question
from interpret.views.plain import print_text

if TYPE_CHECKING:
    from rich.console import Console

TIMEOUT = 10.0  # seconds without a sign of life; the page gives one every 5


class NotRunningError(OSError):
    """No page answers at an address."""


def explain_there(address: str, question: Question, computation: Computation, output: Output, console: Console) -> None:
    """Ask, print the answer as the command does, and save the files.

    Args:
        address: as `nexttoken serve` printed it, with its token if it has one.
        question: with the text of the prompt.
        computation: how it is computed.
        output: what is written, and where.
        console: for what is said beside the answer.

    Raises:
        NotRunningError: no page answers there.
        OSError: the page ended before its answer did.
        ValueError: an address that is none, or what the page says is wrong with the question.
    """
    from rich.console import Console as Terminal

    terminal = Terminal()
    system = None if terminal.no_color else terminal.color_system
    endings = sorted({path.suffix.lower()[1:] for path in output.paths})
    asked = {
        "question": asdict(question), "computation": asdict(computation), "format": output.printed,
        "width": max(20, terminal.width), "colours": system, "endings": endings, "figure_width": output.width,
    }  # fmt: skip
    for event in events(address, asked):
        if event["event"] == "error":
            raise ValueError(event["message"])
        if event["event"] == "warning":
            console.print(f"warning: {event['message']}", style="yellow", markup=False, highlight=False)
        if event["event"] == "done":
            for path in output.paths:
                written(path, base64.b64decode(event["files"][path.suffix.lower()[1:]]))
            print_text(event["text"])
            for path in output.paths:
                console.print(f"saved {path}", highlight=False, markup=False)
            return
    raise OSError(f"the page at {address} ended before its answer did")


def events(address: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a page tells of a question, event by event. Raises as `explain_there` does."""
    parts = urlsplit(address if "//" in address else f"http://{address}")
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host = None
    if parts.scheme != "http" or not host:
        raise ValueError(f"{address!r} is not the address of a page, such as http://127.0.0.1:8000")
    headers = {"Content-Type": "application/json"}
    if parts.fragment.startswith("token="):
        headers["Authorization"] = f"Bearer {parts.fragment.removeprefix('token=')}"
    with closing(HTTPConnection(host, port, timeout=TIMEOUT)) as connection:
        try:
            connection.request("POST", "/api/command", json.dumps(asked), headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise NotRunningError(f"no page answers at {address}: {error}") from None
        with response:
            if response.status != 200:
                raise ValueError(_refusal(address, response.status, response.read()))
            try:
                for line in response:
                    if line.strip():
                        yield json.loads(line)
            except (OSError, HTTPException, ValueError) as error:
                raise OSError(f"the page at {address} ended before its answer did: {error}") from None


def _refusal(address: str, status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"what answers at {address} is no page of this version (status {status})"


def written(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    from interpret.results.files import write_whole

    write_whole(path, lambda part: part.write_bytes(data))
