"""What scores are measured against, and their colours: where they end, how numbers are written, what is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy

from interpret.results.attribution import Attribution
from interpret.results.numbers import NumberFormat

Colour = tuple[float, float, float]

# Blue against, white neutral, orange-red for: different with every common colour blindness. The two are equally light
# at equal strength (CIE L* 100, 81, 56, 33), so neither looks stronger in grey; the sign needs a mark there.
AGAINST: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (0.66, 0.80, 0.93), (0.29, 0.54, 0.80), (0.09, 0.30, 0.58))
FOR: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (0.96, 0.75, 0.61), (0.85, 0.39, 0.21), (0.60, 0.11, 0.06))
STRENGTH: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (0.78, 0.89, 0.80), (0.36, 0.67, 0.53), (0.04, 0.37, 0.31))
FIXED: Colour = (0.93, 0.93, 0.93)
# The same on a dark page, where strong is light (L* 0, 21, 48, 80).
AGAINST_DARK: tuple[Colour, ...] = ((0.0, 0.0, 0.0), (0.06, 0.20, 0.38), (0.20, 0.45, 0.74), (0.60, 0.80, 0.98))
FOR_DARK: tuple[Colour, ...] = ((0.0, 0.0, 0.0), (0.34, 0.13, 0.05), (0.74, 0.32, 0.13), (1.0, 0.72, 0.52))
STRENGTH_DARK: tuple[Colour, ...] = ((0.0, 0.0, 0.0), (0.04, 0.25, 0.20), (0.13, 0.52, 0.41), (0.58, 0.88, 0.74))
FIXED_DARK: Colour = (0.22, 0.22, 0.22)
READABLE = 4.6  # WCAG 2.1, level AA, asks for a contrast of 4.5; the rest is for rounding to bytes
PALEST, STEPS = 0.6, 60  # how far pale ink may go towards the background, and the steps it is sought in
WHITE: Colour = (1.0, 1.0, 1.0)
BLACK: Colour = (0.0, 0.0, 0.0)
NIGHT: Colour = (0.086, 0.098, 0.118)  # a page in the dark
MIDDLE = 0.18  # the luminance of middle grey: below it, a page is dark
LIGHT_PAGE, DARK_PAGE = 0.8, 0.01  # a page this light or dark is itself what no score looks like


def colour(score: float, limit: float, signed: bool, page: Colour = WHITE) -> Colour:
    """The colour (red, green, blue in 0 to 1) of a score on a scale that ends at `limit`; neutral where all are zero.

    Neutral is the page's own colour, or white or black where that is neither light nor dark.
    """
    share = min(1.0, abs(score) / limit) if limit > 0 else 0.0
    anchors = (neutral(page), *_anchors(score, signed, page)[1:])
    at = range(len(anchors))
    red, green, blue = (float(numpy.interp(share * at[-1], at, channel)) for channel in zip(*anchors, strict=True))
    return red, green, blue


def bar_colour(score: float, signed: bool, page: Colour) -> Colour:
    """One colour for each direction, strong enough to be seen on short bars and lines."""
    return _anchors(score, signed, page)[2]


def _anchors(score: float, signed: bool, page: Colour) -> tuple[Colour, ...]:
    if is_dark(page):
        return STRENGTH_DARK if not signed else FOR_DARK if score >= 0 else AGAINST_DARK
    return STRENGTH if not signed else FOR if score >= 0 else AGAINST


def is_dark(page: Colour) -> bool:
    """Whether strong scores are lighter than the page, not darker."""
    return luminance(page) < MIDDLE


def neutral(page: Colour) -> Colour:
    """The colour of a score of zero."""
    if is_dark(page):
        return page if luminance(page) <= DARK_PAGE else BLACK
    return page if luminance(page) >= LIGHT_PAGE else WHITE


def fixed_colour(page: Colour) -> Colour:
    """The grey of pieces without a score."""
    return FIXED_DARK if is_dark(page) else FIXED


def luminance(rgb: Colour) -> float:
    """Relative luminance, from 0 (black) to 1 (white); WCAG 2.1."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of two colours, from 1 to 21; WCAG 2.1."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink(background: Colour) -> Colour:
    """Black or white, whichever reads better on the background."""
    return max((BLACK, WHITE), key=lambda text: contrast(text, background))


