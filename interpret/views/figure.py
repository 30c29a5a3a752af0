"""Figures as files: text stays text, metadata say what was explained, and the same twice is equal."""

from __future__ import annotations

import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from interpret.results.files import FIGURES, Result, write_whole
from interpret.views.cells import escape_invisible
from interpret.views.fonts import UNHINTED

ENGINES = ("xelatex", "lualatex", "pdflatex")  # that matplotlib can measure text with
# What TeX would read as a command or set as another character; % and ^ are matplotlib's to escape.
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
SCREEN, PRINT = 144, 300  # dots per inch of pixels
CREATOR = "nexttoken-interpret"
# Text as text: in SVG it stays text, in PDF fonts are embedded as TrueType (Type 3 mixes up glyphs without a name).
SETTINGS: Any = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": CREATOR, **UNHINTED}
DATES = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}  # left out, so that the same figure gives the same file


def escaped(text: str) -> str:
    """A text as LaTeX sets it: no character of it is a command."""
    text = "".join(SPECIAL.get(character, character) for character in text)
    text = re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: rf"\textsuperscript{{{found[0].translate(RAISED)}}}", text)
    return re.sub(r"(?<= ) ", r"\\ ", text.replace("--", "-{}-"))


@contextmanager
def texts_escaped(figure: Figure) -> Iterator[None]:
    """While it lasts, the figure is drawn with all of its texts escaped, but for mathematics."""
    drawn = figure.draw

    def draw(renderer: Any) -> None:
        write, measure = renderer.draw_text, renderer.get_text_width_height_descent

        def write_escaped(
            gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, **more: Any
        ) -> None:
            write(gc, x, y, s if ismath else escaped(s), prop, angle, ismath=ismath, **more)

        renderer.draw_text = write_escaped
        renderer.get_text_width_height_descent = lambda s, prop, ismath: measure(
            s if ismath else escaped(s), prop, ismath
        )
        drawn(renderer)

    vars(figure)["draw"] = draw
    try:
        yield
    finally:
        del vars(figure)["draw"]


def write_pgf(figure: Figure, part: Path, path: Path, about: Sequence[dict[str, Any]]) -> None:
    """Write a figure as PGF into `part`, which will become `path`; images of a matrix's cells go beside `path`.

    Raises OSError where there is no LaTeX, which matplotlib measures texts with.
    """
    engine = rcParams["pgf.texsystem"]
    if shutil.which(engine) is None:
        found = next((name for name in ENGINES if shutil.which(name)), None)
        remedy = f'set rcParams["pgf.texsystem"] = {found!r}' if found else "install TeX Live, or save it as .pdf"
        raise FileNotFoundError(f"a .pgf file is measured by LaTeX, and {engine} is not there: {remedy}")
    with tempfile.TemporaryDirectory(prefix=".pgf-", dir=path.parent) as folder:
        whole = Path(folder) / path.name
        with texts_escaped(figure):
            Figure.savefig(figure, whole, format="pgf")
        for image in whole.parent.glob(f"{path.stem}-img*"):
            image.replace(path.parent / image.name)
        comments = "".join(f"% {json.dumps(each, allow_nan=False)}\n" for each in about)
        part.write_text(comments + whole.read_text(encoding="utf-8"), encoding="utf-8")


class ResultFigure(Figure):
    """A matplotlib figure that a notebook shows by itself, and whose files say what it shows."""

    def __init__(self, results: Sequence[Result], **options: Any):
        super().__init__(**options)
        self.results = tuple(results)

    def savefig(self, fname: Any, *, metadata: dict[str, Any] | None = None, **options: Any) -> None:
        """As in matplotlib, with text as text, and what it shows as metadata; yours are added to them."""
        if isinstance(fname, str | Path):
            fname = Path(fname).expanduser()
        ending = fname.suffix[1:] if isinstance(fname, Path) else ""
        kind = str(options.get("format") or ending or "png").lower()
        if about := {**_metadata_of(self.results, kind), **(metadata or {})}:  # some kinds of files take none
            options["metadata"] = about
        with rc_context(SETTINGS), texts_escaped(self) if kind == "pgf" else nullcontext():
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
        results: what it shows, where it is a figure of your own; those made here have it.

    Raises:
        ValueError: an ending that is not one of the formats.
        OSError: the file can't be written, or is a .pgf file and there is no LaTeX.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in FIGURES:
        raise ValueError(f"cannot save a figure as {path.name!r}: the ending must be one of {', '.join(FIGURES)}")
    kind = path.suffix[1:].lower()
    shown = results or getattr(figure, "results", ())
    with rc_context(SETTINGS):
        if kind == "pgf":
            about = [result.provenance() for result in shown]
            return write_whole(path, lambda part: write_pgf(figure, part, path, about))
        metadata = _metadata_of(shown, kind)
        return write_whole(path, lambda part: figure.savefig(part, format=kind, dpi=PRINT, metadata=metadata))


def _metadata_of(results: Sequence[Result], kind: str) -> dict[str, Any]:
    if kind not in ("png", "pdf", "svg"):
        return {}
    title = "; ".join(dict.fromkeys(escape_invisible(result.heading) for result in results))
    description = json.dumps([result.provenance() for result in results], allow_nan=False)
    name = "Subject" if kind == "pdf" else "Description"
    return {"Title": title, name: description, "Creator": CREATOR, **DATES.get(kind, {})}
