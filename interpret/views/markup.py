"""Text, numbers and colours as HTML: all that comes from outside is escaped here, and every colour has its night."""

from __future__ import annotations

import math
from functools import lru_cache
from html import escape
from importlib.resources import files

from interpret.attribution import Attribution
from interpret.views.colour import (
    NIGHT,
    TEMPLATE_NOTE,
    WHITE,
    Colour,
    colour,
    held_colour,
    ink,
    pale_ink,
    scale,
    to_hex,
)
from interpret.views.visible import visible

DIGITS = 4  # of the largest score, in tables
MOST_DECIMALS = 9
STOPS = 8  # of each side of the colour bar
FAINT = 0.05  # of the largest score: below it, a piece has hardly a colour, and no line


def escaped(text: str) -> str:
    """A text from outside for an element or a quoted attribute, with signs for what is no visible character."""
    return escape(visible(text))


def written(label: str) -> str:
    """The same of a piece, which is seen even if it is of spaces only."""
    return escape(visible(label, edge_spaces=True))


@lru_cache
def asset(name: str) -> str:
    """The style sheet or the script, as it stands beside this file."""
    return files("interpret.views").joinpath(name).read_text(encoding="utf-8")


def both(day: Colour, night: Colour) -> str:
    """A colour by day and one by night."""
    return f"light-dark({to_hex(day)},{to_hex(night)})"


def shades(score: float, limit: float, signed: bool, held: bool = False, template: bool = False) -> str:
    """Ink on its background, as the value of a style attribute.

    The colours of the day come first and alone, for browsers and notebooks that know no others.
    """
    if held:
        day, night = held_colour(WHITE), held_colour(NIGHT)
    else:
        day, night = colour(score, limit, signed), colour(score, limit, signed, NIGHT)
    reads = pale_ink if template else ink
    plain = f"background-color:{to_hex(day)};color:{to_hex(reads(day))}"
    slanted = ";font-style:italic" if template else ""
    return f"{plain}{slanted};background-color:{both(day, night)};color:{both(reads(day), reads(night))}"


def kind(score: float, limit: float, signed: bool, held: bool) -> str:
    """The class of a piece, by which its sign is seen without colours."""
    if held:
        return "held"
    return "" if not signed or abs(score) <= FAINT * limit else "for" if score > 0 else "against"


def number(score: float, limit: float, signed: bool) -> str:
    """A score with as many decimals as give the largest one four digits, with its sign."""
    decimals = DIGITS - 1 - math.floor(math.log10(limit)) if limit > 0 else 0
    if decimals > MOST_DECIMALS:
        return f"{score:{'+' if signed else ''}.{DIGITS - 1}e}".replace("-", "−")
    rounded = round(score, max(0, decimals)) + 0.0  # no minus before zero
    return f"{rounded:{'+' if signed and rounded else ''}.{max(0, decimals)}f}".replace("-", "−")


def share(attribution: Attribution, place: int) -> str:
    """The part of a piece in the sum of all magnitudes, in percent; empty where it has none."""
    total = float(attribution.scores.abs().sum())
    if attribution.held[place] or total == 0:
        return ""
    return f"{abs(float(attribution.scores[place])) / total:.1%}".replace("%", " %")


def says(attribution: Attribution, place: int) -> str:
    """All that is known of a piece, in words: score, share, standard error, ids, and who wrote it."""
    sign = "+" if attribution.signed else ""
    error = attribution.standard_error
    ids = attribution.token_ids[place]
    known = [
        "held: context, no score" if attribution.held[place]
        else f"{float(attribution.scores[place]):{sign}.4g} {attribution.unit}".replace("-", "−"),
        TEMPLATE_NOTE if attribution.template[place] else "",
        f"{part} of all magnitudes" if (part := share(attribution, place)) else "",
        f"standard error {float(error[place]):.2g}" if error is not None and not attribution.held[place] else "",
        f"{'id' if len(ids) == 1 else 'ids'} {' '.join(map(str, ids))}" if ids else "",
    ]  # fmt: skip
    return escaped("; ".join(filter(None, known)))


def legend(limit: float, attributions: list[Attribution]) -> str:
    """What the colours and lines mean: the colour bar with its unit, and signs that need no colour."""
    first, ends = attributions[0], number(limit, limit, False)
    signed, low = first.signed, -limit if first.signed else 0.0
    marks = [low + (limit - low) * step / (2 * STOPS) for step in range(2 * STOPS + 1)]
    stops = ",".join(to_hex(colour(mark, limit, signed)) for mark in marks)
    nights = ",".join(both(colour(mark, limit, signed), colour(mark, limit, signed, NIGHT)) for mark in marks)
    bar = (
        f'<span class="bar" style="background-image:linear-gradient(to right,{stops});'
        f'background-image:linear-gradient(to right,{nights})"></span>'
    )
    scale_ends = [f"−{ends}" if signed else "0", f"+{ends}" if signed else ends]
    notes = [escaped(first.quantity)]
    if signed:
        notes += [
            '<span class="for">solid line</span>: raises it',
            '<span class="against">dotted line</span>: lowers it',
            f"no line: under {100 * FAINT:.0f} % of the largest",
        ]
    if any(any(each.held) for each in attributions):
        notes.append(f'<span class="held" style="{shades(0, 0, signed, held=True)}">hatched</span>: held, no score')
    if any(any(each.template) for each in attributions):
        notes.append(f"<i>pale italics</i>: {TEMPLATE_NOTE}")
    return (
        f'<p class="legend"><span class="scale">{scale_ends[0]} {bar} {scale_ends[1]} {escaped(first.unit)}</span> '
        f"{'; '.join(notes)}</p>"
    )


def limit_of(attributions: list[Attribution]) -> float:
    """The end of the scale that several attributions have in common."""
    return scale([score for each in attributions for score in each.scores.tolist()])
