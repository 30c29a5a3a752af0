"""What stands above and below every picture: what is explained, how, and what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.attribution import Attribution
from interpret.views.canvas import Canvas
from interpret.views.colour import TEMPLATE_NOTE, scale
from interpret.views.fonts import drawable, shortened, wrapped
from interpret.views.visible import visible

TITLE_SIZE, NOTE_SIZE = 10.5, 8.0
TITLE_LINE, NOTE_LINE = 14.0, 11.0
BELOW = 6.0
MOST_LINES = 3  # of a title; rows and metadata have all of it


class Heading:
    """A title and smaller facts below it, in lines that fit a room; all in units."""

    def __init__(self, title: str, facts: str, room: float):
        self.title = wrapped(drawable(visible(title)), room, TITLE_SIZE, "bold") if title else []
        if len(self.title) > MOST_LINES:
            rest = " ".join(self.title[MOST_LINES - 1 :])
            self.title[MOST_LINES - 1 :] = [shortened(rest, room, TITLE_SIZE, "bold")]
        self.facts = wrapped(drawable(visible(facts)), room, NOTE_SIZE) if facts else []

    @property
    def height(self) -> float:
        """With the space below."""
        return TITLE_LINE * len(self.title) + NOTE_LINE * len(self.facts) + BELOW

    def draw(self, canvas: Canvas, top: float = 0.0) -> None:
        """Write it from the canvas' left edge."""
        for text in self.title:
            canvas.write(0, top + TITLE_SIZE, text, TITLE_SIZE, "bold")
            top += TITLE_LINE
        for text in self.facts:
            canvas.write(0, top + NOTE_SIZE, text, NOTE_SIZE, shade=canvas.page.muted)
            top += NOTE_LINE


def written(score: float, signed: bool, digits: int) -> str:
    """A score with so many digits; with its sign, if scores have one."""
    return f"{score:{'+' if signed and score else ''}.{digits}g}".replace("-", "−")


def meaning(*attributions: Attribution) -> str:
    """What scores on one scale mean: their unit, what they are parts of, and which way positive ones point."""
    quantities = ", ".join(dict.fromkeys(each.quantity for each in attributions))
    first = attributions[0]
    return f"{first.unit}, {quantities}" + (" (positive raises it)" if first.signed else "")


def kind_of(attribution: Attribution) -> tuple[str, bool]:
    """What scores must have in common to be on one scale: their unit, and whether they have a sign."""
    return attribution.unit, attribution.signed


def scales(attributions: Sequence[Attribution]) -> dict[tuple[str, bool], float]:
    """The end of the colour scale of each kind of score."""
    kinds = {kind_of(each) for each in attributions}
    return {
        kind: scale([score for each in attributions if kind_of(each) == kind for score in each.scores.tolist()])
        for kind in kinds
    }


def sharing(attribution: Attribution, attributions: Sequence[Attribution]) -> str:
    """What to say about the scale of one of several that are shown together."""
    if len(attributions) == 1:
        return ""
    alike = sum(kind_of(each) == kind_of(attribution) for each in attributions)
    if alike == len(attributions):
        return "one scale for all"
    return "a scale of its own" if alike == 1 else f"one scale for the {alike} in this unit"


def legend(attributions: Sequence[Attribution]) -> list[str]:
    """What the numbers on the colour bar mean, and the signs for held pieces and for the template's."""
    lines = [meaning(*attributions)]
    if any(any(each.held) for each in attributions):
        lines.append("grey: held, no score")
    if any(any(each.template) for each in attributions):
        lines.append(f"pale italics: {TEMPLATE_NOTE}")
    return lines
