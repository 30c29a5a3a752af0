"""An attribution in the terminal: running text on colours, and a table of scores."""

from __future__ import annotations

from rich.color import Color
from rich.style import Style
from rich.table import Table
from rich.text import Text

from interpret.attribution import Attribution
from interpret.views.colour import HELD, Colour, colour, ink, scale
from interpret.views.visible import visible


def style(background: Colour) -> Style:
    """Readable text on a background."""
    to_rich = [Color.from_rgb(*(round(255 * part) for part in rgb)) for rgb in (ink(background), background)]
    return Style(color=to_rich[0], bgcolor=to_rich[1])


def styles(attribution: Attribution) -> list[Style]:
    """The style of each piece."""
    limit = scale(attribution.scores.tolist())
    return [
        style(HELD if held else colour(score, limit, attribution.signed))
        for score, held in zip(attribution.scores.tolist(), attribution.held, strict=True)
    ]


def headline(attribution: Attribution) -> Text:
    """What is explained, and how."""
    facts = ", ".join(filter(None, [attribution.method, attribution.gap_text, attribution.model]))
    return Text.assemble((visible(attribution.title), "bold"), "\n", (facts, "dim"))


def running_text(attribution: Attribution) -> Text:
    """The prompt, each piece on its colour."""
    text = Text()
    for label, piece_style in zip(attribution.labels, styles(attribution), strict=True):
        text.append(visible(label).replace("↵", "↵\n"), piece_style)
    return text


def table(attribution: Attribution) -> Table:
    """One row per piece: its text, its score and, where there is one, the score's standard error."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("piece")
    rows.add_column(attribution.unit, justify="right")
    errors = attribution.standard_error
    if errors is not None:
        rows.add_column("± standard error", justify="right")
    for place, (label, piece_style) in enumerate(zip(attribution.labels, styles(attribution), strict=True)):
        score = float(attribution.scores[place])
        number = "held" if attribution.held[place] else format(score, "+.4f" if attribution.signed else ".4f")
        error = [] if errors is None else [f"{float(errors[place]):.4f}"]
        rows.add_row(Text(visible(label, edge_spaces=True), piece_style), number, *error)
    return rows
