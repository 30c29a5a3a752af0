"""What every method is: settings in fields, an objective and a point in, an attribution for every dimension out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from interpret.gradients import gradients
from interpret.objective import Objective
from interpret.quantity import LOG_PROBABILITY, Quantity
from interpret.results.certificate import Completeness
from interpret.results.path import StraightPath
from interpret.results.reduction import SUM, Reduction


@dataclass(frozen=True)
class Evidence:
    """What a method found.

    Attributes:
        attributions: (token, dim), before they are reduced to a score per token; (token, 1) where a method whose
            reduction is the sum has added up the dimensions already.
        completeness: for path methods, how much of the change of the objective the attributions account for.
        held: (token,) True where a token was not moved and so has no score.
        error: (token,) how far off each token's sum over dimensions may be, where the method can tell.
        samples: (sample, token, dim) independent estimates whose mean is `attributions`, for the standard error.
        path: for methods that follow the straight path from a baseline, what they saw on it.
    """

    attributions: Float[Tensor, "token dim"]
    completeness: Completeness | None = None
    held: Bool[Tensor, " token"] | None = None
    error: Float[Tensor, " token"] | None = None
    samples: Float[Tensor, "sample token dim"] | None = None
    path: StraightPath | None = None


class Method(ABC):
    """A way to attribute an objective to the embeddings: a frozen dataclass, whose repr is its label."""

    reduction: Reduction = SUM
    quantity: Quantity = LOG_PROBABILITY
    drawn: bool = False  # whether its points are random draws, which differ with the length of the prompt

    @abstractmethod
    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        """Attribute the objective at x."""

    @abstractmethod
    def cost(self, tokens: int) -> int:
        """The number of gradients it takes for a prompt of so many tokens, at most."""

    def unit(self, quantity: str) -> str:
        """The unit of a score, given the unit of the quantity explained."""
        return quantity

    def normalized(self, scores: Float[Tensor, " piece"]) -> Float[Tensor, " piece"]:
        """What is done with the scores of a prompt together: nothing, unless a convention says so."""
        return scores


class LocalMethod(Method):
    """A method that needs the gradient at one point only; many points run at once."""

    @abstractmethod
    def at(
        self,
        objective: Objective,
        points: Float[Tensor, "point token dim"],
        gradient: Float[Tensor, "point token dim"],
    ) -> Float[Tensor, "point token dim"]:
        """The attributions at each point, given the gradients there."""

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        _, gradient = gradients(objective, x[None])
        return Evidence(self.at(objective, x[None], gradient)[0])

    def cost(self, tokens: int) -> int:
        return 1
