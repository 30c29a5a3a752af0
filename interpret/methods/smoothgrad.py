"""SmoothGrad and its kin: the mean, mean square or variance of a method over noisy copies of the embeddings."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from interpret.engine.objective import Objective
from interpret.engine.run import BackwardRules, Points, Values
from interpret.methods.gradient_times_input import GradientTimesInput
from interpret.methods.method import Evidence, LocalMethod, Method
from interpret.methods.vanilla_gradient import VanillaGradient
from interpret.question.quantity import Quantity
from interpret.results.reduction import TOTAL, Reduction


@dataclass(frozen=True)
class Noisy(Method):
    """A statistic of a method's attributions at x + e, e ~ N(0, (sigma * rms)^2), rms that of the embeddings.

    The noise comes in pairs +e and -e, whose first-order effects cancel in a mean; each pair is one independent
    sample, from which the standard error of every score follows. Costs `samples` times the wrapped method; keeps a
    (token, dim) tensor for every sample.

    Args:
        method: what is sampled.
        samples: how many noisy copies, an even number.
        sigma: the noise's standard deviation in units of the embeddings' root mean square.
        seed: of the noise; the same seed gives the same scores.

    Raises:
        ValueError: an odd number of samples, fewer than 2 of them, or a `sigma` below 0; where it runs, a wrapped
            method that has added up the dimensions that this one needs apart.
    """

    statistic: ClassVar[str]  # what the name begins with

    method: Method = field(default_factory=VanillaGradient)
    samples: int = 50
    sigma: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"samples is {self.samples}; noise comes in pairs, so it must be an even number from 2 on")
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"sigma is {self.sigma}; it must be a finite number from 0 on (0.3 is usual)")

    stochastic = True

    @property
    def rules(self) -> BackwardRules | None:  # type: ignore[override]
        return self.method.rules

    @property
    def name(self) -> str:
        usual = type(self)().method.name
        return self.statistic if self.method.name == usual else f"{self.statistic} of {self.method.name}"

    @property
    def description(self) -> str:
        return ", ".join(filter(None, [self.method.description, f"{self.samples} samples with noise {self.sigma:g}"]))

    @property
    def quantity(self) -> Quantity:  # type: ignore[override]
        return self.method.quantity

    def cost(self, tokens: int) -> int:
        return self.samples * self.method.cost(tokens)

    @abstractmethod
    def of_pairs(
        self, plus: Float[Tensor, "pair token _"], minus: Float[Tensor, "pair token _"]
    ) -> Float[Tensor, "pair token _"]:
        """One estimate of the statistic from each pair; their mean is the result."""

    def points(self, objective: Objective) -> Points | None:
        return self._noisy(objective.x) if isinstance(self.method, LocalMethod) else None

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        assert isinstance(self.method, LocalMethod)
        return self._statistic(self.method.at(objective, points, gradients), self.method.fixed_at(objective))

    def __call__(self, objective: Objective) -> Evidence:
        if isinstance(self.method, LocalMethod):
            return super().__call__(objective)
        evidence = [self.method(replace(objective, x=point)) for point in self._noisy(objective.x)]
        if self.method.reduction is not self.reduction and evidence[0].attributions.shape != objective.x.shape:
            raise ValueError(f"{self.method} has added up the dimensions, which {type(self).__name__} needs apart")
        return self._statistic(torch.stack([each.attributions for each in evidence]), evidence[0].fixed)

    def _statistic(self, each: Float[Tensor, "point token _"], fixed: Bool[Tensor, " token"] | None) -> Evidence:
        samples = self.of_pairs(*each.chunk(2))
        samples = samples if fixed is None else samples.masked_fill(fixed[:, None], 0)
        return Evidence(samples.mean(0), fixed=fixed, samples=samples)

    def _noisy(self, x: Float[Tensor, "token dim"]) -> Points:
        # x + e of every pair, then x - e.
        noise = self.noise(x)
        return x + torch.cat([noise, -noise])

    def noise(self, x: Float[Tensor, "token dim"]) -> Float[Tensor, "pair token dim"]:
        """One noise tensor for each pair, from a generator of its own."""
        generator = torch.Generator().manual_seed(self.seed)
        scale = self.sigma * x.square().mean().sqrt()
        shape = (self.samples // 2, *x.shape)
        return scale * torch.randn(shape, generator=generator, dtype=x.dtype).to(x.device)


@dataclass(frozen=True)
class SmoothGrad(Noisy):
    """The mean of a method's attributions over noisy embeddings (see Noisy for the noise, the settings and the cost).

    a = mean over e of method(x + e)

    Smilkov et al. 2017 (arXiv:1706.03825). Reduction, sign and unit are the wrapped method's, by default gradient
    times input, in nats. Raises ValueError for settings that Noisy refuses.
    """

    statistic = "SmoothGrad"

    method: Method = field(default_factory=GradientTimesInput)

    @property
    def reduction(self) -> Reduction:  # type: ignore[override]
        return self.method.reduction

    def normalized(self, scores: Float[ndarray, " piece"]) -> Float[ndarray, " piece"]:
        return self.method.normalized(scores)

    def unit(self, quantity: str) -> str:
        return self.method.unit(quantity)

    def of_pairs(
        self, plus: Float[Tensor, "pair token _"], minus: Float[Tensor, "pair token _"]
    ) -> Float[Tensor, "pair token _"]:
        return (plus + minus) / 2


@dataclass(frozen=True)
class SmoothGradSquared(Noisy):
    """The mean square of a method's attributions over noisy embeddings (see Noisy).

    a = mean over e of method(x + e)^2

    Hooker et al. 2018 (arXiv:1806.10758). Unsigned; in the wrapped method's unit squared, added up over the dimensions.
    """

    statistic = "SmoothGrad squared"
    reduction = TOTAL

    def unit(self, quantity: str) -> str:
        return f"({self.method.unit(quantity)})²"

    def of_pairs(
        self, plus: Float[Tensor, "pair token _"], minus: Float[Tensor, "pair token _"]
    ) -> Float[Tensor, "pair token _"]:
        return (plus.square() + minus.square()) / 2


@dataclass(frozen=True)
class VarGrad(Noisy):
    """The variance of a method's attributions over noisy embeddings (see Noisy).

    a = variance over e of method(x + e): that of the pairs' means, plus the mean square of their half differences

    Adebayo et al. 2018 (arXiv:1810.03307), Hooker et al. 2018 (arXiv:1806.10758). Unsigned and unbiased; in the
    wrapped method's unit squared, added up over the dimensions. Needs two pairs; the pairs share their mean, so with
    few of them the standard error comes out low (by a fifth with two pairs, right with 25).
    """

    statistic = "VarGrad"
    reduction = TOTAL

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 4:
            raise ValueError(f"samples is {self.samples}; a variance needs two pairs, so at least 4")

    def unit(self, quantity: str) -> str:
        return f"({self.method.unit(quantity)})²"

    def of_pairs(
        self, plus: Float[Tensor, "pair token _"], minus: Float[Tensor, "pair token _"]
    ) -> Float[Tensor, "pair token _"]:
        mean, pairs = (plus + minus) / 2, len(plus)
        return (mean - mean.mean(0)).square() * pairs / (pairs - 1) + ((plus - minus) / 2).square()
