"""The colour bar with its unit, the same under every figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from interpret.views.colour import colour

NOTE_SIZE = 8.0
BAR_WIDTH, BAR_HEIGHT, BAR_INDENT = 150.0, 7.0, 8.0  # in points
LEGEND_LINE = 11.0


def draw_bar(
    figure: Figure,
    place: tuple[float, float, float, float],
    limit: float,
    signed: bool,
    legend: Sequence[str],
) -> None:
    """Draw the bar, with what its colours mean above it.

    Args:
        figure: where to.
        place: left, bottom, width and height of the bar as fractions of the figure.
        limit: the end of the scale.
        signed: whether the scale has two ends.
        legend: lines above the bar: what its numbers mean.
    """
    axes = figure.add_axes(place)
    low = -limit if signed else 0.0
    shades = [colour(low + (limit - low) * step / 64, limit, signed) for step in range(65)]
    axes.imshow(
        [list(range(65))],
        cmap=LinearSegmentedColormap.from_list("scores", shades),
        aspect="auto",
        extent=(low, limit, 0, 1) if limit > 0 else (-1, 1, 0, 1),
    )
    ticks = [0.0] if limit == 0 else [low, 0.0, limit] if signed else [0.0, limit]
    labels = [f"{tick:.2g}".replace("-", "−") if tick else "0" for tick in ticks]
    axes.set(yticks=[])
    axes.set_xticks(ticks, labels=labels, fontsize=NOTE_SIZE)
    axes.tick_params(length=2, pad=1.5, width=0.5)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="0.5")
    for number, line in enumerate(reversed(legend)):
        axes.annotate(
            line, (0, 1), (-BAR_INDENT, 4 + LEGEND_LINE * number), "axes fraction", "offset points",
            fontsize=NOTE_SIZE, va="bottom", color="black",
        )  # fmt: skip
