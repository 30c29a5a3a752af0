"""What a picture is drawn on: an axes measured in points, in the colours, fonts and sizes of matplotlib's settings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D

from interpret.results.files import Result
from interpret.views.figure import ResultFigure
from interpret.views.fonts import MeasuredText, font
from interpret.views.scale import READABLE, Colour, contrast, ink, neutral, pale_ink

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
    def muted(self) -> Colour:
        """Ink for what comes second."""
        back = self.background
        return pale_ink(back) if contrast(self.ink, back) > READABLE else self.ink

    @property
    def neutral(self) -> Colour:
        """Behind a score of zero."""
        return neutral(self.background)

    def font(self, text: str, size: float, weight: str = "normal") -> dict[str, Any]:
        """How a text is drawn; its size is in units."""
        return font(text, size * self.unit, weight)


class Sheet:
    """Where a picture goes: into the caller's axes, or a new figure as large as it turns out to be.

    Its `width` is without margins, in units; None where it is free.
    """

    def __init__(self, width: float | str | None, ax: Axes | None):
        check_one(width, ax)
        inches = inches_of(width)
        self.ax, self.page = ax, Page.of(ax)
        self.margin = MARGIN if ax is None else 0.0
        if ax is not None:
            ax.axis("off")
            inches, self.height = size_of(ax)
        self.inches = inches
        self.width = None if inches is None else inches * POINTS_PER_INCH / self.page.unit - 2 * self.margin

    @property
    def height_in_units(self) -> float:
        """Of the caller's axes."""
        return self.height * POINTS_PER_INCH / self.page.unit

    def open(self, width: float, height: float, results: Sequence[Result]) -> Canvas:
        """A canvas of a size in units, without margins.

        Raises:
            ValueError: the caller's axes are not as high.
        """
        page, margin = self.page, self.margin
        if self.ax is None:
            size = [(length + 2 * margin) * page.unit / POINTS_PER_INCH for length in (width, height)]
            figure = ResultFigure(results, figsize=(self.inches or size[0], size[1]))
            return Canvas(figure.add_axes((0, 0, 1, 1)), page, width, height, margin)
        needed = height * page.unit / POINTS_PER_INCH
        if needed > self.height + 0.005:
            raise ValueError(
                f"in an axes {self.inches:.2f} inches wide, this takes {needed:.2f} inches of height, but it has "
                f'{self.height:.2f}: make it higher or wider, or rcParams["font.size"] smaller'
            )
        canvas = Canvas(self.ax, page, width, self.height_in_units, margin)
        self.ax.add_artist(Keeper(canvas, height))
        return canvas


class Canvas:
    """An axes to draw on in units from its top left corner, downwards."""

    def __init__(self, axes: Axes, page: Page, width: float, height: float, margin: float):
        self.axes, self.page, self.width, self.height, self.margin = axes, page, width, height, margin
        self.measure()
        axes.axis("off")

    def measure(self) -> None:
        """Count in units."""
        margin = self.margin
        self.axes.set(xlim=(-margin, self.width + margin), ylim=(self.height + margin, -margin), aspect="auto")

    @property
    def figure(self) -> Figure:
        """The figure that it is part of."""
        return root(self.axes)

    def write(
        self, x: float, y: float, text: str, size: float, weight: str = "normal", shade: Any = None, **how: Any
    ) -> None:
        """Write a line of text with its baseline at y."""
        look = {"va": "baseline", "color": self.page.ink if shade is None else shade, "clip_on": False, **how}
        line = MeasuredText(x, y, text, **self.page.font(text, size, weight), **look)
        line.set_in_layout(self.margin > 0)  # it follows the layout of the caller's axes
        self.axes.add_artist(line)

    def block(self, x: float, y: float, width: float, height: float, shade: Colour, edge: Any = "none") -> None:
        """Fill a rectangle."""
        self.axes.add_patch(Rectangle((x, y), width, height, facecolor=shade, edgecolor=edge, linewidth=0.5))

    def slits(self, lines: Sequence[tuple[float, float, float]], thick: float) -> None:
        """Cut slits into what was filled, at (start, end, y): the mark of negative scores, seen in grey as well."""
        ends = [((start, y), (end, y)) for start, end, y in lines]
        width = thick * self.page.unit
        cut = LineCollection(ends, colors=[self.page.neutral], linewidths=width, capstyle="butt", zorder=1.5)
        self.axes.add_collection(cut, autolim=False)

    def inset(self, x: float, y: float, width: float, height: float) -> Axes:
        """An axes in it; y is its upper edge."""
        upwards = Affine2D().scale(1, -1) + self.axes.transData
        return self.axes.inset_axes((x, -y - height, width, height), transform=upwards)


class Keeper(Artist):
    """Keeps a unit a unit while the caller's axes change their size, and warns where the picture no longer fits."""

    zorder = -1  # drawn first

    def __init__(self, canvas: Canvas, needed: float):
        super().__init__()
        self.canvas, self.room = canvas, (canvas.width, needed)
        self.set_in_layout(False)

    def draw(self, renderer: Any) -> None:
        """Draw nothing: measure the axes as they are now."""
        canvas, unit = self.canvas, self.canvas.page.unit / POINTS_PER_INCH
        now = [length / unit for length in inches(canvas.axes)]
        if now == [canvas.width, canvas.height]:
            return
        canvas.width, canvas.height = now
        canvas.measure()
        if any(length < needed - SLACK / canvas.page.unit for length, needed in zip(now, self.room, strict=True)):
            sizes = [" by ".join(f"{length * unit:.2f}" for length in size) for size in (self.room, now)]
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
