"""An attribution as a matplotlib figure: running text that wraps, each piece on its colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpret.results.attribution import Attribution
from interpret.views.canvas import POINTS_PER_INCH, WIDTH, Canvas, Page, Sheet
from interpret.views.caption import SLIT, ColourBar, Heading, Verdict, legend
from interpret.views.cells import Cell, cells_of, disambiguate
from interpret.views.fonts import TEXT_SIZE, drawable, fit, text_width
from interpret.views.scale import Scale, ink, pale_ink, scales, sharing

NARROWEST_TEXT, LEAST_WIDTH = 72.0, 300.0  # of a text, and of a figure whose width is free, in units
LINE, CELL = 20.5, 18.0  # height of a line and of the colour behind it, in units
BASELINE = 12.5  # of the text in its cell
FOOT = 2.4  # the slit's distance from the lower edge
BETWEEN = 18.0  # the space between panels
AFTER_TEXT = 5.0


@dataclass(frozen=True)
class Run:
    """A part of a cell's text, placed on its line; x and width in units."""

    cell: Cell
    text: str
    x: float
    width: float
    line: int


def heatmap(attribution: Attribution, width: float | str | None = None, ax: Axes | None = None) -> Figure:
    """The prompt as running text, each piece on its colour.

    Signed scores diverge about zero, unsigned ones run from the page's colour to a strong one; the colour bar carries
    the unit. A slit along the foot marks negative scores, so that grey shows them too. Pieces that were fixed are grey.

    Args:
        attribution: what to show.
        width: of the figure in inches (6.5 by default); the height follows from the text.
        ax: draw here instead, at the real size of these axes, whose own axis is switched off.

    Returns:
        The figure: a new one, or that of `ax`.

    Raises:
        ValueError: a width or axes without room for the text, or both of them.
    """
    sheet = Sheet(width, ax)
    (panel,) = _panels([attribution], sheet, [Scale.of(attribution)], "")
    canvas = sheet.open(panel.room, panel.height, [attribution])
    panel.draw(canvas, 0.0)
    return canvas.figure


def compare(
    attributions: Sequence[Attribution], width: float | str | None = None, shared_scale: bool = False
) -> Figure:
    """Several attributions below each other in one figure, each with its own title and colour bar.

    Args:
        attributions: of any texts.
        width: of the figure in inches.
        shared_scale: whether those in the same unit are on one scale, so that their colours can be compared; by default
            each has its own, which shows its pattern however small its scores are. The figure says which.

    Raises:
        ValueError: no attributions, or a width that leaves no room for text.
    """
    if not attributions:
        raise ValueError("there is nothing to show: give at least one attribution")
    sheet, note = Sheet(width, None), sharing(attributions, shared_scale, "panel")
    panels = _panels(disambiguate(attributions), sheet, scales(attributions, shared_scale), note)
    height = sum(panel.height for panel in panels) + BETWEEN * (len(panels) - 1)
    canvas, top = sheet.open(panels[0].room, height, attributions), 0.0
    for panel in panels:
        panel.draw(canvas, top)
        top += panel.height + BETWEEN
    return canvas.figure


def _panels(attributions: Sequence[Attribution], sheet: Sheet, scales: Sequence[Scale], note: str) -> list[Panel]:

    def laid_out(room: float) -> list[Panel]:
        return [Panel(each, room, sheet.page, scale, note) for each, scale in zip(attributions, scales, strict=True)]

    panels = laid_out(_room(sheet))
    needed = max(LEAST_WIDTH, *(panel.text_width for panel in panels))
    return laid_out(needed) if sheet.width is None and needed < panels[0].room else panels


def _room(sheet: Sheet) -> float:
    """The width for text, in units, at most. Raises ValueError if it is too little."""
    if sheet.width is None:
        return WIDTH * POINTS_PER_INCH / sheet.page.unit - 2 * sheet.margin
    if sheet.width < NARROWEST_TEXT:
        needed = (NARROWEST_TEXT + 2 * sheet.margin) * sheet.page.unit / POINTS_PER_INCH
        raise ValueError(f"the width is {sheet.inches:.3g} inches; it must be at least {needed:.1f}")
    return sheet.width


class Panel:
    """One attribution laid out in a given width: title, text and colour bar, all in units."""

    def __init__(self, attribution: Attribution, room: float, page: Page, scale: Scale, note: str):
        self.room, self.page = room, page
        self.heading = Heading(attribution.heading, attribution.facts, room)
        self.runs = self._lay_out(cells_of(attribution, scale), only_spaces=not attribution.prompt.strip(" "))
        self.text_width = max(run.x + run.width for run in self.runs)
        self.text_height = LINE * (1 + max(run.line for run in self.runs))
        lines = [*legend(scale.written_unit, [attribution]), *filter(None, [note])]
        self.bar = ColourBar(scale, lines, room)
        self.verdict = Verdict([attribution.checked], room)
        self.height = self.heading.height + self.text_height + AFTER_TEXT + self.bar.height + self.verdict.height

    def _lay_out(self, cells: Sequence[Cell], only_spaces: bool) -> list[Run]:
        x, line = 0.0, 0
        runs: list[Run] = []
        words: list[list[tuple[str, Cell]]] = []
        for cell in cells:
            shown = drawable(cell.name if only_spaces else cell.text)
            for part in re.split(r"(?<=[^ ])(?= )|(?<=↵)(?=.)", shown):
                if not words or part.startswith(" ") or words[-1][-1][0].endswith("↵"):
                    words.append([])
                words[-1].append((part, cell))
        for word in words:
            wide = sum(text_width(part) for part, _ in word)
            if x > 0 and (runs[-1].text.endswith("↵") or x + wide > self.room):
                x, line = 0.0, line + 1
            for part, cell in word:
                rest = part.lstrip(" ") if x == 0 and line > 0 and part.strip(" ") else part
                while rest:
                    fitting = fit(rest, self.room - x, at_least_one=x == 0)
                    if fitting:
                        width = text_width(rest[:fitting])
                        runs.append(Run(cell, rest[:fitting], x, width, line))
                        x, rest = x + width, rest[fitting:]
                    if rest:
                        x, line = 0.0, line + 1
        return runs

    def draw(self, canvas: Canvas, top: float) -> None:
        """Draw it from `top` on."""
        self.heading.draw(canvas, top)
        top += self.heading.height
        for run in self.runs:
            y, background = top + run.line * LINE, run.cell.colour(self.page.background)
            canvas.block(run.x, y, run.width, CELL, background)
            shown = run.text.lstrip(" ")
            indent = text_width(run.text[: len(run.text) - len(shown)]) if shown else 0.0
            template = run.cell.piece.template
            shade, style = (pale_ink if template else ink)(background), "italic" if template else "normal"
            canvas.write(run.x + indent, y + BASELINE, shown, TEXT_SIZE, shade=shade, fontstyle=style)
        slits = [
            (run.x, run.x + run.width, top + run.line * LINE + CELL - FOOT)
            for run in self.runs
            if run.cell.mark == "against"
        ]
        canvas.slits(slits, SLIT)
        top += self.text_height + AFTER_TEXT
        self.bar.draw(canvas, top)
        self.verdict.draw(canvas, top + self.bar.height)
