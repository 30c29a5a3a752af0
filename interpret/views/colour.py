"""The colours of scores, the same in every view: diverging about zero if signed, otherwise from white to dark."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Colour = tuple[float, float, float]
TEMPLATE_NOTE = "written by the template or tokenizer"

# Blue against, white neutral, orange-red for: told apart with every common colour blindness.
AGAINST: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (0.66, 0.80, 0.93), (0.29, 0.54, 0.80), (0.09, 0.30, 0.58))
FOR: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (0.99, 0.80, 0.67), (0.92, 0.47, 0.28), (0.68, 0.16, 0.09))
STRENGTH: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (0.78, 0.89, 0.80), (0.36, 0.67, 0.53), (0.04, 0.37, 0.31))
HELD: Colour = (0.93, 0.93, 0.93)
READABLE = 4.6  # WCAG 2.1, level AA, asks for a contrast of 4.5; the rest is for rounding to bytes
PALEST, STEPS = 0.6, 60  # how far pale ink may go towards the background, and the steps it is sought in
LIGHT_INK: Colour = (1.0, 1.0, 1.0)
DARK_INK: Colour = (0.0, 0.0, 0.0)


def colour(score: float, limit: float, signed: bool) -> Colour:
    """The colour (red, green, blue in 0 to 1) of a score on a scale that ends at `limit`; white where all are zero."""
    share = min(1.0, abs(score) / limit) if limit > 0 else 0.0
    return along(STRENGTH if not signed else FOR if score >= 0 else AGAINST, share)


def along(anchors: Sequence[Colour], share: float) -> Colour:
    """The colour at a share, from 0 to 1, of the way along evenly spaced anchors."""
    place = share * (len(anchors) - 1)
    low, high = list(pairwise(anchors))[min(int(place), len(anchors) - 2)]
    part = place - min(int(place), len(anchors) - 2)
    red, green, blue = (a + part * (b - a) for a, b in zip(low, high, strict=True))
    return red, green, blue


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
    return max((DARK_INK, LIGHT_INK), key=lambda text: contrast(text, background))


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


def scale(scores: list[float]) -> float:
    """The end of the colour scale: the largest magnitude."""
    return max((abs(score) for score in scores), default=0.0)
