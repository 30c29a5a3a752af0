"""Warnings that point at the caller's line, whichever of our functions found out."""

from __future__ import annotations

import sys
import warnings

OURS = ("interpret.", "nexttoken.")


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn as if the first function outside of these packages that is being run had warned."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and (frame.f_globals.get("__name__", "") + ".").startswith(OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)
