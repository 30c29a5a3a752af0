"""From a question to its answer, by the public functions, whole or step by step; and the Python that gives the same."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass, replace
from inspect import signature
from typing import Any

from interpret import (
    Attribution,
    AttributionMatrix,
    attribute,
    attribute_candidates,
    attribute_continuation,
    check,
    default_method,
)
from interpret.methods.conventions import Convention
from interpret.methods.listed import changed
from interpret.methods.method import Method
from interpret.methods.settings import method_by_name
from interpret.question.prepared import candidates_of
from interpret.question.question import Question, Token
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.target import ids_after

Progress = Callable[[int], object]


def answer(
    lm: NextTokenLM,
    question: Question,
    *,
    prompt: Prompt | None = None,
    method: Method | None = None,
    on_progress: Progress | None = None,
) -> Attribution | AttributionMatrix:
    """The attributions that a question asks for: of one target, of several candidates, or of a continuation.

    Args:
        lm: the model; it comes back as it was.
        question: what is asked.
        prompt: as the model reads it, where that is known.
        method: an instance in place of what the question names.
        on_progress: called with the number of passes just done; what it raises ends the work.

    Raises:
        ValueError: what the public functions raise; a question that asks for different things.
    """
    question.check_consistency()
    prompt = prompt if prompt is not None else prompt_of(lm, question)
    options = {"method": method if method is not None else method_of(lm, question), "on_progress": on_progress}
    if question.continuation is not None or question.generate:
        return ask(attribute_continuation, lm, question, prompt, max_new_tokens=question.generate, **options)
    if question.candidates:
        return ask(attribute_candidates, lm, question, prompt, **options)
    why = ask(attribute, lm, question, prompt, check=None, **options)
    why = why if question.by is None else why.totals(question.by)
    return checked(lm, question, why, prompt, on_progress) if question.check else why


def ask(function: Callable[..., Any], lm: NextTokenLM, question: Question, prompt: Prompt, **others: Any) -> Any:
    """What one of the public functions answers; its keywords are fields of the question, but for `others`."""
    return function(lm, **keywords(function, question, **{**others, "prompt": prompt, "start": None}))


def keywords(function: Callable[..., Any], question: Question, **others: Any) -> dict[str, Any]:
    """What a question says of a function's parameters, by name; what is None or empty is left to the function."""
    given = {**vars(question), **others}
    return {name: given[name] for name in signature(function).parameters if given.get(name) not in (None, ())}


def checked(
    lm: NextTokenLM, question: Question, why: Attribution, prompt: Prompt, on_progress: Progress | None = None
) -> Attribution:
    """An attribution with what the check of it against the model found. Raises ValueError as `check` does."""
    found = check(lm, why, prompt=prompt, memory_budget=question.memory_budget, on_progress=on_progress)
    return replace(why, faithfulness=found)


def prompt_of(lm: NextTokenLM, question: Question) -> Prompt:
    """A question's prompt as the model reads it."""
    return lm.prompt(question.prompt, question.start)


def method_of(lm: NextTokenLM, question: Question) -> Method:
    """The method that a question asks for, or the model's default. Raises ValueError as `named_method` does."""
    return named_method(question) or default_method(lm)


def named_method(question: Question) -> Method | None:
    """The method that a question names, with its settings; None for the default as it is.

    Settings without a name are those of the default, GIM. Raises ValueError for what is unknown, or cannot be set so.
    """
    if question.method:
        return method_by_name(question.method, question.settings)
    if not question.settings:
        return None
    try:
        return method_by_name("gim", {"baseline": "alternatives", "baseline.weight": "0.5", **question.settings})
    except ValueError as error:
        raise ValueError(f"{error}; settings of another method need its name, --method NAME") from None


