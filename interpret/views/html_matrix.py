"""A matrix of attributions as HTML: a table with a row for each target, on one scale, of which one is read as text."""

from __future__ import annotations

from interpret.matrix import AttributionMatrix
from interpret.views.html import fragment, head
from interpret.views.markup import escaped, kind, legend, limit_of, number, says, shades, written

UNSEEN = '<td class="unseen"></td>'


def matrix_html(matrix: AttributionMatrix) -> str:
    """A self-contained fragment: all can be read without its script, and its styles touch nothing around it."""
    return fragment(matrix_section(matrix))


def matrix_section(matrix: AttributionMatrix, heading: str = "p", name: str = "") -> str:
    """Heading, table and legend; `heading` is the element of the title, `name` what to choose it by."""
    limit = limit_of(list(matrix))
    columns = "".join(
        f'<th scope="col" lang="" translate="no"{" class=template" if template else ""}>{written(label)}</th>'
        for label, template in zip(matrix.labels, matrix[-1].template, strict=True)
    )
    return (
        f'<section data-name="{escaped(name)}">{head(matrix.title, matrix.facts, heading)}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Scores of {len(matrix)} targets">'
        f'<table class="matrix"><caption><span>Each row a target, each column a piece: scores in {escaped(matrix.unit)}'
        f'</span></caption><thead><tr><th scope="col">target</th>{columns}</tr></thead>'
        f"<tbody>{''.join(row(matrix, place, limit) for place in range(len(matrix)))}</tbody></table></div>"
        f"{legend(limit, list(matrix))}</section>"
    )


def row(matrix: AttributionMatrix, place: int, limit: float) -> str:
    """A target, its probability, and its score of every piece that it sees."""
    each, probability = matrix[place], matrix.probabilities[place]
    cells = [UNSEEN] * len(matrix.labels)
    for own, column in enumerate(matrix.columns(place)):
        score, held = float(each.scores[own]), each.held[own]
        style = shades(score, limit, each.signed, held, each.template[own])
        text = "" if held else number(score, limit, each.signed)
        sign = kind(score, limit, each.signed, held)
        cells[column] = f'<td class="cell {sign}" title="{says(each, own)}" style="{style}">{text}</td>'
    likely = "" if probability is None else f" <small>{100 * probability:.2g} %</small>"
    target = f'<span class="target" lang="" translate="no">{written(matrix.targets[place])}</span>'
    return f'<tr><th scope="row">{target}{likely}</th>{"".join(cells)}</tr>'
