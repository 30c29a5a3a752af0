"""Integrated gradients: the objective's change from a baseline to the prompt, shared out among the tokens."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.attribution import Completeness
from interpret.baselines import Baseline, MeanEmbedding
from interpret.gradients import Objective, gradients, values
from interpret.methods.holding import Hold, held_tokens
from interpret.methods.method import Evidence, Method
from interpret.methods.quadrature import Rule, quadrature

USUAL_GAP = 0.05


class ConvergenceWarning(UserWarning):
    """The scores do not add up to the change of the objective as closely as was asked for."""


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The gradient averaged along the straight path from a baseline x' to the prompt x, times the way.

    s_t = sum_d (x - x')_td * sum_k w_k (dF/dx)_td(x' + alpha_k (x - x'))

    Sundararajan, Taly & Yan 2017 (arXiv:1703.01365). Scores are signed, in nats, and complete: they add up to
    F(x) - F(x'), which the result's completeness checks. Costs `steps` gradients and 2 forward passes.

    Args:
        steps: how many points on the path.
        baseline: x', where the path starts.
        rule: the quadrature rule: where the points are and how they are weighted.
        hold: the tokens that are not moved, and so have no score: "first" (it carries the attention sink, whose
            movement makes the path jump), positions, or None.
    """

    steps: int = 50
    baseline: Baseline = MeanEmbedding()
    rule: Rule = "midpoint"
    hold: Hold = "first"

    def __post_init__(self) -> None:
        quadrature(self.rule, self.steps)

    @property
    def cost(self) -> int:
        return self.steps

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        held = held_tokens(self.hold, objective, x)
        start = torch.where(held[:, None], x, self.baseline(objective, x))
        alphas, weights = (each.to(x)[:, None, None] for each in quadrature(self.rule, self.steps))
        _, gradient = gradients(objective, start + alphas * (x - start))
        attributions = (x - start) * (weights * gradient).sum(0)
        value, baseline_value = values(objective, torch.stack([x, start])).tolist()
        completeness = Completeness.of(value, baseline_value, float(attributions.double().sum()))
        if completeness.relative_gap > USUAL_GAP:
            warnings.warn(
                f"the scores miss F(x) - F(x') = {value - baseline_value:.3g} by {completeness.gap:.2g}, which is "
                f"{completeness.relative_gap:.0%}: take more steps than {self.steps} or another baseline",
                ConvergenceWarning,
                stacklevel=3,
            )
        return Evidence(attributions, completeness, held)
