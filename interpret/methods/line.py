"""The straight line from a baseline to the prompt, on which path methods take their points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.engine.objective import Objective
from interpret.methods.baselines import Baseline
from interpret.methods.holding import Hold, held_tokens


@dataclass(frozen=True, eq=False)
class Line:
    """x' + alpha (x - x'), where tokens that are held stay at the prompt.

    Attributes:
        start: (token, dim) x', the baseline; x where a token is held.
        x: (token, dim) the prompt.
        held: (token,) True for the tokens that stay.
    """

    start: Float[Tensor, "token dim"]
    x: Float[Tensor, "token dim"]
    held: Bool[Tensor, " token"]

    @classmethod
    def of(cls, baseline: Baseline, hold: Hold, objective: Objective, x: Float[Tensor, "token dim"]) -> Line:
        """The line to x, for a method's settings. Raises ValueError where nothing is left to move."""
        held = held_tokens(hold, objective, x)
        return cls(torch.where(held[:, None], x, baseline(objective, x)), x, held)

    @property
    def way(self) -> Float[Tensor, "token dim"]:
        """x - x', which is 0 where a token is held."""
        return self.x - self.start

    def at(self, alphas: Float[Tensor, " point"]) -> Float[Tensor, "point token dim"]:
        """The points at some alphas from 0 (the baseline) to 1 (the prompt)."""
        return self.start + alphas.to(self.x)[:, None, None] * self.way
