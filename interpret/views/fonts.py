"""Fonts for any text: what is drawn in which font, how wide it is, and a box where no font has a character."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

from matplotlib import rcParams
from matplotlib.font_manager import FontEntry, FontProperties, fontManager, get_font
from matplotlib.textpath import TextToPath

TEXT_SIZE = 12.0
NO_GLYPH = "□"
SANS = "Noto Sans"  # preferred where the usual fonts lack a character; one family for many scripts
HAN = "Noto Sans CJK SC"  # its faces differ in how they draw the same Chinese characters
LAST = "Last Resort"  # matplotlib's own: a box with a sign of the script


def font(text: str, size: float, weight: str = "normal") -> dict[str, Any]:
    """How a text is drawn: without mathematics and TeX, in fonts that have its characters."""
    return {"fontproperties": font_properties(text, size, weight), "parse_math": False, "usetex": False}


def font_properties(text: str, size: float, weight: str) -> FontProperties:
    """The fonts for a text: the usual ones, then installed ones that have the characters which those lack."""
    others = dict.fromkeys(family for character in text if (family := fallback_family(character)))
    return FontProperties(family=[*rcParams["font.family"], *others], size=size, weight=weight)


@lru_cache
def characters_of(path: str) -> frozenset[int]:
    """The code points that a font file has glyphs for; none if it can't be read."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=4096)
def fallback_family(character: str) -> str | None:
    """An installed font that has a character which the usual fonts lack: None if they have it, "" if no font does."""
    usual = [fontManager.findfont(FontProperties(family=[family])) for family in FontProperties().get_family()]
    if any(ord(character) in characters_of(path) for path in usual):
        return None
    fonts = sorted(fontManager.ttflist, key=preference)
    return next((entry.name for entry in fonts if ord(character) in characters_of(entry.fname)), "")


def preference(entry: FontEntry) -> tuple[bool | str, ...]:
    """A sort key of installed fonts, the preferred ones first: upright and regular, and boxes only if nothing else."""
    plain = (entry.style == "normal", entry.weight == 400, entry.name == HAN, entry.name.startswith(SANS))
    return (entry.name.startswith(LAST), *(not good for good in plain), entry.name, entry.fname)


def drawable(text: str) -> str:
    """The text with a box for each character that no installed font has; marks without a width are left out."""
    return "".join(
        character
        if fallback_family(character) != ""
        else ""
        if unicodedata.category(character) in ("Mn", "Me", "Cf")
        else NO_GLYPH
        for character in text
    )


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = TEXT_SIZE, weight: str = "normal") -> float:
    """The width of a text in points, leading and trailing spaces included."""
    prop, measure = font_properties(text, size, weight), TextToPath().get_text_width_height_descent
    return float(measure(f"|{text}|", prop, False)[0] - measure("||", prop, False)[0])
