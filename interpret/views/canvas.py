"""What a picture is drawn on, in the colours, fonts and sizes of matplotlib's settings, and what all pictures share."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, Protocol, runtime_checkable

from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D

from interpret.results.attribution import Attribution
from interpret.results.files import Result
from interpret.views.cells import NOTES, escape_invisible, keys_beside_scores, meaning
from interpret.views.figure import ResultFigure
from interpret.views.fonts import MeasuredText, drawable, font, shortened, text_width, wrapped
from interpret.views.scale import READABLE, Colour, Scale, contrast, ink, neutral, pale_ink

POINTS_PER_INCH = 72
FONT_SIZE = 10.0  # matplotlib's default, at which lengths are in points; they grow with rcParams["font.size"]
MARGIN = 10.0
SLACK = 2.0  # what axes may lose in points before it is worth a warning
WIDTH, WIDEST = 6.5, 500.0  # of a figure in inches: by default, and at most
# Widths by name, in inches: of the column and the text of conferences' styles; "column" and "text" fit all of them.
WIDTHS = {
    "column": 3.03, "text": 5.5, "acl column": 3.03, "acl text": 6.3, "icml column": 3.25, "icml text": 6.75,
    "neurips column": 5.5, "neurips text": 5.5,
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """Colours and sizes, as matplotlib's settings are now."""

    background: Colour
    ink: Colour
    unit: float  # the points in one unit of length: 1 at matplotlib's default font size

    @classmethod
    def of(cls, axes: Axes | None) -> Page:
        """The page that an axes stands on, or that a new figure would be."""
        text = to_rgb(rcParams["text.color"])
        behind = rcParams["figure.facecolor"] if axes is None else axes.figure.get_facecolor()
        if to_rgba(behind)[3] < 0.5:
            behind = ink(text)  # behind glass, there must be what the ink can be read on
        return cls(to_rgb(behind), text, rcParams["font.size"] / FONT_SIZE)

    @property
    def per_inch(self) -> float:
        return POINTS_PER_INCH / self.unit

    @property
    def muted(self) -> Colour:
        return pale_ink(self.background) if contrast(self.ink, self.background) > READABLE else self.ink

    @property
    def neutral(self) -> Colour:
        return neutral(self.background)

    def font(self, text: str, size: float, weight: str = "normal") -> dict[str, Any]:
        """How a text is drawn; its size is in units."""
        return font(text, size * self.unit, weight)


@runtime_checkable
class Part(Protocol):
    """A part of a picture, as wide as the picture."""

    @property
    def height(self) -> float:
        """With the space around it, in units."""

    def draw(self, canvas: Canvas, top: float) -> None:
        """Draw it from `top` downwards."""


class Canvas:
    """Where a picture is drawn, in units from its top left corner: a new figure, as large as needed, or given axes.

    Its `width` is without margins, None as long as it is free; its `height` is that of given axes.
    """

    width: float | None
    axes: Axes

    def __init__(self, width: float | str | None, ax: Axes | None):
        check_one(width, ax)
        self.page, self.given = Page.of(ax), ax
        if ax is None:
            self.inches, self.margin, height = inches_of(width), MARGIN, 0.0
        else:
            ax.axis("off")
            (self.inches, height), self.margin = size_of(ax), 0.0
        self.width = None if self.inches is None else self.inches * self.page.per_inch - 2 * self.margin
        self.height = height * self.page.per_inch

    def draw(self, width: float, parts: Sequence[Part], results: Sequence[Result]) -> Figure:
        """The figure with parts below each other, `width` units wide without margins.

        Raises:
            ValueError: the given axes are not as high.
        """
        height, per_inch = sum(part.height for part in parts), self.page.per_inch
        if self.given is None:
            size = [(length + 2 * self.margin) / per_inch for length in (width, height)]
            self.axes = ResultFigure(results, figsize=(self.inches or size[0], size[1])).add_axes((0, 0, 1, 1))
            self.resize(width, height)
        else:
            needed, found = height / per_inch, self.height / per_inch
            if needed > found + 0.005:
                raise ValueError(
                    f"in an axes {self.inches:.2f} inches wide, this takes {needed:.2f} inches of height, but it has "
                    f'{found:.2f}: make it higher or wider, or rcParams["font.size"] smaller'
                )
            self.axes = self.given
            self.resize(width, self.height)
            self.axes.add_artist(Keeper(self, width, height))
        self.axes.axis("off")
        top = 0.0
        for part in parts:
            part.draw(self, top)
            top += part.height
        return root(self.axes)

    def resize(self, width: float, height: float) -> None:
        """Count in units of axes that are as large as this."""
        self.width, self.height, margin = width, height, self.margin
        self.axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin), aspect="auto")

    def write(
        self, x: float, y: float, text: str, size: float, weight: str = "normal", shade: Any = None, **how: Any
    ) -> None:
        """Write a line of text with its baseline at y."""
        look = {"va": "baseline", "color": self.page.ink if shade is None else shade, "clip_on": False, **how}
        line = MeasuredText(x, y, text, **self.page.font(text, size, weight), **look)
        line.set_in_layout(self.margin > 0)  # it follows the layout of the caller's axes
        self.axes.add_artist(line)

    def block(self, x: float, y: float, width: float, height: float, shade: Colour, edge: Any = "none") -> None:
        self.axes.add_patch(Rectangle((x, y), width, height, facecolor=shade, edgecolor=edge, linewidth=0.5))

    def slits(self, lines: Sequence[tuple[float, float, float]], thick: float) -> None:
        """Cut slits into what was filled, at (start, end, y): the mark of negative scores, seen in grey as well."""
        ends = [((start, y), (end, y)) for start, end, y in lines]
        width = thick * self.page.unit
        cut = LineCollection(ends, colors=[self.page.neutral], linewidths=width, capstyle="butt", zorder=1.5)
        self.axes.add_collection(cut, autolim=False)


