"""Several attributions of one prompt, aligned by token: one row each, on a scale of its own."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interpret.attribution import Attribution
from interpret.views.colour import HELD, LIGHT_INK, colour, ink, pale_ink, scale
from interpret.views.fonts import drawable, font, text_width
from interpret.views.heatmap import MARGIN, POINTS_PER_INCH, HeatmapFigure
from interpret.views.visible import visible

SIZE, ROW, GAP = 9.0, 17.0, 8.0


def aligned(attributions: Sequence[Attribution], labels: Sequence[str] | None = None) -> Figure:
    """Rows of attributions, every piece in its own column; each row's strongest colour is its largest score.

    Args:
        attributions: of the same prompt.
        labels: one for each row; by default the methods.

    Raises:
        ValueError: nothing to show, attributions of different prompts, or another number of labels.
    """
    if not attributions:
        raise ValueError("there is nothing to show: give at least one attribution")
    pieces = attributions[0].labels
    if any(each.labels != pieces for each in attributions):
        raise ValueError("the attributions are of different prompts, so they have no common columns")
    names = [f"{each.method} ({each.unit})" for each in attributions] if labels is None else list(labels)
    if len(names) != len(attributions):
        raise ValueError(f"there are {len(names)} labels for {len(attributions)} attributions")
    words = [drawable(visible(piece, edge_spaces=True)).strip() or "␣" for piece in pieces]
    widths = [max(text_width(word, SIZE) + GAP, 40.0) for word in words]
    left = max(text_width(drawable(name), SIZE) for name in names) + GAP
    width, height = left + sum(widths) + 2 * MARGIN, ROW * (len(names) + 1) + 2 * MARGIN
    figure = HeatmapFigure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-MARGIN, width - MARGIN), ylim=(height - MARGIN, -MARGIN))
    axes.axis("off")

    def write(
        x: float, row: int, text: str, align: str = "center", shade: object = "black", style: str = "normal"
    ) -> None:
        y = ROW * (row + 0.68)
        axes.text(x, y, text, **font(text, SIZE), ha=align, va="baseline", color=shade, fontstyle=style)

    for row, (name, attribution) in enumerate(zip(names, attributions, strict=True), start=1):
        write(left - GAP, row, drawable(name), "right")
        limit, x = scale(attribution.scores.tolist()), left
        for score, held, width in zip(attribution.scores.tolist(), attribution.held, widths, strict=True):
            background = HELD if held else colour(score, limit, attribution.signed)
            axes.add_patch(Rectangle((x, ROW * row), width, ROW, facecolor=background, edgecolor="white"))
            number = "held" if held else f"{score:{'+' if attribution.signed else ''}.2g}".replace("-", "−")
            write(x + width / 2, row, number, shade=ink(background))
            x += width
    for place, (word, template) in enumerate(zip(words, attributions[0].template, strict=True)):
        shade, style = (pale_ink(LIGHT_INK), "italic") if template else ("black", "normal")
        write(left + sum(widths[:place]) + widths[place] / 2, 0, word, shade=shade, style=style)
    return figure
