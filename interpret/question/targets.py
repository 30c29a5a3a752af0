"""What is asked about, as the model rates it: one token and its foils, several in a row, or the likeliest ones."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.question.logits import next_logits
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.model import ROUNDING
from nexttoken.text.target import TokenLike, continuation_ids, one_token


def is_continuation(target: TokenLike | Sequence[TokenLike] | None) -> TypeGuard[Sequence[TokenLike]]:
    """Whether a target is a list of tokens, which follow each other."""
    return isinstance(target, Sequence) and not isinstance(target, str)


def ids_of_continuation(
    lm: NextTokenLM, prompt: Prompt, tokens: str | Sequence[TokenLike]
) -> tuple[tuple[int, ...], Prompt]:
    """The ids of tokens that follow a prompt, and the prompt with all of them but the last.

    A model that is not known to be causal takes two forward passes, which show whether it is here.

    Raises:
        ValueError: no tokens; texts that are not tokens there; too many for the model; a model that is not causal.
    """
    ids = continuation_ids(tokens, prompt, lm.vocab)
    whole = lm.prompt(prompt.extended(ids[:-1], lm.vocab))
    if len(ids) > 1 and not lm.causal:
        last = [len(prompt) - 1]
        followed, alone = next_logits(lm, prompt, last, ids[:-1]), next_logits(lm, prompt, last)
        if bool((followed - alone).abs().max() > ROUNDING * alone.abs().max()):
            raise ValueError(
                f"{lm.name} is not causal: what it predicts at a token depends on those that follow, or on how many "
                "there are; explain one next token at a time"
            )
    return ids, whole


def candidates_of(
    lm: NextTokenLM,
    prompt: Prompt,
    candidates: int | Sequence[TokenLike],
    contrast: TokenLike | Sequence[TokenLike] | None,
    logits: Float[Tensor, " vocab"] | None = None,
) -> list[Target]:
    """The most probable next tokens, or those that are named, each with the foils.

    Args:
        lm: the model.
        prompt: what stands before them.
        candidates: how many of the most probable, or tokens.
        contrast: the foils; they are not among the most probable ones.
        logits: the model's own after the prompt; by default one forward pass finds them.

    Raises:
        ValueError: no candidates, or what is not one token in the vocabulary.
    """
    asked = check_candidates(candidates)
    if logits is None:
        logits = next_logits(lm, prompt, [len(prompt) - 1])[0]
    chosen: Any = asked
    if isinstance(asked, Integral):  # the likeliest, but for the foils
        several = isinstance(contrast, Sequence) and not isinstance(contrast, str)
        foils: Any = contrast if several else () if contrast is None else (contrast,)
        others = [one_token(foil, prompt, lm.vocab, logits.softmax(-1)) for foil in foils]
        likely = logits.index_fill(0, torch.tensor(others, dtype=torch.long, device=logits.device), -torch.inf)
        chosen = likely.topk(min(int(asked), len(logits) - len(others))).indices.tolist()
    return [Target.of(each, prompt, lm.vocab, logits, contrast) for each in chosen]


def check_candidates(candidates: int | Sequence[TokenLike]) -> Any:
    """The candidates. Raises ValueError for a text, or for none."""
    if isinstance(candidates, str):
        raise ValueError(f"candidates is {candidates!r}; give a number or a list of tokens")
    if not isinstance(candidates, Integral | Sequence):
        raise ValueError(f"candidates is {candidates!r}; it must be a whole number or a list of tokens")
    asked: Any = candidates
    if (asked if isinstance(asked, Integral) else len(asked)) < 1:
        raise ValueError(f"candidates is {candidates!r}; it must be at least one")
    return asked
