"""Scores as HTML: running text on its colours, a matrix as a table, and results as a document of their own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from interpret.results.attribution import Attribution
from interpret.results.files import Result, write_whole
from interpret.results.matrix import AttributionMatrix
from interpret.results.numbers import format_number
from interpret.views.cells import (
    NOTES,
    Cell,
    cells_of,
    choices_of,
    disambiguate,
    escape_invisible,
    legend_keys,
    matrix_cells,
)
from interpret.views.scale import NIGHT, WHITE, Colour, Scale, fixed_colour, ink, pale_ink, to_hex

PAGE_STYLE = Markup(
    ":root{color-scheme:light dark;background:light-dark(#f4f4f2,#0d0f12)}"
    "body{margin:0 auto;padding:max(1rem,3vw);max-width:60rem}"
    "@page{margin:15mm}@media print{:root{color-scheme:light;background:none}body{padding:0;max-width:none}}"
)
STOPS = 8  # of each side of the colour bar
LOOKS = {
    "for": Markup('<span class="for">solid line</span>'),
    "against": Markup('<span class="against">dotted line</span>'),
    "": Markup("no line"),
    "template": Markup("<i>pale italics</i>"),
}  # of marks and signs

Shown = Attribution | AttributionMatrix


# Text and colours


def fill(template: str, /, **values: object) -> Markup:
    """A piece of HTML with values in its {braces}, which stand in elements or quoted attributes.

    All but `Markup` is text from outside: it is escaped, and what is no visible character gets a sign. Several pieces,
    in a list, stand one after the other.
    """
    return Markup(template).format(**{name: _safe(value) for name, value in values.items()})


def _safe(value: object) -> Markup | str:
    if isinstance(value, list):
        return Markup("").join(map(_safe, value))
    return value if isinstance(value, Markup) else escape_invisible(str(value))


def shades(day: Colour, night: Colour, template: bool = False) -> Markup:
    """Ink on a background by day and by night, as the value of a style attribute; pale and slanted for the template.

    The colours of the day come first and alone, for browsers and notebooks that know no others.
    """
    reads = pale_ink if template else ink
    plain = f"background-color:{to_hex(day)};color:{to_hex(reads(day))}"
    slanted = ";font-style:italic" if template else ""
    return Markup(f"{plain}{slanted};background-color:{_both(day, night)};color:{_both(reads(day), reads(night))}")


def style_of(cell: Cell) -> Markup:
    """A cell's ink on its colour."""
    return shades(cell.colour(), cell.colour(NIGHT), cell.piece.template)


def legend(scale: Scale, results: Sequence[Attribution]) -> Markup:
    """What the colours and lines mean: the colour bar with its unit, and marks that need no colour."""
    marks = scale.steps(2 * STOPS)
    days, nights = [scale.colour(mark) for mark in marks], [scale.colour(mark, NIGHT) for mark in marks]
    stops = ",".join(map(to_hex, days))
    both = ",".join(_both(day, night) for day, night in zip(days, nights, strict=True))
    bar = Markup(
        f'<span class="bar" style="background-image:linear-gradient(to right,{stops});'
        f'background-image:linear-gradient(to right,{both})"></span>'
    )
    fixed = shades(fixed_colour(WHITE), fixed_colour(NIGHT))
    looks = {**LOOKS, "fixed": fill('<span class="fixed" style="{style}">hatched</span>', style=fixed)}
    notes = [fill("; {look}: {note}", look=looks[key], note=NOTES[key]) for key in legend_keys(scale, results)]
    return fill(
        '<p class="legend"><span class="scale">{low} {bar} {high} {unit}</span> {quantity}{notes}</p>',
        low=scale.ticks[0][1], bar=bar, high=scale.ticks[-1][1], unit=scale.numbers.after(scale.unit),
        quantity=results[0].quantity, notes=notes,
    )  # fmt: skip


def _both(day: Colour, night: Colour) -> str:
    return f"light-dark({to_hex(day)},{to_hex(night)})"


# Attributions and matrices


def html(result: Shown) -> str:
    """A self-contained fragment: all can be read without its script, and its styles touch nothing around it."""
    return fragment(section(result))


