"""What the page shows of a result, as plain values: a browser gets texts, numbers and colours, and never markup."""

from __future__ import annotations

from typing import Any

from interpret.results.attribution import Attribution
from interpret.results.counterfactual import Flip, Reduction
from interpret.results.numbers import format_number
from interpret.views.cells import NOTES, Cell, cells_of, escape_invisible, legend_keys
from interpret.views.html import LOOKS, STOPS
from interpret.views.scale import NIGHT, Colour, Scale, ink, pale_ink, to_hex
from interpret.views.tables import parts_of, sentence_of, table_of
from nexttoken import Target


def shown_map(whole: Attribution, by: str = "piece") -> dict[str, Any]:
    """A map: each piece with its colours by day and by night, the legend, and what the check of it found.

    With `by`, its scores are added up; the check is that of the pieces. Raises ValueError for what has no such totals.
    """
    result = whole if by == "piece" else whole.totals(by)
    scale = Scale.of(result)
    marks = scale.steps(2 * STOPS)
    found = whole.faithfulness
    return {
        "title": escape_invisible(result.heading),
        "facts": escape_invisible(result.facts),
        "by": result.by,
        "unit": scale.numbers.after(scale.unit),
        "signed": scale.signed,
        "pieces": [_piece(cell) for cell in cells_of(result, scale)],
        "legend": {
            "low": scale.ticks[0][1],
            "high": scale.ticks[-1][1],
            "stops": [[to_hex(scale.colour(mark)), to_hex(scale.colour(mark, NIGHT))] for mark in marks],
            "notes": [result.quantity, *_notes(result, scale)],
        },
        "check": found and {"verdict": found.verdict, "sentence": found.sentence, "details": found.details},
    }


def shown_targets(targets: tuple[Target, ...]) -> list[dict[str, Any]]:
    """Next tokens with their probabilities, for buttons."""
    return [
        {
            "id": each.id, "text": each.text, "name": escape_invisible(each.text, edge_spaces=True),
            "probability": each.probability, "written": format_number(each.probability), "rank": each.rank,
        }
        for each in targets
    ]  # fmt: skip


def shown_edits(result: Flip | Reduction) -> dict[str, Any]:
    """A flip or a reduction: its running text in parts, its sentence and its table."""
    heads, rows = table_of(result)
    return {
        "title": escape_invisible(sentence_of(result.title)),
        "sentence": escape_invisible(result.sentence),
        "facts": escape_invisible(result.facts),
        "found": not isinstance(result, Flip) or result.found,
        "parts": [[kind, escape_invisible(part).replace("↵", "↵\n")] for kind, part in parts_of(result) if part],
        "heads": heads,
        "rows": rows,
        "prompt": result.prompt,
        "messages": list(result.messages),
    }


def _piece(cell: Cell) -> dict[str, Any]:
    shade = pale_ink if cell.piece.template else ink
    day, night = cell.colour(), cell.colour(NIGHT)
    return {
        "name": cell.name, "number": cell.number, "says": cell.says, "mark": cell.mark, "role": cell.role,
        "note": cell.note, "share": cell.share, "size": abs(cell.piece.score), "day": to_hex(day),
        "night": to_hex(night), "ink": [_ink(shade, day), _ink(shade, night)], "template": cell.piece.template,
    }  # fmt: skip


def _ink(shade: Any, background: Colour) -> str:
    return to_hex(shade(background))


def _notes(result: Attribution, scale: Scale) -> list[str]:
    looks = {**{key: look.striptags() for key, look in LOOKS.items()}, "fixed": "hatched"}
    return [f"{looks[key]}: {NOTES[key]}" for key in legend_keys(scale, [result])]
