"""An attribution as HTML: running text on colours, in its own direction, without scripts, all from outside escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from interpret.views.colour import HELD, TEMPLATE_NOTE, Colour, colour, ink, pale_ink, scale, to_hex
from interpret.views.visible import visible

if TYPE_CHECKING:
    from interpret.attribution import Attribution
    from interpret.matrix import AttributionMatrix


def html(attribution: Attribution) -> str:
    """A self-contained fragment: heading, the prompt with every piece on its colour, and what the colours mean."""
    limit = scale(attribution.scores.tolist())
    cells = []
    for label, score, held, template in zip(
        attribution.labels, attribution.scores.tolist(), attribution.held, attribution.template, strict=True
    ):
        background = HELD if held else colour(score, limit, attribution.signed)
        text = escape(visible(label, edge_spaces=True)).replace("↵", "↵<br>")
        number = "held: context, no score" if held else f"{score:+.4g} {attribution.unit}"
        number, shade = (f"{number}; {TEMPLATE_NOTE}", pale_ink) if template else (number, ink)
        cells.append(
            f'<span title="{escape(number)}" style="background:{to_hex(background)};color:{to_hex(shade(background))};'
            f'{"font-style:italic;" if template else ""}padding:.15em 0;border-radius:.2em;white-space:pre-wrap">'
            f"{text}</span>"
        )
    legend = escape(f"{attribution.unit} ({attribution.quantity})")
    legend += f"; <i>pale italics: {TEMPLATE_NOTE}</i>" if any(attribution.template) else ""
    ends = (f"−{limit:.3g}", f"+{limit:.3g}") if attribution.signed else ("0", f"{limit:.3g}")
    stops = [-limit, -limit / 2, 0, limit / 2, limit] if attribution.signed else [0, limit / 2, limit]
    gradient = ",".join(to_hex(colour(stop, limit, attribution.signed)) for stop in stops)
    return (
        '<div style="font-family:sans-serif;line-height:1.9;max-width:50em">'
        f'<div dir="auto"><b>{escape(visible(attribution.title))}</b></div>'
        f'<div style="font-size:.8em;opacity:.8;line-height:1.3">{escape(attribution.facts)}</div>'
        f'<div dir="auto" style="font-size:1.1em;margin:.4em 0">{"".join(cells)}</div>'
        f'<div style="font-size:.8em">{ends[0]} <span style="display:inline-block;width:10em;height:.7em;'
        f'border:1px solid #888;background:linear-gradient(to right,{gradient})"></span> {ends[1]} '
        f"{legend}</div></div>"
    )


def matrix_html(matrix: AttributionMatrix) -> str:
    """A self-contained fragment: a table with a row for each target and a column for each piece, on one scale."""
    limit = scale([score for each in matrix for score in each.scores.tolist()])

    def cell(text: str, background: Colour, number: str) -> str:
        shades = f"background:{to_hex(background)};color:{to_hex(ink(background))}"
        return f'<td title="{escape(number)}" style="{shades};text-align:right;padding:.1em .3em">{text}</td>'

    rows = []
    for number, (target, each) in enumerate(zip(matrix.targets, matrix, strict=True)):
        cells = ["<td></td>"] * len(matrix.labels)
        for column, score, held in zip(matrix.columns(number), each.scores.tolist(), each.held, strict=True):
            cells[column] = (
                cell("", HELD, "held: context, no score")
                if held
                else cell(
                    f"{score:{'+' if each.signed else ''}.2g}", colour(score, limit, each.signed),
                    f"{score:+.4g} {each.unit}",
                )
            )  # fmt: skip
        rows.append(f'<tr><th scope="row" style="text-align:right">{shown(target)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{shown(label)}</th>' for label in matrix.labels)
    first = matrix.attributions[0]
    return (
        '<div style="font-family:sans-serif;overflow-x:auto">'
        f"<div><b>{escape(visible(matrix.title))}</b></div>"
        f'<div style="font-size:.8em;opacity:.8">{escape(matrix.facts)}</div>'
        '<table style="border-collapse:collapse;font-size:.8em;white-space:pre">'
        f"<thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
        f'<div style="font-size:.8em">{escape(first.unit)} ({escape(first.quantity)})</div></div>'
    )


def shown(label: str) -> str:
    """A label of a row or column, escaped, with signs for what cannot be seen."""
    return escape(visible(label, edge_spaces=True))
