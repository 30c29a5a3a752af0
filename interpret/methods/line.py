"""The straight line from a baseline to the prompt, on which path methods take their points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.engine.objective import Objective
from interpret.methods.baselines import Baseline
from interpret.methods.fixed_positions import Fixed, fixed_tokens


@dataclass(frozen=True, eq=False)
class Line:
    """x' + alpha (x - x'), where tokens that are fixed stay at the prompt.

    Attributes:
        start: (token, dim) x', the baseline; x where a token is fixed.
        x: (token, dim) the prompt.
        fixed: (token,) True for the tokens that stay.
    """

    start: Float[Tensor, "token dim"]
    x: Float[Tensor, "token dim"]
    fixed: Bool[Tensor, " token"]

    @classmethod
    def of(cls, baseline: Baseline, positions: Fixed, objective: Objective, x: Float[Tensor, "token dim"]) -> Line:
        """The line to x, for a method's settings. Raises ValueError where nothing is left to move."""
        fixed = fixed_tokens(positions, objective, x)
        return cls(torch.where(fixed[:, None], x, baseline(objective, x)), x, fixed)

    @property
    def way(self) -> Float[Tensor, "token dim"]:
        """x - x', which is 0 where a token is fixed."""
        return self.x - self.start

    def at(self, alphas: Float[Tensor, " point"]) -> Float[Tensor, "point token dim"]:
        """The points at some alphas from 0 (the baseline) to 1 (the prompt)."""
        return self.start + alphas.to(self.x)[:, None, None] * self.way
