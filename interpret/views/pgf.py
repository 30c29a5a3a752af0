"""Figures as PGF, which LaTeX draws in the fonts of the document: text is escaped, and images stand beside the file."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure

ENGINES = ("xelatex", "lualatex", "pdflatex")  # that matplotlib can measure text with
# What TeX would read as a command or set as another character; % and ^ are matplotlib's to escape.
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def escaped(text: str) -> str:
    """A text as LaTeX sets it: no character of it is a command."""
    text = "".join(SPECIAL.get(character, character) for character in text)
    text = re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda found: rf"\textsuperscript{{{found[0].translate(RAISED)}}}", text)
    return re.sub(r"(?<= ) ", r"\\ ", text.replace("--", "-{}-"))


@contextmanager
def texts_escaped(figure: Figure) -> Iterator[None]:
    """While it lasts, the figure is drawn with all of its texts escaped, but for mathematics."""
    if "draw" in vars(figure):  # they are already
        yield
        return
    drawn: Callable[[Any], None] = figure.draw

    def draw(renderer: Any) -> None:
        write, measure = renderer.draw_text, renderer.get_text_width_height_descent

        def draw_text(gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, **more: Any):  # type: ignore[no-untyped-def]
            write(gc, x, y, s if ismath else escaped(s), prop, angle, ismath=ismath, **more)

        def get_text_width_height_descent(s: str, prop: Any, ismath: Any) -> Any:
            return measure(s if ismath else escaped(s), prop, ismath)

        renderer.draw_text, renderer.get_text_width_height_descent = draw_text, get_text_width_height_descent
        drawn(renderer)

    figure.draw = draw  # type: ignore[method-assign]
    try:
        yield
    finally:
        del figure.draw


def write_pgf(figure: Figure, part: Path, path: Path, about: Sequence[dict[str, Any]]) -> None:
    """Write a figure as PGF into `part`, which will become `path`; images of a matrix's cells go beside `path`.

    Raises OSError where there is no LaTeX, which matplotlib measures texts with.
    """
    engine = rcParams["pgf.texsystem"]
    if shutil.which(engine) is None:
        found = next((name for name in ENGINES if shutil.which(name)), None)
        remedy = f'set rcParams["pgf.texsystem"] = {found!r}' if found else "install TeX Live, or save it as .pdf"
        raise FileNotFoundError(f"a .pgf file is measured by LaTeX, and {engine} is not there: {remedy}")
    with tempfile.TemporaryDirectory(prefix=".pgf-", dir=path.parent) as room:
        whole = Path(room) / path.name
        with texts_escaped(figure):
            figure.savefig(whole, format="pgf")
        for image in whole.parent.glob(f"{path.stem}-img*"):
            image.replace(path.parent / image.name)
        said = "".join(f"% {json.dumps(each, allow_nan=False)}\n" for each in about)
        part.write_text(said + whole.read_text(encoding="utf-8"), encoding="utf-8")