class Keeper(Artist):
    """Keeps a unit a unit while given axes change their size, and warns where the picture no longer fits."""

    zorder = -1  # drawn first

    def __init__(self, canvas: Canvas, width: float, height: float):
        super().__init__()
        self.canvas, self.needed = canvas, (width, height)
        self.set_in_layout(False)

    def draw(self, renderer: Any) -> None:
        canvas, per_inch = self.canvas, self.canvas.page.per_inch
        width, height = (length * per_inch for length in inches(canvas.axes))
        if (width, height) == (canvas.width, canvas.height):
            return
        canvas.resize(width, height)
        slack = SLACK / canvas.page.unit
        if width < self.needed[0] - slack or height < self.needed[1] - slack:
            sizes = [
                " by ".join(f"{length / per_inch:.2f}" for length in size) for size in (self.needed, (width, height))
            ]
            warnings.warn(
                f"a picture that takes {sizes[0]} inches runs past its axes, which have shrunk to {sizes[1]} since it "
                "was drawn into them: draw it after everything else in the figure",
                stacklevel=2,
            )


def inches_of(width: float | str | None) -> float | None:
    """A width in inches, from a number or a name. Raises ValueError for an unknown name or no positive number."""
    if isinstance(width, str):
        if width.lower() not in WIDTHS:
            raise ValueError(f"the width is {width!r}; it must be a number of inches or one of {', '.join(WIDTHS)}")
        return WIDTHS[width.lower()]
    if width is not None and not (isinstance(width, Real) and 0 < width <= WIDEST):
        raise ValueError(f"the width is {width!r}; it must be a number of inches, above 0 and up to {WIDEST:.0f}")
    return None if width is None else float(width)


def check_one(width: float | str | None, ax: Axes | None) -> None:
    """Raise ValueError if there are both a width and an axes."""
    if width is not None and ax is not None:
        raise ValueError("give either a width or an axes, which has its own")


def size_of(axes: Axes) -> tuple[float, float]:
    """The width and height of an axes in inches, after its figure has been laid out."""
    figure = root(axes)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
    return inches(axes)


def inches(axes: Axes) -> tuple[float, float]:
    """The width and height of an axes as it is now."""
    dpi = root(axes).dpi
    return float(axes.bbox.width / dpi), float(axes.bbox.height / dpi)


def root(axes: Axes) -> Figure:
    """The figure that an axes is in, under any subfigures."""
    return axes.figure.figure


# What stands above and below every picture


class Style(NamedTuple):
    """How a line of text is set; its size and the height of a line are in units."""

    size: float
    height: float
    weight: str = "normal"
    muted: bool = False


TITLE, FACTS, NOTE = Style(10.5, 14.0, "bold"), Style(8.0, 11.0, muted=True), Style(8.0, 11.0)
BELOW = 6.0
MOST_LINES = 3  # of a title; rows and metadata have all of it
TOGETHER = re.compile(r"(?<=[ (]['\"]) (?=\S)|(?<=\bp) (?== )|(?<=\bp =) ")  # where no line may break: ' are', p = 0.36
UNBROKEN = "\N{NO-BREAK SPACE}"
LOOKS = {"fixed": "grey", "template": "pale italics"}


