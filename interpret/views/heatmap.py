"""An attribution as a matplotlib figure: running text that wraps, each piece on its colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpret.attribution import Attribution
from interpret.views.canvas import POINTS_PER_INCH, WIDTH, Canvas, Page, Sheet
from interpret.views.caption import Heading, kind_of, legend, scales, sharing
from interpret.views.colour import Colour, ink, pale_ink, scale
from interpret.views.colour_bar import SLIT, ColourBar
from interpret.views.fonts import TEXT_SIZE, drawable, fit, text_width
from interpret.views.visible import visible

NARROWEST_TEXT = 72.0  # in units
LINE, CELL = 20.5, 18.0  # height of a line and of the colour behind it, in units
BASELINE = 12.5  # of the text in its cell
FOOT = 2.4  # the slit's distance from the lower edge
BETWEEN = 18.0  # the space between panels
AFTER_TEXT = 5.0


@dataclass(frozen=True)
class Cell:
    """A run of text on one colour, placed on its line; x and width in units."""

    text: str
    background: Colour
    negative: bool
    template: bool
    x: float
    width: float
    line: int


def heatmap(attribution: Attribution, width: float | None = None, ax: Axes | None = None) -> Figure:
    """The prompt as running text, each piece on its colour.

    Signed scores diverge about zero, unsigned ones run from the page's colour to a strong one; the colour bar carries
    the unit. A slit along the foot marks negative scores, so that grey shows them too. Pieces that were held are grey.

    Args:
        attribution: what to show.
        width: of the figure in inches (6.5 by default); the height follows from the text.
        ax: draw here instead, at the real size of these axes, whose own axis is switched off.

    Returns:
        The figure: a new one, or that of `ax`.

    Raises:
        ValueError: a width or axes without room for the text, or both of them.
    """
    sheet = Sheet(WIDTH if width is None and ax is None else width, ax)
    panel = Panel(attribution, room(sheet), sheet.page, scale(attribution.scores.tolist()))
    canvas = sheet.open(panel.room, panel.height, [attribution])
    panel.draw(canvas, 0.0)
    return canvas.figure


def compare(attributions: Sequence[Attribution], width: float = WIDTH) -> Figure:
    """Several attributions below each other in one figure, each with its own title and colour bar.

    Those with the same unit are on one scale, and the figure says so; others can't be compared by their colours.

    Raises:
        ValueError: no attributions, or a width that leaves no room for text.
    """
    if not attributions:
        raise ValueError("there is nothing to show: give at least one attribution")
    sheet, limits = Sheet(width, None), scales(attributions)
    panels = [
        Panel(each, room(sheet), sheet.page, limits[kind_of(each)], sharing(each, attributions))
        for each in attributions
    ]
    height = sum(panel.height for panel in panels) + BETWEEN * (len(panels) - 1)
    canvas, top = sheet.open(panels[0].room, height, attributions), 0.0
    for panel in panels:
        panel.draw(canvas, top)
        top += panel.height + BETWEEN
    return canvas.figure


def room(sheet: Sheet) -> float:
    """The width for text, in units. Raises ValueError if it is too little."""
    assert sheet.width is not None
    if sheet.width < NARROWEST_TEXT:
        needed = (NARROWEST_TEXT + 2 * sheet.margin) * sheet.page.unit / POINTS_PER_INCH
        raise ValueError(f"the width is {sheet.inches:.3g} inches; it must be at least {needed:.1f}")
    return sheet.width


class Panel:
    """One attribution laid out in a given width: title, text and colour bar, all in units."""

    def __init__(self, attribution: Attribution, room: float, page: Page, limit: float, note: str = ""):
        self.attribution, self.room, self.page, self.limit = attribution, room, page, limit
        self.heading = Heading(attribution.title, attribution.facts, room)
        self.cells = self.lay_out()
        self.text_height = LINE * (1 + max(cell.line for cell in self.cells))
        lines = [*legend([attribution]), *filter(None, [note])]
        self.bar = ColourBar(limit, attribution.signed, lines, room)
        self.height = self.heading.height + self.text_height + AFTER_TEXT + self.bar.height

    def lay_out(self) -> list[Cell]:
        """Place every piece: lines break at spaces, inside a long word only where they must, and after line ends."""
        attribution, x, line = self.attribution, 0.0, 0
        cells: list[Cell] = []
        words: list[list[tuple[str, Colour, bool, bool]]] = []
        for label, score, held, template in zip(
            attribution.labels, attribution.scores.tolist(), attribution.held, attribution.template, strict=True
        ):
            background = self.page.colour(score, self.limit, attribution.signed, held)
            negative = attribution.signed and score < 0 and not held
            shown = drawable(visible(label, edge_spaces=not attribution.prompt.strip(" ")))
            for part in re.split(r"(?<=[^ ])(?= )|(?<=↵)(?=.)", shown):
                if not words or part.startswith(" ") or words[-1][-1][0].endswith("↵"):
                    words.append([])
                words[-1].append((part, background, negative, template))
        for word in words:
            wide = sum(text_width(part) for part, *_ in word)
            if x > 0 and (cells[-1].text.endswith("↵") or x + wide > self.room):
                x, line = 0.0, line + 1
            for part, background, negative, template in word:
                rest = part.lstrip(" ") if x == 0 and line > 0 and part.strip(" ") else part
                while rest:
                    fitting = fit(rest, self.room - x, at_least_one=x == 0)
                    if fitting:
                        width = text_width(rest[:fitting])
                        cells.append(Cell(rest[:fitting], background, negative, template, x, width, line))
                        x, rest = x + width, rest[fitting:]
                    if rest:
                        x, line = 0.0, line + 1
        return cells

    def draw(self, canvas: Canvas, top: float) -> None:
        """Draw it from `top` on."""
        self.heading.draw(canvas, top)
        top += self.heading.height
        for cell in self.cells:
            y = top + cell.line * LINE
            canvas.block(cell.x, y, cell.width, CELL, cell.background)
            shown = cell.text.lstrip(" ")
            indent = text_width(cell.text[: len(cell.text) - len(shown)]) if shown else 0.0
            shade = (pale_ink if cell.template else ink)(cell.background)
            style = "italic" if cell.template else "normal"
            canvas.write(cell.x + indent, y + BASELINE, shown, TEXT_SIZE, shade=shade, fontstyle=style)
        slits = [
            (cell.x, cell.x + cell.width, top + cell.line * LINE + CELL - FOOT) for cell in self.cells if cell.negative
        ]
        canvas.slits(slits, SLIT)
        self.bar.draw(canvas, top + self.text_height + AFTER_TEXT)
