"""Expected gradients: integrated gradients averaged over many baselines, by sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from interpret.engine.objective import Objective
from interpret.engine.run import Points, Values
from interpret.methods.baselines import every_embedding
from interpret.methods.method import Evidence, Method
from interpret.methods.path import Fixed, fixed_tokens


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

    def points(self, objective: Objective) -> Points:
        return self._drawn(objective)[0]

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        samples = self._drawn(objective)[1] * gradients
        return Evidence(samples.mean(0), fixed=fixed_tokens(self.fixed, objective), samples=samples)

    def _drawn(self, objective: Objective) -> tuple[Points, Points]:
        # The points, one on each path, and x - x' of the paths.
        x, words, generator = objective.x, every_embedding(objective, self), torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(len(words), (self.samples, len(x)), generator=generator)
        alphas = torch.rand((self.samples, 1, 1), generator=generator, dtype=torch.float64).to(x)
        fixed = fixed_tokens(self.fixed, objective)
        start = torch.where(fixed[:, None], x, words[drawn.to(words.device)].to(x))
        delta = x - start
        return start + alphas * delta, delta
