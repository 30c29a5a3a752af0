"""Several attributions of one text, aligned by token: a row each, and the text above them, broken where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpret.attribution import Attribution
from interpret.views.canvas import POINTS_PER_INCH, Canvas, Sheet
from interpret.views.caption import Heading, kind_of, legend, meaning, scales, written
from interpret.views.colour import ink
from interpret.views.colour_bar import SLIT, ColourBar
from interpret.views.columns import Column, columns
from interpret.views.fonts import drawable, shortened, text_width, wrapped
from interpret.views.visible import visible

SIZE, NUMBER_SIZE, DIGITS = 9.0, 8.0, 2
WORDS, ROW, LABEL_LINE = 15.0, 17.0, 10.5  # the heights of the words above, a row, and a line of its label, in units
GAP, BESIDE, NARROWEST = 8.0, 3.0, 34.0  # the space about a word, about a number, and the narrowest column
FOOT = 2.2  # the slit's distance from the lower edge
WIDEST = 12.0  # of a figure that nothing else is said about, in inches
LABELS_SHARE = 0.3  # of the width, for labels where the text has to be broken
BETWEEN = 9.0  # between blocks
OWN_SCALES = "rows in one unit share a scale, other units have their own"


def aligned(
    attributions: Sequence[Attribution],
    labels: Sequence[str] | None = None,
    width: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Rows of attributions of one text, every piece in its own column; long texts are broken into blocks.

    Rows with the same unit share a scale; the figure says which unit is whose where there are several. Models that cut
    the text differently are compared by what both have: a column is as short as its borders are borders for all, and
    scores in it are totals (see `Attribution.totals`). A token that a tokenizer added has a column of its own.

    Args:
        attributions: of the same text.
        labels: one for each row; by default what distinguishes them: method, model or target.
        width: of the figure in inches; by default what the text needs, up to 12.
        ax: draw here instead, at the real size of these axes, whose own axis is switched off.

    Returns:
        The figure: a new one, or that of `ax`.

    Raises:
        ValueError: nothing to show, attributions of different texts, another number of labels, unsigned scores that do
            not tell their total, or too little room.
    """
    cut = columns(attributions)
    names, title, facts = named(attributions)
    if labels is not None and len(labels) != len(attributions):
        raise ValueError(f"there are {len(labels)} labels for {len(attributions)} attributions")
    sheet, limits = Sheet(width, ax), scales(attributions)
    names = [drawable(visible(name)) for name in labels or names]
    cells = Cells(attributions, cut, limits)
    left = max(text_width(name, SIZE) for name in names) + GAP
    widest = WIDEST * POINTS_PER_INCH / sheet.page.unit if sheet.width is None else sheet.width
    if left + sum(cells.widths) > widest:
        left = min(left, LABELS_SHARE * widest)
    lines = [[shortened(line, left - GAP, SIZE) for line in wrapped(name, left - GAP, SIZE)] for name in names]
    blocks = broken(cells.widths, widest - left)
    full = sheet.width or max(left + max(sum(cells.widths[place] for place in block) for block in blocks), widest / 3)
    heading = Heading(title, facts, full)
    if len(limits) == 1:
        ((_, limit),) = limits.items()
        bar = ColourBar(limit, attributions[0].signed, legend(attributions), full)
    else:
        bar = ColourBar(0.0, False, [*meanings(attributions, names), OWN_SCALES, *legend(attributions)[1:]], full)
    heights = [max(ROW, LABEL_LINE * len(line) + 4) for line in lines]
    block_height = WORDS + sum(heights) + BETWEEN
    foot = bar.height if len(limits) == 1 else bar.words
    canvas = sheet.open(full, heading.height + block_height * len(blocks) + foot, attributions)
    heading.draw(canvas)
    top = heading.height
    for block in blocks:
        cells.draw(canvas, block, left, top, heights)
        y = top + WORDS
        for line, height in zip(lines, heights, strict=True):
            first = y + height / 2 + SIZE * 0.36 - LABEL_LINE * (len(line) - 1) / 2
            for number, text in enumerate(line):
                canvas.write(left - GAP, first + LABEL_LINE * number, text, SIZE, ha="right")
            y += height
        top += block_height
    bar.draw(canvas, top, words_only=len(limits) > 1)
    return canvas.figure


