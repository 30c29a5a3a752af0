"""A question: a text, the part of it that may move, and how its targets follow from the model's logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interpret.question.region import Region, positions_in
from interpret.question.targets import candidates_of, check_candidates, ids_of_continuation, is_continuation
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.prompt import PromptLike
from nexttoken.text.target import TokenLike

Foils = TokenLike | Sequence[TokenLike] | None


@dataclass(frozen=True)
class Row:
    """What one list of scores explains: a target, after its own prompt.

    Attributes:
        prompt: the beginning of the question's text that it is explained by.
        target: the next token, with its foils, or several in a row.
        read: which of the question's places predict it.
    """

    prompt: Prompt
    target: Target
    read: tuple[int, ...]


@dataclass(frozen=True)
class PreparedQuestion:
    """A text, and what is asked about the next tokens in it; its rows share a forward pass.

    Attributes:
        prompt: the text.
        places: after which next tokens are asked about.
        rows: the model's own logits at the places (place, vocab) to what is explained. Raises ValueError for targets
            that are not tokens there.
        following: ids that follow the prompt and are predicted as well.
        moving: the places of the tokens that may move; None for the whole prompt.
        targets: the number of rows.
    """

    prompt: Prompt
    places: tuple[int, ...]
    rows: Callable[[Float[Tensor, "place vocab"]], list[Row]]
    following: tuple[int, ...] = ()
    moving: tuple[int, ...] | None = None
    targets: int = 1


def ask(
    lm: NextTokenLM,
    prompt: PromptLike,
    target: TokenLike | Sequence[TokenLike] | None = None,
    contrast: Foils = None,
    region: Region | None = None,
) -> PreparedQuestion:
    """Why this next token, or these tokens in a row, after this prompt? See `interpret.attribute`."""
    encoded = lm.prompt(prompt)
    moving = moving_in(region, encoded)
    last = len(encoded) - 1
    if not is_continuation(target):
        token: Any = target
        return PreparedQuestion(
            encoded,
            (last,),
            lambda logits: [Row(encoded, Target.of(token, encoded, lm.vocab, logits[0], contrast), (0,))],
            moving=moving,
        )
    if contrast is not None:
        raise ValueError("a list of tokens has no foils; contrast one token, not in a list, with another")
    ids, _ = ids_of_continuation(lm, encoded, target)
    every = range(len(ids))
    return PreparedQuestion(
        encoded,
        tuple(last + place for place in every),
        lambda logits: [Row(encoded, Target.of_continuation(ids, lm.vocab, logits), tuple(every))],
        ids[:-1],
        moving,
    )


def ask_candidates(
    lm: NextTokenLM,
    prompt: PromptLike,
    candidates: int | Sequence[TokenLike],
    contrast: Foils = None,
    region: Region | None = None,
) -> PreparedQuestion:
    """Why each of several next tokens? See `interpret.attribute_candidates`."""
    asked = check_candidates(candidates)
    encoded = lm.prompt(prompt)
    return PreparedQuestion(
        encoded,
        (len(encoded) - 1,),
        lambda logits: [
            Row(encoded, target, (0,)) for target in candidates_of(lm, encoded, candidates, contrast, logits[0])
        ],
        moving=moving_in(region, encoded),
        targets=int(asked) if isinstance(asked, Integral) else len(asked),
    )


def ask_continuation(
    lm: NextTokenLM,
    prompt: Prompt,
    continuation: str | Sequence[TokenLike],
    region: Region | None,
    targets_a_pass: int,
) -> list[PreparedQuestion]:
    """Why each token of a continuation, by all that stands before it? See `interpret.attribute_continuation`.

    A question for each `targets_a_pass` tokens, whose text ends where the last of them is predicted.
    """
    ids, whole = ids_of_continuation(lm, prompt, continuation)
    moving = moving_in(region, prompt)
    prompts = [whole.first(len(prompt) + place) for place in range(len(ids))]

    def question(block: Sequence[int]) -> PreparedQuestion:
        own = [prompts[place] for place in block]

        def rows(logits: Float[Tensor, "place vocab"]) -> list[Row]:
            targets = Target.of_continuation([ids[place] for place in block], lm.vocab, logits).continuation
            alone = [replace(target, following=()) for target in targets]
            return [Row(*row) for row in zip(own, alone, [(read,) for read in range(len(own))], strict=True)]

        return PreparedQuestion(own[-1], tuple(len(each) - 1 for each in own), rows, moving=moving, targets=len(own))

    every = range(len(ids))
    return [question(every[begin : begin + targets_a_pass]) for begin in every[::targets_a_pass]]


def moving_in(region: Region | None, prompt: Prompt) -> tuple[int, ...] | None:
    """The places of the tokens of a region; None for all. Raises ValueError for a region without tokens."""
    return None if region is None else positions_in(region, prompt)
