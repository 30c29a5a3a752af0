"""From a question to its answer, step by step: the likeliest next tokens, the target and its foils, the map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from interpret.explain import attribute
from interpret.explorer.call import call
from interpret.explorer.question import Question
from interpret.question.prepared import candidates_of
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.target import TokenLike


@dataclass(frozen=True)
class Answered:
    """What a question comes to.

    Attributes:
        prompt: as the model reads it.
        target: the next token that is explained, with its foils.
        attribution: the scores.
        code: Python that gives the same scores.
        warnings: what was warned of on the way.
    """

    prompt: Prompt
    target: Target
    attribution: Attribution
    code: str
    warnings: tuple[str, ...]


def work_out(
    lm: NextTokenLM,
    question: Question,
    top: int,
    know: Callable[..., None],
    advance: Callable[[int], None],
) -> Answered:
    """Find the answer to a question.

    Args:
        lm: the model.
        question: what is asked.
        top: how many of the most probable next tokens to list.
        know: told on the way what is known, under the names of `Answer`: candidates, most, asked.
        advance: told how many gradients have just been taken. What either of the two raises ends the work.

    Raises:
        ValueError: what `attribute` raises.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prompt = lm.prompt(question.prompt)
        likely = candidates_of(lm, prompt, top, None)
        know(candidates=tuple(likely), most=question.method.cost(len(prompt)))
        targets = likely[:1] if question.target is None else _rated(lm, prompt, [question.target])
        foils = _rated(lm, prompt, question.foils)
        candidates = {each.id: each for each in (*likely, *targets, *foils)}
        asked = (targets[0].id, *(foil.id for foil in foils))
        know(candidates=tuple(candidates.values()), asked=asked)
        target = replace(targets[0], foils=tuple(foils))
        attribution = attribute(
            lm, prompt, target.id, question.method, contrast=[foil.id for foil in foils] or None, on_progress=advance
        )
    notes = tuple(dict.fromkeys(str(warning.message) for warning in caught))
    given = None if isinstance(question.prompt, str) else question.prompt
    code = call(lm, prompt, target, question.method, given)
    return Answered(prompt, target, attribution, code, notes)


def _rated(lm: NextTokenLM, prompt: Prompt, tokens: Sequence[TokenLike]) -> list[Target]:
    """Tokens as the model rates them after the prompt. Raises ValueError for what is not one token there."""
    return candidates_of(lm, prompt, tokens, None) if tokens else []
