"""The colour bar with its unit, the same under every figure."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.views.canvas import Canvas
from interpret.views.caption import NOTE_LINE, NOTE_SIZE
from interpret.views.fonts import text_width, wrapped
from interpret.views.scale import Scale

BAR_WIDTH, BAR_HEIGHT = 150.0, 7.0  # in units
ABOVE, BELOW = 4.0, 12.0  # the room between the text above and the bar, and of the numbers below
STEPS = 64
SLIT = 0.9  # the thickness of the slit that marks negative scores
FOOT = 2.5  # its distance from the bar's lower edge, in thicknesses


class ColourBar:
    """A scale from its lowest to its highest colour, what it means above it; all in units.

    Attributes:
        height: of all of it.
        words: the height of what stands above it.
    """

    def __init__(self, scale: Scale, legend: Sequence[str], room: float, numbers: Sequence[str] | None = None):
        """Make room for it; `numbers` are the texts at its ticks, by default the scale's."""
        self.scale = scale
        self.ticks = [place for place, _ in scale.ticks]
        self.numbers = [number for _, number in scale.ticks] if numbers is None else list(numbers)
        self.indent = max(text_width(number, NOTE_SIZE) for number in self.numbers) / 2
        self.width = min(BAR_WIDTH, room - 2 * self.indent)
        self.legend = [line for text in legend for line in wrapped(text, room, NOTE_SIZE)]
        self.words = NOTE_LINE * len(self.legend)
        self.height = self.words + ABOVE + BAR_HEIGHT + BELOW

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
        for place, shade in enumerate(shades):  # each under its neighbour, so that no seam is seen
            axes.axvspan(ends[0] + place * wide, ends[1], facecolor=shade, edgecolor="none", linewidth=0)
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
