"""Results as a document of their own: one file that asks for nothing, to hand around and to print."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from interpret.attribution import Attribution
from interpret.matrix import AttributionMatrix
from interpret.views.html import section
from interpret.views.html_matrix import matrix_section
from interpret.views.markup import asset, escaped
from interpret.writing import write_whole

Result = Attribution | AttributionMatrix
PAGE_STYLE = (
    ":root{color-scheme:light dark;background:light-dark(#f4f4f2,#0d0f12)}"
    "body{margin:0 auto;padding:max(1rem,3vw);max-width:60rem}"
    "@page{margin:15mm}@media print{:root{color-scheme:light;background:none}body{padding:0;max-width:none}}"
)


def page(results: Sequence[Result], path: str | Path) -> Path:
    """Write several results as one page, among which its reader chooses: methods, targets, models or prompts.

    Args:
        results: attributions and matrices.
        path: of the file, which ends in .html. It is written whole or not at all.

    Raises:
        ValueError: nothing to show, or another ending.
        OSError: the file can't be written.
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"cannot save a page as {path.name!r}: the ending must be .html")
    return write_whole(path, lambda part: part.write_text(document(results), encoding="utf-8"))


def document(results: Sequence[Result]) -> str:
    """A whole HTML document, with every number of the results as JSON.

    Its policy lets the browser ask for nothing and run no script but the one that is written here.
    """
    if not results:
        raise ValueError("there is nothing to show: give at least one attribution")
    script = asset("why.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    several = len(results) > 1
    heading = "h2" if several else "h1"
    sections = "".join(
        section(each, heading, name) if isinstance(each, Attribution) else matrix_section(each, heading, name)
        for each, name in zip(results, names(results), strict=True)
    )
    title = f"Why {results[0].title}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{PAGE_STYLE}{asset('why.css')}</style></head>\n"
        f'<body><main class="nexttoken-why">{"<h1>Why the model said that</h1>" if several else ""}{sections}</main>\n'
        f'<script type="application/json" id="results">{data(results)}</script>\n'
        f"<script>{script}</script></body></html>\n"
    )


def data(results: Sequence[Result]) -> str:
    """The results as JSON that can't end the element it stands in: a list of what `to_dict` gives."""
    text = json.dumps([each.to_dict() for each in results], allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def names(results: Sequence[Result]) -> list[str]:
    """What tells results apart: their titles, methods and models as far as they differ; if need be, numbers."""
    aspects = [
        [each.title for each in results],
        [each.method if isinstance(each, Attribution) else each[0].method for each in results],
        [each.model if isinstance(each, Attribution) else each[0].model for each in results],
    ]
    telling = [aspect for aspect in aspects if len(set(aspect)) > 1] or aspects[1:2]
    joined = [" · ".join(parts) for parts in zip(*telling, strict=True)]
    if len(set(joined)) == len(joined):
        return joined
    return [f"{place}. {name}" for place, name in enumerate(joined, start=1)]
