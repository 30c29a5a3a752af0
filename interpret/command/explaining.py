"""What `nexttoken explain` does with a model: in its own process, or in that of a page that runs already."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from interpret.command.options import Asked, Computation, Question

if TYPE_CHECKING:
    from interpret.methods.method import Method
    from interpret.results.attribution import Attribution
    from interpret.results.matrix import AttributionMatrix
    from nexttoken import NextTokenLM, Prompt


def prompt_of(lm: NextTokenLM, asked: Question | Asked, text: str) -> Prompt:
    """The prompt that is given, as a chat and behind a start token if these were asked for."""
    return lm.prompt(chat_of(text) if asked.chat else text, True if asked.start == "auto" else asked.start)


def chat_of(text: str) -> Any:
    """A user's message, or the messages, alone or with their tools, where the text is these as JSON."""
    try:
        given = json.loads(text) if text.lstrip()[:1] in ("[", "{") else None
    except ValueError:
        given = None
    messages = given.get("messages") if isinstance(given, dict) else given
    if isinstance(messages, list) and messages and all(isinstance(each, dict) and "role" in each for each in messages):
        return given
    return [{"role": "user", "content": text}]


def bytes_of(budget: float | None) -> int | None:
    """A budget in GB as bytes."""
    from interpret.engine.memory.policy import GIGA

    return None if budget is None else int(budget * GIGA)


def answer(
    lm: NextTokenLM,
    prompt: Prompt,
    question: Question,
    computation: Computation,
    method: Method,
    on_progress: Callable[[int], object],
) -> Attribution | AttributionMatrix:
    """One target, several candidates or a continuation, explained."""
    from interpret import attribute, attribute_candidates, attribute_continuation

    options: dict[str, Any] = {
        "region": question.region,
        "memory_budget": bytes_of(computation.memory_budget),
        "precision": computation.precision,
        "on_progress": on_progress,
    }
    if question.continuation is not None or question.generate:
        count = question.generate or 1
        return attribute_continuation(lm, prompt, question.continuation, method, max_new_tokens=count, **options)
    if question.candidates:
        return attribute_candidates(lm, prompt, question.candidates, method, contrast=question.contrast, **options)
    result = attribute(lm, prompt, question.target, method, contrast=question.contrast, **options)
    return result if question.by is None else result.totals(question.by)  # type: ignore[arg-type]


def checked(
    lm: NextTokenLM,
    prompt: Prompt,
    result: Attribution | AttributionMatrix,
    computation: Computation,
    sign: AbstractContextManager[Any] | None = None,
) -> Attribution | AttributionMatrix:
    """The attribution of one target with what the check of it found, if it is to be checked; a matrix as it is."""
    from interpret.results.attribution import Attribution

    if not computation.check or not isinstance(result, Attribution):
        return result
    from interpret.replacement.check import check

    with sign or nullcontext():
        found = check(lm, result, prompt=prompt, memory_budget=bytes_of(computation.memory_budget))
    return replace(result, faithfulness=found)
