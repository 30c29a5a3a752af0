"""Scores as HTML: running text on its colours, in its own direction, and the same as a table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from interpret.results.attribution import Attribution
from interpret.views.cells import Cell, cells_of
from interpret.views.markup import asset, fill, joined, legend, style_of
from interpret.views.scale import Scale


def html(attribution: Attribution) -> str:
    """A self-contained fragment: all can be read without its script, and its styles touch nothing around it."""
    return fragment(section(attribution))


def fragment(section: Markup) -> str:
    """A section with its style and script, to stand in any page, several times if need be."""
    return str(
        fill(
            '<div class="nexttoken-why"><style>{style}</style>{section}<script>{script}</script></div>',
            style=asset("why.css"), section=section, script=asset("why.js"),
        )
    )  # fmt: skip


def section(attribution: Attribution, heading: str = "p", name: str = "") -> Markup:
    """Heading, running text, legend and table; `heading` is the element of the title, `name` what to choose it by."""
    scale = Scale.of(attribution)
    cells = cells_of(attribution, scale)
    pieces = f"{len(cells)} {attribution.by}{'' if len(cells) == 1 else 's'}"
    return fill(
        '<section data-name="{name}">{head}'
        '<div class="text" dir="auto" lang="" translate="no" role="group" aria-label="{label}">{pieces}</div>'
        "{legend}{check}<details><summary>Attribution as a table</summary>{table}</details></section>",
        name=name,
        head=head(attribution.heading, attribution.facts, heading),
        label=f"The prompt in {pieces}, each with its score in {attribution.unit}",
        pieces=joined([_piece(cell) for cell in cells]),
        legend=legend(scale, [attribution]),
        check=_check(attribution),
        table=_table(attribution, scale, cells),
    )


def _check(attribution: Attribution) -> Markup:
    """What the check of the scores found; its numbers beside chance are what its title says."""
    found = attribution.faithfulness
    if found is None:
        return Markup("")
    return fill(
        '<p class="check {verdict}" title="{details}">{sentence}</p>',
        verdict=found.verdict, details=found.details, sentence=found.sentence,
    )  # fmt: skip


def head(title: str, facts: str, heading: str) -> Markup:
    """The title and how the scores were made."""
    return fill(
        '<{heading} class="title" dir="auto">{title}</{heading}><p class="facts">{facts}</p>',
        heading=Markup(heading), title=title, facts=facts,
    )  # fmt: skip


def _piece(cell: Cell) -> Markup:
    """A piece on its colour, with all that is known of it as its title; its leading spaces stay without colour."""
    shown = cell.name.lstrip(" ")
    return fill(
        '{spaces}<span class="piece {mark}" title="{says}" style="{style}">{text}</span>',
        spaces=cell.name[: len(cell.name) - len(shown)], mark=cell.mark, says=cell.says, style=style_of(cell),
        text=fill("{text}", text=shown).replace("↵", Markup("↵<br>")),
    )  # fmt: skip


def _table(attribution: Attribution, scale: Scale, cells: Sequence[Cell]) -> Markup:
    """One row for each piece, with all that its colour stands for; their sum, if it has a meaning, at the foot."""
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
        before=before, total=scale.numbers(float(attribution.scores.sum())),
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
