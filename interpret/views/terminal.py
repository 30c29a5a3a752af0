"""Scores in the terminal: running text on colours and tables, and what the command prints."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from interpret.results.attribution import Attribution
from interpret.results.counterfactual import Flip, Reduction
from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.results.report import Report
from interpret.views.cells import Cell, cells_of, matrix_cells
from interpret.views.edits import edits_terminal
from interpret.views.plain import escape_invisible, print_text
from interpret.views.scale import READABLE, Colour, Scale, contrast, ink, pale_ink
from interpret.views.spreadsheet import field, lines_of, tsv
from nexttoken import Target

COLUMNS = 8  # more targets than these are listed with their strongest pieces
GAP = 2  # between columns
TRUE = "truecolor"  # rich's name for 24 bits
FEWER = {"256": ColorSystem.EIGHT_BIT, "standard": ColorSystem.STANDARD}  # by rich's names
SIGNS = 10  # plus or minus signs of the largest score


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
    lines: list[str | tuple[str, str]] = [
        (escape_invisible(result.heading), "bold"),
        "\n",
        (escape_invisible(result.facts), "dim"),
    ]
    if isinstance(result, Attribution) and result.faithfulness is not None:
        found = result.faithfulness
        lines += ["\n", (found.sentence, "bold" if found.verdict == "fails" else ""), "\n", (found.details, "dim")]
    return Text.assemble(*lines)


def running_text(attribution: Attribution, system: str | None = TRUE) -> Text:
    """The prompt, each piece on its colour, in rich's system of colours."""
    text = Text()
    for cell in cells_of(attribution):
        text.append(cell.text.replace("↵", "↵\n"), style_of(cell, system))
    return text


def signs(score: float, scale: Scale) -> str:
    """A score as a row of plus or minus signs, up to ten of them, and of # where there is no sign; none for 0."""
    count = math.ceil(SIGNS * abs(score) / scale.limit) if scale.limit > 0 else 0
    return ("#" if not scale.signed else "+" if score > 0 else "−") * count


def table(attribution: Attribution, system: str | None = TRUE) -> Table:
    """One row per piece: its text, its role in a chat, its score and, where there is one, its standard error.

    Where there are no colours (`system` is None), each score is also drawn in plus or minus signs.
    """
    rows, scale = Table(box=None, pad_edge=False), Scale.of(attribution)
    chat, sampled = bool(attribution.messages), attribution.standard_error is not None
    rows.add_column(Text(escape_invisible(attribution.by)))
    if chat:
        rows.add_column("role")
    rows.add_column(Text(escape_invisible(scale.written_unit)), justify="right")
    if sampled:
        rows.add_column("± standard error", justify="right")
    if system is None:
        rows.add_column("")
    for cell, role in zip(cells_of(attribution, scale), attribution.roles, strict=True):
        rows.add_row(
            Text(cell.name, style_of(cell, system)),
            *([Text(cell.role, "" if role else "italic")] if chat else []),
            cell.number,
            *([cell.standard_error] if sampled else []),
            *([signs(cell.piece.score, scale)] if system is None else []),
        )
    return rows


def matrix_table(matrix: AttributionMatrix, width: int | None = None, system: str | None = TRUE) -> Table:
    """One row per piece and one column per target; of many targets, one row each with its three strongest pieces.

    Many are more than eight, or than fit into `width` characters.
    """
    rows, scale = Table(box=None, pad_edge=False), Scale.of(*matrix)
    targets = [repr(escape_invisible(target)) for target in matrix.targets]
    if len(matrix) > COLUMNS or (width is not None and natural_width(matrix) > width):
        for column in ("target", "probability", f"strongest pieces, {scale.written_unit}"):
            rows.add_column(Text(escape_invisible(column)))
        for target, probability, each in zip(targets, matrix.probabilities, matrix, strict=True):
            strongest = ", ".join(
                f"{escape_invisible(label, True)!r} {scale.numbers(score)}" for label, score in each.top(3)
            )
            share = "" if probability is None else format_number(probability)
            rows.add_row(Text(target), share, Text(strongest))
        return rows
    rows.add_column(Text(_corner(scale)))
    for target in targets:
        rows.add_column(Text(target), justify="right")
    for label, *line in zip(matrix.labels, *matrix_cells(matrix, scale), strict=True):
        numbers = [Text(cell.number, style_of(cell, system)) if cell else Text() for cell in line]
        rows.add_row(Text(escape_invisible(label, edge_spaces=True)), *numbers)
    return rows


def natural_width(matrix: AttributionMatrix) -> int:
    """The characters that a column per target takes."""
    scale = Scale.of(*matrix)
    labels = [escape_invisible(label, edge_spaces=True) for label in matrix.labels]
    first = max(map(cell_len, (*labels, _corner(scale))))
    number = max(len(cell.number) for each in matrix for cell in cells_of(each, scale))
    targets = [repr(escape_invisible(target)) for target in matrix.targets]
    return first + sum(GAP + max(number, cell_len(target)) for target in targets)


def _corner(scale: Scale) -> str:
    return f"piece, in {escape_invisible(scale.written_unit)}"


FACTS = ("rank", "text", "id", "probability")  # of a predicted token


def print_result(result: Attribution | AttributionMatrix, printed: str) -> None:
    """Print a result as "table", "json" or "tsv"; where there are no colours, plus and minus signs stand for them."""
    print_text(result_text(result, printed, Console()))


def result_text(result: Attribution | AttributionMatrix, printed: str, console: Console) -> str:
    """The same as text, for the width and the colours of a console."""
    if printed == "json":
        return result.to_json() + "\n"
    if printed == "tsv":
        return tsv(result)
    system = None if console.no_color else console.color_system
    with console.capture() as captured:
        if isinstance(result, AttributionMatrix):
            console.print(headline(result), matrix_table(result, console.width, system), sep="\n\n")
        else:
            console.print(headline(result), running_text(result, system), table(result, system), sep="\n\n")
    return captured.get()


def print_counterfactual(result: Flip | Reduction, printed: str) -> None:
    """Print a flip or a reduction as "table" or "json"; where there are no colours, signs stand for them."""
    if printed == "json":
        print_text(result.to_json() + "\n")
        return
    console = Console()
    _print(edits_terminal(result, not console.no_color and console.color_system is not None), console)


def print_report(report: Report, printed: str) -> None:
    """Print what a corpus says as "table" or "json"."""
    if printed == "json":
        print_text(report.to_json() + "\n")
        return
    from interpret.views.report import report_terminal  # which draws as well, and so loads what takes long

    _print(report_terminal(report), Console())


def print_predictions(targets: Sequence[Target], printed: str) -> None:
    """Print next tokens with their rank, id and probability as "table", "json" or "tsv"."""
    facts = [{name: getattr(target, name) for name in FACTS} for target in targets]
    if printed == "json":
        print_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n")
        return
    if printed == "tsv":
        print_text(lines_of([FACTS, *([field(str(value)) for value in fact.values()] for fact in facts)]))
        return
    rows = Table(box=None, pad_edge=False)
    for column, side in (("rank", "right"), ("token", "left"), ("id", "right"), ("probability", "right")):
        rows.add_column(column, justify=side)  # type: ignore[arg-type]
    for target in targets:
        shown = Text(repr(escape_invisible(target.text)))
        rows.add_row(str(target.rank), shown, str(target.id), format_number(target.probability, 3))
    _print(rows, Console())


def _print(shown: RenderableType, console: Console) -> None:
    with console.capture() as captured:
        console.print(shown)
    print_text(captured.get())
