"""Text, colours and the legend as HTML: text from outside is escaped by `fill`, and every colour has its night."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from markupsafe import Markup

from interpret.results.attribution import Attribution
from interpret.results.files import Result
from interpret.views.cells import NOTES, Cell, legend_keys
from interpret.views.plain import escape_invisible
from interpret.views.scale import NIGHT, WHITE, Colour, Scale, fixed_colour, ink, pale_ink, to_hex

PAGE_STYLE = (
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
        '<span class="fixed" style="{style}">hatched</span>', style=shades(fixed_colour(WHITE), fixed_colour(NIGHT))
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


def fragment(section: Markup) -> str:
    """A section with its style and script, to stand in any page, several times if need be."""
    return str(
        fill(
            '<div class="nexttoken-why"><style>{style}</style>{section}<script>{script}</script></div>',
            style=asset("why.css"), section=section, script=asset("why.js"),
        )
    )  # fmt: skip


def head(title: str, facts: str, heading: str) -> Markup:
    """The title and how the scores were made."""
    return fill(
        '<{heading} class="title" dir="auto">{title}</{heading}><p class="facts">{facts}</p>',
        heading=Markup(heading), title=title, facts=facts,
    )  # fmt: skip


def framed(title: str, main: Markup, results: Sequence[Result]) -> str:
    """Sections as a whole HTML document with every number of the results, under the policy that `document` says."""
    script = asset("why.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return str(
        fill(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<title>{title}</title><style>{style}</style></head>\n"
            '<body><main class="nexttoken-why">{main}</main>\n'
            '<script type="application/json" id="results">{data}</script>\n'
            "<script>{script}</script></body></html>\n",
            policy=Markup(policy), title=title, style=Markup(PAGE_STYLE) + asset("why.css"), main=main,
            data=_data(results), script=script,
        )
    )  # fmt: skip


def _data(results: Sequence[Result]) -> Markup:
    text = json.dumps([each.to_dict() for each in results], allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
