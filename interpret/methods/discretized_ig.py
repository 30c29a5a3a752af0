"""Discretized integrated gradients: a path that keeps near the embeddings of real words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.attribution import Completeness
from interpret.baselines import Baseline, LineBreak, every_embedding
from interpret.gradients import Objective, gradients
from interpret.methods.holding import Hold, held_tokens
from interpret.methods.method import Evidence, Method


@dataclass(frozen=True)
class DiscretizedIG(Method):
    """Integrated gradients along a path whose points are words, moved as little as makes the path monotonic.

    s_t = sum_k sum_d (x_{k+1} - x_k)_td (g_k + g_{k+1})_td / 2, x_k found from the prompt towards x'

    From each point, the next is the nearest of the `neighbours` words closest to it, after every coordinate that does
    not lie between the point and the baseline is left as it is (the greedy heuristic). Sanyal & Ren 2021
    (arXiv:2108.13654); the trapezoid rule here where they take one side. Scores are signed, in nats, complete up to
    the reported gap. Costs `steps` + 2 gradients.
    """

    steps: int = 30
    neighbours: int = 200
    baseline: Baseline = LineBreak()
    hold: Hold = "template"

    def __post_init__(self) -> None:
        for name in ("steps", "neighbours"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def cost(self, tokens: int) -> int:
        return self.steps + 2

    def __call__(self, objective: Objective, x: Float[Tensor, "token dim"]) -> Evidence:
        held = held_tokens(self.hold, objective, x)
        start = torch.where(held[:, None], x, self.baseline(objective, x))
        words = every_embedding(objective, self).to(x)
        points = [x]
        for _ in range(self.steps):
            now = points[-1]
            points.append(torch.stack([self.step(*each, words) for each in zip(now, start, strict=True)]))
        path = torch.stack([*points, start]).flip(0)
        value, gradient = gradients(objective, path)
        attributions = ((path[1:] - path[:-1]) * (gradient[1:] + gradient[:-1]) / 2).sum(0)
        total = float(attributions.double().sum())
        return Evidence(attributions, Completeness.of(float(value[-1]), float(value[0]), total), held)

    def step(
        self, now: Float[Tensor, " dim"], end: Float[Tensor, " dim"], words: Float[Tensor, "vocab dim"]
    ) -> Float[Tensor, " dim"]:
        """The next point from one token's `now` towards its `end`; `now` itself where no word leads there."""
        nearest = torch.cdist(now[None], words)[0].topk(min(self.neighbours, len(words)), largest=False).indices
        word = words[nearest]
        between = (torch.minimum(now, end) <= word) & (word <= torch.maximum(now, end))
        moved = torch.where(between, word, now)
        far = (word - moved).norm(dim=-1).masked_fill((moved == now).all(-1), float("inf"))
        return moved[far.argmin()] if bool(far.isfinite().any()) else now