def pale_ink(background: Colour) -> Colour:
    """The ink of what the template wrote: as pale as can still be read, so on strong colours no paler than the rest."""
    strong = ink(background)
    for step in range(STEPS, 0, -1):
        part = PALEST * step / STEPS
        red, green, blue = (a + part * (b - a) for a, b in zip(strong, background, strict=True))
        if contrast((red, green, blue), background) >= READABLE:
            return red, green, blue
    return strong


def to_hex(rgb: Colour) -> str:
    """#rrggbb."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


Mark = Literal["for", "against", "fixed", ""]
FAINT = 0.05  # of the largest magnitude: up to it, a piece has hardly a colour, and no mark


@dataclass(frozen=True)
class Scale:
    """A scale of scores in one unit; signed ones diverge about zero."""

    limit: float  # the largest magnitude, where the colours end
    unit: str
    signed: bool

    @classmethod
    def of(cls, *results: Attribution) -> Scale:
        """The scale of one result, or the common one of several that are in the same unit."""
        first = results[0]
        assert {kind_of(each) for each in results} == {kind_of(first)}, "scores of different units on one scale"
        limit = max((abs(piece.score) for each in results for piece in each.pieces), default=0.0)
        return cls(limit, first.unit, first.signed)

    @cached_property
    def numbers(self) -> NumberFormat:
        return NumberFormat.of(self.limit, self.signed)

    @cached_property
    def errors(self) -> NumberFormat:
        """How their errors are written: as the scores, without a plus sign."""
        return replace(self.numbers, signed=False)

    @property
    def written_unit(self) -> str:
        return self.numbers.unit(self.unit)

    @property
    def low(self) -> float:
        return -self.limit if self.signed else 0.0

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        ticks = sorted({self.low, 0.0, self.limit})
        return tuple((tick, self.numbers(tick) if tick else "0") for tick in ticks)

    def steps(self, count: int) -> list[float]:
        """Scores from the lower end to the upper one, `count` steps apart."""
        return [self.low + (self.limit - self.low) * step / count for step in range(count + 1)]

    def colour(self, score: float, page: Colour = WHITE, fixed: bool = False) -> Colour:
        return fixed_colour(page) if fixed else colour(score, self.limit, self.signed, page)

    def mark(self, score: float, fixed: bool = False) -> Mark:
        """What must be seen of a score without its colour: its direction, unless it is faint, or that there is none."""
        if fixed:
            return "fixed"
        return "" if not self.signed or abs(score) <= FAINT * self.limit else "for" if score > 0 else "against"


def kind_of(result: Attribution) -> tuple[str, bool]:
    """What scores must have in common to be on one scale: their unit, and whether they have a sign."""
    return result.unit, result.signed


def scales(results: Sequence[Attribution], shared: bool) -> list[Scale]:
    """The scale of each result: its own, or one that it shares with all in its unit."""
    if not shared:
        return [Scale.of(each) for each in results]
    return [Scale.of(*(other for other in results if kind_of(other) == kind_of(each))) for each in results]


def alike(given: Sequence[Scale]) -> list[NumberFormat]:
    """How the numbers of several scales are written: in one unit alike, unless the smaller would keep one digit."""
    found = []
    for scale in given:
        largest = max((other for other in given if other.unit == scale.unit), key=lambda other: other.limit).numbers
        few = 0 < scale.limit < 10.0 ** (1 + largest.exponent - largest.decimals)
        found.append(scale.numbers if few else replace(largest, signed=scale.signed))
    return found


def sharing(results: Sequence[Attribution], shared: bool, noun: str) -> str:
    """What a figure says about the scales of several results; nothing about one."""
    if len(results) == 1:
        return ""
    if not shared:
        return f"each {noun} on its own scale"
    return f"one scale for all {noun}s" + (" in the same unit" if len(set(map(kind_of, results))) > 1 else "")