def section(result: Shown, heading: str = "p", name: str = "") -> Markup:
    """All that is shown of a result; `heading` is the element of the title, `name` what to choose it by."""
    title = head(result.heading, result.facts, heading)
    body = _text_section(result) if isinstance(result, Attribution) else _matrix_section(result)
    return fill('<section data-name="{name}">{title}{body}</section>', name=name, title=title, body=body)


def _text_section(attribution: Attribution) -> Markup:
    scale = Scale.of(attribution)
    cells = cells_of(attribution, scale)
    pieces = f"{len(cells)} {attribution.by}{'' if len(cells) == 1 else 's'}"
    found = attribution.faithfulness
    check = found and fill(
        '<p class="check {verdict}" title="{details}">{sentence}</p>',
        verdict=found.verdict, details=found.details, sentence=found.sentence,
    )  # fmt: skip
    return fill(
        '<div class="text" dir="auto" lang="" translate="no" role="group" aria-label="{label}">{pieces}</div>'
        "{legend}{check}<details><summary>Scores as a table</summary>{table}</details>",
        label=f"The prompt in {pieces}, each with its score in {attribution.unit}",
        pieces=[_piece(cell) for cell in cells], legend=legend(scale, [attribution]), check=check or "",
        table=_table(attribution, scale, cells),
    )  # fmt: skip


def _piece(cell: Cell) -> Markup:
    shown = cell.name.lstrip(" ")
    return fill(
        '{spaces}<span class="piece {mark}" title="{says}" style="{style}">{text}</span>',
        spaces=cell.name[: len(cell.name) - len(shown)], mark=cell.mark, says=cell.says, style=style_of(cell),
        text=fill("{text}", text=shown).replace("↵", Markup("↵<br>")),
    )  # fmt: skip


def _table(attribution: Attribution, scale: Scale, cells: Sequence[Cell]) -> Markup:
    is_chat, has_notes = bool(attribution.messages), any(cell.note for cell in cells)
    has_standard_error, has_error = attribution.standard_error is not None, attribution.error is not None
    columns = [
        (is_chat, "role", "", [cell.role for cell in cells]),
        (True, "ids", "number", [" ".join(map(str, cell.piece.ids)) for cell in cells]),
        (True, f"score in {scale.written_unit}", "number", ["" if cell.piece.fixed else cell.number for cell in cells]),
        (has_standard_error, "standard error", "number", [cell.standard_error for cell in cells]),
        (has_error, "numerical error", "number", [cell.numerical_error for cell in cells]),
        (True, "share of all magnitudes", "number", [cell.share for cell in cells]),
        (has_notes, "note", "", [cell.note for cell in cells]),
    ]
    names, sides, texts = zip(*(column for is_shown, *column in columns if is_shown), strict=True)
    heads = [
        fill('<th scope="col" class="{side}">{name}</th>', side=side, name=name)
        for name, side in [(attribution.by, ""), *zip(names, sides, strict=True)]
    ]
    rows = [
        fill(
            '<tr><th scope="row" dir="auto" lang="" translate="no"><span class="cell" style="{style}">{name}</span>'
            "</th>{values}</tr>",
            style=style_of(cell), name=cell.name,
            values=[
                fill('<td class="number">{text}</td>' if side else "<td>{text}</td>", text=text)
                for side, text in zip(sides, line, strict=True)
            ],
        ) for cell, *line in zip(cells, *texts, strict=True)
    ]  # fmt: skip
    before = 3 if is_chat else 2
    foot = fill(
        '<tfoot><tr><th scope="row" colspan="{before}">sum</th><td class="number">{total}</td>{rest}</tr></tfoot>',
        before=before, total=scale.numbers(sum(cell.piece.score for cell in cells)),
        rest=Markup("<td></td>") * (len(heads) - before - 1),
    )  # fmt: skip
    return fill(
        '<div class="scroll"><table class="scores"><caption><span>The score of each {by}. {title}</span></caption>'
        "<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>{foot}</table></div>",
        by=attribution.by, title=attribution.title, heads=heads, rows=rows, foot=foot if scale.signed else "",
    )  # fmt: skip