class Cells:
    """Columns of words, and under each a score of every attribution; widths in units."""

    def __init__(
        self, attributions: Sequence[Attribution], cut: Sequence[Column], limits: dict[tuple[str, bool], float]
    ):
        self.attributions, self.cut, self.limits = attributions, cut, limits
        self.words = [drawable(visible(column.label, edge_spaces=True)).strip() or "␣" for column in cut]
        self.numbers = [
            [score if isinstance(score, str | None) else written(score, each.signed, DIGITS)
             for each, score in zip(attributions, column.scores, strict=True)]
            for column in cut
        ]  # fmt: skip
        self.widths = [
            max(
                text_width(word, SIZE) + GAP,
                NARROWEST,
                *(text_width(text or "", NUMBER_SIZE) + BESIDE for text in line),
            )
            for word, line in zip(self.words, self.numbers, strict=True)
        ]

    def draw(self, canvas: Canvas, block: Sequence[int], left: float, top: float, heights: Sequence[float]) -> None:
        """Draw some of the columns, from `left` and `top` on."""
        page, slits, x = canvas.page, [], left
        for place in block:
            column, width = self.cut[place], self.widths[place]
            how: dict[str, Any] = {"shade": page.muted, "fontstyle": "italic"} if column.template else {}
            canvas.write(x + width / 2, top + WORDS - 4.5, self.words[place], SIZE, ha="center", **how)
            y = top + WORDS
            shown = zip(self.attributions, column.scores, self.numbers[place], heights, strict=True)
            for each, score, text, height in shown:
                if text is not None:
                    number = score if isinstance(score, float) else 0.0
                    background = page.colour(number, self.limits[kind_of(each)], each.signed, score == "held")
                    canvas.block(x, y, width, height, background, page.background)
                    middle = y + height / 2 + NUMBER_SIZE * 0.36
                    canvas.write(x + width / 2, middle, text, NUMBER_SIZE, shade=ink(background), ha="center")
                    if each.signed and number < 0:
                        slits.append((x, x + width, y + height - FOOT))
                y += height
            x += width
        canvas.slits(slits, SLIT)


def meanings(attributions: Sequence[Attribution], names: Sequence[str]) -> list[str]:
    """What the scores of the rows mean, a line for those that share a scale."""
    rows: dict[tuple[str, bool], list[int]] = {}
    for row, each in enumerate(attributions):
        rows.setdefault(kind_of(each), []).append(row)
    return [
        f"{', '.join(names[row] for row in alike)}: {meaning(*(attributions[row] for row in alike))}"
        for alike in rows.values()
    ]


def broken(widths: Sequence[float], room: float) -> list[list[int]]:
    """The columns in blocks that fit the room. Raises ValueError if one alone does not."""
    blocks: list[list[int]] = [[]]
    for place, width in enumerate(widths):
        if width > room:
            raise ValueError(f"there is no room beside the labels: give shorter ones, or more width than {room:.0f} pt")
        if sum(widths[other] for other in blocks[-1]) + width > room:
            blocks.append([])
        blocks[-1].append(place)
    return blocks


def named(attributions: Sequence[Attribution]) -> tuple[list[str], str, str]:
    """What distinguishes each of several attributions, and the title and facts that they have in common."""
    methods, models, titles = (
        list(dict.fromkeys(values))
        for values in zip(*((each.method, each.model, each.title) for each in attributions), strict=True)
    )
    short = [method.split("(")[0] for method in methods]
    shown = dict(zip(methods, short if len(set(short)) == len(methods) else methods, strict=True))
    names = []
    for each in attributions:
        parts = ((shown[each.method], methods), (each.model, models), (each.title, titles))
        names.append(", ".join(part for part, values in parts if len(values) > 1) or shown[each.method])
    facts = [method for method in methods if method not in names] + (models if len(models) == 1 else [])
    return names, titles[0] if len(titles) == 1 else "", ", ".join(facts)
