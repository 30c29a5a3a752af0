"""Discretized integrated gradients: a path that keeps near the embeddings of real words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.engine.objective import Objective
from interpret.engine.run import Points, Values
from interpret.methods.baselines import Baseline, LineBreak, every_embedding
from interpret.methods.method import Evidence, Method
from interpret.methods.path import Fixed, Line, fixed_tokens, warn_of_gap
from interpret.results.certificate import Completeness


@dataclass(frozen=True)
class DiscretizedIG(Method):
    """Integrated gradients along a path whose points are close to words, and which is monotonic.

    s_t = sum_k sum_d (x_{k+1} - x_k)_td (g_k + g_{k+1})_td / 2, x_k found from the prompt towards x'

    The next point is a word's embedding: of the `neighbours` words closest to the last one, that which has to change
    least to lie between here and the baseline in every coordinate. Coordinates that do not lie there go an equal part
    of the way that is left (the greedy heuristic). No word is used twice. Sanyal & Ren 2021 (arXiv:2108.13654); the
    trapezoid rule here where they take one side. Scores are signed, in nats, complete up to
    the reported gap. Costs `steps` + 2 gradients.
    """

    name = "discretized integrated gradients"
    exact_values = True

    steps: int = 30
    neighbours: int = 200
    baseline: Baseline = LineBreak()
    fixed: Fixed = "template"

    @property
    def description(self) -> str:
        return f"from {self.baseline.description}, {self.steps} steps"

    def __post_init__(self) -> None:
        for name in ("steps", "neighbours"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def cost(self, tokens: int) -> int:
        return self.steps + 2

    def points(self, objective: Objective) -> Points:
        """The points from the baseline to the prompt, each token on a track of its own."""
        line, words = Line.of(self.baseline, self.fixed, objective), every_embedding(objective, self).to(objective.x)
        tracks = [self.track(*each, words) for each in zip(line.x, line.start, strict=True)]
        steps = [torch.stack(step) for step in zip(*tracks, strict=True)]
        return torch.stack([*steps, line.start]).flip(0)

    def attributions(self, objective: Objective, points: Points, values: Values, gradients: Points) -> Evidence:
        found = ((points[1:] - points[:-1]) * (gradients[1:] + gradients[:-1]) / 2).sum(0)
        completeness = Completeness.of(float(values[-1]), float(values[0]), float(found.double().sum()))
        warn_of_gap(completeness, f"more steps than {self.steps}, or another baseline")
        return Evidence(found, completeness, fixed_tokens(self.fixed, objective))

    def track(
        self, first: Float[Tensor, " dim"], end: Float[Tensor, " dim"], words: Float[Tensor, "vocab dim"]
    ) -> list[Float[Tensor, " dim"]]:
        """One token's points from its word towards the baseline's, `steps` of them after the first; no word twice."""
        points, word = [first], first
        free = ((words - end).norm(dim=-1) > 0) & ((words - first).norm(dim=-1) > 0)
        for left in range(self.steps, 0, -1):
            now = points[-1]
            distance = torch.cdist(word[None], words)[0].masked_fill(~free, float("inf"))
            near = distance.topk(min(self.neighbours, len(words)), largest=False).indices
            near = near[free[near]]
            if len(near) == 0 or bool((first == end).all()):
                points.append(now + (end - now) / (left + 1))
                continue
            between = (torch.minimum(now, end) <= words[near]) & (words[near] <= torch.maximum(now, end))
            moved = torch.where(between, words[near], now + (end - now) / (left + 1))
            chosen = (words[near] - moved).norm(dim=-1).argmin()
            word = words[near[chosen]]
            free[near[chosen]] = False
            points.append(moved[chosen])
        return points
