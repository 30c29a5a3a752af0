"""Several attributions of one text, aligned by token: a row each, and the text above them, broken where it must be."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpret.results.attribution import Attribution
from interpret.results.numbers import NumberFormat
from interpret.results.reduction import first_characters, offsets
from interpret.views.canvas import POINTS_PER_INCH, Canvas, Sheet
from interpret.views.caption import SLIT, ColourBar, Heading, Verdict, legend, looks
from interpret.views.cells import FIXED, meaning, rows_of
from interpret.views.fonts import drawable, shortened, text_width, wrapped
from interpret.views.plain import escape_invisible
from interpret.views.scale import Scale, alike, ink, kind_of, scales, sharing

Place = tuple[int, int, str]  # a character, whether text follows (1) or a token without text (0), and its label


@dataclass(frozen=True)
class Column:
    """A stretch of the text, or a token that a tokenizer added.

    Attributes:
        label: what to show for it.
        template: whether it was written by the template or tokenizer.
        scores: of each attribution; "fixed" for what was not moved, None where it has no such token.
    """

    label: str
    template: bool
    scores: tuple[float | str | None, ...]


def columns(attributions: Sequence[Attribution]) -> list[Column]:
    """The columns of attributions of one text, in its order.

    Raises:
        ValueError: no attributions, different texts, or unsigned scores that do not tell the total of a column.
    """
    if not attributions:
        raise ValueError("there is nothing to show: give at least one attribution")
    text = attributions[0].prompt
    for each in attributions:
        if each.prompt != text:
            raise ValueError(
                f"the attributions are of different texts, so they have no common columns: {_shown(text)} and "
                f"{_shown(each.prompt)}"
            )
    borders = sorted(
        set.intersection(*({_start_of(text, position) for position in offsets(each.tokens)} for each in attributions))
    )
    groups = [_grouped(each, borders or [0]) for each in attributions]
    found = []
    for key in sorted(set().union(*groups)):
        pieces = [(each, group.get(key, [])) for each, group in zip(attributions, groups, strict=True)]
        owner, group = next((each, group) for each, group in pieces if group)
        found.append(
            Column(
                "".join(owner.labels[position] for position in group),
                all(owner.template[position] for position in group),
                tuple(_score(each, group) for each, group in pieces),
            )
        )
    return found


def _start_of(text: str, position: int) -> int:
    return len(text[:position].rstrip(" "))


def _grouped(attribution: Attribution, borders: Sequence[int]) -> dict[Place, list[int]]:
    found: dict[Place, list[int]] = {}
    firsts = first_characters(attribution.tokens)
    for piece, (first, token) in enumerate(zip(firsts, attribution.tokens, strict=True)):
        key = (borders[bisect_right(borders, first) - 1], 1, "") if token else (first, 0, attribution.labels[piece])
        found.setdefault(key, []).append(piece)
    return found


def _score(attribution: Attribution, pieces: Sequence[int]) -> float | str | None:
    if not pieces:
        return None
    if all(attribution.fixed[piece] for piece in pieces):
        return "fixed"
    if len(pieces) == 1:
        return attribution.pieces[pieces[0]].score
    return float(attribution.group_scores([pieces])[0])


def _shown(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[:most] + "…")


SIZE, NUMBER_SIZE = 9.0, 8.0
WORDS, ROW, LABEL_LINE = 15.0, 17.0, 10.5  # the heights of the words above, a row, and a line of its label, in units
GAP, BESIDE, NARROWEST = 8.0, 3.0, 34.0  # the space about a word, about a number, and the narrowest column
FOOT = 2.2  # the slit's distance from the lower edge
WIDEST = 12.0  # of a figure that nothing else is said about, in inches
LABELS_SHARE = 0.3  # of the width, for labels where the text has to be broken
BETWEEN = 9.0  # between blocks
OWN_ENDS = ("−max", "0", "+max")  # at the ticks of a colour bar that stands for several scales


def aligned(
    attributions: Sequence[Attribution],
    labels: Sequence[str] | None = None,
    width: float | str | None = None,
    ax: Axes | None = None,
    shared_scale: bool = False,
) -> Figure:
    """Rows of attributions of one text, every piece in its own column; long texts are broken into blocks.

    Models that cut the text differently are compared by what both have: a column is as short as its borders are borders
    for all, and scores in it are totals (see `Attribution.totals`). A token that a tokenizer added has a column of its
    own.

    Args:
        attributions: of the same text.
        labels: one for each row; by default what distinguishes them: method, model or target.
        width: of the figure in inches; by default what the text needs, up to 12.
        ax: draw here instead, at the real size of these axes, whose own axis is switched off.
        shared_scale: whether rows in the same unit are on one scale, so that their colours can be compared; by default
            each has its own, which shows its pattern however small its scores are. The figure says which.

    Returns:
        The figure: a new one, or that of `ax`.

    Raises:
        ValueError: nothing to show, attributions of different texts, another number of labels, unsigned scores that do
            not tell their total, or too little room.
    """
    cut = columns(attributions)
    names, title, facts = rows_of(attributions)
    if labels is not None and len(labels) != len(attributions):
        raise ValueError(f"there are {len(labels)} labels for {len(attributions)} attributions")
    sheet = Sheet(width, ax)
    names = [drawable(escape_invisible(name)) for name in labels or names]
    grid = _Grid(attributions, cut, scales(attributions, shared_scale))
    one_scale = len(set(grid.scales)) == 1
    if not one_scale:
        names = [_with_factor(name, numbers) for name, numbers in zip(names, grid.formats, strict=True)]
    left = max(text_width(name, SIZE) for name in names) + GAP
    widest = WIDEST * POINTS_PER_INCH / sheet.page.unit if sheet.width is None else sheet.width
    if left + sum(grid.widths) > widest:
        left = min(left, LABELS_SHARE * widest)
    rows = [[shortened(line, left - GAP, SIZE) for line in wrapped(name, left - GAP, SIZE)] for name in names]
    blocks = _broken(grid.widths, widest - left)
    full = sheet.width or max(
        left + max(sum(grid.widths[position] for position in block) for block in blocks), widest / 3
    )
    heading = Heading(title, facts, full)
    note = sharing(attributions, shared_scale, "row")
    if one_scale:
        lines = [*legend(grid.scales[0].written_unit, attributions), *filter(None, [note])]
        bar, has_bar = ColourBar(grid.scales[0], lines, full), True
    else:
        first, has_bar = grid.scales[0], not shared_scale and len({each.signed for each in attributions}) == 1
        lines = [*_meanings(attributions, names), note, *looks(attributions)]
        bar = ColourBar(Scale(1.0, "", first.signed), lines, full, OWN_ENDS if first.signed else OWN_ENDS[1:])
    checks = [(name, each.checked) for name, each in zip(names, attributions, strict=True) if each.checked]
    verdict = Verdict([said if len(attributions) == 1 else f"{name}: {said}" for name, said in checks], full)
    heights = [max(ROW, LABEL_LINE * len(row) + 4) for row in rows]
    block_height = WORDS + sum(heights) + BETWEEN
    foot = bar.height if has_bar else bar.words
    tall = heading.height + block_height * len(blocks) + foot + verdict.height
    canvas = sheet.open(full, tall, attributions)
    heading.draw(canvas)
    top = heading.height
    for block in blocks:
        grid.draw(canvas, block, left, top, heights)
        y = top + WORDS
        for row, height in zip(rows, heights, strict=True):
            baseline = y + height / 2 + SIZE * 0.36 - LABEL_LINE * (len(row) - 1) / 2
            for number, text in enumerate(row):
                canvas.write(left - GAP, baseline + LABEL_LINE * number, text, SIZE, ha="right")
            y += height
        top += block_height
    bar.draw(canvas, top, words_only=not has_bar)
    verdict.draw(canvas, top + foot)
    return canvas.figure


class _Grid:
    """Columns of words, and under each a score of every attribution; widths in units."""

    def __init__(self, attributions: Sequence[Attribution], cut: Sequence[Column], scales: Sequence[Scale]):
        self.attributions, self.cut, self.scales = attributions, cut, scales
        self.words = [drawable(escape_invisible(column.label, edge_spaces=True)).strip() or "␣" for column in cut]
        self.formats = alike(scales)
        self.numbers = [
            [numbers(score) if isinstance(score, float) else score
             for numbers, score in zip(self.formats, column.scores, strict=True)]
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
        for position in block:
            column, width = self.cut[position], self.widths[position]
            how: dict[str, Any] = {"shade": page.muted, "fontstyle": "italic"} if column.template else {}
            canvas.write(x + width / 2, top + WORDS - 4.5, self.words[position], SIZE, ha="center", **how)
            y = top + WORDS
            shown = zip(self.scales, column.scores, self.numbers[position], heights, strict=True)
            for scale, score, text, height in shown:
                if text is not None:
                    number = score if isinstance(score, float) else 0.0
                    background = scale.colour(number, page.background, score == FIXED)
                    canvas.block(x, y, width, height, background, page.background)
                    middle = y + height / 2 + NUMBER_SIZE * 0.36
                    canvas.write(x + width / 2, middle, text, NUMBER_SIZE, shade=ink(background), ha="center")
                    if scale.mark(number) == "against":
                        slits.append((x, x + width, y + height - FOOT))
                y += height
            x += width
        canvas.slits(slits, SLIT)


def _meanings(attributions: Sequence[Attribution], names: Sequence[str]) -> list[str]:
    rows: dict[tuple[str, bool], list[int]] = {}
    for row, each in enumerate(attributions):
        rows.setdefault(kind_of(each), []).append(row)
    if len(rows) == 1:
        return [meaning(attributions[0].unit, attributions)]
    return [
        f"{', '.join(names[row] for row in alike)}: {meaning(unit, [attributions[row] for row in alike])}"
        for (unit, _), alike in rows.items()
    ]


def _with_factor(name: str, numbers: NumberFormat) -> str:
    return f"{name} (× {numbers.factor})" if numbers.factor else name


def _broken(widths: Sequence[float], room: float) -> list[list[int]]:
    """The columns in blocks that fit the room. Raises ValueError if one alone does not."""
    blocks: list[list[int]] = [[]]
    for position, width in enumerate(widths):
        if width > room:
            raise ValueError(f"there is no room beside the labels: give shorter ones, or more width than {room:.0f} pt")
        if sum(widths[other] for other in blocks[-1]) + width > room:
            blocks.append([])
        blocks[-1].append(position)
    return blocks
