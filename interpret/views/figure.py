"""Figures as files: text stays text, what was explained and how stands in the metadata, and the same twice is equal."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from interpret.results.files import FIGURES, Result, write_whole
from interpret.views.fonts import UNHINTED
from interpret.views.invisible import escape_invisible
from interpret.views.pgf import texts_escaped, write_pgf

SCREEN, PRINT = 144, 300  # dots per inch of pixels
CREATOR = "nexttoken-interpret"
# Text as text: in SVG it stays text, in PDF fonts are embedded as TrueType (Type 3 mixes up glyphs without a name).
SETTINGS: Any = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": CREATOR, **UNHINTED}


class ResultFigure(Figure):
    """A matplotlib figure that a notebook shows by itself, and whose files say what it shows.

    Attributes:
        results: what it shows.
    """

    def __init__(self, results: Sequence[Result] = (), **options: Any):
        super().__init__(**options)
        self.results = tuple(results)

    def draw(self, renderer: Any) -> None:
        """As in matplotlib, with text as wide as it was measured."""
        with rc_context(UNHINTED):
            super().draw(renderer)

    def savefig(self, fname: Any, *, metadata: dict[str, Any] | None = None, **options: Any) -> None:
        """As in matplotlib, with text as text, and what it shows as metadata; yours are added to them."""
        if isinstance(fname, str | Path):
            fname = Path(fname).expanduser()
        named = fname.suffix[1:] if isinstance(fname, Path) else ""
        kind = str(options.get("format") or named or "png").lower()
        known = _metadata_of(self.results, kind) if f".{kind}" in FIGURES else {}
        if about := {**known, **(metadata or {})}:  # some kinds of files, such as .pgf, take none
            options["metadata"] = about
        latex = "pgf" in (kind, options.get("backend"))
        with rc_context(SETTINGS), texts_escaped(self) if latex else nullcontext():
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=SCREEN)
        return image.getvalue()


def save_figure(figure: Figure, path: str | Path, *results: Result) -> Path:
    """Save a figure in the format of the file's ending, whole or not at all, with text as text and metadata.

    The file's title and description say what it shows: the description is JSON, a list with one entry for each result
    (its prompt, target, model, method, gap and versions). PDF has it as Subject. The same figure gives the same file.

    Args:
        figure: any matplotlib figure.
        path: ends in .png (300 dots per inch), .pdf, .svg or .pgf. LaTeX must be there to measure the texts of a .pgf
            file, which begins with the description as a comment; what is not mathematics in it is set as it stands.
        results: what it shows, where it is a figure of your own; those made here know it.

    Raises:
        ValueError: an ending that is not one of the formats.
        OSError: the file can't be written, or is a .pgf file and there is no LaTeX.
    """
    path = Path(path).expanduser()
    _check_format(path)
    kind = path.suffix[1:].lower()
    shown = results or getattr(figure, "results", ())
    with rc_context(SETTINGS):
        if kind == "pgf":
            about = [result.provenance() for result in shown]
            return write_whole(path, lambda part: write_pgf(figure, part, path, about))
        return write_whole(
            path, lambda part: figure.savefig(part, format=kind, dpi=PRINT, metadata=_metadata_of(shown, kind))
        )


def _check_format(path: Path) -> None:
    """Raise ValueError unless the file's ending is that of a figure."""
    if path.suffix.lower() not in FIGURES:
        raise ValueError(f"cannot save a figure as {path.name!r}: the ending must be one of {', '.join(FIGURES)}")


def _metadata_of(results: Sequence[Result], kind: str) -> dict[str, Any]:
    """What a file of a kind says about results, under the names that the kind has for it; no dates."""
    title = "; ".join(dict.fromkeys(escape_invisible(result.heading) for result in results))
    description = json.dumps([result.provenance() for result in results], allow_nan=False)
    if kind == "pdf":
        return {"Title": title, "Subject": description, "Creator": CREATOR, "CreationDate": None}
    if kind == "pgf":
        return {}
    if kind == "svg":
        return {"Title": title, "Description": description, "Creator": CREATOR, "Date": None}
    return {"Title": title, "Description": description, "Creator": CREATOR}
