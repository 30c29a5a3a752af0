"""A matrix of scores as HTML: a table with a row for each target, on one scale, of which one is read as text."""

from __future__ import annotations

from markupsafe import Markup

from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.views.cells import cells_of
from interpret.views.html import fragment, head
from interpret.views.invisible import escape_invisible
from interpret.views.markup import fill, joined, legend, style_of
from interpret.views.scale import Scale

UNSEEN = Markup('<td class="unseen"></td>')


def matrix_html(matrix: AttributionMatrix) -> str:
    """A self-contained fragment: all can be read without its script, and its styles touch nothing around it."""
    return fragment(matrix_section(matrix))


def matrix_section(matrix: AttributionMatrix, heading: str = "p", name: str = "") -> Markup:
    """Heading, table and legend; `heading` is the element of the title, `name` what to choose it by."""
    scale = Scale.of(*matrix)
    columns = [
        fill(
            '<th scope="col" lang="" translate="no"{template}>{label}</th>',
            template=Markup(" class=template" if template else ""), label=escape_invisible(label, edge_spaces=True),
        )
        for label, template in zip(matrix.labels, matrix[-1].template, strict=True)
    ]  # fmt: skip
    return fill(
        '<section data-name="{name}">{head}'
        '<div class="scroll" tabindex="0" role="region" aria-label="Attribution of {count} targets">'
        '<table class="matrix"><caption><span>Each row a target, each column a piece: scores in {unit}</span></caption>'
        '<thead><tr><th scope="col">target</th>{columns}</tr></thead><tbody>{rows}</tbody></table></div>'
        "{legend}</section>",
        name=name,
        head=head(matrix.heading, matrix.facts, heading),
        count=len(matrix),
        unit=scale.written_unit,
        columns=joined(columns),
        rows=joined([_row(matrix, place, scale) for place in range(len(matrix))]),
        legend=legend(scale, list(matrix)),
    )


def _row(matrix: AttributionMatrix, place: int, scale: Scale) -> Markup:
    """A target, its probability, and its score of every piece that it sees."""
    probability = matrix.probabilities[place]
    cells = [UNSEEN] * len(matrix.labels)
    for column, cell in zip(matrix.columns(place), cells_of(matrix[place], scale), strict=True):
        cells[column] = fill(
            '<td class="cell {mark}" title="{says}" style="{style}">{number}</td>',
            mark=cell.mark, says=cell.says, style=style_of(cell), number="" if cell.piece.fixed else cell.number,
        )  # fmt: skip
    return fill(
        '<tr><th scope="row"><span class="target" lang="" translate="no">{target}</span>{likely}</th>{cells}</tr>',
        target=escape_invisible(matrix.targets[place], edge_spaces=True),
        likely=Markup("") if probability is None else fill(" <small>p = {p}</small>", p=format_number(probability)),
        cells=joined(cells),
    )
