"""An attribution as HTML: running text on colours, in its own direction, without scripts, all from outside escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from interpret.views.colour import HELD, colour, ink, scale, to_hex
from interpret.views.visible import visible

if TYPE_CHECKING:
    from interpret.attribution import Attribution


def html(attribution: Attribution) -> str:
    """A self-contained fragment: heading, the prompt with every piece on its colour, and what the colours mean."""
    limit = scale(attribution.scores.tolist())
    cells = []
    for label, score, held in zip(attribution.labels, attribution.scores.tolist(), attribution.held, strict=True):
        background = HELD if held else colour(score, limit, attribution.signed)
        text = escape(visible(label, edge_spaces=True)).replace("↵", "↵<br>")
        number = "held: context, no score" if held else f"{score:+.4g} {attribution.unit}"
        cells.append(
            f'<span title="{escape(number)}" style="background:{to_hex(background)};color:{to_hex(ink(background))};'
            f'padding:.15em 0;border-radius:.2em;white-space:pre-wrap">{text}</span>'
        )
    facts = ", ".join(filter(None, [attribution.method, attribution.gap_text, attribution.model]))
    ends = (f"−{limit:.3g}", f"+{limit:.3g}") if attribution.signed else ("0", f"{limit:.3g}")
    stops = [-limit, -limit / 2, 0, limit / 2, limit] if attribution.signed else [0, limit / 2, limit]
    gradient = ",".join(to_hex(colour(stop, limit, attribution.signed)) for stop in stops)
    return (
        '<div style="font-family:sans-serif;line-height:1.9;max-width:50em">'
        f'<div dir="auto"><b>{escape(visible(attribution.title))}</b></div>'
        f'<div style="font-size:.8em;opacity:.8;line-height:1.3">{escape(facts)}</div>'
        f'<div dir="auto" style="font-size:1.1em;margin:.4em 0">{"".join(cells)}</div>'
        f'<div style="font-size:.8em">{ends[0]} <span style="display:inline-block;width:10em;height:.7em;'
        f'border:1px solid #888;background:linear-gradient(to right,{gradient})"></span> {ends[1]} '
        f"{escape(attribution.unit)} ({escape(attribution.quantity)})</div></div>"
    )
