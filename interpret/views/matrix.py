"""A matrix of attributions as a matplotlib figure: a row for each target, a column for each piece, one common scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy
from matplotlib.figure import Figure

from interpret.views.bar import BAR_HEIGHT, BAR_INDENT, BAR_WIDTH, LEGEND_LINE, NOTE_SIZE, draw_bar
from interpret.views.colour import HELD, Colour, colour, ink, scale
from interpret.views.fonts import drawable, font, text_width
from interpret.views.heatmap import MARGIN, POINTS_PER_INCH, TITLE_SIZE, HeatmapFigure, legend, wrapped
from interpret.views.visible import visible

if TYPE_CHECKING:
    from interpret.matrix import AttributionMatrix

LABEL_SIZE, NUMBER_SIZE = 8.5, 7.5
WIDE, NARROW = 30.0, 8.0  # a column with numbers in its cells, and the narrowest with a label of its own, in points
MANY = 24  # so many columns are narrow
LONGEST_LABEL = 90.0
TINY_LABEL = 4.5
BAR_ROOM = 32.0
PALE = "0.4"
UNSEEN: Colour = (1.0, 1.0, 1.0)


def matrix_heatmap(matrix: AttributionMatrix, width: float | None = None) -> Figure:
    """The scores of several targets on one scale.

    Up to 24 columns are wide enough for numbers; more are narrow, with upright labels. What a target does not see is
    left white.

    Args:
        matrix: what to show.
        width: of the figure in inches; by default what its columns need. In a narrow figure, columns without room for
            their label have none.

    Raises:
        ValueError: a width that leaves no room for the columns.
    """
    columns = [shown(label) for label in matrix.labels]
    rows = [
        shown(target) if probability is None else f"{shown(target)}  {percent(probability)}"
        for target, probability in zip(matrix.targets, matrix.probabilities, strict=True)
    ]
    left = max(text_width(row, LABEL_SIZE) for row in rows) + 8
    few = len(columns) <= MANY
    natural = max(WIDE, *(min(text_width(label, LABEL_SIZE) + 6, 60.0) for label in columns)) if few else NARROW + 2
    full = natural * len(columns) + left + 2 * MARGIN if width is None else width * POINTS_PER_INCH
    full = max(full, 300.0) if width is None else full
    cell = natural if width is None else (full - left - 2 * MARGIN) / len(columns)
    if cell < 0.5:
        raise ValueError(f"width is {width} inches, which leaves no room for {len(columns)} columns")
    upright = any(text_width(label, LABEL_SIZE) > cell - 2 for label in columns)
    size = LABEL_SIZE if not upright else max(TINY_LABEL, min(LABEL_SIZE, cell * 0.8))
    every = max(1, math.ceil(size * 1.15 / cell)) if upright else 1
    head = max(text_width(label, size) for label in columns) + 6 if upright else 16.0
    height = min(16.0, max(8.0, cell)) if not few else 16.0
    title = wrapped(drawable(visible(matrix.title)), full - 2 * MARGIN, TITLE_SIZE, "bold")
    first = matrix.attributions[0]
    note = wrapped(matrix.facts, full - 2 * MARGIN, NOTE_SIZE)
    top = 14.0 * len(title) + 11.0 * len(note) + 6 + head
    lines = [line for text in legend(first) for line in wrapped(text, full - 2 * MARGIN - BAR_INDENT, NOTE_SIZE)]
    tall = 2 * MARGIN + top + height * len(rows) + BAR_ROOM + LEGEND_LINE * len(lines)
    figure = HeatmapFigure(figsize=(full / POINTS_PER_INCH, tall / POINTS_PER_INCH), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-MARGIN, full - MARGIN), ylim=(tall - MARGIN, -MARGIN))
    axes.axis("off")
    y = 10.0
    for text in title:
        axes.text(0, y, text, **font(text, TITLE_SIZE, "bold"), color="black", va="baseline")
        y += 14
    for text in note:
        axes.text(0, y, text, **font(text, NOTE_SIZE), color="0.35", va="baseline")
        y += 11
    shades, numbers, limit = shades_of(matrix)
    extent = (left, left + cell * len(columns), top + height * len(rows), top)
    axes.imshow(shades, extent=extent, aspect="auto", interpolation="nearest", zorder=1)
    axes.set(xlim=(-MARGIN, full - MARGIN), ylim=(tall - MARGIN, -MARGIN))
    template = matrix[-1].template
    for number, label in enumerate(columns):
        how: dict[str, Any] = {"color": PALE, "fontstyle": "italic"} if template[number] else {"color": "black"}
        x = left + (number + 0.5) * cell
        if upright and number % every == 0:
            axes.text(x, top - 4, label, **font(label, size), rotation=90, ha="center", va="bottom", **how)
        elif not upright:
            axes.text(x, top - 4, label, **font(label, size), ha="center", va="baseline", **how)
    row_size = min(LABEL_SIZE, height * 0.8)
    for number, label in enumerate(rows):
        y = top + (number + 0.5) * height
        axes.text(left - 5, y, label, **font(label, row_size), ha="right", va="center_baseline", color="black")
    if cell >= WIDE - 4 and height >= 12:
        for row, line in enumerate(numbers):
            for column, text in enumerate(line):
                x, y = left + (column + 0.5) * cell, top + (row + 0.5) * height
                shade = ink(tuple(shades[row, column]))
                axes.text(x, y, text, fontsize=NUMBER_SIZE, ha="center", va="center_baseline", color=shade)
    place = ((MARGIN + BAR_INDENT) / full, (MARGIN + 12) / tall, BAR_WIDTH / full, BAR_HEIGHT / tall)
    draw_bar(figure, place, limit, first.signed, lines)
    return figure


def shown(label: str) -> str:
    """A label that is seen, without the spaces at its edges, and not longer than fits."""
    text = drawable(visible(label, edge_spaces=True)).strip() or "␣"
    if text_width(text, LABEL_SIZE) <= LONGEST_LABEL:
        return text
    while text and text_width(text + "…", LABEL_SIZE) > LONGEST_LABEL:
        text = text[:-1]
    return text + "…"


def percent(probability: float) -> str:
    """A probability as a share of a hundred, with two digits."""
    return f"{100 * probability:.2g} %"


def shades_of(matrix: AttributionMatrix) -> tuple[numpy.ndarray, list[list[str]], float]:
    """The colour of each cell (target, piece, 3), its number as text, and the end of the common scale."""
    limit = scale([score for each in matrix for score in each.scores.tolist()])
    decimals = max(0, 2 - math.floor(math.log10(limit))) if limit > 0 else 0
    shades = numpy.full((len(matrix), len(matrix.labels), 3), UNSEEN)
    numbers = [["" for _ in matrix.labels] for _ in matrix]
    for row, each in enumerate(matrix):
        for column, score, held in zip(matrix.columns(row), each.scores.tolist(), each.held, strict=True):
            shades[row, column] = HELD if held else colour(score, limit, each.signed)
            sign = "+" if each.signed else ""
            rounded = round(score, decimals) + 0.0  # no minus before zero
            numbers[row][column] = "" if held else f"{rounded:{sign if rounded else ''}.{decimals}f}".replace("-", "−")
    return shades, numbers, limit
