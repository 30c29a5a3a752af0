"""When the scores of a path miss what they should add up to: how much is too much, and the warning."""

from __future__ import annotations

from interpret.results.certificate import Completeness
from interpret.results.warned import warn_caller

SMALLEST_GAP = 0.01  # nats: what a tolerance means where the objective hardly changes
USUAL_GAP = 0.05


class ConvergenceWarning(UserWarning):
    """The scores do not add up to the change of the objective as closely as was asked for."""


def warn_of_gap(completeness: Completeness, remedy: str) -> None:
    """Warn if the gap of a whole path is over 5 % of the change, and over 0.01 nats."""
    if completeness.relative_gap > USUAL_GAP and completeness.gap > SMALLEST_GAP:
        warn(completeness, remedy)


def warn(completeness: Completeness, remedy: str) -> None:
    """Say by how much the scores miss what they should add up to, and what to change."""
    gap, change = completeness.largest_gap, completeness.value - completeness.baseline_value
    warn_caller(
        f"the scores miss F(x) - F(x') = {change:.3g} by up to {gap:.2g} ({completeness.relative(gap):.0%}); "
        f"take {remedy}",
        ConvergenceWarning,
    )
