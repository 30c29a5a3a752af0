"""Scores in the terminal: running text on colours and tables, and what the command prints."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Literal

from rich.color import Color, ColorSystem
from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from interpret.results.attribution import Attribution
from interpret.results.counterfactual import Flip, Reduction
from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.results.report import Report
from interpret.views.cells import Cell, cells_of, escape_invisible, matrix_cells, shown_text
from interpret.views.scale import READABLE, Colour, Scale, contrast, ink, pale_ink
from interpret.views.spreadsheet import field, lines_of, tsv
from interpret.views.tables import edits_terminal, report_terminal
from nexttoken import Target

COLUMNS = 8  # more targets than these are listed with their strongest pieces
TRUE = "truecolor"  # rich's name for 24 bits
FEWER = {"256": ColorSystem.EIGHT_BIT, "standard": ColorSystem.STANDARD}  # by rich's names
SIGNS = 10  # plus or minus signs of the largest score
UNBOUNDED = 100_000  # characters


def style(background: Colour, template: bool, system: str | None = TRUE) -> Style:
    """Readable text on a background, pale and in italics for what the template wrote.

    In a system of fewer colours, the text is chosen for the background as it is seen there.
    """
    paper = _seen(background, system)
    background = _fractions(paper)
    shade = _seen(pale_ink(background), system) if template else None
    if shade is None or contrast(_fractions(shade), background) < READABLE:
        shade = _seen(ink(background), system)
    return Style(color=shade, bgcolor=paper, italic=template or None)


def _seen(rgb: Colour, system: str | None) -> Color:
    color = Color.from_rgb(*(round(255 * part) for part in rgb))
    return color.downgrade(FEWER[system]) if system in FEWER else color


def _fractions(color: Color) -> Colour:
    red, green, blue = color.get_truecolor()
    return red / 255, green / 255, blue / 255


def style_of(cell: Cell, system: str | None = TRUE) -> Style:
    """The style of a piece."""
    return style(cell.colour(), cell.piece.template, system)


def headline(result: Attribution | AttributionMatrix) -> Text:
    """What is explained, how, and what the check of it found."""
    lines = [(escape_invisible(result.heading), "bold"), (escape_invisible(result.facts), "dim")]
    if isinstance(result, Attribution) and result.faithfulness is not None:
        found = result.faithfulness
        lines += [(found.sentence, "bold" if found.verdict == "fails" else ""), (found.details, "dim")]
    return Text("\n").join(Text(text, style) for text, style in lines)


def running_text(attribution: Attribution, system: str | None = TRUE) -> Text:
    """The prompt, each piece on its colour, in rich's system of colours."""
    text = Text()
    for cell in cells_of(attribution):
        text.append(shown_text(cell.text), style_of(cell, system))
    return text


def signs(score: float, scale: Scale) -> str:
    """A score as a row of plus or minus signs, up to ten of them, and of # where there is no sign; none for 0."""
    count = math.ceil(SIGNS * abs(score) / scale.limit) if scale.limit > 0 else 0
    return ("#" if not scale.signed else "+" if score > 0 else "−") * count


def table(attribution: Attribution, system: str | None = TRUE) -> Table:
    """One row per piece: its text, its role in a chat, its score and, where there is one, its standard error.

    Where there are no colours (`system` is None), each score is also drawn in plus or minus signs.
    """
    scale = Scale.of(attribution)
    cells = cells_of(attribution, scale)
    columns: list[tuple[str, Literal["left", "right"], list[Text]]] = [
        (attribution.by, "left", [Text(cell.name, style_of(cell, system)) for cell in cells])
    ]
    if attribution.messages:
        by_role = zip(cells, attribution.roles, strict=True)
        columns.append(("role", "left", [Text(cell.role, "" if role else "italic") for cell, role in by_role]))
    columns.append((scale.written_unit, "right", [Text(cell.number) for cell in cells]))
    if attribution.standard_error is not None:
        columns.append(("± standard error", "right", [Text(cell.standard_error) for cell in cells]))
    if system is None:
        columns.append(("", "left", [Text(signs(cell.piece.score, scale)) for cell in cells]))
    rows = _table(*((name, side) for name, side, _ in columns))
    for line in zip(*(texts for _, _, texts in columns), strict=True):
        rows.add_row(*line)
    return rows


