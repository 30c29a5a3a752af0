"""The model's own logits at some positions of a text, in float32 or better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nexttoken import NextTokenLM, Prompt


def next_logits(
    lm: NextTokenLM, prompt: Prompt, positions: Sequence[int], following: Sequence[int] = ()
) -> Float[Tensor, "position vocab"]:
    """The logits after some positions of a prompt and of the tokens that follow it. One forward pass."""
    tokens = lm.tokens(prompt, following)
    with torch.no_grad(), lm.frozen():
        logits = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], list(positions))[1][0]
    return upcast(logits)


def upcast(numbers: Tensor) -> Tensor:
    """The numbers in float32, or in float64 if that is what they are in."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()


def lead(logits: Float[Tensor, "row vocab"], token_id: int) -> Float[Tensor, " row"]:
    """By how many nats a token is ahead of the likeliest other one; negative where that is the first choice."""
    mask = torch.zeros_like(logits).index_fill(1, torch.tensor([token_id], device=logits.device), -torch.inf)
    return logits[:, token_id] - (logits + mask).amax(-1)
