"""Results as a document of their own: one file that asks for nothing, to hand around and to print."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from interpret.results.attribution import Attribution
from interpret.results.files import Result, write_whole
from interpret.results.matrix import AttributionMatrix
from interpret.views.html import section
from interpret.views.html_matrix import matrix_section
from interpret.views.markup import asset, fill, joined
from interpret.views.names import choices_of, disambiguate

Shown = Attribution | AttributionMatrix
PAGE_STYLE = (
    ":root{color-scheme:light dark;background:light-dark(#f4f4f2,#0d0f12)}"
    "body{margin:0 auto;padding:max(1rem,3vw);max-width:60rem}"
    "@page{margin:15mm}@media print{:root{color-scheme:light;background:none}body{padding:0;max-width:none}}"
)


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
    return write_whole(path, lambda part: part.write_text(document(results), encoding="utf-8"))


def page_of(result: Shown) -> str:
    """One result as a whole HTML document."""
    return document([result])


def document(results: Sequence[Shown]) -> str:
    """A whole HTML document, with every number of the results as JSON.

    Its policy lets the browser ask for nothing and run no script but the one that is written here.
    """
    if not results:
        raise ValueError("there is nothing to show: give at least one attribution")
    several = len(results) > 1
    heading = "h2" if several else "h1"
    first_rows = [each if isinstance(each, Attribution) else each[0] for each in results]
    names = choices_of(first_rows, results)
    sections = [
        section(named, heading, name) if isinstance(each, Attribution) else matrix_section(each, heading, name)
        for each, named, name in zip(results, disambiguate(first_rows), names, strict=True)
    ]
    title = results[0].heading
    title_of_all = Markup("<h1>Why the model said that</h1>" if several else "")
    return framed(title, title_of_all + joined(sections), results)


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
    """The results as JSON that can't end the element it stands in: a list of what `to_dict` gives."""
    text = json.dumps([each.to_dict() for each in results], allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