def explain_in_steps(
    lm: NextTokenLM,
    question: Question,
    method: Method,
    top: int,
    on_update: Callable[..., object],
    on_progress: Progress,
) -> dict[str, Any]:
    """Answer a question of one target, and say on the way what is known.

    Args:
        lm: the model.
        question: what is asked.
        method: how.
        top: how many of the most probable next tokens to list.
        on_update: called with `candidates` and `max_gradients`, how many it takes at most; then with `candidates` once
            more, with those that were asked for, and `asked`, the ids of the target and its foils; then, if the
            attribution is still to be checked, with what is returned.
        on_progress: called with the number of passes just done. What either of the two raises ends the work.

    Returns:
        The `attribution`, the `code` that gives it, the `warnings` on the way and the `seconds` that it took without
        its check; `unchecked` says why it cannot be checked.

    Raises:
        ValueError: what `attribute` raises.
    """
    begun = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prompt = prompt_of(lm, question)
        likely = rated(lm, prompt, top)
        on_update(candidates=tuple(likely), max_gradients=method.cost(len(prompt)))
        if not isinstance(question.target, str | int | None):
            raise ValueError(f"target is {question.target!r}; it must be a token, as text or id")
        targets = likely[:1] if question.target is None else rated(lm, prompt, [question.target])
        foils = rated(lm, prompt, question.contrast) if question.contrast else []
        target, *contrast = asked = [each.id for each in (*targets, *foils)]
        on_update(
            candidates=tuple({each.id: each for each in (*likely, *targets, *foils)}.values()), asked=tuple(asked)
        )
        exact: dict[str, Any] = {"target": target, "contrast": tuple(contrast), "method": method, "check": None}
        why = ask(attribute, lm, question, prompt, on_progress=on_progress, **exact)
    token, *others = (given_token(lm, prompt, each) for each in (*targets, *foils))
    exact |= {"target": token, "contrast": others[0] if len(others) == 1 else others or None}
    found = {"attribution": why, "code": code_of(attribute, question, **exact), "seconds": time.monotonic() - begun}
    found["warnings"] = tuple(dict.fromkeys(str(warning.message) for warning in caught))
    if question.check:
        on_update(**found)
        try:
            found["attribution"] = checked(lm, question, why, prompt, on_progress)
        except ValueError as error:  # of what cannot be checked; it stands all the same
            found["unchecked"] = str(error)
    return found


def rated(lm: NextTokenLM, prompt: Prompt, tokens: int | Sequence[Token]) -> list[Target]:
    """The most probable tokens after a prompt, or those given. Raises ValueError for what is not one token there."""
    return candidates_of(lm, prompt, tokens, None)


def cost_in_words(why: Attribution, seconds: float) -> str:
    """What an attribution took."""
    gradients, forwards = why.gradients_spent, why.forwards_spent
    counted = f"{gradients} gradient{'s' * (gradients != 1)}, {forwards} forward pass{'es' * (forwards != 1)}"
    return f"{counted}, {seconds:.1f} s"


# The same in Python: imports and one call, with nothing left to guess


def code_of(function: Callable[..., Any], question: Question, result: str = "why", **others: Any) -> str:
    """Python that asks a question by one of the public functions, of a model called `lm`; `others` as for `ask`."""
    given = keywords(function, question, **{"memory_budget": None, **others})
    needed = sorted({function.__name__, *names_in(given.get("method"))}, key=lambda name: (name[0].islower(), name))
    lines = [f"from interpret import {', '.join(needed)}", "", f"{result} = {function.__name__}(", "    lm,"]
    lines += [f"    {expression(given.pop('prompt'))},"]
    return "\n".join([*lines, *(f"    {name}={expression(value)}," for name, value in given.items()), ")"])


def given_token(lm: NextTokenLM, prompt: Prompt, token: Target) -> Token:
    """A token as an argument: its text where that is this very token after the prompt, its id otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return token.text if ids_after(token.text, prompt, lm.vocab) == (token.id,) else token.id
        except (ValueError, UserWarning):
            return token.id


def expression(value: Any) -> str:
    """A method, baseline or plain value as Python; settings that are the default are left out."""
    if isinstance(value, Convention):
        return f"convention({quoted(value.library)}, {quoted(value.kind)})"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(expression, value))}]"
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    return f"{type(value).__name__}({', '.join(f'{name}={expression(own)}' for name, own in changed(value))})"


def names_in(value: Any) -> Iterator[str]:
    """The names to import for an expression."""
    if isinstance(value, Convention):
        yield "convention"
    elif is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__
        for _, own in changed(value):
            yield from names_in(own)


def quoted(text: str) -> str:
    """A text as Python, in double quotes where it has none of its own."""
    beside_single = repr("'" + text)
    return '"' + beside_single[2:] if beside_single.startswith('"') else repr(text)
