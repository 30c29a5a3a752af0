"""The path of a path method: the objective from the baseline to the prompt, with every point that was spent."""

from __future__ import annotations

from itertools import pairwise

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from interpret.results.attribution import Attribution
from interpret.results.certificate import StraightPath
from interpret.results.numbers import NumberFormat, format_number
from interpret.views.bars import Chart, points
from interpret.views.canvas import Page, root
from interpret.views.caption import NOTE_SIZE
from interpret.views.fonts import text_width
from interpret.views.scale import bar_colour

HEIGHT = 170.0  # of the plot, in units
NUMBER, NAME, GAP = "−88.8", 1.4, 9.0  # left of the plot: room for a number, a name (in its size), and points between
DOT, LINE, SLOPE = 9.0, 0.9, 1.6  # the area of a point and the widths of lines, in points
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
    spent = sum(slope is not None for slope in path.slopes)
    unit = attribution.completeness.unit
    page, note = Page.of(ax), f"dots: {spent} points spent, strokes: their slopes, which the scores are made of"
    left = text_width(NUMBER, points(rcParams["ytick.labelsize"])) + NAME * points(rcParams["axes.labelsize"]) + GAP
    chart = Chart(attribution, note, "α: from the baseline (0) to the prompt (1)", HEIGHT * page.unit, left, width, ax)
    axes = chart.axes
    warm, cool = (bar_colour(direction, True, page.background) for direction in (1, -1))
    axes.plot(path.alphas, path.values, color=cool, linewidth=LINE, zorder=2)
    slopes = LineCollection(strokes(path), colors=[warm], linewidths=SLOPE, zorder=2.5, capstyle="round")
    axes.add_collection(slopes)
    axes.scatter(path.alphas, path.values, s=DOT, color=[page.ink], linewidths=0, zorder=3)
    low, high = min(path.values), max(path.values)
    numbers = NumberFormat.of(max(abs(low), abs(high)), False)
    chart.write_ticks(axes.yaxis, numbers)
    rug = [
        [(alpha, 0.0), (alpha, RUG)] for alpha, slope in zip(path.alphas, path.slopes, strict=True) if slope is not None
    ]
    axes.add_collection(
        LineCollection(rug, colors=[page.muted], linewidths=0.5, transform=axes.get_xaxis_transform()), autolim=False
    )
    room = (high - low or 1.0) * 0.08
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(low - 1.5 * room, high + room),
        ylabel=f"{attribution.quantity} ({numbers.unit(unit)})",
    )
    for step in jumps(path):
        rise = path.values[step + 1] - path.values[step]
        middle = (path.values[step] + path.values[step + 1]) / 2
        alpha = (path.alphas[step] + path.alphas[step + 1]) / 2
        text, left = f"{format_number(rise, signed=True)} {unit}", alpha > 0.75
        axes.annotate(
            text, (alpha, middle), (-5 if left else 5, 0), textcoords="offset points", ha="right" if left else "left",
            va="center_baseline", color=page.ink, **page.font(text, NOTE_SIZE),
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
