"""An attribution as a matplotlib figure: running text that wraps, each piece on its colour."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpret.attribution import Attribution
from interpret.views.bar import BAR_HEIGHT, BAR_INDENT, BAR_WIDTH, LEGEND_LINE, NOTE_SIZE, draw_bar
from interpret.views.colour import HELD, TEMPLATE_NOTE, Colour, colour, ink, pale_ink, scale
from interpret.views.fonts import TEXT_SIZE, drawable, font, text_width
from interpret.views.visible import visible
from interpret.writing import write_whole

POINTS_PER_INCH = 72
TITLE_SIZE = 10.5
LINE, CELL = 20.0, 17.0  # height of a line and of the colour behind it, in points
MARGIN = 10.0
FORMATS = ("png", "pdf", "svg")


class HeatmapFigure(Figure):
    """A matplotlib figure that a notebook shows by itself, whether or not pyplot was imported."""

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """As in matplotlib, with TrueType fonts in PDF: Type 3 ones mix up glyphs that have no name, as in Symbola."""
        with rc_context({"pdf.fonttype": 42}):
            super().savefig(*arguments, **options)

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=144)
        return image.getvalue()


@dataclass(frozen=True)
class Cell:
    """A run of text on one colour, placed on its line; x and width in points."""

    text: str
    background: Colour
    template: bool
    x: float
    width: float
    line: int


def heatmap(attribution: Attribution, width: float = 6.5) -> Figure:
    """The prompt as running text, each piece on its colour.

    Signed scores diverge about zero, unsigned ones run from white to dark; the colour bar carries the unit, and pieces
    that were held are grey.

    Args:
        attribution: what to show.
        width: of the figure in inches; the height follows from the text.

    Raises:
        ValueError: a width that leaves no room for text.
    """
    return compare([attribution], width)


def compare(attributions: Sequence[Attribution], width: float = 6.5) -> Figure:
    """Several attributions below each other in one figure, each with its own title and colour bar.

    Raises:
        ValueError: no attributions, or a width that leaves no room for text.
    """
    if not attributions:
        raise ValueError("there is nothing to show: give at least one attribution")
    room = width * POINTS_PER_INCH - 2 * MARGIN
    if room < BAR_WIDTH:
        raise ValueError(
            f"width is {width} inches; it must be at least {(BAR_WIDTH + 2 * MARGIN) / POINTS_PER_INCH:.1f}"
        )
    panels = [Panel(attribution, room) for attribution in attributions]
    heights = [panel.height for panel in panels]
    total = sum(heights)
    figure = HeatmapFigure(figsize=(width, total / POINTS_PER_INCH), facecolor="white")
    top = total
    for panel, height in zip(panels, heights, strict=True):
        top -= height
        panel.draw(figure, top / total, height / total)
    return figure


class Panel:
    """One attribution laid out in a given width: title, text and colour bar, all in points."""

    def __init__(self, attribution: Attribution, room: float):
        self.attribution, self.room = attribution, room
        self.limit = scale(attribution.scores.tolist())
        self.title = wrapped(drawable(visible(attribution.title)), room, TITLE_SIZE, "bold")
        self.note = wrapped(attribution.facts, room, NOTE_SIZE)
        self.cells = self.lay_out()
        self.title_height = 14.0 * len(self.title) + 11.0 * len(self.note) + 6
        self.text_height = LINE * (1 + max(cell.line for cell in self.cells))
        self.legend = [line for text in legend(attribution) for line in wrapped(text, room - BAR_INDENT, NOTE_SIZE)]
        self.height = 2 * MARGIN + self.title_height + self.text_height + 26 + LEGEND_LINE * len(self.legend)

    def lay_out(self) -> list[Cell]:
        """Place every piece: lines break at spaces, inside a long word only where they must, and after line ends."""
        attribution, x, line = self.attribution, 0.0, 0
        cells: list[Cell] = []
        words: list[list[tuple[str, Colour, bool]]] = []
        for label, score, held, template in zip(
            attribution.labels, attribution.scores.tolist(), attribution.held, attribution.template, strict=True
        ):
            background = HELD if held else colour(score, self.limit, attribution.signed)
            shown = drawable(visible(label, edge_spaces=not attribution.prompt.strip(" ")))
            for part in re.split(r"(?<=[^ ])(?= )|(?<=↵)(?=.)", shown):
                if not words or part.startswith(" ") or words[-1][-1][0].endswith("↵"):
                    words.append([])
                words[-1].append((part, background, template))
        for word in words:
            if x > 0 and (cells[-1].text.endswith("↵") or x + sum(text_width(part) for part, _, _ in word) > self.room):
                x, line = 0.0, line + 1
            for part, background, template in word:
                rest = part.lstrip(" ") if x == 0 and line > 0 and part.strip(" ") else part
                while rest:
                    fitting = fit(rest, self.room - x, at_least_one=x == 0)
                    if fitting:
                        width = text_width(rest[:fitting])
                        cells.append(Cell(rest[:fitting], background, template, x, width, line))
                        x, rest = x + width, rest[fitting:]
                    if rest:
                        x, line = 0.0, line + 1
        return cells

    def draw(self, figure: Figure, bottom: float, height: float) -> None:
        """Draw into the band of the figure from `bottom`, `height` high, both as fractions of the figure."""
        axes = figure.add_axes((0, bottom, 1, height))
        axes.set(xlim=(-MARGIN, self.room + MARGIN), ylim=(self.height, 0))
        axes.axis("off")
        y = MARGIN + 10
        for text in self.title:
            axes.text(0, y, text, **font(text, TITLE_SIZE, "bold"), color="black", va="baseline")
            y += 14
        for text in self.note:
            axes.text(0, y, text, **font(text, NOTE_SIZE), color="0.35", va="baseline")
            y += 11
        top = MARGIN + self.title_height + 2
        for cell in self.cells:
            line_top = top + cell.line * LINE
            axes.add_patch(Rectangle((cell.x, line_top), cell.width, CELL, facecolor=cell.background, edgecolor="none"))
            shown = cell.text.lstrip(" ")
            indent = text_width(cell.text[: len(cell.text) - len(shown)]) if shown else 0.0
            axes.text(
                cell.x + indent, line_top + 0.72 * CELL, shown, **font(shown, TEXT_SIZE), va="baseline",
                color=(pale_ink if cell.template else ink)(cell.background),
                fontstyle="italic" if cell.template else "normal",
            )  # fmt: skip
        full = self.room + 2 * MARGIN
        place = (
            (MARGIN + BAR_INDENT) / full, bottom + height * (MARGIN + 12) / self.height,
            BAR_WIDTH / full, height * BAR_HEIGHT / self.height,
        )  # fmt: skip
        draw_bar(figure, place, self.limit, self.attribution.signed, self.legend)


def legend(attribution: Attribution) -> list[str]:
    """What the numbers on the colour bar mean, and the signs for held pieces and for the template's."""
    lines = [f"{attribution.unit}, {attribution.quantity}" + (" (positive raises it)" if attribution.signed else "")]
    if any(attribution.held):
        lines.append("grey: held, no score")
    if any(attribution.template):
        lines.append(f"pale italics: {TEMPLATE_NOTE}")
    return lines


def save_figure(figure: Figure, path: str | Path, formats: Sequence[str] = FORMATS) -> Path:
    """Save a figure in the format of the file's ending, whole or not at all.

    Raises:
        ValueError: an ending that is not one of the formats.
        OSError: the file can't be written.
    """
    path = Path(path)
    check_format(path)
    write: Callable[[Path], Any] = lambda part: figure.savefig(part, format=path.suffix[1:].lower(), dpi=200)  # noqa: E731
    return write_whole(path, write)


def check_format(path: Path) -> None:
    """Raise ValueError unless the file's ending is that of a figure."""
    if path.suffix[1:].lower() not in FORMATS:
        raise ValueError(f"cannot save a figure as {path.name!r}: the ending must be one of .png, .pdf, .svg")


def fit(text: str, room: float, at_least_one: bool) -> int:
    """How many of the text's characters fit; all, if they all do."""
    if text_width(text) <= room:
        return len(text)
    count = 0
    while count < len(text) and text_width(text[: count + 1]) <= room:
        count += 1
    return max(count, int(at_least_one))


def wrapped(text: str, room: float, size: float, weight: str = "normal") -> list[str]:
    """A text in lines that fit the room, broken at spaces."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
