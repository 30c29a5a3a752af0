"""Scores as HTML: running text on its colours, a matrix as a table, and results as a document of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from interpret.results.attribution import Attribution
from interpret.results.files import write_whole
from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.views.cells import Cell, cells_of, choices_of, disambiguate, matrix_cells
from interpret.views.markup import fill, fragment, framed, head, joined, legend, style_of
from interpret.views.plain import escape_invisible
from interpret.views.scale import Scale


def html(attribution: Attribution) -> str:
    """A self-contained fragment: all can be read without its script, and its styles touch nothing around it."""
    return fragment(section(attribution))


def section(attribution: Attribution, heading: str = "p", name: str = "") -> Markup:
    """Heading, running text, legend and table; `heading` is the element of the title, `name` what to choose it by."""
    scale = Scale.of(attribution)
    cells = cells_of(attribution, scale)
    pieces = f"{len(cells)} {attribution.by}{'' if len(cells) == 1 else 's'}"
    return fill(
        '<section data-name="{name}">{head}'
        '<div class="text" dir="auto" lang="" translate="no" role="group" aria-label="{label}">{pieces}</div>'
        "{legend}{check}<details><summary>Scores as a table</summary>{table}</details></section>",
        name=name,
        head=head(attribution.heading, attribution.facts, heading),
        label=f"The prompt in {pieces}, each with its score in {attribution.unit}",
        pieces=joined([_piece(cell) for cell in cells]),
        legend=legend(scale, [attribution]),
        check=_check(attribution),
        table=_table(attribution, scale, cells),
    )


def _check(attribution: Attribution) -> Markup:
    found = attribution.faithfulness
    if found is None:
        return Markup("")
    return fill(
        '<p class="check {verdict}" title="{details}">{sentence}</p>',
        verdict=found.verdict, details=found.details, sentence=found.sentence,
    )  # fmt: skip


def _piece(cell: Cell) -> Markup:
    shown = cell.name.lstrip(" ")
    return fill(
        '{spaces}<span class="piece {mark}" title="{says}" style="{style}">{text}</span>',
        spaces=cell.name[: len(cell.name) - len(shown)], mark=cell.mark, says=cell.says, style=style_of(cell),
        text=fill("{text}", text=shown).replace("↵", Markup("↵<br>")),
    )  # fmt: skip


def _table(attribution: Attribution, scale: Scale, cells: Sequence[Cell]) -> Markup:
    chat, notes = bool(attribution.messages), any(cell.note for cell in cells)
    sampled, certified = attribution.standard_error is not None, attribution.error is not None
    heads = [
        (attribution.by, ""), *([("role", "")] if chat else []), ("ids", "number"),
        (f"score in {scale.written_unit}", "number"), *([("standard error", "number")] if sampled else []),
        *([("numerical error", "number")] if certified else []), ("share of all magnitudes", "number"),
        *([("note", "")] if notes else []),
    ]  # fmt: skip
    rows = []
    for cell in cells:
        numbers = [
            " ".join(map(str, cell.piece.ids)), "" if cell.piece.fixed else cell.number,
            *([cell.standard_error] if sampled else []), *([cell.numerical_error] if certified else []), cell.share,
        ]  # fmt: skip
        values = [*([fill("<td>{role}</td>", role=cell.role)] if chat else [])]
        values += [fill('<td class="number">{number}</td>', number=number) for number in numbers]
        values += [fill("<td>{note}</td>", note=cell.note)] if notes else []
        rows.append(
            fill(
                '<tr><th scope="row" dir="auto" lang="" translate="no"><span class="cell" style="{style}">{name}</span>'
                "</th>{values}</tr>",
                style=style_of(cell), name=cell.name, values=joined(values),
            )
        )  # fmt: skip
    before = 3 if chat else 2
    foot = fill(
        '<tfoot><tr><th scope="row" colspan="{before}">sum</th><td class="number">{total}</td>{rest}</tr></tfoot>',
        before=before, total=scale.numbers(sum(cell.piece.score for cell in cells)),
        rest=Markup("<td></td>") * (len(heads) - before - 1),
    )  # fmt: skip
    return fill(
        '<div class="scroll"><table class="scores"><caption><span>The score of each {by}. {title}</span></caption>'
        "<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>{foot}</table></div>",
        by=attribution.by, title=attribution.title, rows=joined(rows), foot=foot if scale.signed else Markup(""),
        heads=joined(
            [fill('<th scope="col" class="{side}">{name}</th>', side=side, name=name) for name, side in heads]
        ),
    )  # fmt: skip


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
        '<div class="scroll" tabindex="0" role="region" aria-label="Scores of {count} targets">'
        '<table class="matrix"><caption><span>Each row a target, each column a piece: scores in {unit}</span></caption>'
        '<thead><tr><th scope="col">target</th>{columns}</tr></thead><tbody>{rows}</tbody></table></div>'
        "{legend}</section>",
        name=name,
        head=head(matrix.heading, matrix.facts, heading),
        count=len(matrix),
        unit=scale.written_unit,
        columns=joined(columns),
        rows=joined([_row(matrix, row, cells) for row, cells in enumerate(matrix_cells(matrix, scale))]),
        legend=legend(scale, list(matrix)),
    )


def _row(matrix: AttributionMatrix, row: int, cells: Sequence[Cell | None]) -> Markup:
    probability = matrix.probabilities[row]
    shown = [
        fill(
            '<td class="cell {mark}" title="{says}" style="{style}">{number}</td>',
            mark=cell.mark, says=cell.says, style=style_of(cell), number="" if cell.piece.fixed else cell.number,
        ) if cell else UNSEEN for cell in cells
    ]  # fmt: skip
    return fill(
        '<tr><th scope="row"><span class="target" lang="" translate="no">{target}</span>{likely}</th>{cells}</tr>',
        target=escape_invisible(matrix.targets[row], edge_spaces=True),
        likely=Markup("") if probability is None else fill(" <small>p = {p}</small>", p=format_number(probability)),
        cells=joined(shown),
    )


Shown = Attribution | AttributionMatrix


def page(results: Sequence[Shown], path: str | Path) -> Path:
    """Write several results as one page, among which its reader chooses: methods, targets, models or prompts.

    Args:
        results: attributions and matrices.
        path: of the file, which ends in .html. It is written whole or not at all.

    Raises:
        ValueError: nothing to show, or another ending.
        OSError: the file can't be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".html":
        raise ValueError(f"cannot save a page as {path.name!r}: the ending must be .html")
    return write_whole(path, lambda part: part.write_text(document(results), encoding="utf-8"))


def page_of(result: Shown) -> str:
    """One result as a whole HTML document."""
    return document([result])


def document(results: Sequence[Shown]) -> str:
    """A whole HTML document, with every number of the results as JSON.

    Its policy lets the browser ask for nothing and run no script but the one that is written here.
    """
    if not results:
        raise ValueError("there is nothing to show: give at least one attribution")
    several = len(results) > 1
    heading = "h2" if several else "h1"
    first_rows = [each if isinstance(each, Attribution) else each[0] for each in results]
    names = choices_of(first_rows, results)
    sections = [
        section(named, heading, name) if isinstance(each, Attribution) else matrix_section(each, heading, name)
        for each, named, name in zip(results, disambiguate(first_rows), names, strict=True)
    ]
    title = results[0].heading
    title_of_all = Markup("<h1>Why the model said that</h1>" if several else "")
    return framed(title, title_of_all + joined(sections), results)