@dataclass(frozen=True)
class Lines:
    """Lines of text below each other at the left edge, and the space above and below them in units."""

    lines: Sequence[tuple[str, Style]]
    above: float = 0.0
    below: float = 0.0

    @property
    def height(self) -> float:
        return self.above + sum(style.height for _, style in self.lines) + self.below

    def draw(self, canvas: Canvas, top: float) -> None:
        top += self.above
        for text, style in self.lines:
            shade = canvas.page.muted if style.muted else None
            canvas.write(0, top + style.size, text, style.size, style.weight, shade)
            top += style.height


def heading(title: str, facts: str, room: float, above: float = 0.0) -> Lines:
    """A title and smaller facts below it, in lines that fit a room."""
    whole = TOGETHER.sub(UNBROKEN, drawable(escape_invisible(title)))
    lines = wrapped(whole, room, TITLE.size, TITLE.weight) if title else []
    lines = [line.replace(UNBROKEN, " ") for line in lines]
    if len(lines) > MOST_LINES:
        rest = " ".join(lines[MOST_LINES - 1 :])
        lines[MOST_LINES - 1 :] = [shortened(rest, room, TITLE.size, TITLE.weight)]
    small = wrapped(drawable(escape_invisible(facts)), room, FACTS.size) if facts else []
    return Lines([*((line, TITLE) for line in lines), *((line, FACTS) for line in small)], above, BELOW)


def notes(texts: Sequence[str], room: float, above: float = 0.0) -> Lines:
    """Texts that are not empty, each in lines of its own that fit a room, with space above them if there are any."""
    lines = [(line, NOTE) for text in texts if text for line in wrapped(drawable(text), room, NOTE.size)]
    return Lines(lines, above if lines else 0.0)


def legend(unit: str, results: Sequence[Attribution]) -> list[str]:
    """What the numbers on the colour bar mean, and the looks of fixed pieces and of the template's."""
    return [meaning(unit, results), *looks(results)]


def looks(results: Sequence[Attribution]) -> list[str]:
    """How pieces without a score and those of the template look, if there are any."""
    return [f"{LOOKS[key]}: {NOTES[key]}" for key in keys_beside_scores(results)]


BAR_WIDTH, BAR_HEIGHT = 150.0, 7.0  # in units
ABOVE, UNDER = 4.0, 12.0  # the space above the bar, and of the numbers below
STEPS = 64
SLIT = 0.9  # the thickness of the slit that marks negative scores
FOOT = 2.5  # its distance from the bar's lower edge, in thicknesses


class ColourBar:
    """A scale from its lowest to its highest colour at the left edge; its ticks have the scale's numbers or others."""

    height = ABOVE + BAR_HEIGHT + UNDER

    def __init__(self, scale: Scale, room: float, numbers: Sequence[str] | None = None):
        self.scale = scale
        self.numbers = numbers or [number for _, number in scale.ticks]
        self.indent = max(text_width(number, NOTE.size) for number in self.numbers) / 2
        self.width = min(BAR_WIDTH, room - 2 * self.indent)

    def draw(self, canvas: Canvas, top: float) -> None:
        page, scale = canvas.page, self.scale
        upwards = Affine2D().scale(1, -1) + canvas.axes.transData
        axes = canvas.axes.inset_axes(
            (self.indent, -top - ABOVE - BAR_HEIGHT, self.width, BAR_HEIGHT), transform=upwards
        )
        shades = [scale.colour(mark, page.background) for mark in scale.steps(STEPS)]
        ends = (scale.low, scale.limit) if scale.limit > 0 else (-1.0, 1.0)
        wide = (ends[1] - ends[0]) / len(shades)
        for number, shade in enumerate(shades):  # each under its neighbour, so that no seam is seen
            axes.axvspan(ends[0] + number * wide, ends[1], facecolor=shade, edgecolor="none", linewidth=0)
        if scale.signed:
            foot = FOOT * SLIT / BAR_HEIGHT
            axes.plot(
                [scale.low, 0], [foot, foot], color=page.neutral, linewidth=SLIT * page.unit, solid_capstyle="butt"
            )
        axes.set(yticks=[], xlim=ends, facecolor=page.neutral)
        axes.grid(False)
        ticks = [tick for tick, _ in scale.ticks]
        axes.set_xticks(ticks, labels=self.numbers, **page.font("0", NOTE.size), color=page.ink)
        axes.tick_params(which="both", bottom=True, top=False, direction="out", color=page.muted)
        axes.tick_params(length=2 * page.unit, pad=1.5 * page.unit, width=0.5)
        for spine in axes.spines.values():
            spine.set(visible=True, linewidth=0.5, color=page.muted)
