"""An attribution as bars, and the chart with axes of its own that they and other plots stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.transforms import ScaledTranslation

from interpret.results.attribution import Attribution
from interpret.results.files import Result
from interpret.results.numbers import NumberFormat, format_number
from interpret.views.canvas import MARGIN, POINTS_PER_INCH, WIDTH, Page, check_one, inches_of, root, size_of
from interpret.views.caption import BELOW, NOTE_LINE, NOTE_SIZE, TITLE_LINE, TITLE_SIZE, Heading, Verdict
from interpret.views.cells import Cell, cells_of, meaning
from interpret.views.figure import ResultFigure
from interpret.views.fonts import MeasuredText, drawable, font, shortened, text_width, wrapped
from interpret.views.scale import Colour, Scale, bar_colour

LEAST = 40.0  # the narrowest plot, in points
TICK_DIGITS = 3  # of numbers at ticks
TICKS, AXIS_LINE = 18.0, 1.25  # below the plot: room for ticks in points; lines of the axis' label, in sizes


class Chart:
    """The axes of a plot under the heading of a result; its `width` and `height` are in points."""

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
            axis.set_major_formatter(lambda tick, _: format_number(tick / 10.0**numbers.exponent, TICK_DIGITS))

    def _head(self, left: float) -> None:
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
        shift = ScaledTranslation(x / POINTS_PER_INCH, y / POINTS_PER_INCH, root(self.axes).dpi_scale_trans)
        where = self.axes.transAxes + shift
        self.axes.add_artist(MeasuredText(0, corner, text, transform=where, clip_on=False, **look))


def points(size: float | str) -> float:
    """A font size of matplotlib's settings, such as "small", in points."""
    return FontProperties(size=size).get_size_in_points()


MOST = 30  # bars by default
LINE, APART = 1.2, 0.45  # of a label, and between rows, in sizes of the labels
THICK = 0.72  # a bar's share of its row
LONGEST, MOST_LINES = 160.0, 3  # of a label: points at the default font size, and lines
LABELS_SHARE = 0.4  # of a figure's width, at most
LABEL_GAP, NUMBER_GAP = 7.0, 3.0  # in points
NUMBER = 0.85  # the size of numbers, in sizes of the labels
SMALLEST = 4.5  # the size of a label in low axes, in points
WHISKER, CAP = 0.8, 1.6


def bars(attribution: Attribution, top: int = MOST, width: float | str | None = None, ax: Axes | None = None) -> Figure:
    """The scores as horizontal bars in the order of the text, with numbers and errors.

    Whiskers are the standard error where the method samples, or else the numerical error where it knows one; the
    heading says which. Pieces that were fixed have no bar.

    Args:
        attribution: what to show: pieces, or the totals of words, sentences or messages (`attribution.totals`).
        top: of how many pieces at most: the strongest ones, and what the others add up to stands in the heading.
        width: of the figure in inches (6.5 by default); the height follows from the bars.
        ax: draw into these axes instead, with the pieces as labels of their y axis.

    Returns:
        The figure: a new one, or that of `ax`.

    Raises:
        ValueError: `top` below 1, or a width or axes without room for the bars.
    """
    if top < 1:
        raise ValueError(f"top is {top}; at least one bar must be shown")
    page, size = Page.of(ax), points(rcParams["ytick.labelsize"])
    scale = Scale.of(attribution)
    positions, note = _strongest(attribution, scale, top)
    every = cells_of(attribution, scale)
    cells = [every[position] for position in positions]
    longest = LONGEST * page.unit
    if ax is None:
        longest = min(longest, LABELS_SHARE * (inches_of(width) or WIDTH) * POINTS_PER_INCH)
    labels = [_label_lines(cell, longest, size) for cell in cells]
    left = max(text_width(line, size) for lines in labels for line in lines) + LABEL_GAP
    tall = max(map(len, labels)) * LINE + APART
    source = _source_of_errors(attribution)
    height = tall * size * len(cells)
    heading = ", ".join(filter(None, [note, source and f"whiskers: {source}"]))
    chart = Chart(attribution, heading, meaning(scale.written_unit, [attribution]), height, left, width, ax)
    if chart.height < height:
        size = chart.height / len(cells) / tall
        if size < SMALLEST:
            fitting = int(chart.height / SMALLEST / tall)
            raise ValueError(f"{len(cells)} bars do not fit in these axes; make them higher, or give top={fitting}")
    rows = [
        Bar(
            "\n".join(lines), cell.piece.score, _error(cell), cell.number,
            None if cell.piece.fixed
            else {"color": bar_colour(cell.piece.score, scale.signed, page.background), "linewidth": 0},
            page.muted if cell.piece.template else page.ink, page.muted if cell.piece.fixed else page.ink,
        )
        for cell, lines in zip(cells, labels, strict=True)
    ]  # fmt: skip
    draw_bars(chart, rows, size, bool(source))
    chart.write_ticks(chart.axes.xaxis, scale.numbers)
    for cell, tick in zip(cells, chart.axes.get_yticklabels(), strict=True):
        tick.set_fontstyle("italic" if cell.piece.template else "normal")
    return root(chart.axes)


