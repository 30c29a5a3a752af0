"""A chart with axes of its own: a figure around it that fits, or the caller's axes, under the same heading."""

from __future__ import annotations

from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.font_manager import FontProperties
from matplotlib.transforms import ScaledTranslation

from interpret.results.files import Result
from interpret.results.numbers import NumberFormat, format_number
from interpret.views.canvas import MARGIN, POINTS_PER_INCH, WIDTH, Page, check_one, inches_of, root, size_of
from interpret.views.caption import BELOW, NOTE_LINE, NOTE_SIZE, TITLE_LINE, TITLE_SIZE, Heading, Verdict
from interpret.views.figure import ResultFigure
from interpret.views.fonts import MeasuredText, wrapped

LEAST = 40.0  # the narrowest plot, in points
TICK_DIGITS = 3  # of numbers at ticks
TICKS, AXIS_LINE = 18.0, 1.25  # below the plot: room for ticks in points; lines of the axis' label, in sizes


class Chart:
    """The axes of a plot under the heading of a result.

    Attributes:
        page: its colours.
        axes: to plot into.
        width: of the plot in points.
        height: of the plot in points.
    """

    def __init__(
        self, result: Result, note: str, label: str, height: float, left: float,
        width: float | str | None, ax: Axes | None, title: str = "",
    ):  # fmt: skip
        """Make room for a plot `height` points high, with `left` points for the labels on its left.

        It stands under the title that is given, or else that of the result.
        """
        check_one(width, ax)
        self.page = Page.of(ax)
        unit, label_size = self.page.unit, points(rcParams["axes.labelsize"])
        if ax is not None:
            self.width, self.height = (POINTS_PER_INCH * length for length in size_of(ax))
            self.axes, left = ax, 0.0
        else:
            full = (inches_of(width) or WIDTH) * POINTS_PER_INCH
            margin = MARGIN * unit
            self.width, self.height = full - left - 2 * margin, height
            if self.width < LEAST:
                raise ValueError(
                    f"the width is {width} inches; beside its labels it must be at least "
                    f"{(full - self.width + LEAST) / POINTS_PER_INCH:.1f}"
                )
        words = wrapped(label, self.width, label_size)
        self.heading = Heading(
            title or result.heading, ", ".join(filter(None, [result.facts, note])), (self.width + left) / unit
        )
        self.verdict = Verdict([result.checked], (self.width + left) / unit)
        self.below = TICKS * unit + AXIS_LINE * label_size * len(words)
        if ax is None:
            below = self.below + self.verdict.height * unit
            tall = height + self.heading.height * unit + below + 2 * margin
            figure = ResultFigure([result], figsize=(full / POINTS_PER_INCH, tall / POINTS_PER_INCH))
            rectangle = ((margin + left) / full, (margin + below) / tall, self.width / full, height / tall)
            self.axes = figure.add_axes(rectangle)
        self.axes.set_xlabel("\n".join(words))
        self._head(left)

    def write_ticks(self, axis: Axis, numbers: NumberFormat) -> None:
        """Write the numbers at the ticks of an axis as multiples of a power of ten, where the format has one."""
        if numbers.exponent:
            axis.set_major_formatter(lambda place, _: format_number(place / 10.0**numbers.exponent, TICK_DIGITS))

    def _head(self, left: float) -> None:
        """Write the heading above the plot and what was checked below it, from `left` points beside it on."""
        unit, heading = self.page.unit, self.heading
        y = heading.height * unit
        lines = [(text, TITLE_SIZE, "bold", self.page.ink, TITLE_LINE) for text in heading.title]
        lines += [(text, NOTE_SIZE, "normal", self.page.muted, NOTE_LINE) for text in heading.facts]
        for text, size, weight, shade, height in lines:
            y -= height * unit
            self._write(text, 1, -left, y, {"color": shade, **self.page.font(text, size, weight)})
        for number, text in enumerate(self.verdict.lines):
            y = -self.below - (BELOW + NOTE_LINE * number + NOTE_SIZE) * unit
            self._write(text, 0, -left, y, {"color": self.page.ink, **self.page.font(text, NOTE_SIZE)})

    def _write(self, text: str, corner: int, x: float, y: float, look: dict[str, Any]) -> None:
        """Write a line so many points from the plot's lower (0) or upper (1) left corner."""
        shift = ScaledTranslation(x / POINTS_PER_INCH, y / POINTS_PER_INCH, root(self.axes).dpi_scale_trans)
        where = self.axes.transAxes + shift
        self.axes.add_artist(MeasuredText(0, corner, text, transform=where, clip_on=False, **look))


def points(size: float | str) -> float:
    """A font size of matplotlib's settings, such as "small", in points."""
    return FontProperties(size=size).get_size_in_points()
