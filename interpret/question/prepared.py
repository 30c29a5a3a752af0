"""A prepared question: a text, its attributed positions, and how its targets follow from the model's logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor

from interpret.question.quantity import next_logits
from interpret.question.region import Region, positions_in
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.model import ROUNDING
from nexttoken.text.target import TokenLike, continuation_ids, one_token

Foils = TokenLike | Sequence[TokenLike] | None


@dataclass(frozen=True)
class Row:
    """What one list of scores explains.

    Attributes:
        prompt: the beginning of the question's text that the target is explained by.
        target: the next token, with its foils, or several in a row.
        read: which of the question's positions predict it.
    """

    prompt: Prompt
    target: Target
    read: tuple[int, ...]


@dataclass(frozen=True)
class PreparedQuestion:
    """A text, and what is asked about the next tokens in it; its rows share a forward pass.

    Attributes:
        prompt: the text.
        positions: after which next tokens are asked about.
        rows: the model's own logits there (position, vocab) to what is explained. Raises ValueError for targets that
            are not tokens there.
        following: ids that follow the prompt and are predicted as well.
        attributed: the positions that are explained; None for the whole prompt.
        targets: the number of rows.
    """

    prompt: Prompt
    positions: tuple[int, ...]
    rows: Callable[[Float[Tensor, "position vocab"]], list[Row]]
    following: tuple[int, ...] = ()
    attributed: tuple[int, ...] | None = None
    targets: int = 1


def ask(
    lm: NextTokenLM,
    prompt: Prompt,
    target: TokenLike | Sequence[TokenLike] | None = None,
    contrast: Foils = None,
    region: Region | None = None,
) -> PreparedQuestion:
    """Why this next token, or these tokens in a row, after this prompt? See `interpret.attribute`."""
    attributed, last = _attributed(region, prompt), len(prompt) - 1
    if not _is_continuation(target):
        token: Any = target

        def one(logits: Float[Tensor, "position vocab"]) -> list[Row]:
            return [Row(prompt, Target.of(token, prompt, lm.vocab, logits[0], contrast), (0,))]

        return PreparedQuestion(prompt, (last,), one, attributed=attributed)
    if contrast is not None:
        raise ValueError("a list of tokens has no foils; contrast one token, not in a list, with another")
    ids, _ = _continuation(lm, prompt, target)
    every = tuple(range(len(ids)))

    def whole(logits: Float[Tensor, "position vocab"]) -> list[Row]:
        return [Row(prompt, Target.of_continuation(ids, lm.vocab, logits), every)]

    return PreparedQuestion(prompt, tuple(last + number for number in every), whole, ids[:-1], attributed)


def ask_candidates(
    lm: NextTokenLM,
    prompt: Prompt,
    candidates: int | Sequence[TokenLike],
    contrast: Foils = None,
    region: Region | None = None,
) -> PreparedQuestion:
    """Why each of several next tokens? See `interpret.attribute_candidates`."""
    asked = _checked(candidates)

    def rows(logits: Float[Tensor, "position vocab"]) -> list[Row]:
        return [Row(prompt, each, (0,)) for each in candidates_of(lm, prompt, candidates, contrast, logits[0])]

    count = int(asked) if isinstance(asked, Integral) else len(asked)
    return PreparedQuestion(prompt, (len(prompt) - 1,), rows, attributed=_attributed(region, prompt), targets=count)


def ask_continuation(
    lm: NextTokenLM,
    prompt: Prompt,
    continuation: str | Sequence[TokenLike],
    region: Region | None,
    targets_per_pass: int,
) -> list[PreparedQuestion]:
    """Why each token of a continuation, by all that stands before it? See `interpret.attribute_continuation`.

    A question for each `targets_per_pass` tokens, whose text ends where the last of them is predicted.
    """
    ids, whole = _continuation(lm, prompt, continuation)
    attributed = _attributed(region, prompt)
    prompts = [whole.first(len(prompt) + number) for number in range(len(ids))]

    def question(begin: int) -> PreparedQuestion:
        own, own_ids = prompts[begin : begin + targets_per_pass], ids[begin : begin + targets_per_pass]

        def rows(logits: Float[Tensor, "position vocab"]) -> list[Row]:
            targets = Target.of_continuation(own_ids, lm.vocab, logits).continuation
            pairs = zip(own, targets, strict=True)
            return [Row(each, replace(target, following=()), (read,)) for read, (each, target) in enumerate(pairs)]

        positions = tuple(len(each) - 1 for each in own)
        return PreparedQuestion(own[-1], positions, rows, attributed=attributed, targets=len(own))

    return [question(begin) for begin in range(0, len(ids), targets_per_pass)]


def candidates_of(
    lm: NextTokenLM,
    prompt: Prompt,
    candidates: int | Sequence[TokenLike],
    contrast: Foils,
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
    asked = _checked(candidates)
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


def _is_continuation(target: TokenLike | Sequence[TokenLike] | None) -> TypeGuard[Sequence[TokenLike]]:
    return isinstance(target, Sequence) and not isinstance(target, str)


def _continuation(lm: NextTokenLM, prompt: Prompt, tokens: str | Sequence[TokenLike]) -> tuple[tuple[int, ...], Prompt]:
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


def _checked(candidates: int | Sequence[TokenLike]) -> Any:
    if isinstance(candidates, str):
        raise ValueError(f"candidates is {candidates!r}; give a number or a list of tokens")
    if not isinstance(candidates, Integral | Sequence):
        raise ValueError(f"candidates is {candidates!r}; it must be a whole number or a list of tokens")
    asked: Any = candidates
    if (asked if isinstance(asked, Integral) else len(asked)) < 1:
        raise ValueError(f"candidates is {candidates!r}; it must be at least one")
    return asked


def _attributed(region: Region | None, prompt: Prompt) -> tuple[int, ...] | None:
    return None if region is None else positions_in(region, prompt)
