"""The certificate of a path method: F on the path, and how much of its change from end to end the scores miss."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

CLOSE_TO_ZERO = 1e-12


@dataclass(frozen=True)
class Completeness:
    """How much of the change of the objective from the baseline to the prompt the scores account for.

    Attributes:
        value: F(x), at the prompt.
        baseline_value: F(x'), at the baseline.
        gap: |sum of scores - (F(x) - F(x'))|, before a convention reduces or normalizes the scores.
        relative_gap: the gap over |F(x) - F(x')|.
        certified_gap: the sum of the absolute gaps of the path's segments, in which nothing cancels; None where the
            method knows the gap of the whole path only.
        unit: of the objective and the gaps.
    """

    value: float
    baseline_value: float
    gap: float
    relative_gap: float
    certified_gap: float | None = None
    unit: str = "nats"

    @classmethod
    def of(cls, value: float, baseline_value: float, total: float, certified_gap: float | None = None) -> Completeness:
        """The completeness of scores with a given sum."""
        gap = abs(total - (value - baseline_value))
        return cls(value, baseline_value, gap, gap / max(abs(value - baseline_value), CLOSE_TO_ZERO), certified_gap)

    @property
    def largest_gap(self) -> float:
        """The certified gap, or else the gap of the whole path."""
        return self.gap if self.certified_gap is None else self.certified_gap

    def relative(self, amount: float) -> float:
        """An amount over |F(x) - F(x')|."""
        return amount / max(abs(self.value - self.baseline_value), CLOSE_TO_ZERO)


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
