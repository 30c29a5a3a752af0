"""Chats: messages through a tokenizer's own template, and where what each of them says stands in the result."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One message of a chat, by where its content stands in the filled-in template.

    Attributes:
        role: of who says it, such as "user".
        start: the first character of its content in the prompt's text.
        end: the character after the last one; `start` for an empty content.
    """

    role: str
    start: int
    end: int


def continues(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last message is an answer that has begun, which the next token continues."""
    return messages[-1]["role"] == ASSISTANT


def filled_in(messages: Sequence[Mapping[str, Any]], tokenizer: Any) -> tuple[str, tuple[Message, ...]]:
    """The text of a chat up to where the next token follows, and where each message stands in it.

    Raises:
        ValueError: no messages, one without a role or a text, a tokenizer without a chat template, or a template that
            refuses, leaves out, repeats or rewrites a message.
    """
    if not messages:
        raise ValueError("the chat is empty; give at least one message with a role and a content")
    if getattr(tokenizer, "chat_template", None) is None:
        raise ValueError("this model's tokenizer has no chat template; give the prompt as text")
    contents = [_content(message, number) for number, message in enumerate(messages)]

    def fill(contents: Sequence[str]) -> str:
        from jinja2 import TemplateError

        chat = [{**message, "content": each} for message, each in zip(messages, contents, strict=True)]
        try:
            return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=not continues(messages))
        except TemplateError as error:
            raise ValueError(f"this tokenizer's chat template refuses these messages: {error}") from None

    text = fill(contents)
    spans = content_spans(text, contents, fill)
    said = tuple(Message(message["role"], *span) for message, span in zip(messages, spans, strict=True))
    text = text[: said[-1].end] if continues(messages) else text
    if text == "":
        raise ValueError("the chat is empty: neither its template nor its messages have a character")
    return text, said


def _content(message: Mapping[str, Any], number: int) -> str:
    # What a message says, with lists of text parts joined.
    if not isinstance(message.get("role"), str):
        raise ValueError(f"message {number} is {message!r}; it needs a role, such as 'user'")
    given = message.get("content")
    if isinstance(given, str):
        return given
    if not isinstance(given, Sequence) or not all(isinstance(part, Mapping) for part in given):
        raise ValueError(f"the content of message {number} is {given!r}; it must be a text or a list of text parts")
    strange = next((part for part in given if part.get("type") != "text" or "text" not in part), None)
    if strange is not None:
        raise ValueError(
            f"message {number} has the part {strange!r}; only text is read: {{'type': 'text', 'text': ...}}"
        )
    return "".join(part["text"] for part in given)


def content_spans(text: str, contents: Sequence[str], fill: Callable[[Sequence[str]], str]) -> list[tuple[int, int]]:
    """Where a chat template put each message's content: (start, end) in characters of the filled-in text.

    The template is filled once more with marks that occur nowhere, so that a message that repeats the template's own
    words is not mistaken for it. Templates that trim some messages, or move one, are followed.

    Raises:
        ValueError: a message is left out, repeated or rewritten.
    """
    marks = [f"\u241f{number}\u241f" for number in range(len(contents))]
    frame = fill(marks)
    for said, mark in zip(contents, marks, strict=True):
        if frame.count(mark) != 1:
            fault = "repeats" if mark in frame else "leaves out"
            raise ValueError(f"this tokenizer's chat template {fault} the message {said!r}")
    order = sorted(range(len(contents)), key=lambda number: frame.index(marks[number]))
    before, *between = re.split("|".join(marks), frame)
    spans, place = [(0, 0)] * len(contents), len(before)
    for number, following in zip(order, between, strict=True):
        said = contents[number]
        shapes = (said, said.rstrip(), said.lstrip(), said.strip())
        shown = next((shape for shape in shapes if text.startswith(shape + following, place)), None)
        if shown is None:
            break
        spans[number] = (place, place + len(shown))
        place += len(shown) + len(following)
    if place != len(text) or not text.startswith(before):
        raise ValueError("this tokenizer's chat template rewrites what the messages say; give the prompt as text")
    return spans
