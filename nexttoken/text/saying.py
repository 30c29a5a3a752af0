"""What the messages of a chat say, text by text, and where one stands in the chat's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

REASONING = ("reasoning_content", "reasoning", "thinking")  # names of one thing in templates
MARKS = ("7402918365", "3918265047", "9163820475")  # digits, which survive whatever is done to letters
LONGEST = 20_000  # characters that are searched for what was kept of a text


@dataclass(frozen=True)
class Saying:
    """One text in a message.

    Attributes:
        message: its number.
        where: the keys that lead to it.
        text: what it says; None for data that the template turns into text.
        what: what it is, if not the content; "the reasoning".
    """

    message: int
    where: tuple[str | int, ...]
    text: str | None
    what: str = ""


def sayings_of(chat: Sequence[Mapping[str, Any]]) -> list[Saying]:
    """All texts in the messages of a chat, in the order in which templates write them."""
    found = []
    for number, message in enumerate(chat):
        name = next((name for name in REASONING if isinstance(message.get(name), str)), None)
        if name is not None:
            found.append(Saying(number, (name,), message[name], "the reasoning"))
        content = message.get("content")
        if isinstance(content, str):
            found.append(Saying(number, ("content",), content))
        elif isinstance(content, Sequence) and all(isinstance(part, Mapping) and "text" in part for part in content):
            found += [Saying(number, ("content", place, "text"), part["text"]) for place, part in enumerate(content)]
        elif content is not None:
            found.append(Saying(number, ("content",), None))
        calls = message.get("tool_calls") or ()
        found += [Saying(number, ("tool_calls", place), None, "a tool call") for place in range(len(calls))]
    return found


def replaced(chat: Sequence[Mapping[str, Any]], saying: Saying, mark: str) -> list[dict[str, Any]]:
    """The chat with a mark in place of one of its texts; of a tool call, in place of its name, without arguments."""
    changed = [dict(message) for message in chat]
    changed[saying.message] = _with(changed[saying.message], saying.where, mark)
    return changed


def _with(data: Any, where: Sequence[str | int], mark: str) -> Any:
    if not where:
        return (
            _marked_call(data, mark) if isinstance(data, Mapping) and ("function" in data or "name" in data) else mark
        )
    copied: Any = list(data) if isinstance(data, Sequence) else dict(data)
    copied[where[0]] = _with(copied[where[0]], where[1:], mark)
    return copied


def _marked_call(call: Mapping[str, Any], mark: str) -> dict[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _marked_call(call["function"], mark)}
    empty = "{}" if isinstance(call.get("arguments"), str) else {}
    return {**call, "name": mark, "arguments": empty}


def mark_for(saying: Saying, text: str, number: int = 0) -> str:
    """A text that does not occur in the chat's, and neither begins nor ends as the one that it stands for."""
    said = (saying.text or "").strip()
    wanted = (mark for mark in MARKS if not said or (mark[0] != said[0] and mark[-1] != said[-1]))
    mark = next(wanted, MARKS[0])
    middle = 0
    while (whole := f"{mark}{number}0{middle}{mark}") in text:
        middle += 1
    return whole


def garbled(frame: str, mark: str) -> bool:
    """Whether a template wrote a list of parts as Python shows it."""
    return f"'text': '{mark}" in frame


def find(text: str, said: str | None, frame: str | None, mark: str) -> tuple[tuple[int, int], str]:
    """Where a text stands in the chat's text, seen from what changes when a mark takes its place.

    Args:
        text: of the chat.
        said: the text; None for data.
        frame: of the chat with the mark in its place; None if that cannot be had.
        mark: what took its place.

    Returns:
        (start, end) in characters; then what is to be said if it does not stand there as it was given, with a place
        for whose it is and one for what was kept, else nothing.
    """
    (first, last), exact = _changed(text, frame, mark)
    count = 0 if frame is None else frame.count(mark)
    plain = None if said is None else said.strip()
    if plain is None:
        return (first, last), "" if first < last else "leaves out {0}"
    if plain == "" and (count or first == last):
        return (first, last), ""
    if exact and text[first:last].strip() == plain:
        return (first, last), ""
    room = 0 if exact else len(plain)  # a change may begin behind the text's beginning, where the mark begins alike
    near = text.rfind(plain, max(0, first - room), last + room)
    if near >= 0:
        twice = count > 1
        return (near, near + len(plain)), "writes {0} more than once; the last time counts" if twice else ""
    if not exact:
        first, last = _kept(text, first, last, plain)
    kept = text[first:last]
    first, last = first + len(kept) - len(kept.lstrip()), first + len(kept.rstrip())
    if first >= last:
        return (first, first), "leaves out {0}"
    return (first, last), "rewrites {0} as {1}"


def _changed(text: str, frame: str | None, mark: str) -> tuple[tuple[int, int], bool]:
    # The characters that depend on what the mark replaces, and whether they are exactly what stands in its place.
    if frame is None:
        return (0, len(text)), False
    if frame.count(mark) == 1:
        before, after = frame.split(mark)
        if len(before) + len(after) <= len(text) and text.startswith(before) and text.endswith(after):
            return (len(before), len(text) - len(after)), True
    shorter = min(len(text), len(frame))
    first = next((place for place in range(shorter) if text[place] != frame[place]), shorter)
    rest = next((place for place in range(shorter - first) if text[-1 - place] != frame[-1 - place]), shorter - first)
    return (first, len(text) - rest), False


def _kept(text: str, first: int, last: int, said: str) -> tuple[int, int]:
    # The longest part of what was said that stands in a stretch of the text.
    if max(last - first, len(said)) > LONGEST:
        return first, last
    match = SequenceMatcher(None, said, text[first:last], autojunk=False).find_longest_match()
    return (first + match.b, first + match.b + match.size) if match.size > len(said) / 4 else (first, last)
