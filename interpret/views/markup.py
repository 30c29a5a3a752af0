"""Text, colours and the legend as HTML: text from outside is escaped by `fill`, and every colour has its night."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from markupsafe import Markup

from interpret.results.attribution import Attribution
from interpret.views.cells import NOTES, Cell, legend_keys
from interpret.views.colour import NIGHT, WHITE, Colour, held_colour, ink, pale_ink, to_hex
from interpret.views.invisible import escape_invisible
from interpret.views.scale import Scale

STOPS = 8  # of each side of the colour bar
LOOKS = {
    "for": Markup('<span class="for">solid line</span>'),
    "against": Markup('<span class="against">dotted line</span>'),
    "": Markup("no line"),
    "template": Markup("<i>pale italics</i>"),
}  # of marks and signs


def fill(template: str, /, **values: object) -> Markup:
    """A piece of HTML with values in its {braces}, which stand in elements or quoted attributes.

    All but `Markup` is text from outside: it is escaped, and what is no visible character gets a sign.
    """
    return Markup(template).format(
        **{name: value if isinstance(value, Markup) else escape_invisible(str(value)) for name, value in values.items()}
    )


def joined(parts: Sequence[Markup], between: str = "") -> Markup:
    """Pieces of HTML one after the other."""
    return Markup(between).join(parts)


@lru_cache
def asset(name: str) -> Markup:
    """The style sheet or the script, as it stands beside this file."""
    return Markup(files("interpret.views").joinpath(name).read_text(encoding="utf-8"))


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
    fixed = fill(
        '<span class="fixed" style="{style}">hatched</span>', style=shades(held_colour(WHITE), held_colour(NIGHT))
    )
    looks = {**LOOKS, "fixed": fixed}
    notes = [fill("{quantity}", quantity=results[0].quantity)]
    notes += [fill("{look}: {note}", look=looks[key], note=NOTES[key]) for key in legend_keys(scale, results)]
    return fill(
        '<p class="legend"><span class="scale">{low} {bar} {high} {unit}</span> {notes}</p>',
        low=scale.ticks[0][1], bar=bar, high=scale.ticks[-1][1], unit=scale.numbers.after(scale.unit),
        notes=joined(notes, "; "),
    )  # fmt: skip


def _both(day: Colour, night: Colour) -> str:
    return f"light-dark({to_hex(day)},{to_hex(night)})"
