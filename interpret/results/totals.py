"""Which pieces of a text belong together: by word, sentence, line, message or spans of characters."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, groupby
from numbers import Integral

import regex
import sentencex

from nexttoken import Message

Division = str | Sequence[tuple[int, int]]

# Where a word begins. Unicode says what is a word (UAX #29) and a mark.
WORD = regex.compile(
    r"""(?wV1x) \b
    (?<! [^\S\n])                                                 # a space belongs to what follows it,
    (?! (?<=\n) \s* \n)                                           # empty lines to the line end before them,
    (?! (?<=[\p{P}\p{S}--\p{Pc}\p{So}]) [\p{P}\p{S}--\p{Pc}\p{So}])    # and marks in a row belong together
    """
)
LINE = regex.compile(r"(?<=\n)")


def groups_of(
    texts: Sequence[str],
    template: Sequence[bool],
    messages: Sequence[Message],
    by: Division,
    with_template: bool,
    language: str,
) -> list[list[int]]:
    """The numbers of the pieces in each group, in the order of the text; see `Attribution.totals`.

    Raises:
        ValueError: an unknown division, messages where there are none, spans that overlap, lie outside the text or have
            no piece of their own, or nothing left without the template.
    """
    sections = _sections(texts, messages, by, language)
    if isinstance(by, str):
        keys: list[tuple[object, ...]] = list(zip(sections, template, message_numbers(texts, messages), strict=True))
    else:  # the caller's spans are not cut where messages meet
        keys = [(section, text == "") for section, text in zip(sections, texts, strict=True)]
    kept = [piece for piece in range(len(texts)) if with_template or not template[piece]]
    if not kept:
        raise ValueError("the whole prompt is template, so nothing is left without it")
    return [list(group) for _, group in groupby(kept, key=lambda piece: keys[piece])]


def word_numbers(texts: Sequence[str]) -> list[int]:
    """The number of the word that each piece lies in."""
    return _sections(texts, (), "word", "en")


def offsets(texts: Sequence[str]) -> list[int]:
    """Where each piece begins in the text that they are together, in characters."""
    return list(accumulate(map(len, texts), initial=0))[:-1]


def first_characters(texts: Sequence[str]) -> list[int]:
    """Where each piece's first character other than a space is; where it begins, if it is all spaces."""
    return [
        start + (len(text) - len(text.lstrip()) if text.strip() else 0)
        for start, text in zip(offsets(texts), texts, strict=True)
    ]


def message_numbers(texts: Sequence[str], messages: Sequence[Message]) -> list[int | None]:
    """The message that each piece is of, the first that it shares a character with; None for the template."""
    return [
        next(
            (
                number
                for number, message in enumerate(messages)
                if start < message.end and message.start < start + len(text)
            ),
            None,
        )
        for start, text in zip(offsets(texts), texts, strict=True)
    ]


def is_span(value: object) -> bool:
    """Whether it is a pair of whole numbers, as (start, end) in characters is."""
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, Integral) for end in value)


def moved(texts: Sequence[str], kept: Sequence[int], messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages where they stand in the text of the pieces that are kept."""
    starts = offsets(texts)
    ends = [(starts[piece], starts[piece] + len(texts[piece])) for piece in kept]

    def before(character: int) -> int:
        return sum(max(0, min(end, character) - start) for start, end in ends)

    return tuple(replace(message, start=before(message.start), end=before(message.end)) for message in messages)


def check_messages(messages: Sequence[Message]) -> None:
    """Raise ValueError unless the prompt is a chat."""
    if not messages:
        raise ValueError("this prompt is not a chat, so it has no messages; give the prompt as messages")


def _sections(texts: Sequence[str], messages: Sequence[Message], by: Division, language: str) -> list[int]:
    """The number of the division that each piece lies in: where its first character other than a space does."""
    whole = "".join(texts)
    if isinstance(by, str):
        borders = _borders(whole, messages, by, language)
        return [bisect_right(borders, first) for first in first_characters(texts)]
    spans = _checked(by, whole)
    borders = sorted({border for span in spans for border in span})
    found = [bisect_right(borders, first) for first in first_characters(texts)]
    inside = {section for section, text in zip(found, texts, strict=True) if text}
    for start, end in spans:
        if bisect_right(borders, start) not in inside:
            raise ValueError(
                f"no piece begins in the span ({start}, {end}), {whole[start:end]!r}: it lies inside one piece or "
                "between two; widen it"
            )
    return found


def _borders(text: str, messages: Sequence[Message], by: str, language: str) -> list[int]:
    """The characters at which the words, sentences or lines of a text begin."""
    if by == "word":
        return [match.start() for match in WORD.finditer(text)]
    if by == "sentence":
        return list(_sentence_starts(text, language))
    if by == "line":
        return [match.start() for match in LINE.finditer(text)]
    if by == "message":
        check_messages(messages)
        return []
    raise ValueError(
        f"by is {by!r}; it must be 'word', 'sentence', 'line', 'message' or (start, end) spans; "
        "for roles, take role_totals()"
    )


def _sentence_starts(text: str, language: str) -> Iterator[int]:
    """Where sentencex says that a sentence begins, line by line: it takes a line's end for a space within a sentence.

    It reads UTF-8, and fails at a space of several bytes before a full stop, so that all spaces are given to it as one
    of one byte, and surrogates as a sign; offsets in characters stay what they are.
    """
    readable = "".join(
        " "
        if character.isspace() and character != "\n"
        else "\ufffd"
        if "\ud800" <= character <= "\udfff"
        else character
        for character in text
    )
    start = 0
    for line in readable.splitlines(keepends=True):
        for sentence in sentencex.get_sentence_boundaries(language, line) if line.strip() else ():
            if sentence["text"].strip():
                yield start + len(line[: sentence["start_index"]].rstrip())  # a space belongs to what follows it
        start += len(line)


def _checked(spans: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """The spans in order. Raises ValueError if there are none, or one is empty, outside the text or over another."""
    if not isinstance(spans, Sequence) or not all(map(is_span, spans)):
        raise ValueError(
            f"by is {spans!r}; it must be 'word', 'sentence', 'line', 'message', or a list of (start, end)"
        )
    if not spans:
        raise ValueError("there are no spans; give at least one (start, end) in characters of the prompt")
    ordered = sorted((int(start), int(end)) for start, end in spans)
    last = 0
    for start, end in ordered:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"the span ({start}, {end}) is empty or outside the prompt's {len(text)} characters")
        if start < last:
            raise ValueError(f"the span ({start}, {end}) overlaps the one before it, which ends at {last}")
        last = end
    return ordered
