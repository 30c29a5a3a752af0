"""Marginalization: what the objective loses when a token gives way to what else might stand there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from interpret.engine.alternatives import alternatives, text_of, values_with_words
from interpret.engine.evaluate import values
from interpret.engine.objective import Objective
from interpret.methods.baselines import template_tokens
from interpret.methods.method import Evidence, Method


@dataclass(frozen=True)
class Marginalization(Method):
    """The mean change of the objective when a token is replaced by what else might stand there.

    s_t = F(x) - mean over v of F(x with token t replaced by v), v drawn from the model's own next-word distribution
    at t without the word itself (its `top` most probable words; any word where the model says nothing about a position)

    Kim et al. 2020 (arXiv:2010.13984). Scores are signed, in nats, and exact but for the sampling, which their standard
    errors tell: the reference that gradients are compared with, and the answer for models without usable gradients.
    They do not add up. What the tokenizer or a chat template wrote is fixed. Costs `samples` forward passes a token,
    those of PlausibleAlternatives, one at the prompt, and no gradient.

    Raises:
        ValueError: `samples` or `top` below 1, or an objective without a model.
    """

    name = "marginalization"

    samples: int = 8
    seed: int = 0
    top: int = 50

    stochastic = True
    needs_predictions = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; it must be at least 1")
        if self.top < 1:
            raise ValueError(f"top is {self.top}; at least one alternative is needed (50 are usual)")

    @property
    def description(self) -> str:
        return f"{self.samples} samples per token"

    def cost(self, tokens: int) -> int:
        return 0

    def __call__(self, objective: Objective) -> Evidence:
        x, text = objective.x, text_of(objective)
        found, fixed = alternatives(objective, self.top), template_tokens(objective)
        generator = torch.Generator().manual_seed(self.seed)
        drawn = found.draw(self.samples, text.lm.vocab.size(), generator)
        ids = torch.tensor([text.prompt.ids[position] for position in text.attributed])
        tokens = (~fixed).nonzero().flatten().cpu()
        words = ids.repeat(len(tokens), self.samples, 1)
        for row, token in zip(words, tokens, strict=True):
            row[:, token] = drawn[:, token]
        whole = values(objective, x[None])
        replaced = values_with_words(objective, words.flatten(0, 1)).unflatten(0, words.shape[:2])
        changes = x.new_zeros(self.samples, len(x), 1)
        changes[:, tokens, 0] = (whole - replaced).T.to(changes)
        return Evidence(changes.mean(0), fixed=fixed, samples=changes)
