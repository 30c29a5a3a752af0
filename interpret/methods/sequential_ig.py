"""Sequential integrated gradients: one token at a time, in the context of the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from interpret.engine.evaluate import gradients
from interpret.engine.objective import Objective
from interpret.methods.baselines import Baseline, LineBreak
from interpret.methods.method import Evidence, Method
from interpret.methods.path import Fixed, Line, Rule, quadrature


@dataclass(frozen=True)
class SequentialIG(Method):
    """Integrated gradients along the path of one token at a time, all others at the prompt.

    s_t = sum_d (x - x')_td * sum_k w_k (dF/dx)_td(x with token t at x'_t + alpha_k (x_t - x'_t))

    Enguehard 2023 (arXiv:2305.15853). Scores are signed, in nats: s_t is what the objective loses when token t alone
    goes to the baseline, so their sum is not F(x) - F(x'). Costs `steps` gradients for each token that is not fixed.
    """

    name = "sequential integrated gradients"

    steps: int = 20
    baseline: Baseline = LineBreak()
    rule: Rule = "gauss-legendre"
    fixed: Fixed = "template"

    @property
    def description(self) -> str:
        return f"from {self.baseline.description}, {self.steps} steps per token"

    def __post_init__(self) -> None:
        quadrature(self.rule, self.steps)

    def cost(self, tokens: int) -> int:
        return self.steps * tokens

    def __call__(self, objective: Objective) -> Evidence:
        line, x = Line.of(self.baseline, self.fixed, objective), objective.x
        alphas, weights = (each.to(x)[:, None] for each in quadrature(self.rule, self.steps))
        attributions = torch.zeros_like(x)
        for token in (~line.fixed).nonzero().flatten().tolist():
            points = x.repeat(self.steps, 1, 1)
            points[:, token] -= (1 - alphas) * line.delta[token]
            _, gradient = gradients(objective, points)
            attributions[token] = line.delta[token] * (weights * gradient[:, token]).sum(0)
        return Evidence(attributions, fixed=line.fixed)
