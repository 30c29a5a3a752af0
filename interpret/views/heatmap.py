"""An attribution as a matplotlib figure: running text that wraps, each piece on its colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpret.results.attribution import Attribution
from interpret.views.canvas import BELOW, SLIT, WIDTH, Canvas, ColourBar, Part, heading, legend, notes
from interpret.views.cells import Cell, cells_of, disambiguate
from interpret.views.fonts import TEXT_SIZE, drawable, fit, text_width
from interpret.views.scale import Scale, ink, pale_ink, scales, sharing

NARROWEST_TEXT, LEAST_WIDTH = 72.0, 300.0  # of a text, and of a figure whose width is free, in units
LINE, CELL = 20.5, 18.0  # height of a line and of the colour behind it, in units
BASELINE = 12.5  # of the text in its cell
FOOT = 2.4  # the slit's distance from the lower edge
BETWEEN = 18.0  # the space between panels
AFTER_TEXT = 5.0


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
    return _figure([attribution], [Scale.of(attribution)], "", Canvas(width, ax))


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
    note = sharing(attributions, shared_scale, "panel")
    return _figure(disambiguate(attributions), scales(attributions, shared_scale), note, Canvas(width, None))


def _figure(attributions: Sequence[Attribution], scales: Sequence[Scale], note: str, canvas: Canvas) -> Figure:
    per_inch = canvas.page.per_inch
    room = WIDTH * per_inch - 2 * canvas.margin if canvas.width is None else canvas.width
    if canvas.width is not None and room < NARROWEST_TEXT:
        needed = (NARROWEST_TEXT + 2 * canvas.margin) / per_inch
        raise ValueError(f"the width is {canvas.inches:.3g} inches; it must be at least {needed:.1f}")
    cells = [cells_of(each, scale) for each, scale in zip(attributions, scales, strict=True)]
    texts = [RunningText(each, room) for each in cells]
    needed = max(LEAST_WIDTH, *(text.width for text in texts))
    if canvas.width is None and needed < room:
        room = needed
        texts = [RunningText(each, room) for each in cells]
    parts: list[Part] = []
    for each, scale, text in zip(attributions, scales, texts, strict=True):
        parts.append(heading(each.heading, each.facts, room, BETWEEN if parts else 0.0))
        explained = notes([*legend(scale.written_unit, [each]), note], room)
        parts += [text, explained, ColourBar(scale, room), notes([each.checked], room, BELOW)]
    return canvas.draw(room, parts, attributions)


class Run(NamedTuple):
    """A part of a cell's text on its line; x and width in units."""

    cell: Cell
    text: str
    x: float
    width: float
    line: int


class RunningText:
    """The cells of a text in lines that fit a room."""

    def __init__(self, cells: Sequence[Cell], room: float):
        self.runs = _laid_out(cells, room)
        self.width = max(run.x + run.width for run in self.runs)
        self.height = LINE * (1 + max(run.line for run in self.runs)) + AFTER_TEXT

    def draw(self, canvas: Canvas, top: float) -> None:
        slits = []
        for run in self.runs:
            y, background = top + run.line * LINE, run.cell.colour(canvas.page.background)
            canvas.block(run.x, y, run.width, CELL, background)
            shown = run.text.lstrip(" ")
            indent = text_width(run.text[: len(run.text) - len(shown)]) if shown else 0.0
            template = run.cell.piece.template
            shade, style = (pale_ink if template else ink)(background), "italic" if template else "normal"
            canvas.write(run.x + indent, y + BASELINE, shown, TEXT_SIZE, shade=shade, fontstyle=style)
            if run.cell.mark == "against":
                slits.append((run.x, run.x + run.width, y + CELL - FOOT))
        canvas.slits(slits, SLIT)


def _laid_out(cells: Sequence[Cell], room: float) -> list[Run]:
    only_spaces = not any(cell.piece.text.strip(" ") for cell in cells)
    words: list[list[tuple[str, Cell]]] = []
    for cell in cells:
        shown = drawable(cell.name if only_spaces else cell.text)
        for part in re.split(r"(?<=[^ ])(?= )|(?<=↵)(?=.)", shown):
            if not words or part.startswith(" ") or words[-1][-1][0].endswith("↵"):
                words.append([])
            words[-1].append((part, cell))
    x, line = 0.0, 0
    runs: list[Run] = []
    for word in words:
        wide = sum(text_width(part) for part, _ in word)
        if x > 0 and (runs[-1].text.endswith("↵") or x + wide > room):
            x, line = 0.0, line + 1
        for part, cell in word:
            rest = part.lstrip(" ") if x == 0 and line > 0 and part.strip(" ") else part
            while rest:
                if fitting := max(fit(rest, room - x), x == 0):
                    width = text_width(rest[:fitting])
                    runs.append(Run(cell, rest[:fitting], x, width, line))
                    x, rest = x + width, rest[fitting:]
                if rest:
                    x, line = 0.0, line + 1
    return runs