@dataclass(frozen=True)
class Bar:
    """A row of a chart: its label, and a bar with a number at its end."""

    label: str
    score: float
    error: float
    number: str
    look: dict[str, Any] | None  # as matplotlib takes it; None for no bar
    ink: Colour
    number_ink: Colour


def draw_bars(chart: Chart, rows: Sequence[Bar], size: float, whiskers: bool) -> None:
    """Draw rows from top to bottom with labels of a size in points, and make the axis long enough for the numbers."""
    axes, page = chart.axes, chart.page
    lines: Any = {"color": page.ink, "capsize": CAP * page.unit, "capthick": WHISKER, "elinewidth": WHISKER}
    for position, row in enumerate(rows):
        if row.look is not None:
            axes.barh(position, row.score, THICK, **row.look)
            if whiskers:
                axes.errorbar(row.score, position, xerr=row.error, fmt="none", **lines)
    _number_ends(chart, rows, NUMBER * size)
    axes.set(ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), labels=[row.label for row in rows])
    for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
        tick.set(**font(tick.get_text(), size), color=row.ink)
    axes.tick_params(axis="y", length=0, pad=LABEL_GAP / 2)
    axes.grid(False, axis="y")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.axvline(0, color=page.ink, linewidth=WHISKER)


def _strongest(attribution: Attribution, scale: Scale, top: int) -> tuple[list[int], str]:
    every = range(len(attribution))
    if len(every) <= top:
        return list(every), ""
    attributed = [position for position in every if not attribution.fixed[position]]
    strongest = sorted(sorted(attributed, key=lambda position: -abs(attribution.pieces[position].score))[:top])
    others = [attribution.pieces[position].score for position in attributed if position not in set(strongest)]
    note = f"the {len(strongest)} strongest of {len(attributed)} with a score"
    if attribution.signed and others:
        note += f" (the others add up to {scale.numbers.with_unit(sum(others), scale.unit)})"
    return strongest, note


def _source_of_errors(attribution: Attribution) -> str:
    if attribution.standard_error is not None:
        return "standard error"
    return "numerical error" if attribution.error is not None else ""


def _error(cell: Cell) -> float:
    piece = cell.piece
    return 0.0 if piece.fixed else piece.standard_error or piece.error or 0.0


def _number_ends(chart: Chart, rows: Sequence[Bar], size: float) -> None:
    room = max(text_width(row.number, size) for row in rows) + 2 * NUMBER_GAP
    low = min([0.0, *(row.score - row.error for row in rows)])
    high = max([0.0, *(row.score + row.error for row in rows)])
    below = room if any(row.score < 0 for row in rows) else 0.0
    per_point = (high - low or 1.0) / max(chart.width - room - below, 1.0)
    chart.axes.set_xlim(low - below * per_point, (high if high > low else 1.0) + room * per_point)
    for position, row in enumerate(rows):
        side = -1 if row.score < 0 else 1
        chart.axes.annotate(
            row.number, (row.score + side * row.error, position), (side * NUMBER_GAP, 0),
            textcoords="offset points", ha="left" if side > 0 else "right", va="center_baseline",
            color=row.number_ink, **font(row.number, size),
        )  # fmt: skip


def _label_lines(cell: Cell, room: float, size: float) -> list[str]:
    lines = wrapped(drawable(cell.name).strip() or "␣", room, size)
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [" ".join(lines[MOST_LINES - 1 :])]
    return [shortened(line, room, size) for line in lines]
