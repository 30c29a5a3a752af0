"""The terminal: errors in one line, streams of any encoding that never fail, and the list of methods."""

from __future__ import annotations

import codecs
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

EXPECTED = (ValueError, OSError, ArithmeticError, ImportError, MemoryError)
MARKS = {  # at the beginning of a file, the longer ones first
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
PLAIN = {"−": "-", "×": "x", "…": "...", "–": "-", "↵": "\\n", "⇥": "\\t", "␣": "_", "‘": "'", "’": "'"}
HANDLER = "nexttoken-plain"


@cache
def console() -> Console:
    """Standard error, for what is told beside the answer: plain lines, as wide as they are."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Errors and warnings in one line each on standard error, and exit status 1 after an error."""
    from interpret.engine.progress import bars_aside

    never_fail(sys.stdout, sys.stderr)

    def say(kind: str, message: object) -> None:
        with bars_aside():
            console().print(f"{kind}: {' '.join(str(message).split())}", style="red" if kind == "error" else "yellow")

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)  # type: ignore[assignment]
        try:
            yield
        except EXPECTED as error:
            say("error", error)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as interruption:
            say("error", str(interruption) or "interrupted; nothing was written")
            raise typer.Exit(130) from None


def never_fail(*streams: Any) -> None:
    """Let streams that cannot take every character write a plainer one in its place: signs of numbers stay signs.

    A stream that takes UTF-8, or cannot be changed, stays as it is.
    """
    codecs.register_error(HANDLER, _plainer)
    for stream in streams:
        if hasattr(stream, "reconfigure") and not _is_unicode(stream):
            stream.reconfigure(errors=HANDLER)


def as_data(stream: Any) -> None:
    """Let a stream take UTF-8, for JSON and tables, which other programs read."""
    if hasattr(stream, "reconfigure") and not _is_unicode(stream):
        stream.reconfigure(encoding="utf-8")


def read_text(stream: Any) -> str:
    """All of a stream, in UTF-8 or what its byte-order mark says, or else its own encoding; without the mark.

    Raises ValueError for what is text in none of them.
    """
    data: bytes = stream.buffer.read()
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8-sig")
    for name in (encoding, stream.encoding):
        try:
            return io.TextIOWrapper(io.BytesIO(data), name).read()
        except UnicodeDecodeError as error:
            fault = error
    raise ValueError(
        f"standard input is no text in {fault.encoding}: byte {data[fault.start]:#04x} at {fault.start}; "
        "save it as UTF-8"
    )


def _is_unicode(stream: Any) -> bool:
    return codecs.lookup(stream.encoding or "utf-8").name.startswith("utf")


def _plainer(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


def methods_listing() -> str:
    """The methods, each with its line of help and its settings with their defaults; then the values to choose from."""
    from interpret.methods.listed import BASELINES, METHODS
    from interpret.methods.settings import convention_names, default_instance, settings

    choices: dict[str, dict[str, None]] = {}
    lines = []
    for each in METHODS:
        own = settings(default_instance(each.load()))
        lines += [each.slug, f"  {each.help}", f"  settings: {', '.join(f'{one.name}={one.text}' for one in own)}", ""]
        for one in own:
            choices.setdefault(one.name, {}).update(dict.fromkeys(label for label, _ in one.choices))
    starts = {each.slug: each.help for each in BASELINES}
    starts["none"] = "for gradient-times-input and gim: the embedding itself, not its way from a baseline"
    wide = max(map(len, starts))
    lines += ["--set baseline=NAME", *(f"  {slug:<{wide}}  {words}" for slug, words in starts.items())]
    for name, labels in choices.items():
        if labels and name != "baseline":
            lines += ["", f"--set {name}=NAME", f"  {', '.join(labels)}"]
    lines += ["", "--set method.NAME=VALUE, --set baseline.NAME=VALUE", "  a setting of the method or baseline within"]
    lines += ["", "What other libraries compute, without settings:", *(f"  {name}" for name in convention_names())]
    return "\n".join(lines) + "\n"
