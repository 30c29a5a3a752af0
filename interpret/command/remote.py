"""`nexttoken explain` by a page that runs already: its model is loaded, so an answer takes a fraction of a second."""

from __future__ import annotations

import json
import warnings
from contextlib import closing
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from interpret.question.question import Question

if TYPE_CHECKING:
    from interpret.results.attribution import Attribution
    from interpret.results.matrix import AttributionMatrix

TIMEOUT = 10.0  # seconds without a sign of life; the page gives one every 5


class NotRunningError(OSError):
    """No page answers at an address."""


def answer_there(address: str, question: Question) -> Attribution | AttributionMatrix:
    """The page's answer to a question; what the page warns of is a warning here.

    Args:
        address: as `nexttoken serve` printed it, with its token if it has one.
        question: what is asked.

    Raises:
        NotRunningError: no page answers there.
        OSError: the page ended before its answer did.
        ValueError: an address that is none, or what the page says is wrong with the question.
    """
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
            connection.request("POST", "/api/command", json.dumps(asdict(question)), headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise NotRunningError(f"no page answers at {address}: {error}") from None
        with response:
            if response.status != 200:
                raise ValueError(_refusal(address, response.status, response.read()))
            event: dict[str, Any] = {"event": None}
            try:
                for line in filter(bytes.strip, response):
                    event = json.loads(line)
                    if event["event"] == "warning":
                        warnings.warn(event["message"], stacklevel=2)
            except (OSError, HTTPException, ValueError) as error:
                raise OSError(f"the page at {address} ended before its answer did: {error}") from None
    if event["event"] == "error":
        raise ValueError(event["message"])
    if event["event"] != "done":
        raise OSError(f"the page at {address} ended before its answer did")
    from interpret.results.attribution import Attribution
    from interpret.results.matrix import AttributionMatrix

    result = event["result"]
    return (AttributionMatrix if "attributions" in result else Attribution).from_dict(result)


def _refusal(address: str, status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"what answers at {address} is no page of this version (status {status})"
