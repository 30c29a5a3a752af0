"""A matrix of attributions as a matplotlib figure: a row for each target, a column for each piece, one common scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import PcolorImage
from matplotlib.patches import Polygon

from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.views.canvas import Canvas, Page, Sheet
from interpret.views.caption import SLIT, ColourBar, Heading, legend
from interpret.views.cells import Cell, matrix_cells
from interpret.views.fonts import drawable, shortened, text_width
from interpret.views.plain import escape_invisible
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


@dataclass(frozen=True)
class Grid:
    """Where everything is, in units: the rows' labels on the left, the columns' above, the cells' width and height."""

    left: float
    head: float
    cell: float
    height: float
    upright: bool
    size: float
    every: int


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
    sheet = Sheet(width, ax)
    scale = Scale.of(*matrix)
    columns = [_label(label, LONGEST_LABEL) for label in matrix.labels]
    most = LONGEST_LABEL if sheet.width is None else min(LONGEST_LABEL, LABELS_SHARE * sheet.width)
    rows = [
        _label(target, most) + ("" if probability is None else f"  p = {format_number(probability)}")
        for target, probability in zip(matrix.targets, matrix.probabilities, strict=True)
    ]
    grid = _grid_of(columns, rows, sheet)
    full = max(grid.left + grid.cell * len(columns), LEAST_WIDTH) if sheet.width is None else sheet.width
    heading = Heading(matrix.heading, matrix.facts, full)
    cells = matrix_cells(matrix, scale)
    ends = [max(matrix.columns(row)) + 1 for row in range(len(matrix))]
    bar = ColourBar(scale, legend(scale.written_unit, [matrix[0]]), full)
    around = heading.height + grid.head + BELOW + bar.height
    if sheet.ax is not None:
        grid = _lowered(grid, len(rows), (sheet.height_in_units - around) / len(rows))
    canvas = sheet.open(full, around + grid.height * len(rows), [matrix])
    heading.draw(canvas)
    top = heading.height + grid.head
    _draw_cells(canvas, grid, top, cells)
    _draw_outline(canvas, grid, top, ends)
    _draw_labels(canvas, grid, top, columns, rows, matrix.attributions[-1].template)
    bar.draw(canvas, top + grid.height * len(rows) + BELOW)
    return canvas.figure


def _grid_of(columns: list[str], rows: list[str], sheet: Sheet) -> Grid:
    """Where labels and cells go. Raises ValueError where there is no room for the columns."""
    left = max(text_width(row, LABEL_SIZE) for row in rows) + 8
    few = len(columns) <= MANY
    longest = max(text_width(label, LABEL_SIZE) for label in columns)
    natural = min(max(WIDE, longest + 6), WIDEST) if few else NARROW
    cell = natural if sheet.width is None else min((sheet.width - left) / len(columns), WIDEST)
    if cell < THINNEST:
        raise ValueError(f"the width is {sheet.inches:.3g} inches, which leaves no room for {len(columns)} columns")
    upright = longest > cell - 2
    size = LABEL_SIZE if not upright else max(TINY_LABEL, min(LABEL_SIZE, cell * 0.8))
    every = max(1, math.ceil(size * 1.15 / cell)) if upright else 1
    head = max(text_width(label, size) for label in columns) + 6 if upright else HEAD
    return Grid(left, head, cell, HIGH if few else min(HIGH, max(LOW, cell)), upright, size, every)


def _lowered(grid: Grid, rows: int, room: float) -> Grid:
    height = min(grid.height, max(room, TINY_LABEL / 0.8))
    return replace(grid, height=height)


def _draw_cells(canvas: Canvas, grid: Grid, top: float, cells: list[list[Cell | None]]) -> None:
    rows, columns = len(cells), len(cells[0])
    shades = _shades(cells, canvas.page)
    across = grid.left + grid.cell * numpy.arange(columns + 1)
    down = top + grid.height * numpy.arange(rows + 1)
    # Not imshow, which takes 3 GB to print 100 targets by 200 pieces.
    image = PcolorImage(canvas.axes, across, down, shades, zorder=1)
    image.set_in_layout(False)  # it does not know its extent
    canvas.axes.add_image(image)
    seen = [(row, column, cell) for row, line in enumerate(cells) for column, cell in enumerate(line) if cell]
    thick = min(SLIT, grid.height / 10)
    foot = max(grid.height / 7, 2 * thick)
    slits = [
        (grid.left + column * grid.cell, grid.left + (column + 1) * grid.cell, top + (row + 1) * grid.height - foot)
        for row, column, cell in seen
        if cell.mark == "against"
    ]
    canvas.slits(slits, thick)
    numbers = [(row, column, cell.number) for row, column, cell in seen if not cell.piece.fixed]
    widest = max((text_width(text, NUMBER_SIZE) for _, _, text in numbers), default=0.0)
    if widest > grid.cell - 2 or grid.height < NUMBER_SIZE * 1.5:
        return
    for row, column, text in numbers:
        x, y = grid.left + (column + 0.5) * grid.cell, top + (row + 0.5) * grid.height
        shade = ink(tuple(shades[row, column]))
        canvas.write(x, y + NUMBER_SIZE * 0.36, text, NUMBER_SIZE, shade=shade, ha="center")


def _draw_outline(canvas: Canvas, grid: Grid, top: float, ends: list[int]) -> None:
    corners = [(grid.left, top)]
    for row, end in enumerate(ends):
        x = grid.left + end * grid.cell
        corners += [(x, top + row * grid.height), (x, top + (row + 1) * grid.height)]
    corners.append((grid.left, top + len(ends) * grid.height))
    canvas.axes.add_patch(Polygon(corners, fill=False, edgecolor=canvas.page.muted, linewidth=OUTLINE, zorder=2))


def _draw_labels(
    canvas: Canvas, grid: Grid, top: float, columns: list[str], rows: list[str], template: tuple[bool, ...]
) -> None:
    for number, label in enumerate(columns):
        how: dict[str, Any] = {"shade": canvas.page.muted, "fontstyle": "italic"} if template[number] else {}
        x = grid.left + (number + 0.5) * grid.cell
        if grid.upright and number % grid.every == 0:
            canvas.write(x, top - 4, label, grid.size, rotation=90, ha="center", va="bottom", **how)
        elif not grid.upright:
            canvas.write(x, top - 4, label, grid.size, ha="center", **how)
    size = min(LABEL_SIZE, grid.height * 0.8)
    for number, label in enumerate(rows):
        y = top + (number + 0.5) * grid.height
        canvas.write(grid.left - 5, y + size * 0.36, label, size, ha="right")


def _label(label: str, room: float) -> str:
    return shortened(drawable(escape_invisible(label, edge_spaces=True)).strip() or "␣", room, LABEL_SIZE)


def _shades(cells: list[list[Cell | None]], page: Page) -> numpy.ndarray:
    return numpy.array(
        [[page.neutral if cell is None else cell.colour(page.background) for cell in line] for line in cells]
    )
