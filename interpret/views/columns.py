"""What several attributions of one text have in common: the finest columns whose borders are borders for all."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from interpret.results.attribution import Attribution
from interpret.results.totals import first_characters, offsets

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
        set.intersection(*({_start_of(text, place) for place in offsets(each.tokens)} for each in attributions))
    )
    groups = [_grouped(each, borders or [0]) for each in attributions]
    found = []
    for key in sorted(set().union(*groups)):
        pieces = [(each, group.get(key, [])) for each, group in zip(attributions, groups, strict=True)]
        owner, group = next((each, group) for each, group in pieces if group)
        found.append(
            Column(
                "".join(owner.labels[place] for place in group),
                all(owner.template[place] for place in group),
                tuple(_score(each, group) for each, group in pieces),
            )
        )
    return found


def _start_of(text: str, place: int) -> int:
    """Where a piece that begins at a character does, if spaces belong to what follows them."""
    return len(text[:place].rstrip(" "))


def _grouped(attribution: Attribution, borders: Sequence[int]) -> dict[Place, list[int]]:
    """The pieces in each column."""
    found: dict[Place, list[int]] = {}
    firsts = first_characters(attribution.tokens)
    for piece, (first, token) in enumerate(zip(firsts, attribution.tokens, strict=True)):
        key = (borders[bisect_right(borders, first) - 1], 1, "") if token else (first, 0, attribution.labels[piece])
        found.setdefault(key, []).append(piece)
    return found


def _score(attribution: Attribution, pieces: Sequence[int]) -> float | str | None:
    """The score of some pieces together."""
    if not pieces:
        return None
    if all(attribution.fixed[piece] for piece in pieces):
        return "fixed"
    if len(pieces) == 1:
        return float(attribution.scores[pieces[0]])
    return float(attribution.group_scores([pieces])[0])


def _shown(text: str, most: int = 40) -> str:
    """The beginning of a text, for a message."""
    return repr(text if len(text) <= most else text[:most] + "…")
