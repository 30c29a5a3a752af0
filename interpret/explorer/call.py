"""The code that gives the same result as the explorer: imports and one call, with nothing left to guess."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any

from interpret.methods.conventions import Convention
from interpret.methods.listed import changed
from interpret.methods.method import Method
from nexttoken import NextTokenLM, Prompt, Target
from nexttoken.text.target import ids_after


def call(lm: NextTokenLM, prompt: Prompt, target: Target, method: Method, given: Any = None) -> str:
    """Python that explains a target by a method as the explorer does; the model is called `lm`.

    `given` is what the prompt was made from, where it is not its text.
    """
    arguments = [f"target={written_token(lm, prompt, target)}"]
    if target.foils:
        arguments.append(f"contrast={_listed([written_token(lm, prompt, foil) for foil in target.foils])}")
    arguments.append(f"method={expression(method)}")
    return call_of("why", "attribute", prompt.text if given is None else given, arguments, names_in(method))


def call_of(result: str, function: str, given: Any, arguments: Sequence[str], names: Iterable[str] = ()) -> str:
    """Python that calls one of our functions on a prompt: imports and one call, with nothing left to guess.

    Args:
        result: what its result is called.
        function: its name.
        given: the prompt, a text or messages.
        arguments: the others, as Python.
        names: what else they need imported.
    """
    imported = ", ".join(sorted({function, *names}, key=lambda name: (name[0].islower(), name)))
    lines = [f"from interpret import {imported}", "", f"{result} = {function}(", "    lm,", f"    {expression(given)},"]
    return "\n".join([*lines, *(f"    {each}," for each in arguments), ")"])


def written_token(lm: NextTokenLM, prompt: Prompt, token: Target) -> str:
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


def _listed(values: Sequence[str]) -> str:
    """Arguments as one value, or as a list of several."""
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def quoted(text: str) -> str:
    """A text as Python, in double quotes where it has none of its own."""
    beside_single = repr("'" + text)
    return '"' + beside_single[2:] if beside_single.startswith('"') else repr(text)
