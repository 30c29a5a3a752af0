"""Several attributions of one text, aligned by token: a row each, and the text above them, broken where it must be."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpret.results.attribution import Attribution
from interpret.results.reduction import first_characters, offsets
from interpret.views.canvas import BELOW, SLIT, Canvas, ColourBar, Part, heading, legend, looks, notes
from interpret.views.cells import FIXED, escape_invisible, meaning, rows_of
from interpret.views.fonts import drawable, shortened, text_width, wrapped
from interpret.views.scale import Scale, alike, ink, kind_of, scales, sharing

SIZE, NUMBER_SIZE = 9.0, 8.0
WORDS, ROW, LABEL_LINE = 15.0, 17.0, 10.5  # the heights of the words above, a row, and a line of its label, in units
GAP, BESIDE, NARROWEST = 8.0, 3.0, 34.0  # the space about a word, about a number, and the narrowest column
FOOT = 2.2  # the slit's distance from the lower edge
WIDEST = 12.0  # of a figure without a given width, in inches
LABELS_SHARE = 0.3  # of the width, for labels where the text has to be broken
BETWEEN = 9.0  # between blocks
Key = tuple[int, int, str]  # a character, whether text follows (1) or a token without text (0), and its label
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
    row_scales = scales(attributions, shared_scale)
    cut = columns(attributions, row_scales)
    names, title, facts = rows_of(attributions)
    if labels is not None and len(labels) != len(attributions):
        raise ValueError(f"there are {len(labels)} labels for {len(attributions)} attributions")
    canvas = Canvas(width, ax)
    names = [drawable(escape_invisible(name)) for name in labels or names]
    one_scale = len(set(row_scales)) == 1
    if not one_scale:
        factors = [numbers.factor for numbers in alike(row_scales)]
        names = [f"{name} (× {factor})" if factor else name for name, factor in zip(names, factors, strict=True)]
    left = max(text_width(name, SIZE) for name in names) + GAP
    widest = WIDEST * canvas.page.per_inch if canvas.width is None else canvas.width
    if left + sum(column.width for column in cut) > widest:
        left = min(left, LABELS_SHARE * widest)
    rows = [[shortened(line, left - GAP, SIZE) for line in wrapped(name, left - GAP, SIZE)] for name in names]
    blocks = [Block(part, rows, row_scales, left) for part in _broken(cut, widest - left)]
    full = canvas.width or max(*(block.width for block in blocks), widest / 3)
    note = sharing(attributions, shared_scale, "row")
    below: list[Part] = []
    if one_scale:
        lines = [*legend(row_scales[0].written_unit, attributions), note]
        below = [ColourBar(row_scales[0], full)]
    else:
        lines = [*_meanings(attributions, names), note, *looks(attributions)]
        if not shared_scale and len({each.signed for each in attributions}) == 1:
            signed = attributions[0].signed
            below = [ColourBar(Scale(1.0, "", signed), full, OWN_ENDS if signed else OWN_ENDS[1:])]
    checks = [
        each.checked if len(attributions) == 1 else f"{name}: {each.checked}"
        for name, each in zip(names, attributions, strict=True)
        if each.checked
    ]
    parts: list[Part] = [heading(title, facts, full), *blocks, notes(lines, full), *below, notes(checks, full, BELOW)]
    return canvas.draw(full, parts, attributions)


class Column(NamedTuple):
    """A stretch of the text, or a token that a tokenizer added; its width is in units."""

    word: str
    template: bool
    scores: list[
        float | str | None
    ]  # of each attribution; "fixed" for what was fixed, None where there is no such token
    numbers: list[str | None]  # the same as text
    width: float


def columns(attributions: Sequence[Attribution], scales: Sequence[Scale]) -> list[Column]:
    """The columns of attributions in the order of their text. Raises ValueError as `aligned` does."""
    if not attributions:
        raise ValueError("there is nothing to show: give at least one attribution")
    text = attributions[0].prompt
    for each in attributions:
        if each.prompt != text:
            raise ValueError(
                "the attributions are of different texts, so they have no common columns: "
                f"{text[:40]!r} and {each.prompt[:40]!r}"
            )
    starts = ({len(text[:start].rstrip(" ")) for start in offsets(each.tokens)} for each in attributions)
    borders = sorted(set.intersection(*starts)) or [0]
    groups = [_grouped(each, borders) for each in attributions]
    formats, found = alike(scales), []
    for key in sorted(set().union(*groups)):
        pieces = [(each, group.get(key, [])) for each, group in zip(attributions, groups, strict=True)]
        owner, group = next((each, group) for each, group in pieces if group)
        label = "".join(owner.labels[position] for position in group)
        word = drawable(escape_invisible(label, edge_spaces=True)).strip() or "␣"
        scores = [_score(each, group) for each, group in pieces]
        numbers = [
            write(score) if isinstance(score, float) else score for write, score in zip(formats, scores, strict=True)
        ]
        widest = max(text_width(text or "", NUMBER_SIZE) + BESIDE for text in numbers)
        width = max(text_width(word, SIZE) + GAP, NARROWEST, widest)
        found.append(Column(word, all(owner.template[position] for position in group), scores, numbers, width))
    return found


def _grouped(attribution: Attribution, borders: Sequence[int]) -> dict[Key, list[int]]:
    found: dict[Key, list[int]] = {}
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


class Block:
    """As many columns as fit: their words, and below them the score of every attribution, beside the rows' labels."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], scales: Sequence[Scale], left: float):
        self.columns, self.rows, self.scales, self.left = columns, rows, scales, left
        self.heights = [max(ROW, LABEL_LINE * len(row) + 4) for row in rows]
        self.width = left + sum(each.width for each in columns)
        self.height = WORDS + sum(self.heights) + BETWEEN

    def draw(self, canvas: Canvas, top: float) -> None:
        page, slits, x = canvas.page, [], self.left
        for word, template, scores, numbers, width in self.columns:
            how: dict[str, Any] = {"shade": page.muted, "fontstyle": "italic"} if template else {}
            canvas.write(x + width / 2, top + WORDS - 4.5, word, SIZE, ha="center", **how)
            y = top + WORDS
            for scale, score, text, height in zip(self.scales, scores, numbers, self.heights, strict=True):
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
        y = top + WORDS
        for row, height in zip(self.rows, self.heights, strict=True):
            baseline = y + height / 2 + SIZE * 0.36 - LABEL_LINE * (len(row) - 1) / 2
            for number, text in enumerate(row):
                canvas.write(self.left - GAP, baseline + LABEL_LINE * number, text, SIZE, ha="right")
            y += height


def _meanings(attributions: Sequence[Attribution], names: Sequence[str]) -> list[str]:
    rows: dict[tuple[str, bool], list[int]] = {}
    for row, each in enumerate(attributions):
        rows.setdefault(kind_of(each), []).append(row)
    if len(rows) == 1:
        return [meaning(attributions[0].unit, attributions)]
    return [
        f"{', '.join(names[row] for row in same)}: {meaning(unit, [attributions[row] for row in same])}"
        for (unit, _), same in rows.items()
    ]


def _broken(columns: Sequence[Column], room: float) -> list[list[Column]]:
    """The columns in blocks that fit the room. Raises ValueError if one alone does not."""
    blocks: list[list[Column]] = [[]]
    for column in columns:
        if column.width > room:
            raise ValueError(f"there is no room beside the labels: give shorter ones, or more width than {room:.0f} pt")
        if sum(other.width for other in blocks[-1]) + column.width > room:
            blocks.append([])
        blocks[-1].append(column)
    return blocks
