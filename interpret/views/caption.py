"""What stands above and below every figure: what is explained, how, and the colour bar with its unit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interpret.results.attribution import Attribution
from interpret.views.canvas import Canvas
from interpret.views.cells import NOTES, meaning, signs
from interpret.views.fonts import drawable, shortened, text_width, wrapped
from interpret.views.plain import escape_invisible
from interpret.views.scale import Scale

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


BAR_WIDTH, BAR_HEIGHT = 150.0, 7.0  # in units
ABOVE, UNDER = 4.0, 12.0  # the room between the text above and the bar, and of the numbers below
STEPS = 64
SLIT = 0.9  # the thickness of the slit that marks negative scores
FOOT = 2.5  # its distance from the bar's lower edge, in thicknesses


class ColourBar:
    """A scale from its lowest to its highest colour, what it means above it; all in units."""

    def __init__(self, scale: Scale, legend: Sequence[str], room: float, numbers: Sequence[str] | None = None):
        """Make room for it; `numbers` are the texts at its ticks, by default the scale's."""
        self.scale = scale
        self.ticks = [tick for tick, _ in scale.ticks]
        self.numbers = [number for _, number in scale.ticks] if numbers is None else list(numbers)
        self.indent = max(text_width(number, NOTE_SIZE) for number in self.numbers) / 2
        self.width = min(BAR_WIDTH, room - 2 * self.indent)
        self.legend = [line for text in legend for line in wrapped(text, room, NOTE_SIZE)]
        self.words = NOTE_LINE * len(self.legend)
        self.height = self.words + ABOVE + BAR_HEIGHT + UNDER

    def draw(self, canvas: Canvas, top: float, words_only: bool = False) -> None:
        """Draw it at the canvas' left edge; only what it means, where there is no one scale."""
        for number, line in enumerate(self.legend):
            canvas.write(0, top + NOTE_LINE * number + NOTE_SIZE, line, NOTE_SIZE)
        if words_only:
            return
        y, page, scale = top + self.words + ABOVE, canvas.page, self.scale
        axes = canvas.inset(self.indent, y, self.width, BAR_HEIGHT)
        shades = [scale.colour(mark, page.background) for mark in scale.steps(STEPS)]
        ends = (scale.low, scale.limit) if scale.limit > 0 else (-1.0, 1.0)
        wide = (ends[1] - ends[0]) / len(shades)
        for number, shade in enumerate(shades):  # each under its neighbour, so that no seam is seen
            axes.axvspan(ends[0] + number * wide, ends[1], facecolor=shade, edgecolor="none", linewidth=0)
        if scale.signed:
            foot = FOOT * SLIT / BAR_HEIGHT
            axes.plot(
                [scale.low, 0], [foot, foot], color=page.neutral, linewidth=SLIT * page.unit, solid_capstyle="butt"
            )
        axes.set(yticks=[], xlim=ends, facecolor=page.neutral)
        axes.grid(False)
        axes.set_xticks(self.ticks, labels=self.numbers, **page.font("0", NOTE_SIZE), color=page.ink)
        axes.tick_params(which="both", bottom=True, top=False, direction="out", color=page.muted)
        axes.tick_params(length=2 * page.unit, pad=1.5 * page.unit, width=0.5)
        for spine in axes.spines.values():
            spine.set(visible=True, linewidth=0.5, color=page.muted)
