"""The part of a prompt that is explained: the tokens that move, while the rest is context."""

from __future__ import annotations

import re
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import regex

from interpret.results.reduction import is_span
from nexttoken import Prompt

TIMEOUT = 5.0  # seconds for an expression: some take longer than anybody waits
Region = Sequence[int] | Sequence[Sequence[int]] | str | re.Pattern[str] | int


def positions_in(region: Region, prompt: Prompt) -> tuple[int, ...]:
    """The positions of the tokens that have a character in the region.

    Args:
        region: characters (start, end), or several such pairs; a regular expression, all of whose matches count; or the
            number of a chat message, -1 for the last.
        prompt: the prompt it is a part of.

    Raises:
        ValueError: a region without tokens: empty, outside the prompt, or an expression that matches nothing.
    """
    spans = characters_in(region, prompt)
    found: list[int] = []
    start = 0
    for piece in prompt.pieces:
        end = start + len(piece.text)
        if any(start < last and first < end for first, last in spans):
            found.extend(piece.positions)
        start = end
    if not found:
        raise ValueError(f"the region {spans} is empty or outside the prompt, which has {len(prompt.text)} characters")
    return tuple(found)


def characters_in(region: Region, prompt: Prompt) -> list[tuple[int, int]]:
    """A region as (start, end) pairs of characters. Raises ValueError for what is not there."""
    if isinstance(region, str | re.Pattern):
        pattern = region if isinstance(region, str) else region.pattern
        try:
            found = regex.finditer(region, prompt.text, timeout=TIMEOUT) if isinstance(region, str) else None
            matches = [match.span() for match in found or re.finditer(region, prompt.text) if match[0]]
        except regex.error as error:
            raise ValueError(f"the region {pattern!r} is not a regular expression: {error}") from None
        except TimeoutError:
            raise ValueError(
                f"the region's expression {pattern!r} takes more than {TIMEOUT:.0f} s; write it without a repeat "
                "inside a repeat"
            ) from None
        if not matches:
            raise ValueError(f"the region's expression {pattern!r} matches nothing in the prompt")
        return matches
    given: Any = region
    if isinstance(given, Integral):
        number, count = int(given), len(prompt.messages)
        if not -count <= number < count:
            raise ValueError(f"the region is message {number}, and the prompt has {count} messages")
        return [(prompt.messages[number].start, prompt.messages[number].end)]
    pairs = [given] if is_span(given) else given
    if not isinstance(pairs, Sequence) or not all(map(is_span, pairs)):
        raise ValueError(f"the region is {region!r}; it must be (start, end), an expression, or a message's number")
    return [(start, end) for start, end in pairs]