def _matrix_section(matrix: AttributionMatrix) -> Markup:
    scale = Scale.of(*matrix)
    columns = [
        fill(
            '<th scope="col" lang="" translate="no"{template}>{label}</th>',
            template=Markup(" class=template" if template else ""), label=escape_invisible(label, edge_spaces=True),
        )
        for label, template in zip(matrix.labels, matrix[-1].template, strict=True)
    ]  # fmt: skip
    rows = [
        fill(
            '<tr><th scope="row"><span class="target" lang="" translate="no">{target}</span>{likely}</th>{cells}</tr>',
            target=escape_invisible(target, edge_spaces=True), cells=[_matrix_cell(cell) for cell in cells],
            likely="" if probability is None else fill(" <small>p = {p}</small>", p=format_number(probability)),
        )
        for target, probability, cells in zip(
            matrix.targets, matrix.probabilities, matrix_cells(matrix, scale), strict=True
        )
    ]  # fmt: skip
    return fill(
        '<div class="scroll" tabindex="0" role="region" aria-label="Scores of {count} targets">'
        '<table class="matrix"><caption><span>Each row a target, each column a piece: scores in {unit}</span></caption>'
        '<thead><tr><th scope="col">target</th>{columns}</tr></thead><tbody>{rows}</tbody></table></div>{legend}',
        count=len(matrix), unit=scale.written_unit, columns=columns, rows=rows, legend=legend(scale, list(matrix)),
    )  # fmt: skip


def _matrix_cell(cell: Cell | None) -> Markup:
    if cell is None:
        return Markup('<td class="unseen"></td>')
    return fill(
        '<td class="cell {mark}" title="{says}" style="{style}">{number}</td>',
        mark=cell.mark, says=cell.says, style=style_of(cell), number="" if cell.piece.fixed else cell.number,
    )  # fmt: skip


# Fragments and documents


@lru_cache
def asset(name: str) -> Markup:
    """The style sheet or the script, as it stands beside this file."""
    return Markup(files("interpret.views").joinpath(name).read_text(encoding="utf-8"))


def head(title: str, facts: str, heading: str) -> Markup:
    """The title and how the scores were made."""
    return fill(
        '<{heading} class="title" dir="auto">{title}</{heading}><p class="facts">{facts}</p>',
        heading=Markup(heading), title=title, facts=facts,
    )  # fmt: skip


def fragment(section: Markup) -> str:
    """A section with its style and script, to stand in any page, several times if need be."""
    return str(
        fill(
            '<div class="nexttoken-why"><style>{style}</style>{section}<script>{script}</script></div>',
            style=asset("why.css"), section=section, script=asset("why.js"),
        )
    )  # fmt: skip


def framed(title: str, main: Markup, results: Sequence[Result]) -> str:
    """Sections as a whole HTML document, with every number of the results as JSON.

    Its policy lets the browser ask for nothing and run no script but the one that is written here.
    """
    script = asset("why.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    data = json.dumps([each.to_dict() for each in results], allow_nan=False)
    data = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return str(
        fill(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<title>{title}</title><style>{style}</style></head>\n"
            '<body><main class="nexttoken-why">{main}</main>\n'
            '<script type="application/json" id="results">{data}</script>\n'
            "<script>{script}</script></body></html>\n",
            policy=Markup(policy), title=title, style=PAGE_STYLE + asset("why.css"), main=main, data=Markup(data),
            script=script,
        )
    )  # fmt: skip


def document(*results: Shown) -> str:
    """Results as a whole HTML document, in which a reader chooses one where they are several."""
    if not results:
        raise ValueError("there is nothing to show: give at least one attribution")
    first_rows = [each if isinstance(each, Attribution) else each[0] for each in results]
    several = len(results) > 1
    sections = [
        section(named if isinstance(each, Attribution) else each, "h2" if several else "h1", name)
        for each, named, name in zip(results, disambiguate(first_rows), choices_of(first_rows, results), strict=True)
    ]
    title = Markup("<h1>Why the model said that</h1>" if several else "")
    return framed(results[0].heading, title + Markup("").join(sections), results)


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
    return write_whole(path, lambda part: part.write_text(document(*results), encoding="utf-8"))
