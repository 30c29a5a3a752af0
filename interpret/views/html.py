"""An attribution as HTML: running text on its colours, in its own direction, and the same as a table."""

from __future__ import annotations

from interpret.attribution import Attribution
from interpret.views.markup import asset, escaped, kind, legend, limit_of, number, says, shades, share, written


def html(attribution: Attribution) -> str:
    """A self-contained fragment: all can be read without its script, and its styles touch nothing around it."""
    return fragment(section(attribution))


def fragment(section: str) -> str:
    """A section with its style and script, to stand in any page, several times if need be."""
    style, script = asset("why.css"), asset("why.js")
    return f'<div class="nexttoken-why"><style>{style}</style>{section}<script>{script}</script></div>'


def section(attribution: Attribution, heading: str = "p", name: str = "") -> str:
    """Heading, running text, legend and table; `heading` is the element of the title, `name` what to choose it by."""
    limit = limit_of([attribution])
    return (
        f'<section data-name="{escaped(name)}">{head(attribution.title, attribution.facts, heading)}'
        f'<div class="text" dir="auto" lang="" translate="no" role="group" aria-label="{label(attribution)}">'
        f"{''.join(piece(attribution, place, limit) for place in range(len(attribution)))}</div>"
        f"{legend(limit, [attribution])}"
        f"<details><summary>Scores as a table</summary>{table(attribution, limit)}</details></section>"
    )


def head(title: str, facts: str, heading: str) -> str:
    """The title and how the scores were made."""
    return f'<{heading} class="title" dir="auto">{escaped(title)}</{heading}><p class="facts">{escaped(facts)}</p>'


def label(attribution: Attribution) -> str:
    """What the running text is, for those who do not see it."""
    count = len(attribution)
    pieces = f"{count} {attribution.by}{'' if count == 1 else 's'}"
    return escaped(f"The prompt in {pieces}, each with its score in {attribution.unit}")


def piece(attribution: Attribution, place: int, limit: float) -> str:
    """A piece on its colour, with all that is known of it as its title; its leading spaces stay without colour."""
    score, held = float(attribution.scores[place]), attribution.held[place]
    style = shades(score, limit, attribution.signed, held, attribution.template[place])
    text = written(attribution.labels[place])
    shown = text.lstrip(" ")
    classes = kind(score, limit, attribution.signed, held)
    return (
        f'{text[: len(text) - len(shown)]}<span class="piece {classes}" title="{says(attribution, place)}" '
        f'style="{style}">{shown.replace("↵", "↵<br>")}</span>'
    )


def table(attribution: Attribution, limit: float) -> str:
    """One row for each piece, with all that its colour stands for; their sum, if it has a meaning, at the foot."""
    notes = any(attribution.held) or any(attribution.template)
    errors = {"standard error": attribution.standard_error, "numerical error": attribution.error}
    given = {name: error for name, error in errors.items() if error is not None}
    columns = [
        (attribution.by, ""), *([("role", "")] if attribution.messages else []), ("ids", "number"),
        (f"score in {attribution.unit}", "number"), *((name, "number") for name in given),
        ("share of all magnitudes", "number"), *([("note", "")] if notes else []),
    ]  # fmt: skip
    rows = []
    for place, (name, role) in enumerate(zip(attribution.labels, attribution.roles, strict=True)):
        held, template = attribution.held[place], attribution.template[place]
        score = float(attribution.scores[place])
        numbers = [
            " ".join(map(str, attribution.token_ids[place])),
            "" if held else number(score, limit, attribution.signed),
            *("" if held else f"{float(error[place]):.2g}" for error in given.values()),
            share(attribution, place),
        ]
        style = shades(score, limit, attribution.signed, held, template)
        speaker = f"<td>{escaped(role or 'template')}</td>" if attribution.messages else ""
        remark = f"<td>{note(held, template)}</td>" if notes else ""
        figures = "".join(f'<td class="number">{text}</td>' for text in numbers)
        rows.append(
            f'<tr><th scope="row" dir="auto" lang="" translate="no"><span class="cell" style="{style}">{written(name)}'
            f"</span></th>{speaker}{figures}{remark}</tr>"
        )
    total = number(float(attribution.scores.sum()), limit, attribution.signed)
    before = 3 if attribution.messages else 2
    foot = (
        ""
        if not attribution.signed
        else f'<tfoot><tr><th scope="row" colspan="{before}">sum</th><td class="number">{total}</td>'
        f"{'<td></td>' * (len(columns) - before - 1)}</tr></tfoot>"
    )
    heads = "".join(f'<th scope="col" class="{side}">{escaped(column)}</th>' for column, side in columns)
    return (
        '<div class="scroll"><table class="scores">'
        f"<caption><span>The score of each {escaped(attribution.by)} for {escaped(attribution.title)}</span></caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>{foot}</table></div>"
    )


def note(held: bool, template: bool) -> str:
    """What is special about a piece."""
    return ", ".join(["held"] * held + ["template"] * template)
