"""An attribution in the terminal: running text on colours, and a table of scores."""

from __future__ import annotations

import math

from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.style import Style
from rich.table import Table
from rich.text import Text

from interpret.attribution import Attribution
from interpret.matrix import AttributionMatrix
from interpret.views.colour import HELD, READABLE, Colour, colour, contrast, ink, pale_ink, scale
from interpret.views.visible import visible

COLUMNS = 8  # more targets than these are listed with their strongest pieces
GAP = 2  # between columns
TRUE = "truecolor"  # rich's name for 24 bits
FEWER = {"256": ColorSystem.EIGHT_BIT, "standard": ColorSystem.STANDARD}  # by rich's names
SIGNS = 10  # plus or minus signs of the largest score


def style(background: Colour, template: bool, system: str | None = TRUE) -> Style:
    """Readable text on a background, pale and in italics for what the template wrote.

    In a system of fewer colours, the text is chosen for the background as it is seen there.
    """
    paper = seen(background, system)
    background = fractions(paper)
    shade = seen(pale_ink(background), system) if template else None
    if shade is None or contrast(fractions(shade), background) < READABLE:
        shade = seen(ink(background), system)
    return Style(color=shade, bgcolor=paper, italic=template or None)


def seen(rgb: Colour, system: str | None) -> Color:
    """The nearest colour that a system of colours has."""
    color = Color.from_rgb(*(round(255 * part) for part in rgb))
    return color.downgrade(FEWER[system]) if system in FEWER else color


def fractions(color: Color) -> Colour:
    """A colour of the terminal in red, green and blue from 0 to 1."""
    red, green, blue = color.get_truecolor()
    return red / 255, green / 255, blue / 255


def styles(attribution: Attribution, system: str | None = TRUE) -> list[Style]:
    """The style of each piece."""
    limit = scale(attribution.scores.tolist())
    return [
        style(HELD if held else colour(score, limit, attribution.signed), template, system)
        for score, held, template in zip(
            attribution.scores.tolist(), attribution.held, attribution.template, strict=True
        )
    ]


def headline(attribution: Attribution | AttributionMatrix) -> Text:
    """What is explained, and how."""
    return Text.assemble((visible(attribution.title), "bold"), "\n", (attribution.facts, "dim"))


def running_text(attribution: Attribution, system: str | None = TRUE) -> Text:
    """The prompt, each piece on its colour, in rich's system of colours."""
    text = Text()
    for label, piece_style in zip(attribution.labels, styles(attribution, system), strict=True):
        text.append(visible(label).replace("↵", "↵\n"), piece_style)
    return text


def signs(score: float, limit: float, signed: bool) -> str:
    """A score as a row of plus or minus signs, up to ten of them, and of # where there is no sign; none for 0."""
    count = math.ceil(SIGNS * abs(score) / limit) if limit > 0 else 0
    return ("#" if not signed else "+" if score > 0 else "-") * count


def table(attribution: Attribution, system: str | None = TRUE) -> Table:
    """One row per piece: its text, its role in a chat, its score and, where there is one, its standard error.

    Where there are no colours (`system` is None), each score is also drawn in plus or minus signs.
    """
    rows = Table(box=None, pad_edge=False)
    rows.add_column(attribution.by)
    if attribution.messages:
        rows.add_column("role")
    rows.add_column(attribution.unit, justify="right")
    errors = attribution.standard_error
    if errors is not None:
        rows.add_column("± standard error", justify="right")
    if system is None:
        rows.add_column("")
    limit = scale(attribution.scores.tolist())
    shown = zip(attribution.labels, styles(attribution, system), attribution.roles, strict=True)
    for place, (label, piece_style, role) in enumerate(shown):
        score = float(attribution.scores[place])
        number = "held" if attribution.held[place] else format(score, "+.4f" if attribution.signed else ".4f")
        error = [] if errors is None else [f"{float(errors[place]):.4f}"]
        speaker = [Text(visible(role or "template"), "" if role else "italic")] if attribution.messages else []
        drawn = [signs(score, limit, attribution.signed)] if system is None else []
        rows.add_row(Text(visible(label, edge_spaces=True), piece_style), *speaker, number, *error, *drawn)
    return rows


def matrix_table(matrix: AttributionMatrix, width: int | None = None, system: str | None = TRUE) -> Table:
    """One row per piece and one column per target; of many targets, one row each with its three strongest pieces.

    Many are more than eight, or than fit into `width` characters.
    """
    rows = Table(box=None, pad_edge=False)
    sign = "+" if matrix.signed else ""
    if len(matrix) > COLUMNS or (width is not None and natural_width(matrix) > width):
        for column in ("target", "probability", f"strongest pieces, {matrix.unit}"):
            rows.add_column(column)
        for target, probability, each in zip(matrix.targets, matrix.probabilities, matrix, strict=True):
            strongest = ", ".join(f"{visible(label, True)!r} {score:{sign}.3g}" for label, score in each.top(3))
            share = "" if probability is None else f"{probability:.4f}"
            rows.add_row(Text(repr(visible(target))), share, Text(strongest))
        return rows
    rows.add_column("piece")
    for target in matrix.targets:
        rows.add_column(Text(repr(visible(target))), justify="right")
    limit = scale([score for each in matrix for score in each.scores.tolist()])
    cells = [[Text() for _ in matrix.targets] for _ in matrix.labels]
    for number, each in enumerate(matrix):
        pieces = zip(matrix.columns(number), each.scores.tolist(), each.held, each.template, strict=True)
        for place, score, held, template in pieces:
            shade = style(HELD if held else colour(score, limit, each.signed), template, system)
            cells[place][number] = Text("held" if held else f"{score:{sign}.3f}", shade)
    for label, line in zip(matrix.labels, cells, strict=True):
        rows.add_row(Text(visible(label, edge_spaces=True)), *line)
    return rows


def natural_width(matrix: AttributionMatrix) -> int:
    """The characters that a column per target takes."""
    first = max(cell_len(visible(label, edge_spaces=True)) for label in (*matrix.labels, "piece"))
    numbers = [f"{score:+.3f}" for each in matrix for score in each.scores.tolist()]
    number = max(map(len, numbers))
    return first + sum(GAP + max(number, cell_len(repr(visible(target)))) for target in matrix.targets)
