"""Integrated gradients with the steps across the gradient's direction taken out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.gradients import gradients, values
from interpret.engine.objective import Objective
from interpret.methods.baselines import Baseline, LineBreak
from interpret.methods.fixed_positions import Fixed
from interpret.methods.line import Line
from interpret.methods.method import Evidence, Method
from interpret.methods.quadrature import quadrature
from interpret.results.certificate import Completeness, StraightPath


@dataclass(frozen=True)
class IDGI(Method):
    """Important direction gradient integration: each step's change of F, shared out by the squared gradient.

    s_t = sum_k sum_d g_k,td^2 (F_{k+1} - F_k) / ||g_k||^2, with g_k and F_k at x' + k/n (x - x'), k = 0 .. n - 1

    Yang, Wang & Bilgic 2023 (arXiv:2303.14242). Scores are signed, in nats, and complete at any number of steps, but
    for steps where the gradient vanishes, whose change is left over as the gap. Costs `steps` gradients and 2 forward
    passes.
    """

    name = "IDGI"

    steps: int = 50
    baseline: Baseline = LineBreak()
    fixed: Fixed = "template"

    @property
    def description(self) -> str:
        return f"from {self.baseline.description}, {self.steps} steps"

    def __post_init__(self) -> None:
        quadrature("left", self.steps)

    def cost(self, tokens: int) -> int:
        return self.steps

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        line = Line.of(self.baseline, self.fixed, objective, x)
        alphas, _ = quadrature("left", self.steps)
        value, gradient = gradients(objective, line.at(alphas), exact_values=True)
        ends = values(objective, torch.stack([line.start, x]))
        steps = torch.cat([value[1:], ends[1:]]) - value
        squared = gradient.masked_fill(line.fixed[:, None], 0).square()
        length = squared.sum((1, 2))
        share = squared / length.where(length > 0, torch.ones_like(length))[:, None, None]
        attributions = (share * steps[:, None, None]).sum(0)
        total = float(attributions.double().sum())
        slopes = (gradient * line.way).double().sum((1, 2))
        path = StraightPath(
            (*alphas.tolist(), 1.0),
            (*value.tolist(), float(ends[1])),
            (*slopes.tolist(), None),
        )
        return Evidence(attributions, Completeness.of(float(ends[1]), float(ends[0]), total), line.fixed, path=path)

    def points(self, objective: Objective) -> Float[Tensor, "point token dim"]:
        return Line.of(self.baseline, self.fixed, objective, objective.x).at(quadrature("left", self.steps)[0])
