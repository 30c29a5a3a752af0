"""Plain text for a reader: what would be invisible gets a sign, and the reader of standard output may leave."""

from __future__ import annotations

import os
import sys
import unicodedata

BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they reorder the text around them
SIGNS = {character: f"[U+{ord(character):04X}]" for character in BIDI_CONTROLS}
SIGNS |= {"\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}


def escape_invisible(text: str, edge_spaces: bool = False) -> str:
    """The text with line ends, tabs, control and direction characters as signs.

    With `edge_spaces`, a text of spaces only, or of characters that leave no mark, is shown by signs as well.
    """
    if text.isprintable() and not (edge_spaces and text.strip(" ") == ""):
        return text
    shown = "".join(SIGNS.get(character) or _control_picture(character) for character in text)
    if edge_spaces and shown.strip(" ") == "":
        return "␣" * len(shown)
    if edge_spaces and all(unicodedata.category(character) == "Cf" for character in shown):
        return "".join(f"[U+{ord(character):04X}]" for character in shown)
    return shown


def _control_picture(character: str) -> str:
    if ord(character) < 32:
        return chr(0x2400 + ord(character))
    if character == "\x7f":
        return "␡"
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character


def print_text(text: str) -> None:
    """Write to standard output. That whoever reads it has read enough and left, as `head` does, is no error."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write as it ends
