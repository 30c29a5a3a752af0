"""What a browser may ask, checked: plain values in, a question out, and an error in one sentence for all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpret.methods.method import Method
from interpret.methods.settings import method_by_name
from nexttoken import NextTokenLM

MOST_CHARACTERS, MOST_MESSAGES, MOST_FOILS, MOST_NEW = 60_000, 200, 8, 50


@dataclass(frozen=True)
class Body:
    """The body of a request: a JSON object whose values are read with their types.

    Attributes:
        values: as they came.
    """

    values: Mapping[str, Any]

    @classmethod
    def of(cls, given: Any) -> Body:
        """Raises ValueError for anything but a JSON object."""
        if not isinstance(given, Mapping):
            raise ValueError("the body must be a JSON object")
        return cls(given)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{name} is {_short(value)}; it must be a whole number from {least} to {most}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {_short(value)}; it must be true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str | None:
        """A text, or nothing."""
        value = self.values.get(name, default)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} is {_short(value)}; it must be a text")
        if value is not None and len(value) > MOST_CHARACTERS:
            raise ValueError(f"{name} has {len(value)} characters; the page takes at most {MOST_CHARACTERS}")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """One of some words, or nothing."""
        value = self.text(name)
        if value is not None and value not in choices:
            raise ValueError(f"{name} is {_short(value)}; it must be one of {', '.join(choices)}")
        return value

    def choices(self, name: str, choices: Sequence[str]) -> list[str]:
        """Some of them."""
        given = self.values.get(name, [])
        if not isinstance(given, list) or any(each not in choices for each in given):
            raise ValueError(f"{name} must be a list of some of {', '.join(choices)}")
        return given

    def token(self, name: str) -> str | int | None:
        """A token as text or id, or nothing."""
        return _token(name, self.values.get(name))

    @property
    def foils(self) -> tuple[str | int, ...]:
        """The tokens that the target is contrasted with."""
        given = self.values.get("foils", [])
        if not isinstance(given, list) or len(given) > MOST_FOILS:
            raise ValueError(f"foils must be a list of at most {MOST_FOILS} tokens")
        return tuple(found for each in given if (found := _token("a foil", each)) is not None)

    @property
    def prompt(self) -> Any:
        """The prompt: a text, or the messages of a chat."""
        messages = self.values.get("messages")
        if messages is None:
            text = self.text("prompt", "")
            assert text is not None
            return text
        if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
            raise ValueError(f"messages must be a list of 1 to {MOST_MESSAGES} messages")
        read = []
        for each in messages:
            own = Body.of(each)
            role, content = own.text("role"), own.text("content")
            if not role or content is None:
                raise ValueError("every message needs a role and a content")
            read.append({"role": role, "content": content})
        if sum(len(each["content"]) for each in read) > MOST_CHARACTERS:
            raise ValueError(f"the messages have more than {MOST_CHARACTERS} characters, which the page takes at most")
        return read

    def method(self, lm: NextTokenLM) -> Method:
        """The method with its settings, as texts by name; the default without one."""
        name, given = self.text("method"), self.values.get("settings", {})
        if not isinstance(given, Mapping) or not all(isinstance(each, str) for each in given.values()):
            raise ValueError("settings must be texts by name")
        if name:
            return method_by_name(name, {str(key): each for key, each in given.items()})
        from interpret.methods.default import default_method

        return default_method(lm)


def _token(name: str, value: Any) -> str | int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        return value or None
    raise ValueError(f"{name} is {_short(value)}; it must be a token, as text or id")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
