"""What stands above and below every figure: what is explained, how, and what the colours mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interpret.results.attribution import Attribution
from interpret.views.canvas import Canvas
from interpret.views.cells import NOTES, meaning, signs
from interpret.views.fonts import drawable, shortened, wrapped
from interpret.views.invisible import escape_invisible

TITLE_SIZE, NOTE_SIZE = 10.5, 8.0
TITLE_LINE, NOTE_LINE = 14.0, 11.0
BELOW = 6.0
MOST_LINES = 3  # of a title; rows and metadata have all of it
TOGETHER = re.compile(r"(?<=[ (]['\"]) (?=\S)|(?<=\bp) (?== )|(?<=\bp =) ")  # where no line may break: ' are', p = 0.36
UNBROKEN = "\N{NO-BREAK SPACE}"
LOOKS = {"fixed": "grey", "template": "pale italics"}


class Heading:
    """A title and smaller facts below it, in lines that fit a room; all in units."""

    def __init__(self, title: str, facts: str, room: float):
        whole = TOGETHER.sub(UNBROKEN, drawable(escape_invisible(title)))
        lines = wrapped(whole, room, TITLE_SIZE, "bold") if title else []
        self.title = [line.replace(UNBROKEN, " ") for line in lines]
        if len(self.title) > MOST_LINES:
            rest = " ".join(self.title[MOST_LINES - 1 :])
            self.title[MOST_LINES - 1 :] = [shortened(rest, room, TITLE_SIZE, "bold")]
        self.facts = wrapped(drawable(escape_invisible(facts)), room, NOTE_SIZE) if facts else []

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


class Verdict:
    """What the check of a result found, in lines that fit a room: the last that a figure says; in units."""

    def __init__(self, sentences: Sequence[str], room: float):
        self.lines = [line for text in sentences if text for line in wrapped(drawable(text), room, NOTE_SIZE)]

    @property
    def height(self) -> float:
        """With the space above; nothing where there was no check."""
        return NOTE_LINE * len(self.lines) + BELOW if self.lines else 0.0

    def draw(self, canvas: Canvas, top: float) -> None:
        """Write it from the canvas' left edge."""
        for number, line in enumerate(self.lines):
            canvas.write(0, top + BELOW + NOTE_LINE * number + NOTE_SIZE, line, NOTE_SIZE)


def legend(unit: str, results: Sequence[Attribution]) -> list[str]:
    """What the numbers on the colour bar mean, and the looks of fixed pieces and of the template's."""
    return [meaning(unit, results), *looks(results)]


def looks(results: Sequence[Attribution]) -> list[str]:
    """How pieces without a score and those of the template look, if there are any."""
    return [f"{LOOKS[sign]}: {NOTES[sign]}" for sign in signs(results)]