def matrix_table(matrix: AttributionMatrix, width: int | None = None, system: str | None = TRUE) -> Table:
    """One row per piece and one column per target; of many targets, one row each with its three strongest pieces.

    Many are more than eight, or than fit into `width` characters.
    """
    scale = Scale.of(*matrix)
    targets = [repr(escape_invisible(target)) for target in matrix.targets]
    if len(matrix) <= COLUMNS:
        rows = _table((f"piece, in {scale.written_unit}", "left"), *((target, "right") for target in targets))
        for label, *line in zip(matrix.labels, *matrix_cells(matrix, scale), strict=True):
            numbers = [Text(cell.number, style_of(cell, system)) if cell else Text() for cell in line]
            rows.add_row(Text(escape_invisible(label, edge_spaces=True)), *numbers)
        if width is None or Console(width=UNBOUNDED).measure(rows).maximum <= width:
            return rows
    rows = _table(("target", "left"), ("probability", "left"), (f"strongest pieces, {scale.written_unit}", "left"))
    for target, probability, each in zip(targets, matrix.probabilities, matrix, strict=True):
        strongest = ", ".join(
            f"{escape_invisible(label, True)!r} {scale.numbers(score)}" for label, score in each.top(3)
        )
        share = "" if probability is None else format_number(probability)
        rows.add_row(Text(target), share, Text(strongest))
    return rows


def _table(*columns: tuple[str, Literal["left", "right"]]) -> Table:
    heads = [Column(Text(escape_invisible(name)), justify=side) for name, side in columns]
    return Table(*heads, box=None, pad_edge=False)


FACTS = ("rank", "text", "id", "probability")  # of a predicted token


def print_result(result: Attribution | AttributionMatrix | Flip | Reduction | Report, printed: str) -> None:
    """Print a result as "table", "json" or, with a score for each piece, "tsv"; without colours, signs replace them."""
    if printed == "json":
        print_text(result.to_json() + "\n")
    elif printed == "tsv":
        assert isinstance(result, Attribution | AttributionMatrix)
        print_text(tsv(result))
    else:
        console = Console()
        system = None if console.no_color else console.color_system
        if isinstance(result, Report):
            _print(console, report_terminal(result))
        elif isinstance(result, Flip | Reduction):
            _print(console, edits_terminal(result, system is not None))
        elif isinstance(result, AttributionMatrix):
            _print(console, headline(result), matrix_table(result, console.width, system))
        else:
            _print(console, headline(result), running_text(result, system), table(result, system))


def print_predictions(targets: Sequence[Target], printed: str) -> None:
    """Print next tokens with their rank, id and probability as "table", "json" or "tsv"."""
    facts = [{name: getattr(target, name) for name in FACTS} for target in targets]
    if printed == "json":
        print_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
    elif printed == "tsv":
        print_text(lines_of([FACTS, *([field(str(value)) for value in fact.values()] for fact in facts)]))
    else:
        rows = _table(("rank", "right"), ("token", "left"), ("id", "right"), ("probability", "right"))
        for target in targets:
            shown = Text(repr(escape_invisible(target.text)))
            rows.add_row(str(target.rank), shown, str(target.id), format_number(target.probability, 3))
        _print(Console(), rows)


def _print(console: Console, *shown: RenderableType) -> None:
    with console.capture() as captured:
        console.print(*shown, sep="\n\n")
    print_text(captured.get())


def print_text(text: str) -> None:
    """Write to standard output. That whoever reads it has read enough and left, as `head` does, is no error."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write as it ends
