"""Plots with axes of their own: scores and a corpus' words as bars, and the path of a path method."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.transforms import ScaledTranslation

from interpret.results.attribution import Attribution
from interpret.results.certificate import StraightPath
from interpret.results.files import Result
from interpret.results.numbers import NumberFormat, format_number
from interpret.results.report import SURE, Report
from interpret.views import canvas
from interpret.views.canvas import MARGIN, NOTE, POINTS_PER_INCH, WIDTH, Page, inches_of, root
from interpret.views.cells import cells_of, meaning
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
        """Make room for a plot `height` points high with `left` points for labels, under the title given or its own."""
        canvas.check_one(width, ax)
        self.page = Page.of(ax)
        unit, label_size, margin = self.page.unit, points(rcParams["axes.labelsize"]), MARGIN * self.page.unit
        if ax is not None:
            self.width, self.height = (POINTS_PER_INCH * length for length in canvas.size_of(ax))
            left = 0.0
        else:
            full = (inches_of(width) or WIDTH) * POINTS_PER_INCH
            self.width, self.height = full - left - 2 * margin, height
            if self.width < LEAST:
                raise ValueError(
                    f"the width is {width} inches; beside its labels it must be at least "
                    f"{(full - self.width + LEAST) / POINTS_PER_INCH:.1f}"
                )
        words = wrapped(label, self.width, label_size)
        room = (self.width + left) / unit
        heading = canvas.heading(title or result.heading, ", ".join(filter(None, [result.facts, note])), room)
        verdict = canvas.notes([result.checked], room, canvas.BELOW)
        below = TICKS * unit + AXIS_LINE * label_size * len(words)
        if ax is None:
            foot = below + verdict.height * unit
            tall = height + heading.height * unit + foot + 2 * margin
            figure = ResultFigure([result], figsize=(full / POINTS_PER_INCH, tall / POINTS_PER_INCH))
            ax = figure.add_axes(((margin + left) / full, (margin + foot) / tall, self.width / full, height / tall))
        self.axes = ax
        self.axes.set_xlabel("\n".join(words))
        y = heading.height * unit
        for text, style in heading.lines:
            y -= style.height * unit
            self._write(text, style, 1, -left, y)
        y = -below - verdict.above * unit
        for text, style in verdict.lines:
            self._write(text, style, 0, -left, y - style.size * unit)
            y -= style.height * unit

    def write_ticks(self, axis: Axis, numbers: NumberFormat) -> None:
        """Write the numbers at the ticks of an axis as multiples of a power of ten, where the format has one."""
        if numbers.exponent:
            axis.set_major_formatter(lambda tick, _: format_number(tick / 10.0**numbers.exponent, TICK_DIGITS))

    def _write(self, text: str, style: canvas.Style, corner: int, x: float, y: float) -> None:
        page = self.page
        shift = ScaledTranslation(x / POINTS_PER_INCH, y / POINTS_PER_INCH, root(self.axes).dpi_scale_trans)
        look = {"color": page.muted if style.muted else page.ink, **page.font(text, style.size, style.weight)}
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
NUMBER_SIZE = 0.85  # in sizes of the labels
SMALLEST = 4.5  # the size of a label in low axes, in points
WHISKER, CAP = 0.8, 1.6


def bars(attribution: Attribution, top: int = MOST, width: float | str | None = None, ax: Axes | None = None) -> Figure:
    """The scores as horizontal bars in the order of the text, with numbers and errors.

    Whiskers are the standard error where the method samples, or else the numerical error where there is one; the
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
    page, scale = Page.of(ax), Scale.of(attribution)
    cells = cells_of(attribution, scale)
    positions, note = _strongest(attribution, scale, top)
    whiskers, errors = "", None
    if attribution.standard_error is not None:
        whiskers, errors = "whiskers: standard error", attribution.standard_error
    elif attribution.error is not None:
        whiskers, errors = "whiskers: numerical error", attribution.error
    rows = []
    for position, cell in enumerate(cells):
        if position in positions:
            score, fixed = cell.piece.score, cell.piece.fixed
            error = None if errors is None or fixed else float(errors[position])
            colour = None if fixed else bar_colour(score, scale.signed, page.background)
            rows.append(Bar(cell.name, score, error, cell.number, colour, template=cell.piece.template))
    note = ", ".join(filter(None, [note, whiskers]))
    chart = bar_chart(attribution, rows, note, meaning(scale.written_unit, [attribution]), width, ax)
    chart.write_ticks(chart.axes.xaxis, scale.numbers)
    return root(chart.axes)


