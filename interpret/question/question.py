"""What is asked, as plain values: one question for Python, the command, the page, the explorer and a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from cattrs import Converter

Token = str | int  # by its text or its id
Given = str | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked of a model; its fields are keywords of `attribute` and of the functions beside it.

    Attributes:
        prompt: a text, token ids, the messages of a chat, or `{"messages": [...], "tools": [...]}`.
        target: the next token, or several in a row; None for the model's first choice.
        contrast: the foils.
        candidates: how many of the most probable next tokens are explained; for a flip, how many words are tried at
            each position.
        continuation: a text of which each token is explained.
        generate: the same for as many tokens that the model generates.
        region: the part of the prompt that gets scores.
        start: a start token to put in front; True for the model's own.
        by: what the scores are added up by.
        method: the name under which it is listed; None for the default.
        settings: of the method, by name.
        precision: in which gradients are taken.
        memory_budget: in bytes.
        check: whether an attribution of one target is checked against the model.
        to: for a flip, what the first choice is to become.
        ignore: for a flip, the part of the prompt that stays as it is.
        max_edits: for a flip.
        beam: for a flip or a reduction.
        seed: for a flip.
        keep: for a reduction, what has to stay: "first", or a share of the target's probability.
    """

    prompt: Given = ""
    target: Token | Sequence[Token] | None = None
    contrast: tuple[Token, ...] = ()
    candidates: int | None = None
    continuation: str | None = None
    generate: int | None = None
    region: str | int | Sequence[Any] | None = None
    start: str | int | bool | None = None
    by: str | None = None
    method: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    precision: str | None = None
    memory_budget: int | None = None
    check: bool = True
    to: Token | None = None
    ignore: str | None = None
    max_edits: int | None = None
    beam: int | None = None
    seed: int | None = None
    keep: str | float = "first"

    def check_consistency(self) -> None:
        """Raise ValueError for an attribution that is asked of different things."""
        asked = {name: getattr(self, name) for name in ("target", "candidates", "continuation", "generate")}
        given = [f"--{name}" for name, value in asked.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} ask for different things; give one of them")
        if self.by is not None and given and self.target is None:
            raise ValueError(f"--by adds up the scores of one target; leave it out beside {given[0]}")
        if self.contrast and (self.continuation is not None or self.generate):
            raise ValueError(f"--contrast is for one next token; leave it out beside {given[0]}")

    @property
    def targets(self) -> int | None:
        """How many next tokens are explained; None where that is not known before the text is read."""
        return self.candidates or self.generate or (1 if self.continuation is None else None)


def question_of(plain: Any) -> Question:
    """A question from JSON. Raises ValueError, which names the field, for what is none."""
    from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError

    if not isinstance(plain, Mapping):
        raise ValueError(f"a question is a JSON object, not {_short(plain)}")
    try:
        return _converter().structure(plain, Question)
    except ClassValidationError as errors:
        (named, others) = errors.group_exceptions()
        for error, note in named:
            raise ValueError(f"{note.name} is {_short(plain[note.name])}; {error}") from None
        unknown = next(each for each in others if isinstance(each, ForbiddenExtraKeysError))
        raise ValueError(f"a question has no {min(unknown.extra_fields)!r}") from None


def _is(*kinds: type) -> Callable[[Any], bool]:
    # In JSON, true is no number, and a whole number is a number.
    return lambda value: isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _is_token(value: Any) -> bool:
    return _is(str, int)(value)


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_token, value))


# What the value of a field must be, and how that is said.
KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (_is(str), "a text"),
    int: (_is(int), "a whole number"),
    bool: (_is(bool), "true or false"),
    str | float: (_is(str, int, float), "a text or a number"),
    Given: (_is(str, list, dict), "a text or messages"),
    Token | None: (_is_token, "a token, as text or id"),
    Token | Sequence[Token] | None: (
        lambda value: _is_token(value) or _are_tokens(value),
        "a token, or a list of them",
    ),
    tuple[Token, ...]: (_are_tokens, "a list of tokens, as text or id"),
    str | int | Sequence[Any] | None: (_is(str, int, list), "an expression, a message's number, or characters"),
    str | int | bool | None: (_is(str, int, bool), "a token, as text or id, or true"),
    Mapping[str, str]: (
        lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
        "texts by name",
    ),
}


@cache
def _converter() -> Converter:
    from cattrs import Converter

    def structured(value: Any, kind: Any) -> Any:
        fits, words = KINDS[kind]
        if not fits(value) and not (value is None and NoneType in get_args(kind)):
            raise ValueError(f"it must be {words}")
        return tuple(value) if kind == tuple[Token, ...] else value

    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook_func(lambda kind: kind in KINDS, structured)
    for plain in (str, int, bool):  # which cattrs would convert
        converter.register_structure_hook(plain, structured)
    return converter


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
