"""What every method is: settings in fields, points of an objective in, an attribution for every dimension out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from interpret.engine.evaluate import gradients
from interpret.engine.objective import Objective
from interpret.engine.run import BackwardRules, Points, Values
from interpret.question.quantity import LOG_PROBABILITY, Quantity
from interpret.results.certificate import Completeness, StraightPath
from interpret.results.reduction import SUM, Reduction


@dataclass(frozen=True)
class Evidence:
    """What a method found.

    Attributes:
        attributions: (token, dim), before they are reduced to a score per token; (token, 1) where a method whose
            reduction is the sum has added up the dimensions already.
        completeness: for path methods, how much of the change of the objective the attributions account for.
        fixed: (token,) True where a token was fixed and so has no score.
        error: (token,) how far off each token's sum over dimensions may be, where the method can tell.
        samples: (sample, token, dim) independent estimates whose mean is `attributions`, for the standard error.
        path: for methods that follow the straight path from a baseline, what they saw on it.
    """

    attributions: Float[Tensor, "token dim"]
    completeness: Completeness | None = None
    fixed: Bool[Tensor, " token"] | None = None
    error: Float[Tensor, " token"] | None = None
    samples: Float[Tensor, "sample token dim"] | None = None
    path: StraightPath | None = None


class Method(ABC):
    """A way to attribute an objective to the embeddings: a frozen dataclass, whose repr is an expression for it.

    The settings are its fields, so that `repr(method)` makes the same method again, and names every setting. A method
    says its `points`, and what it makes of values and gradients there in `attributions`; one that can't say its points
    beforehand overrides `__call__` instead.

    Attributes:
        reduction: how the embedding's dimensions become one score.
        quantity: what about a target is explained, unless the caller says otherwise.
        local: whether its only point is the prompt; many prompts then run at once.
        stochastic: whether its points are random draws, which differ with the length of the prompt.
        exact_values: whether its values are the model's own, where gradients are taken in another precision.
        rules: of its backward pass, where that is not the network's own.
    """

    @property
    def name(self) -> str:
        """What figures and tables call the method: by default its class's name.

        A method sets it as a class attribute, `name = "integrated gradients"`; one that wraps another says which.
        """
        return type(self).__name__

    @property
    def description(self) -> str:
        """What matters of its settings, in words, as figures write it after the name: by default nothing."""
        return ""

    reduction: Reduction = SUM
    quantity: Quantity = LOG_PROBABILITY
    local: bool = False
    stochastic: bool = False
    exact_values: bool = False
    rules: BackwardRules | None = None

    @abstractmethod
    def cost(self, tokens: int) -> int:
        """The number of gradients it takes for a prompt of `tokens` tokens, at most."""

    def points(self, objective: Objective) -> Points | None:
        """The points whose gradients it needs; None for a method that drives itself.

        Targets of one text share the forward passes at the points of the longest. A method that changes the network
        itself must drive itself, or say what it changes by its `rules`.
        """
        return None

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        """What the values and gradients of the objective at the points say. It may ask the objective for more."""
        raise NotImplementedError(f"{type(self).__name__} drives itself")

    def __call__(self, objective: Objective) -> Evidence:
        """Attribute the objective at its own embeddings, `objective.x`."""
        points = self.points(objective)
        assert points is not None, "a method without points drives itself"
        found = gradients(objective, points, exact_values=self.exact_values, rules=self.rules)
        return self.attributions(objective, points, *found)

    @property
    def needs_predictions(self) -> bool:
        """Whether it asks the model what else might stand at each position: by default where its `baseline` does."""
        return getattr(getattr(self, "baseline", None), "needs_predictions", False)

    def unit(self, quantity: str) -> str:
        """The unit of a score, given the unit of the quantity explained."""
        return quantity

    def normalized(self, scores: Float[ndarray, " piece"]) -> Float[ndarray, " piece"]:
        """What is done with the scores of a prompt together: nothing, unless a convention says so."""
        return scores


class LocalMethod(Method):
    """A method whose only point is the prompt; its attributions `at` any points are what noise is averaged over."""

    local = True

    @abstractmethod
    def at(self, objective: Objective, points: Points, gradient: Points) -> Points:
        """The attributions at each point, given the gradients there."""

    def fixed_at(self, objective: Objective) -> Bool[Tensor, " token"] | None:
        """The tokens that have no score, since nothing about them was asked; None where there are none."""
        return None

    def points(self, objective: Objective) -> Points:
        return objective.x[None]

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        return Evidence(self.at(objective, points, gradients)[0], fixed=self.fixed_at(objective))

    def cost(self, tokens: int) -> int:
        return 1
