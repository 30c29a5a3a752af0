"""What is asked about, as the model rates it: one token and its foils, a span of several, or the likeliest ones."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.logits import SAME, precise
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.target import TokenLike, continuation_ids, one_token


def target_of(
    lm: NextTokenLM,
    prompt: Prompt,
    target: TokenLike | Sequence[TokenLike] | None,
    contrast: TokenLike | Sequence[TokenLike] | None,
) -> Target:
    """A target and its foils, or a span of several tokens, rated by the model. One forward pass."""
    if is_span(target):
        if contrast is not None:
            raise ValueError("a list of tokens has no foils; contrast one token, not in a list, with another")
        ids = continuation_ids(target, prompt, lm.vocab)
        lm.prompt(prompt.extended(ids[:-1], lm.vocab))  # raises if it is too long
        return continuation_target(lm, prompt, ids)
    token: Any = target
    return Target.of(token, prompt, lm.vocab, next_logits(lm, prompt, [len(prompt) - 1])[0], contrast)


def is_span(target: TokenLike | Sequence[TokenLike] | None) -> TypeGuard[Sequence[TokenLike]]:
    """Whether a target is a list of tokens."""
    return isinstance(target, Sequence) and not isinstance(target, str)


def continuation_target(lm: NextTokenLM, prompt: Prompt, ids: Sequence[int]) -> Target:
    """Tokens that follow the prompt in a row, each rated by the model after those before it. One forward pass.

    Raises ValueError for a model that is found not to be causal; one that is not known to be takes another pass.
    """
    places = range(len(prompt) - 1, len(prompt) + len(ids) - 1)
    logits = next_logits(lm, prompt, places, ids[:-1])
    if len(ids) > 1 and not lm.causal:
        alone = next_logits(lm, prompt, places[:1])
        if bool((logits[0] - alone[0]).abs().max() > SAME * alone.abs().max()):
            raise ValueError(
                f"{lm.name} is not causal: what it predicts at a token depends on those that follow, or on how many "
                "there are; explain one next token at a time"
            )
    return Target.of_continuation(ids, lm.vocab, logits)


def candidates_of(
    lm: NextTokenLM,
    prompt: Prompt,
    candidates: int | Sequence[TokenLike],
    contrast: TokenLike | Sequence[TokenLike] | None,
) -> list[Target]:
    """The most probable next tokens, or those that are named, each with the foils. One forward pass.

    Raises ValueError for none.
    """
    if isinstance(candidates, str):
        raise ValueError(f"candidates is {candidates!r}; give a number or a list of tokens")
    asked: Any = candidates
    if (asked if isinstance(asked, Integral) else len(asked)) < 1:
        raise ValueError(f"candidates is {candidates!r}; it must be at least one")
    logits = next_logits(lm, prompt, [len(prompt) - 1])[0]
    chosen = asked
    if isinstance(asked, Integral):  # the likeliest, but for the foils
        several = isinstance(contrast, Sequence) and not isinstance(contrast, str)
        foils: Any = contrast if several else () if contrast is None else (contrast,)
        others = [one_token(foil, prompt, lm.vocab, logits.softmax(-1)) for foil in foils]
        likely = logits.index_fill(0, torch.tensor(others, dtype=torch.long, device=logits.device), -torch.inf)
        chosen = likely.topk(min(int(asked), len(logits) - len(others))).indices.tolist()
    return [Target.of(each, prompt, lm.vocab, logits, contrast) for each in chosen]


def next_logits(
    lm: NextTokenLM, prompt: Prompt, places: Sequence[int], following: Sequence[int] = ()
) -> Float[Tensor, "place vocab"]:
    """The model's logits after some places of a prompt and the tokens that follow it, in float32 or better."""
    tokens = lm.tokens(prompt, following)
    with torch.no_grad(), lm.frozen():
        logits = lm.next_tokens(lm.embed(tokens), tokens["input_ids"], list(places))[1][0]
    return precise(logits)
