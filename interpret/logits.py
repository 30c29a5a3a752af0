"""The logits after some places of a text, as a function of the embeddings that move; what stands before runs once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nexttoken import NextTokenLM, Prompt

FEWEST_KEPT = 8  # fewer tokens before the first that moves are not worth the forward passes
SAME = 1e-4  # of the largest logit: rounding, where keys and values are read instead of computed


class Logits:
    """Points (point, token, dim) to logits (point, place, vocab), in float32 or better.

    Where more than one point runs, and the model can keep what it made of the tokens before the first that moves, these
    run once only. That is used only if it gives the model's own logits after this very text.

    Args:
        lm: the model.
        prompt: the text.
        moving: the places of the tokens that move; the others stay where they are.
        places: the places after which a token is predicted.
        following: ids that follow the prompt, and do not move.
        checkpointed: how many layers run again in the backward pass.

    Attributes:
        embeddings: (token, dim) of the tokens that move, in float32 or better.
    """

    def __init__(
        self,
        lm: NextTokenLM,
        prompt: Prompt,
        moving: Sequence[int],
        places: Sequence[int],
        following: Sequence[int] = (),
        checkpointed: int = 0,
    ):
        self.lm, self.moving, self.places, self.checkpointed = lm, list(moving), list(places), checkpointed
        self.input_ids = lm.tokens(prompt, following)["input_ids"]
        with torch.no_grad(), lm.frozen():
            self.every = lm.embed({"input_ids": self.input_ids}).detach()
        self.embeddings: Float[Tensor, "token dim"] = precise(self.every[0, self.moving])
        # How many tokens at the beginning need not run, and what is kept of them.
        self.kept: tuple[int, Any] = (0, None)
        self.may_keep, self.points_seen = min(self.moving) >= FEWEST_KEPT, 0

    def __call__(self, points: Float[Tensor, "point token dim"]) -> Float[Tensor, "point place vocab"]:
        self.points_seen += len(points)
        if self.may_keep and self.points_seen > 1:
            self.may_keep, self.kept = False, self.beginning()
        (begin, before), rows = self.kept, points.to(self.every.dtype)
        if len(self.moving) < self.every.shape[1] - begin:
            chosen = torch.tensor(self.moving, device=rows.device) - begin
            rows = self.every[:, begin:].expand(len(points), -1, -1).index_copy(1, chosen, rows)
        ids = self.input_ids[:, begin:].expand(len(points), -1)
        places = [place - begin for place in self.places]
        _, found = self.lm.next_tokens(rows, ids, places, prefix_cache=before, checkpointed=self.checkpointed)
        return precise(found)

    def beginning(self) -> tuple[int, Any]:
        """How many tokens need not run again, and what is kept of them; none unless the rest is then the same."""
        first = self.moving[0]
        with torch.no_grad(), self.lm.frozen():
            before: Any = self.lm.prefix_cache(self.every[:, :first], self.input_ids[:, :first])
            if before is None:
                return 0, None
            _, expected = self.lm.next_tokens(self.every, self.input_ids)
            _, found = self.lm.next_tokens(self.every[:, first:], self.input_ids[:, first:], prefix_cache=before)
        same = bool((found - expected).abs().max() <= SAME * expected.abs().max())
        return (first, before) if same else (0, None)


def precise(numbers: Tensor) -> Tensor:
    """The numbers in float32, or in float64 if that is what they are in."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()
