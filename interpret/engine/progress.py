"""What a computation tells: how far it is, by a bar that is gone when it is done, and warnings of the caller's line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], object]
OURS = ("interpret", "nexttoken")


@contextmanager
def progress(
    total: int | None, unit: str, *, shown: bool = True, delay: float = 0.0, done: int = 0
) -> Iterator[Advance]:
    """A bar for `total` pieces of work, which the function given advances by as many as were just done.

    Without a terminal or a notebook there is nobody to see it, and nothing is written.

    Args:
        total: how many there are, at most; None where that is unknown.
        unit: what is counted, such as "gradients".
        shown: False for no bar at all.
        delay: seconds that the work takes before there is a bar.
        done: how many were done before; they count for how far it is, and not for the rate.
    """
    from tqdm.auto import tqdm

    # None: no bar on what is not a terminal. A bar drawn at every call, at most ten times a second, is never late.
    bar = tqdm(
        total=total, desc=unit, initial=done, leave=False, delay=delay, miniters=1, disable=None if shown else True
    )
    try:
        yield bar.update
    finally:
        bar.total = bar.n  # that it took less than at most is no failure, which a notebook would leave in red
        bar.close()


@contextmanager
def bars_aside() -> Iterator[None]:
    """Within this context, lines can be written to standard error: a bar there is wiped, and drawn anew below them."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode():
        yield


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn as if the first function outside of these packages that is being run had warned."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)
