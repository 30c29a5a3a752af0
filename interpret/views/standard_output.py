"""Standard output, whose reader may leave."""

from __future__ import annotations

import os
import sys


def print_text(text: str) -> None:
    """Write to standard output. That whoever reads it has read enough and left, as `head` does, is no error."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write as it ends
