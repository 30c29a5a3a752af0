"""What every method is: settings in fields, an objective and a point in, an attribution for every dimension out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from interpret.engine.gradients import gradients
from interpret.engine.objective import Objective
from interpret.engine.run import BackwardRules
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
        fixed: (token,) True where a token was not moved and so has no score.
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

    The settings are its fields, so that `repr(method)` makes the same method again, and names every setting.

    Attributes:
        reduction: how the embedding's dimensions become one score.
        quantity: what about a target is explained, unless the caller says otherwise.
        local: whether it needs the gradient at the prompt only; many prompts then run at once (see `points`).
        stochastic: whether its points are random draws, which differ with the length of the prompt.
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
    rules: BackwardRules | None = None

    @abstractmethod
    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        """Attribute the objective at x."""

    @abstractmethod
    def cost(self, tokens: int) -> int:
        """The number of gradients it takes for a prompt of `tokens` tokens, at most."""

    def points(self, objective: Objective) -> Float[Tensor, "point token dim"] | None:
        """The points whose gradients it asks for first, all at once; None where that is not known beforehand.

        Targets of one text that ask for the same points share their forward passes, so these gradients, and F at the
        prompt, are looked up when the method asks for them. A method that changes the network before it asks must
        return None, or say what it changes by its `rules`.
        """
        return objective.x[None] if self.local else None

    @property
    def needs_predictions(self) -> bool:
        """Whether it asks the model what else might stand at each place: by default where its `baseline` does."""
        return getattr(getattr(self, "baseline", None), "needs_predictions", False)

    def unit(self, quantity: str) -> str:
        """The unit of a score, given the unit of the quantity explained."""
        return quantity

    def normalized(self, scores: Float[ndarray, " piece"]) -> Float[ndarray, " piece"]:
        """What is done with the scores of a prompt together: nothing, unless a convention says so."""
        return scores


class LocalMethod(Method):
    """A method that needs the gradient at one point only; many points run at once."""

    local = True

    @abstractmethod
    def at(
        self,
        objective: Objective,
        points: Float[Tensor, "point token dim"],
        gradient: Float[Tensor, "point token dim"],
    ) -> Float[Tensor, "point token dim"]:
        """The attributions at each point, given the gradients there."""

    def fixed(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Bool[Tensor, " token"] | None:
        """The tokens that have no score, since nothing about them was asked; None where there are none."""
        return None

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        _, gradient = gradients(objective, x[None], rules=self.rules)
        return Evidence(self.at(objective, x[None], gradient)[0], fixed=self.fixed(objective, x))

    def cost(self, tokens: int) -> int:
        return 1
