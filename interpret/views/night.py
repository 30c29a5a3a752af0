"""The colours of scores on a dark page: neutral is the page itself, and the strongest scores shine."""

from __future__ import annotations

from interpret.views.colour import Colour, along

PAGE: Colour = (0.086, 0.098, 0.118)
AGAINST: tuple[Colour, ...] = (PAGE, (0.09, 0.20, 0.35), (0.15, 0.40, 0.68), (0.56, 0.79, 0.99))
FOR: tuple[Colour, ...] = (PAGE, (0.34, 0.16, 0.09), (0.70, 0.32, 0.14), (1.0, 0.73, 0.53))
STRENGTH: tuple[Colour, ...] = (PAGE, (0.08, 0.25, 0.21), (0.13, 0.47, 0.38), (0.56, 0.87, 0.74))
HELD: Colour = (0.20, 0.21, 0.23)


def night_colour(score: float, limit: float, signed: bool) -> Colour:
    """The colour of a score on a dark page, on a scale that ends at `limit`; the page's own where all are zero."""
    share = min(1.0, abs(score) / limit) if limit > 0 else 0.0
    return along(STRENGTH if not signed else FOR if score >= 0 else AGAINST, share)
