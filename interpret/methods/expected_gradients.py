"""Expected gradients: integrated gradients averaged over many baselines, by sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interpret.engine.gradients import gradients
from interpret.engine.objective import Objective
from interpret.methods.baselines import every_embedding
from interpret.methods.fixed_positions import Fixed, fixed_tokens
from interpret.methods.method import Evidence, Method


@dataclass(frozen=True)
class ExpectedGradients(Method):
    """Integrated gradients averaged over prompts of random words as baselines, one random point of each path.

    a = mean over x', alpha of (x - x') * dF/dx(x' + alpha (x - x')), x' random words of the vocabulary, alpha in [0, 1]

    Erion et al. 2019 (arXiv:1906.10670). Scores are signed, in nats; in expectation they add up to F(x) minus the mean
    of F over the baselines. Every score has a standard error. Costs `samples` gradients.
    """

    name = "expected gradients"

    samples: int = 200
    seed: int = 0
    fixed: Fixed = "template"

    stochastic = True

    @property
    def description(self) -> str:
        return f"{self.samples} samples"

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"samples is {self.samples}; it must be at least 2")

    def cost(self, tokens: int) -> int:
        return self.samples

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        fixed = fixed_tokens(self.fixed, objective, x)
        points, way = self._drawn(objective, x, fixed)
        samples = way * gradients(objective, points)[1]
        return Evidence(samples.mean(0), fixed=fixed, samples=samples)

    def points(self, objective: Objective) -> Float[Tensor, "point token dim"]:
        return self._drawn(objective, objective.x, fixed_tokens(self.fixed, objective, objective.x))[0]

    def _drawn(
        self, objective: Objective, x: Float[Tensor, "token dim"], fixed: Bool[Tensor, " token"]
    ) -> tuple[Float[Tensor, "point token dim"], Float[Tensor, "point token dim"]]:
        """The points, one on each path, and the paths' ways."""
        words = every_embedding(objective, self)
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(len(words), (self.samples, len(x)), generator=generator)
        alphas = torch.rand((self.samples, 1, 1), generator=generator, dtype=torch.float64).to(x)
        start = torch.where(fixed[:, None], x, words[drawn.to(words.device)].to(x))
        way = x - start
        return start + alphas * way, way