def report_figure(report: Report, number: int = 0, top: int = 20, width: float | str | None = None) -> Figure:
    """The mean scores of a target's words as bars, with their standard errors; see `Report.figure`."""
    if not 0 <= number < len(report.targets):
        raise ValueError(f"there is no target number {number}; the report shows {len(report.targets)}")
    target, page = report.targets[number], Page.of(None)
    words = sorted(target.words[: max(0, top)], key=lambda word: word.mean, reverse=True)
    if not words:
        raise ValueError(f"there is no word to show of {target.name}")
    rows = [
        Bar(
            f"{word.role}: {word.text}" if word.role else word.text, word.mean, word.standard_error,
            f"{format_number(word.mean, signed=True)}  ({word.rows:,})", bar_colour(word.mean, True, page.background),
            hollow=not word.sure,
        )
        for word in words
    ]  # fmt: skip
    note = f"whiskers: standard error; hollow: q above {SURE}"
    label = f"mean score over the prompts that the word comes in ({report.facts_of['unit']})"
    title = f"Which words support {target.name}, over {target.rows:,} prompts"
    return root(bar_chart(report, rows, note, label, width, title=title, most_lines=1).axes)


class Bar(NamedTuple):
    """A row of a chart: its label, and a bar with a number at its end; no bar without a colour."""

    label: str
    score: float
    error: float | None
    number: str
    colour: Colour | None
    hollow: bool = False
    template: bool = False


def bar_chart(
    result: Result, rows: Sequence[Bar], note: str, label: str, width: float | str | None, ax: Axes | None = None,
    title: str = "", most_lines: int = MOST_LINES,
) -> Chart:  # fmt: skip
    """Rows from top to bottom, on an axis that is long enough for the numbers. Raises ValueError without room."""
    page, size = Page.of(ax), points(rcParams["ytick.labelsize"])
    longest = LONGEST * page.unit
    if ax is None:
        longest = min(longest, LABELS_SHARE * (inches_of(width) or WIDTH) * POINTS_PER_INCH)
    labels = [_label_lines(row.label, longest, size, most_lines) for row in rows]
    left = max(text_width(line, size) for lines in labels for line in lines) + LABEL_GAP
    tall = max(map(len, labels)) * LINE + APART
    chart = Chart(result, note, label, tall * size * len(rows), left, width, ax, title)
    if chart.height < tall * size * len(rows):
        size = chart.height / len(rows) / tall
        if size < SMALLEST:
            fitting = int(chart.height / SMALLEST / tall)
            raise ValueError(f"{len(rows)} bars do not fit in these axes; make them higher, or give top={fitting}")
    axes = chart.axes
    whiskers: Any = {"color": page.ink, "capsize": CAP * page.unit, "capthick": WHISKER, "elinewidth": WHISKER}
    for position, row in enumerate(rows):
        if row.colour is None:
            continue
        hollow: dict[str, Any] = {"fill": False, "edgecolor": row.colour}
        axes.barh(position, row.score, THICK, **(hollow if row.hollow else {"color": row.colour, "linewidth": 0}))
        if row.error is not None:
            axes.errorbar(row.score, position, xerr=row.error, fmt="none", **whiskers)
    _number_ends(chart, rows, NUMBER_SIZE * size)
    axes.set(ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), labels=["\n".join(lines) for lines in labels])
    for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
        tick.set(**font(tick.get_text(), size), color=page.muted if row.template else page.ink)
        tick.set_fontstyle("italic" if row.template else "normal")
    axes.tick_params(axis="y", length=0, pad=LABEL_GAP / 2)
    axes.grid(False, axis="y")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.axvline(0, color=page.ink, linewidth=WHISKER)
    return chart


def _strongest(attribution: Attribution, scale: Scale, top: int) -> tuple[set[int], str]:
    """The positions of the strongest pieces, and what a figure says of the others."""
    if len(attribution) <= top:
        return set(range(len(attribution))), ""
    scores = {position: each.score for position, each in enumerate(attribution.pieces) if not each.fixed}
    order = sorted(scores, key=lambda position: -abs(scores[position]))
    note = f"the {len(order[:top])} strongest of {len(order)} with a score"
    if attribution.signed and order[top:]:
        others = sum(scores[position] for position in sorted(order[top:]))
        note += f" (the others add up to {scale.numbers.with_unit(others, scale.unit)})"
    return set(order[:top]), note


def _label_lines(label: str, room: float, size: float, most: int) -> list[str]:
    lines = wrapped(drawable(label).strip() or "␣", room, size)
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return [shortened(line, room, size) for line in lines]


def _number_ends(chart: Chart, rows: Sequence[Bar], size: float) -> None:
    room = max(text_width(row.number, size) for row in rows) + 2 * NUMBER_GAP
    errors = [row.error or 0.0 for row in rows]
    low = min([0.0, *(row.score - error for row, error in zip(rows, errors, strict=True))])
    high = max([0.0, *(row.score + error for row, error in zip(rows, errors, strict=True))])
    below = room if any(row.score < 0 for row in rows) else 0.0
    per_point = (high - low or 1.0) / max(chart.width - room - below, 1.0)
    chart.axes.set_xlim(low - below * per_point, (high if high > low else 1.0) + room * per_point)
    for position, (row, error) in enumerate(zip(rows, errors, strict=True)):
        left, shade = row.score < 0, chart.page.muted if row.colour is None else chart.page.ink
        chart.axes.annotate(
            row.number, (row.score - error if left else row.score + error, position),
            (-NUMBER_GAP if left else NUMBER_GAP, 0), textcoords="offset points", ha="right" if left else "left",
            va="center_baseline", color=shade, **font(row.number, size),
        )  # fmt: skip


