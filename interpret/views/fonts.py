"""Fonts for any text: which of them draw it, how wide it is, and where it wraps."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontEntry, FontProperties, fontManager, get_font
from matplotlib.text import Text
from matplotlib.textpath import TextToPath
from matplotlib.transforms import Bbox

TEXT_SIZE = 12.0
BYTE_ORDER_MARK = "\ufeff"  # invisible, and matplotlib cannot write it into a PDF
SANS = "Noto Sans"  # preferred where the usual fonts lack a character; one family for many scripts
HAN = "Noto Sans CJK SC"  # its faces differ in how they draw the same Chinese characters
LAST = "Last Resort"  # matplotlib's own from 3.11 on: a box with a sign of the script
# Hinting moves letters to whole pixels; at screen resolutions text becomes up to a tenth wider than it was measured.
UNHINTED: Any = {"text.hinting": "no_hinting"}


class MeasuredText(Text):
    """Text that is as wide at every resolution as `text_width` says: it is drawn without hinting."""

    def draw(self, renderer: Any) -> None:
        with rc_context(UNHINTED):
            super().draw(renderer)

    def get_window_extent(self, renderer: Any = None, dpi: float | None = None) -> Bbox:
        with rc_context(UNHINTED):
            return super().get_window_extent(renderer, dpi)


def font(text: str, size: float, weight: str = "normal") -> dict[str, Any]:
    """How a text is drawn: without mathematics and TeX, in the usual fonts and those that have what these lack."""
    usual = usual_fonts()
    others = dict.fromkeys(family for character in text if (family := fallback_family(character, usual)))
    properties = FontProperties(family=[*rcParams["font.family"], *others], size=size, weight=weight)
    return {"fontproperties": properties, "parse_math": False, "usetex": False}


def usual_fonts() -> tuple[str, ...]:
    """The files of the fonts that matplotlib's settings ask for, as they are now."""
    return tuple(fontManager.findfont(FontProperties(family=[family])) for family in rcParams["font.family"])


@lru_cache
def characters_of(path: str) -> frozenset[int]:
    """The code points that a font file has glyphs for; none if it can't be read."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=4096)
def fallback_family(character: str, usual: tuple[str, ...]) -> str | None:
    """An installed font that has a character which the usual font files lack; None if they have it, or no font does."""
    if any(ord(character) in characters_of(path) for path in usual):
        return None

    def rank(entry: FontEntry) -> tuple[bool | str, ...]:  # upright and regular first, boxes only if nothing else
        plain = (entry.style == "normal", entry.weight == 400, entry.name == HAN, entry.name.startswith(SANS))
        return (entry.name.startswith(LAST), *(not good for good in plain), entry.name, entry.fname)

    having = [entry for entry in fontManager.ttflist if ord(character) in characters_of(entry.fname)]
    return min(having, key=rank).name if having else None


def drawable(text: str) -> str:
    """The text without what matplotlib cannot write."""
    return text.replace(BYTE_ORDER_MARK, "")


def text_width(text: str, size: float = TEXT_SIZE, weight: str = "normal") -> float:
    """The width of a text in points, leading and trailing spaces included."""
    return measured(text, size, weight, usual_fonts())


@lru_cache(maxsize=4096)
def measured(text: str, size: float, weight: str, usual: tuple[str, ...]) -> float:
    """The same, while the usual fonts are those files."""
    prop, measure = font(text, size, weight)["fontproperties"], TextToPath().get_text_width_height_descent
    return float(measure(f"|{text}|", prop, False)[0] - measure("||", prop, False)[0])


def fit(text: str, room: float) -> int:
    """How many of the text's characters fit into a room."""
    return bisect_right(range(1, len(text) + 1), room, key=lambda count: text_width(text[:count]))


def wrapped(text: str, room: float, size: float, weight: str = "normal") -> list[str]:
    """A text in lines that fit the room, broken at spaces."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def shortened(text: str, room: float, size: float, weight: str = "normal") -> str:
    """A text that fits the room, with … in place of its end where it is too long."""
    if text_width(text, size, weight) <= room:
        return text

    def width(count: int) -> float:
        return text_width(f"{text[:count].rstrip()}…", size, weight)

    return text[: bisect_right(range(1, len(text) + 1), room, key=width)].rstrip() + "…"
