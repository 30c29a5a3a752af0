"""A path integral to a certified gap: the path is bisected where its error, which is known exactly, is largest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST_WIDTH = 2.0**-20  # a change within less of the path is a jump, as where a router changes experts


@dataclass(frozen=True, eq=False)
class Point:
    """A point on the path.

    Attributes:
        alpha: where on the path, from 0 to 1.
        value: the objective there.
        slope: (token,) each token's share of dF/dalpha.
    """

    alpha: float
    value: float
    slope: Float[Tensor, " token"]


@dataclass(frozen=True, eq=False)
class Segment:
    """A stretch of the path, integrated by Simpson's rule on its ends and its middle."""

    start: Point
    middle: Point
    end: Point

    @property
    def width(self) -> float:
        """Its length in alpha."""
        return self.end.alpha - self.start.alpha

    @property
    def narrow(self) -> bool:
        """Whether it is not bisected any more: an error that is left in it is a jump of the objective."""
        return self.width <= SMALLEST_WIDTH

    @cached_property
    def scores(self) -> Float[Tensor, " token"]:
        """Each token's share of F(b) - F(a): (b - a) (s(a) + 4 s(m) + s(b)) / 6."""
        return self.width * (self.start.slope + 4 * self.middle.slope + self.end.slope) / 6

    @cached_property
    def error(self) -> float:
        """|F(b) - F(a) - sum of scores|, exactly: the values come with the gradients."""
        return abs(self.end.value - self.start.value - float(self.scores.sum()))

    @property
    def error_estimate(self) -> Float[Tensor, " token"]:
        """How far Simpson's rule is from the trapezoid rule on the same three points, for each token."""
        return self.width * (self.start.slope - 2 * self.middle.slope + self.end.slope).abs() / 12


def integrate(
    explore: Callable[[Sequence[float]], list[Point]], tolerance: float, smallest: float, max_gradients: int, first: int
) -> list[Segment]:
    """Cut the path from 0 to 1 into segments whose errors add up to at most max(tolerance |F(1) - F(0)|, smallest).

    Each round bisects the worst segments: those that hold half of the error, or as much of it as is too much. A
    bisection keeps the segment's three points and adds two. Adaptive Simpson quadrature, Kuncir 1962, with the
    completeness axiom in index of an error estimate. No number of points resolves a jump: a segment that has become
    narrow is left as it is, and what remains of the gradients goes to the others.

    Args:
        explore: points on the path at the given alphas, one gradient each.
        tolerance: the sum of the absolute errors that is good enough, relative to the change of the objective.
        smallest: the same in absolute terms, for when the objective hardly changes.
        max_gradients: stop when no more than these are left to bisect a segment.
        first: how many segments to begin with, at 2 gradients each and one more.
    """
    points = explore(first_alphas(first))
    segments = [Segment(*points[index : index + 3]) for index in range(0, 2 * first, 2)]
    enough = max(tolerance * abs(points[-1].value - points[0].value), smallest)
    left = (max_gradients - len(points)) // 2
    while left > 0 and (gap := certified_gap(segments)) > enough:
        segments.sort(key=lambda segment: (segment.narrow, -segment.error))
        wide = [segment for segment in segments if not segment.narrow]
        resolvable = certified_gap(wide)
        if resolvable <= enough / 2:
            break
        goal, count, covered = min(resolvable / 2, gap - enough), 0, 0.0
        while covered < goal and count < min(left, len(wide)):
            covered += segments[count].error
            count += 1
        worst, segments = segments[:count], segments[count:]
        middles = [(a.alpha + b.alpha) / 2 for s in worst for a, b in ((s.start, s.middle), (s.middle, s.end))]
        new = explore(middles)
        for segment, early, late in zip(worst, new[::2], new[1::2], strict=True):
            segments += [Segment(segment.start, early, segment.middle), Segment(segment.middle, late, segment.end)]
        left -= count
    return sorted(segments, key=lambda segment: segment.start.alpha)


def first_alphas(segments: int) -> list[float]:
    """Where the points of the first segments are: at their ends and middles."""
    return [step / (2 * segments) for step in range(2 * segments + 1)]


def certified_gap(segments: Sequence[Segment]) -> float:
    """The sum of the absolute errors of all segments: errors of opposite sign do not cancel in it."""
    return sum(segment.error for segment in segments)


def total(parts: Sequence[Float[Tensor, " token"]]) -> Float[Tensor, " token"]:
    """The sum of one (token,) tensor per segment."""
    return torch.stack(list(parts)).sum(0)
