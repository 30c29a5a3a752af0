"""SmoothGrad: the mean of any method over noisy copies of the prompt's embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.gradients import Objective, gradients
from interpret.methods.gradient_times_input import GradientTimesInput
from interpret.methods.method import Evidence, LocalMethod, Method
from interpret.reduction import Reduction


@dataclass(frozen=True)
class SmoothGrad(Method):
    """The mean of a method's attributions over noisy embeddings.

    a = mean over e of method(x + e), e ~ N(0, (sigma * rms)^2), rms the root mean square of the embeddings

    The noise comes in pairs +e and -e, whose first-order effects cancel; each pair is one independent sample, from
    which the standard error of every score follows. Smilkov et al. 2017 (arXiv:1706.03825). The unit and the sign are
    the wrapped method's. Costs `samples` times the wrapped method; keeps a (token, dim) tensor for every pair.

    Args:
        method: what is averaged.
        samples: how many noisy copies, an even number.
        sigma: the noise's standard deviation in units of the embeddings' root mean square.
        seed: of the noise; the same seed gives the same scores.
    """

    method: Method = field(default_factory=GradientTimesInput)
    samples: int = 50
    sigma: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"samples is {self.samples}; noise comes in pairs, so it must be an even number from 2 on")
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"sigma is {self.sigma}; it must be a finite number from 0 on (0.3 is usual)")

    @property
    def reduction(self) -> Reduction:  # type: ignore[override]
        return self.method.reduction

    @property
    def cost(self) -> int:
        return self.samples * self.method.cost

    def unit(self, quantity: str) -> str:
        return self.method.unit(quantity)

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        noise = self.noise(x)
        points, held = x + torch.cat([noise, -noise]), None
        if isinstance(self.method, LocalMethod):
            attributions = self.method.at(points, gradients(objective, points)[1])
        else:
            evidence = [self.method(objective, point) for point in points]
            attributions, held = torch.stack([each.attributions for each in evidence]), evidence[0].held
        samples = (attributions[: len(noise)] + attributions[len(noise) :]) / 2
        return Evidence(samples.mean(0), held=held, samples=samples)

    def noise(self, x: Float[Tensor, "token dim"]) -> Float[Tensor, "pair token dim"]:
        """One noise tensor for each pair, from a generator of its own."""
        generator = torch.Generator().manual_seed(self.seed)
        scale = self.sigma * x.square().mean().sqrt()
        shape = (self.samples // 2, *x.shape)
        return scale * torch.randn(shape, generator=generator, dtype=x.dtype).to(x.device)
