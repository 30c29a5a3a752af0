"""What a path method saw on its way: the objective at every point that it spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class StraightPath:
    """The objective on the straight path x' + alpha (x - x') from a baseline x' to the prompt x, at the points spent.

    Attributes:
        alphas: where the points are, rising from 0 (the baseline) to 1 (the prompt).
        values: F at each point, in the unit of the completeness.
        slopes: dF/dalpha at each point, the sum over tokens; None at an end where no gradient was taken.
    """

    alphas: tuple[float, ...]
    values: tuple[float, ...]
    slopes: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.alphas) == len(self.values) == len(self.slopes):
            raise ValueError(
                f"a path has at least two points, with a value and a slope each; these are {len(self.alphas)} alphas, "
                f"{len(self.values)} values and {len(self.slopes)} slopes"
            )

    @property
    def misses(self) -> tuple[float, ...]:
        """How much of F's change between two neighbours their slopes leave out: |F(b) - F(a) - (b - a) (s + t) / 2|.

        Where F jumps, all of it; 0 beside an end without a slope.
        """
        points = pairwise(zip(self.alphas, self.values, self.slopes, strict=True))
        return tuple(
            0.0 if s is None or t is None else abs(high - low - (end - start) * (s + t) / 2)
            for (start, low, s), (end, high, t) in points
        )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> StraightPath:
        """A path from the plain values of its fields."""
        return cls(*(tuple(plain[name]) for name in ("alphas", "values", "slopes")))
