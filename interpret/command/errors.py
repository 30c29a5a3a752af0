"""Errors and warnings of the command: one line each on standard error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

EXPECTED = (ValueError, OSError, ArithmeticError, ImportError, MemoryError)


@contextmanager
def errors_in_one_line() -> Iterator[Console]:
    """Errors and warnings in one line each on standard error, and exit status 1 after an error."""
    from rich.console import Console

    from interpret.command.streams import never_fail
    from interpret.engine.progress import bars_aside

    never_fail(sys.stdout, sys.stderr)
    console = Console(stderr=True, soft_wrap=True)

    def say(kind: str, message: object) -> None:
        words, style = " ".join(str(message).split()), "red" if kind == "error" else "yellow"
        with bars_aside():
            console.print(f"{kind}: {words}", style=style, markup=False, highlight=False)

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)  # type: ignore[assignment]
        try:
            yield console
        except EXPECTED as error:
            say("error", error)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as interruption:
            say("error", str(interruption) or "interrupted; nothing was written")
            raise typer.Exit(130) from None
