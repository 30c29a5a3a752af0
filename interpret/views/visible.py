"""Text as a reader sees it: what would be invisible gets a sign."""

from __future__ import annotations

import unicodedata

SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽"}


def visible(text: str, edge_spaces: bool = False) -> str:
    """The text with line ends, tabs and control characters as signs; with `edge_spaces`, one of spaces only as well."""
    shown = "".join(SIGNS.get(character) or control_picture(character) for character in text)
    if edge_spaces and shown.strip(" ") == "":
        return "␣" * len(shown)
    return shown


def control_picture(character: str) -> str:
    """A control character as its picture; any other character as it is."""
    if ord(character) < 32:
        return chr(0x2400 + ord(character))
    if character == "\x7f":
        return "␡"
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character
