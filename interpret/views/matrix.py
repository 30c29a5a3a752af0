"""A matrix of attributions as a matplotlib figure: a row for each target, a column for each piece, one common scale."""

from __future__ import annotations

import math
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import PcolorImage
from matplotlib.patches import Polygon

from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.views.canvas import SLIT, Canvas, ColourBar, Part, heading, legend, notes
from interpret.views.cells import escape_invisible, matrix_cells
from interpret.views.fonts import drawable, shortened, text_width
from interpret.views.scale import Scale, ink

LABEL_SIZE, NUMBER_SIZE = 8.5, 7.5  # lengths are in units: points at matplotlib's default font size
WIDE, WIDEST, NARROW = 30.0, 60.0, 10.0  # a column with numbers in its cells, and one with an upright label only
HIGH, LOW = 16.0, 8.0  # a row with numbers in its cells, and the lowest with a label
MANY = 24  # more columns than these are narrow
THINNEST = 0.5  # a column that can still be seen
LONGEST_LABEL, LABELS_SHARE = 90.0, 0.4  # of a row or column; of the width, for the labels of rows
TINY_LABEL = 4.5
LEAST_WIDTH = 280.0
HEAD = 16.0  # the labels of columns, where they lie
BELOW = 8.0
OUTLINE = 0.4


def matrix_heatmap(matrix: AttributionMatrix, width: float | str | None = None, ax: Axes | None = None) -> Figure:
    """The scores of several targets on one scale.

    Up to 24 columns are wide enough for numbers; more are narrow, with upright labels. What a target does not see is
    left blank. A slit along the foot of a cell marks a negative score, so that grey shows it too.

    Args:
        matrix: what to show.
        width: of the figure in inches; by default what its columns need. In a narrow figure, columns without room for
            their label have none.
        ax: draw here instead, at the real size of these axes, whose own axis is switched off; rows become lower, down
            to what a label needs.

    Returns:
        The figure: a new one, or that of `ax`.

    Raises:
        ValueError: a width or axes that leave no room.
    """
    canvas = Canvas(width, ax)
    scale = Scale.of(*matrix)
    grid = Grid(matrix, scale, canvas)
    full = max(grid.width, LEAST_WIDTH) if canvas.width is None else canvas.width
    above = heading(matrix.heading, matrix.facts, full)
    below: list[Part] = [notes(legend(scale.written_unit, [matrix[0]]), full), ColourBar(scale, full)]
    if canvas.given is not None:
        room = canvas.height - grid.head - BELOW - sum(part.height for part in [above, *below])
        grid.row = min(grid.row, max(room / len(matrix), TINY_LABEL / 0.8))
    return canvas.draw(full, [above, grid, *below], [matrix])


