"""The norm of the gradient: how much a small change of a token's embedding can change the objective."""

from __future__ import annotations

from dataclasses import dataclass

from interpret.engine.objective import Objective
from interpret.engine.run import Points
from interpret.methods.method import LocalMethod
from interpret.results.reduction import NORM_1, NORM_2, Reduction


@dataclass(frozen=True)
class VanillaGradient(LocalMethod):
    """Sensitivity: the norm of the gradient with respect to a token's embedding.

    s_t = ||dF/dx_t||, with the 2-norm or the 1-norm over the embedding's dimensions.

    Simonyan et al. 2013 (arXiv:1312.6034), Li et al. 2015 for text (arXiv:1506.01066). Scores are unsigned, in nats per
    unit of embedding: they say where the model is sensitive, not which way. One forward and one backward pass.
    """

    name = "gradient norm"

    norm: int = 2

    @property
    def description(self) -> str:
        return f"L{self.norm}"

    def __post_init__(self) -> None:
        if self.norm not in (1, 2):
            raise ValueError(f"norm is {self.norm}; it must be 1 or 2")

    @property
    def reduction(self) -> Reduction:  # type: ignore[override]
        return NORM_1 if self.norm == 1 else NORM_2

    def unit(self, quantity: str) -> str:
        return f"{quantity} per unit of embedding"

    def at(self, objective: Objective, points: Points, gradient: Points) -> Points:
        return gradient
