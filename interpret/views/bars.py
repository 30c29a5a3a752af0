"""An attribution as bars: their direction is the sign, and whiskers say how sure the scores are."""

from __future__ import annotations

from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpret.attribution import Attribution
from interpret.views.canvas import POINTS_PER_INCH, WIDTH, Page, root
from interpret.views.caption import meaning, written
from interpret.views.chart import Chart, points
from interpret.views.colour import AGAINST, AGAINST_DARK, FOR, FOR_DARK, STRENGTH, STRENGTH_DARK, Colour, is_dark
from interpret.views.fonts import drawable, font, shortened, text_width, wrapped
from interpret.views.visible import visible

MOST = 30  # bars by default
LINE, APART = 1.2, 0.45  # of a label, and between rows, in sizes of the labels
THICK = 0.72  # a bar's share of its row
LONGEST, MOST_LINES = 160.0, 3  # of a label: points at the default font size, and lines
LABELS_SHARE = 0.4  # of a figure's width, at most
LABEL_GAP, NUMBER_GAP = 7.0, 3.0  # in points
DIGITS = 3  # of numbers
NUMBER = 0.85  # the size of numbers, in sizes of the labels
SMALLEST = 4.5  # the size of a label in low axes, in points
WHISKER, CAP = 0.8, 1.6


def bars(attribution: Attribution, top: int = MOST, width: float | None = None, ax: Axes | None = None) -> Figure:
    """The scores as horizontal bars in the order of the text, with numbers and errors.

    Whiskers are the standard error where the method samples, or else the numerical error where it knows one; the
    heading says which. Pieces that were held have no bar.

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
    places, note = chosen(attribution, top)
    longest = LONGEST * page.unit
    if ax is None:
        longest = min(longest, LABELS_SHARE * (width or WIDTH) * POINTS_PER_INCH)
    labels = [label_lines(attribution.labels[place], longest, size) for place in places]
    left = max(text_width(line, size) for lines in labels for line in lines) + LABEL_GAP
    tall = max(map(len, labels)) * LINE + APART
    errors, source = whiskers(attribution)
    height = tall * size * len(places)
    heading = ", ".join(filter(None, [note, source and f"whiskers: {source}"]))
    chart = Chart(attribution, heading, meaning(attribution), height, left, width, ax)
    if chart.height < height:
        size = chart.height / len(places) / tall
        if size < SMALLEST:
            fitting = int(chart.height / SMALLEST / tall)
            raise ValueError(f"{len(places)} bars do not fit in these axes; make them higher, or give top={fitting}")
    axes, scores = chart.axes, attribution.scores.tolist()
    for row, place in enumerate(places):
        if attribution.held[place]:
            continue
        error = 0.0 if errors is None else errors[place]
        axes.barh(row, scores[place], THICK, color=bar_colour(page, scores[place], attribution.signed), linewidth=0)
        if errors is not None:
            look: Any = {"color": page.ink, "capsize": CAP * page.unit, "capthick": WHISKER, "elinewidth": WHISKER}
            axes.errorbar(scores[place], row, xerr=error, fmt="none", **look)
    reach = [(scores[place], 0.0 if errors is None or attribution.held[place] else errors[place]) for place in places]
    number_ends(chart, attribution, places, reach, NUMBER * size)
    axes.set(ylim=(len(places) - 0.5, -0.5))
    axes.set_yticks(range(len(places)), labels=["\n".join(lines) for lines in labels])
    for place, tick in zip(places, axes.get_yticklabels(), strict=True):
        template = attribution.template[place]
        tick.set(**font(tick.get_text(), size), color=page.muted if template else page.ink)
        tick.set_fontstyle("italic" if template else "normal")
    axes.tick_params(axis="y", length=0, pad=LABEL_GAP / 2)
    axes.grid(False, axis="y")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.axvline(0, color=page.ink, linewidth=WHISKER)
    return root(axes)


def chosen(attribution: Attribution, top: int) -> tuple[list[int], str]:
    """The pieces that have a bar, in the order of the text, and what is left out in words."""
    every = range(len(attribution))
    if len(every) <= top:
        return list(every), ""
    moved = [place for place in every if not attribution.held[place]]
    order = attribution.scores.abs().argsort(descending=True, stable=True).tolist()
    strongest = sorted([place for place in order if place in set(moved)][:top])
    others = [float(attribution.scores[place]) for place in moved if place not in set(strongest)]
    note = f"the {len(strongest)} strongest of {len(moved)} with a score"
    if attribution.signed and others:
        note += f" (the others add up to {written(sum(others), True, DIGITS)})"
    return strongest, note


def whiskers(attribution: Attribution) -> tuple[list[float] | None, str]:
    """The errors of the scores, and what they are."""
    if attribution.standard_error is not None:
        return attribution.standard_error.tolist(), "standard error"
    if attribution.error is not None:
        return attribution.error.tolist(), "numerical error"
    return None, ""


def number_ends(
    chart: Chart, attribution: Attribution, places: list[int], reach: list[tuple[float, float]], size: float
) -> None:
    """Write each score at the end of its bar, and make the axis long enough for it."""
    texts = ["held" if attribution.held[place] else written(score, attribution.signed, DIGITS)
             for place, (score, _) in zip(places, reach, strict=True)]  # fmt: skip
    room = max(text_width(text, size) for text in texts) + 2 * NUMBER_GAP
    low = min([0.0, *(score - error for score, error in reach)])
    high = max([0.0, *(score + error for score, error in reach)])
    below = room if any(score < 0 for score, _ in reach) else 0.0
    scale = (high - low or 1.0) / max(chart.width - room - below, 1.0)
    chart.axes.set_xlim(low - below * scale, (high if high > low else 1.0) + room * scale)
    for row, (text, place, (score, error)) in enumerate(zip(texts, places, reach, strict=True)):
        side = -1 if score < 0 else 1
        chart.axes.annotate(
            text, (score + side * error, row), (side * NUMBER_GAP, 0), textcoords="offset points",
            ha="left" if side > 0 else "right", va="center_baseline",
            color=chart.page.muted if attribution.held[place] else chart.page.ink, **font(text, size),
        )  # fmt: skip


def label_lines(label: str, room: float, size: float) -> list[str]:
    """A label in at most three lines; … stands for what does not fit."""
    text = drawable(visible(label, edge_spaces=True)).strip() or "␣"
    lines = wrapped(text, room, size)
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [" ".join(lines[MOST_LINES - 1 :])]
    return [shortened(line, room, size) for line in lines]


def bar_colour(page: Page, score: float, signed: bool) -> Colour:
    """One colour for each direction, strong enough to be seen on short bars."""
    light, dark = (
        (STRENGTH, STRENGTH_DARK) if not signed else (FOR, FOR_DARK) if score >= 0 else (AGAINST, AGAINST_DARK)
    )
    return (dark if is_dark(page.background) else light)[2]