class Grid:
    """The cells with the labels of rows on their left and those of columns above them; all in units.

    Raises ValueError where there is no room for the columns.
    """

    def __init__(self, matrix: AttributionMatrix, scale: Scale, canvas: Canvas):
        self.cells = matrix_cells(matrix, scale)
        self.ends = [max(matrix.columns(row)) + 1 for row in range(len(matrix))]
        self.template = matrix.attributions[-1].template
        self.columns = [_label(label, LONGEST_LABEL) for label in matrix.labels]
        most = LONGEST_LABEL if canvas.width is None else min(LONGEST_LABEL, LABELS_SHARE * canvas.width)
        self.rows = [
            _label(target, most) + ("" if probability is None else f"  p = {format_number(probability)}")
            for target, probability in zip(matrix.targets, matrix.probabilities, strict=True)
        ]
        self.left = max(text_width(row, LABEL_SIZE) for row in self.rows) + 8
        count = len(self.columns)
        longest = max(text_width(label, LABEL_SIZE) for label in self.columns)
        self.cell = min(max(WIDE, longest + 6), WIDEST) if count <= MANY else NARROW
        if canvas.width is not None:
            self.cell = min((canvas.width - self.left) / count, WIDEST)
        if self.cell < THINNEST:
            raise ValueError(f"the width is {canvas.inches:.3g} inches, which leaves no room for {count} columns")
        self.row = HIGH if count <= MANY else min(HIGH, max(LOW, self.cell))
        self.upright = longest > self.cell - 2
        self.size = max(TINY_LABEL, min(LABEL_SIZE, self.cell * 0.8)) if self.upright else LABEL_SIZE
        self.head = max(text_width(label, self.size) for label in self.columns) + 6 if self.upright else HEAD
        self.width = self.left + self.cell * count

    @property
    def height(self) -> float:
        return self.head + self.row * len(self.rows) + BELOW

    def draw(self, canvas: Canvas, top: float) -> None:
        top += self.head
        across = self.left + self.cell * numpy.arange(len(self.columns) + 1)
        down = top + self.row * numpy.arange(len(self.rows) + 1)
        self._draw_cells(canvas, across, down)
        corners = [(self.left, down[0])]
        for row, end in enumerate(self.ends):
            corners += [(across[end], down[row]), (across[end], down[row + 1])]
        corners.append((self.left, down[-1]))
        canvas.axes.add_patch(Polygon(corners, fill=False, edgecolor=canvas.page.muted, linewidth=OUTLINE, zorder=2))
        self._draw_labels(canvas, top)

    def _draw_cells(self, canvas: Canvas, across: numpy.ndarray, down: numpy.ndarray) -> None:
        page = canvas.page
        shades = numpy.array(
            [[page.neutral if cell is None else cell.colour(page.background) for cell in line] for line in self.cells]
        )
        # Not imshow, which takes 3 GB to print 100 targets by 200 pieces.
        image = PcolorImage(canvas.axes, across, down, shades, zorder=1)
        image.set_in_layout(False)  # its extent is unknown to it
        canvas.axes.add_image(image)
        seen = [(row, column, cell) for row, line in enumerate(self.cells) for column, cell in enumerate(line) if cell]
        thick = min(SLIT, self.row / 10)
        foot = max(self.row / 7, 2 * thick)
        slits = [
            (across[column], across[column + 1], down[row + 1] - foot)
            for row, column, cell in seen
            if cell.mark == "against"
        ]
        canvas.slits(slits, thick)
        numbers = [(row, column, cell.number) for row, column, cell in seen if not cell.piece.fixed]
        widest = max((text_width(text, NUMBER_SIZE) for _, _, text in numbers), default=0.0)
        if widest > self.cell - 2 or self.row < NUMBER_SIZE * 1.5:
            return
        for row, column, text in numbers:
            x, y = across[column] + self.cell / 2, down[row] + self.row / 2
            shade = ink(tuple(shades[row, column]))
            canvas.write(x, y + NUMBER_SIZE * 0.36, text, NUMBER_SIZE, shade=shade, ha="center")

    def _draw_labels(self, canvas: Canvas, top: float) -> None:
        how: dict[str, Any] = {"rotation": 90, "va": "bottom"} if self.upright else {}
        every = max(1, math.ceil(self.size * 1.15 / self.cell)) if self.upright else 1
        for number in range(0, len(self.columns), every):
            pale: dict[str, Any] = {"shade": canvas.page.muted, "fontstyle": "italic"} if self.template[number] else {}
            x = self.left + (number + 0.5) * self.cell
            canvas.write(x, top - 4, self.columns[number], self.size, ha="center", **how, **pale)
        size = min(LABEL_SIZE, self.row * 0.8)
        for number, label in enumerate(self.rows):
            y = top + (number + 0.5) * self.row
            canvas.write(self.left - 5, y + size * 0.36, label, size, ha="right")


def _label(label: str, room: float) -> str:
    return shortened(drawable(escape_invisible(label, edge_spaces=True)).strip() or "␣", room, LABEL_SIZE)
