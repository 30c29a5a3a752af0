"""From a question to its answer, by the public functions, whole or step by step; and the Python that gives the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from interpret import (
    Attribution,
    AttributionMatrix,
    Flip,
    Reduction,
    attribute,
    attribute_candidates,
    attribute_continuation,
    check,
    default_method,
    flip,
    reduce_input,
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
        on_progress: told how many passes have just been done; what it raises ends the work.

    Raises:
        ValueError: what the public functions raise; a question that asks for different things.
    """
    question.check_consistency()
    prompt = prompt if prompt is not None else prompt_of(lm, question)
    method = method if method is not None else method_of(lm, question)
    options: dict[str, Any] = {
        "region": question.region, "precision": question.precision, "memory_budget": question.memory_budget,
        "on_progress": on_progress,
    }  # fmt: skip
    if question.continuation is not None or question.generate:
        count = question.generate or 1
        return attribute_continuation(lm, prompt, question.continuation, method, max_new_tokens=count, **options)
    contrast = list(question.contrast) or None
    if question.candidates:
        return attribute_candidates(lm, prompt, question.candidates, method, contrast=contrast, **options)
    why: Any = attribute(lm, prompt, question.target, method, contrast=contrast, **options)
    why = why if question.by is None else why.totals(question.by)
    return checked(lm, question, why, prompt, on_progress) if question.check else why


def checked(
    lm: NextTokenLM, question: Question, why: Attribution, prompt: Prompt, on_progress: Progress | None = None
) -> Attribution:
    """An attribution with what the check of it against the model found. Raises ValueError as `check` does."""
    found = check(lm, why, prompt=prompt, memory_budget=question.memory_budget, on_progress=on_progress)
    return replace(why, faithfulness=found)


def answer_flip(lm: NextTokenLM, question: Question, on_progress: Progress | None = None) -> Flip:
    """The smallest change of words that a question asks for. Raises ValueError as `flip` does."""
    return flip(
        lm, prompt_of(lm, question), **flip_options(question), memory_budget=question.memory_budget,
        on_progress=on_progress,
    )  # fmt: skip


def answer_reduction(lm: NextTokenLM, question: Question, on_progress: Progress | None = None) -> Reduction:
    """The shortest part of the prompt that a question asks for. Raises ValueError as `reduce_input` does."""
    return reduce_input(
        lm, prompt_of(lm, question), **reduction_options(question), memory_budget=question.memory_budget,
        on_progress=on_progress,
    )  # fmt: skip


def flip_options(question: Question) -> dict[str, Any]:
    """What a question says of a flip, by the keywords of `flip`."""
    names = ("target", "to", "max_edits", "beam", "candidates", "seed", "ignore")
    return _given({"contrast": list(question.contrast) or None, **{name: getattr(question, name) for name in names}})


def reduction_options(question: Question) -> dict[str, Any]:
    """What a question says of a reduction, by the keywords of `reduce_input`."""
    return _given({"target": question.target, "keep": question.keep, "beam": question.beam})


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


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


@dataclass(frozen=True)
class Explained:
    """The attribution of one target, not yet checked, with the Python that gives the same, and what was warned of."""

    prompt: Prompt
    attribution: Attribution
    code: str
    warnings: tuple[str, ...]


def explain_in_steps(
    lm: NextTokenLM,
    question: Question,
    method: Method,
    top: int,
    on_update: Callable[..., object],
    on_progress: Progress,
) -> Explained:
    """Answer a question of one target, and say on the way what is known.

    Args:
        lm: the model.
        question: what is asked.
        method: how.
        top: how many of the most probable next tokens to list.
        on_update: told `candidates` with `max_gradients`, how many it takes at most; then `candidates` once more, with
            those that were asked for, and `asked`, the ids of the target and its foils.
        on_progress: told how many gradients have just been taken. What either of the two raises ends the work.

    Raises:
        ValueError: what `attribute` raises.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prompt = prompt_of(lm, question)
        likely = candidates_of(lm, prompt, top, None)
        on_update(candidates=tuple(likely), max_gradients=method.cost(len(prompt)))
        if not isinstance(question.target, str | int | None):
            raise ValueError(f"target is {question.target!r}; it must be a token, as text or id")
        targets = likely[:1] if question.target is None else rated(lm, prompt, [question.target])
        foils = rated(lm, prompt, question.contrast)
        asked = (targets[0].id, *(foil.id for foil in foils))
        on_update(candidates=tuple({each.id: each for each in (*likely, *targets, *foils)}.values()), asked=asked)
        exact = replace(only_prompt(question), target=asked[0], contrast=asked[1:])
        why: Any = answer(lm, exact, prompt=prompt, method=method, on_progress=on_progress)
    code = call(lm, question, prompt, replace(targets[0], foils=tuple(foils)), method)
    return Explained(prompt, why, code, tuple(dict.fromkeys(str(warning.message) for warning in caught)))


def only_prompt(question: Question) -> Question:
    """A question without what is said of the next token, to ask otherwise about the same prompt."""
    return replace(
        question, target=None, contrast=(), candidates=None, continuation=None, generate=None, by=None, check=False
    )


def rated(lm: NextTokenLM, prompt: Prompt, tokens: Sequence[Token]) -> list[Target]:
    """Tokens as the model rates them after the prompt. Raises ValueError for what is not one token there."""
    return candidates_of(lm, prompt, tokens, None) if tokens else []


# The same in Python: imports and one call, with nothing left to guess


def call(lm: NextTokenLM, question: Question, prompt: Prompt, target: Target, method: Method) -> str:
    """Python that explains a target as `explain_in_steps` does; the model is called `lm`."""
    foils = [token_expression(lm, prompt, foil) for foil in target.foils]
    arguments = {"target": token_expression(lm, prompt, target)}
    if foils:
        arguments["contrast"] = foils[0] if len(foils) == 1 else f"[{', '.join(foils)}]"
    arguments["method"] = expression(method)
    others = _given({name: getattr(question, name) for name in ("region", "start", "precision")})
    arguments |= {name: expression(value) for name, value in others.items()}
    return call_of("why", "attribute", question.prompt, arguments, names_in(method))


def call_of(result: str, function: str, given: Any, arguments: Mapping[str, str], names: Iterable[str] = ()) -> str:
    """Python that calls one of our functions on a prompt.

    Args:
        result: what its result is called.
        function: its name.
        given: the prompt, a text or messages.
        arguments: the others by name, as Python.
        names: what else they need imported.
    """
    imported = ", ".join(sorted({function, *names}, key=lambda name: (name[0].islower(), name)))
    lines = [f"from interpret import {imported}", "", f"{result} = {function}(", "    lm,", f"    {expression(given)},"]
    return "\n".join([*lines, *(f"    {name}={value}," for name, value in arguments.items()), ")"])


def token_expression(lm: NextTokenLM, prompt: Prompt, token: Target) -> str:
    """A token as an argument: its text where that is this very token after the prompt, its id otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            same = ids_after(token.text, prompt, lm.vocab) == (token.id,)
        except (ValueError, UserWarning):
            same = False
    return quoted(token.text) if same else str(token.id)


def expression(value: Any) -> str:
    """A method, baseline or plain value as Python; settings that are the default are left out."""
    if isinstance(value, Convention):
        return f"convention({quoted(value.library)}, {quoted(value.kind)})"
    if isinstance(value, str):
        return quoted(value)
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