HEIGHT = 170.0  # of the plot, in units
NUMBER, NAME, GAP = "−88.8", 1.4, 9.0  # left of the plot: room for a number, a name (in its size), and points between
DOT, PATH_LINE, SLOPE = 9.0, 0.9, 1.6  # the area of a point and the widths of lines, in points
RUG = 0.04  # the height of the strokes on the axis, as a share of the plot
TALL = 0.1  # the share of F's range that the slopes must miss between two points for it to be marked as a jump
MOST_MARKS = 3  # jumps with a number


def path_plot(attribution: Attribution, width: float | str | None = None, ax: Axes | None = None) -> Figure:
    """The objective F at x' + alpha (x - x'), with a point for every gradient that was spent.

    The strokes through the points are the slopes, which are all that the scores are made of: where they lie on the
    curve, the scores account for its rise; where F jumps between flat strokes, they cannot. The largest jumps have
    their height beside them. Strokes on the axis show where the points are dense.

    Args:
        attribution: of a method that follows a straight path.
        width: of the figure in inches (6.5 by default).
        ax: draw into these axes instead.

    Returns:
        The figure: a new one, or that of `ax`.

    Raises:
        ValueError: the attribution has no path, or no room.
    """
    path = attribution.path
    if path is None:
        raise ValueError(
            f"{attribution.method_name} keeps no path: IntegratedGradients and IDGI do, and what was saved "
            "before there were paths has to be computed again"
        )
    assert attribution.completeness is not None
    spent = [alpha for alpha, slope in zip(path.alphas, path.slopes, strict=True) if slope is not None]
    unit = attribution.completeness.unit
    page, note = Page.of(ax), f"dots: {len(spent)} points spent, strokes: their slopes, which the scores are made of"
    left = text_width(NUMBER, points(rcParams["ytick.labelsize"])) + NAME * points(rcParams["axes.labelsize"]) + GAP
    chart = Chart(attribution, note, "α: from the baseline (0) to the prompt (1)", HEIGHT * page.unit, left, width, ax)
    axes = chart.axes
    warm, cool = (bar_colour(direction, True, page.background) for direction in (1, -1))
    axes.plot(path.alphas, path.values, color=cool, linewidth=PATH_LINE, zorder=2)
    slopes = LineCollection(strokes(path), colors=[warm], linewidths=SLOPE, zorder=2.5, capstyle="round")
    axes.add_collection(slopes)
    axes.scatter(path.alphas, path.values, s=DOT, color=[page.ink], linewidths=0, zorder=3)
    low, high = min(path.values), max(path.values)
    numbers = NumberFormat.of(max(abs(low), abs(high)), False)
    chart.write_ticks(axes.yaxis, numbers)
    rug = [[(alpha, 0.0), (alpha, RUG)] for alpha in spent]
    along = axes.get_xaxis_transform()
    axes.add_collection(LineCollection(rug, colors=[page.muted], linewidths=0.5, transform=along), autolim=False)
    room = (high - low or 1.0) * 0.08
    axes.set(xlim=(-0.02, 1.02), ylim=(low - 1.5 * room, high + room))
    axes.set_ylabel(f"{attribution.quantity} ({numbers.unit(unit)})")
    for step in jumps(path):
        (before, after), (start, end) = path.values[step : step + 2], path.alphas[step : step + 2]
        alpha, middle = (start + end) / 2, (before + after) / 2
        text, left = f"{format_number(after - before, signed=True)} {unit}", alpha > 0.75
        axes.annotate(
            text, (alpha, middle), (-5 if left else 5, 0), textcoords="offset points", ha="right" if left else "left",
            va="center_baseline", color=page.ink, **page.font(text, NOTE.size),
        )  # fmt: skip
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return root(axes)


def strokes(path: StraightPath) -> list[list[tuple[float, float]]]:
    """The slope at each point as a stroke halfway to its neighbours."""
    ends = [path.alphas[0], *((a + b) / 2 for a, b in pairwise(path.alphas)), path.alphas[-1]]
    every = zip(path.alphas, path.values, path.slopes, pairwise(ends), strict=True)
    return [
        [(start, value + slope * (start - alpha)), (end, value + slope * (end - alpha))]
        for alpha, value, slope, (start, end) in every
        if slope is not None
    ]


def jumps(path: StraightPath) -> list[int]:
    """Where F changes most between two neighbours beyond what their slopes say, and by a tenth of its range or more."""
    misses = path.misses
    tall = TALL * (max(path.values) - min(path.values))
    order = sorted(range(len(misses)), key=lambda step: -misses[step])
    return [step for step in order[:MOST_MARKS] if misses[step] > tall > 0]
