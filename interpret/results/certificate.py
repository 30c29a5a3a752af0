"""The completeness of a path method: F at both ends of the path, and how much of the change the scores miss."""

from __future__ import annotations

from dataclasses import dataclass

CLOSE_TO_ZERO = 1e-12


@dataclass(frozen=True)
class Completeness:
    """How much of the change of the objective from the baseline to the prompt the scores account for.

    Attributes:
        value: F(x), the objective at the prompt.
        baseline_value: F(x'), the objective at the baseline.
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
        change = value - baseline_value
        gap = abs(total - change)
        return cls(value, baseline_value, gap, gap / max(abs(change), CLOSE_TO_ZERO), certified_gap)

    @property
    def largest_gap(self) -> float:
        """The certified gap, or else the gap of the whole path."""
        return self.gap if self.certified_gap is None else self.certified_gap

    def relative(self, amount: float) -> float:
        """An amount over |F(x) - F(x')|."""
        return amount / max(abs(self.value - self.baseline_value), CLOSE_TO_ZERO)
