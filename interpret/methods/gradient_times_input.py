"""Gradient times input, or times the difference from a baseline: the first-order change of the objective."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from interpret.engine.objective import Objective
from interpret.engine.run import Points
from interpret.methods.baselines import Baseline
from interpret.methods.method import LocalMethod


@dataclass(frozen=True)
class GradientTimesInput(LocalMethod):
    """The part of the objective that is linear in a token's embedding, or in its difference from a baseline x'.

    s_t = sum_d (dF/dx_t)_d (x - x')_td, with x' = 0 unless a baseline is given

    Shrikumar et al. 2016 (arXiv:1605.01713); for text Denil et al. 2014 (arXiv:1412.6815). Scores are signed, in nats;
    positive ones support the target. Local: their sum is not the objective. One forward and one backward pass.
    """

    name = "gradient x input"

    baseline: Baseline | None = None

    @property
    def description(self) -> str:
        return "" if self.baseline is None else f"against {self.baseline.description}"

    def fixed_at(self, objective: Objective) -> Bool[Tensor, " token"] | None:
        return None if self.baseline is None else self.baseline.fixed_at(objective)

    def at(self, objective: Objective, points: Points, gradient: Points) -> Points:
        return gradient * (points if self.baseline is None else points - self.baseline(objective))
