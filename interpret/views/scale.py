"""What scores are measured against: where colours end, how numbers are written, and which scores have a mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from interpret.results.attribution import Attribution
from interpret.results.numbers import NumberFormat
from interpret.views.colour import WHITE, Colour, colour, held_colour

Mark = Literal["for", "against", "fixed", ""]
FAINT = 0.05  # of the largest magnitude: up to it, a piece has hardly a colour, and no mark
ZERO = "0"  # at the tick of zero, which is exact


@dataclass(frozen=True)
class Scale:
    """A scale of scores in one unit; signed ones diverge about zero.

    Attributes:
        limit: the largest magnitude, where the colours end.
        unit: of the scores.
        signed: whether scores have a direction.
    """

    limit: float
    unit: str
    signed: bool

    @classmethod
    def of(cls, *results: Attribution) -> Scale:
        """The scale of one result, or the common one of several that are in the same unit."""
        first = results[0]
        assert {kind_of(each) for each in results} == {kind_of(first)}, "scores of different units on one scale"
        limit = max((abs(piece.score) for each in results for piece in each.pieces), default=0.0)
        return cls(limit, first.unit, first.signed)

    @cached_property
    def numbers(self) -> NumberFormat:
        """How its scores are written."""
        return NumberFormat.of(self.limit, self.signed)

    @cached_property
    def errors(self) -> NumberFormat:
        """How their errors are written: as the scores, without a plus sign."""
        return replace(self.numbers, signed=False)

    @property
    def written_unit(self) -> str:
        """The unit of what `numbers` writes: with the power of ten that all have in common, if there is one."""
        return self.numbers.unit(self.unit)

    @property
    def low(self) -> float:
        """The lower end."""
        return -self.limit if self.signed else 0.0

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """The scores at the ends of a colour bar and at zero, as numbers and as text."""
        places = [0.0] if self.limit == 0 else [self.low, 0.0, self.limit] if self.signed else [0.0, self.limit]
        return tuple((place, self.numbers(place) if place else ZERO) for place in places)

    def steps(self, count: int) -> list[float]:
        """Scores from the lower end to the upper one, for a colour bar with so many steps."""
        return [self.low + (self.limit - self.low) * step / count for step in range(count + 1)]

    def colour(self, score: float, page: Colour = WHITE, fixed: bool = False) -> Colour:
        """The colour of a score on a page, or of a piece that was fixed."""
        return held_colour(page) if fixed else colour(score, self.limit, self.signed, page)

    def mark(self, score: float, fixed: bool = False) -> Mark:
        """What must be seen of a score without its colour: its direction, unless it is faint, or that there is none."""
        if fixed:
            return "fixed"
        return "" if not self.signed or abs(score) <= FAINT * self.limit else "for" if score > 0 else "against"


def kind_of(result: Attribution) -> tuple[str, bool]:
    """What scores must have in common to be on one scale: their unit, and whether they have a sign."""
    return result.unit, result.signed


def scales(results: Sequence[Attribution], shared: bool) -> list[Scale]:
    """The scale of each result: its own, or one that it shares with all in its unit."""
    if not shared:
        return [Scale.of(each) for each in results]
    kinds = {
        kind_of(each): Scale.of(*(other for other in results if kind_of(other) == kind_of(each))) for each in results
    }
    return [kinds[kind_of(each)] for each in results]


def alike(given: Sequence[Scale]) -> list[NumberFormat]:
    """How the numbers of several scales are written: in one unit alike, unless the smaller would keep one digit."""
    found = []
    for scale in given:
        largest = max((other for other in given if other.unit == scale.unit), key=lambda other: other.limit).numbers
        few = 0 < scale.limit < 10.0 ** (1 + largest.exponent - largest.decimals)
        found.append(scale.numbers if few else replace(largest, signed=scale.signed))
    return found


def sharing(results: Sequence[Attribution], shared: bool, noun: str) -> str:
    """What a figure says about the scales of several results; nothing about one."""
    if len(results) == 1:
        return ""
    if not shared:
        return f"each {noun} on its own scale"
    return f"one scale for all {noun}s" + (" in the same unit" if len(set(map(kind_of, results))) > 1 else "")
