"""Integrated gradients with the steps across the gradient's direction taken out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from interpret.engine.evaluate import values as values_at
from interpret.engine.objective import Objective
from interpret.engine.run import Points, Values
from interpret.methods.baselines import Baseline, LineBreak
from interpret.methods.method import Evidence, Method
from interpret.methods.path import Fixed, Line, quadrature
from interpret.results.certificate import Completeness, StraightPath


@dataclass(frozen=True)
class IDGI(Method):
    """Important direction gradient integration: each step's change of F, divided by the squared gradient.

    s_t = sum_k sum_d g_k,td^2 (F_{k+1} - F_k) / ||g_k||^2, with g_k and F_k at x' + k/n (x - x'), k = 0 .. n - 1

    Yang, Wang & Bilgic 2023 (arXiv:2303.14242). Scores are signed, in nats, and complete at any number of steps, but
    for steps where the gradient vanishes, whose change is left over as the gap. Costs `steps` gradients and 2 forward
    passes.

    Raises:
        ValueError: `steps` below 1; where it runs, a baseline that does not fit the prompt, or a prompt of which every
            token is fixed.
    """

    name = "IDGI"
    exact_values = True

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

    def points(self, objective: Objective) -> Points:
        return Line.of(self.baseline, self.fixed, objective).at(quadrature("left", self.steps)[0])

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        line, (alphas, _) = Line.of(self.baseline, self.fixed, objective), quadrature("left", self.steps)
        ends = values_at(objective, torch.stack([line.start, line.x]))
        steps = torch.cat([values[1:], ends[1:]]) - values
        squared = gradients.masked_fill(line.fixed[:, None], 0).square()
        length = squared.sum((1, 2))
        share = squared / length.where(length > 0, torch.ones_like(length))[:, None, None]
        found = (share * steps[:, None, None]).sum(0)
        slopes = (gradients * line.delta).double().sum((1, 2))
        path = StraightPath((*alphas.tolist(), 1.0), (*values.tolist(), float(ends[1])), (*slopes.tolist(), None))
        completeness = Completeness.of(float(ends[1]), float(ends[0]), float(found.double().sum()))
        return Evidence(found, completeness, line.fixed, path=path)
