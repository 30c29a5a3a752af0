"""The part of a prompt that is explained: the tokens that move, while the rest is context."""

from __future__ import annotations

import re
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from nexttoken import Prompt

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
        raise ValueError(f"the region {spans} has no characters of the prompt, which has {len(prompt.text)}")
    return tuple(found)


def characters_in(region: Region, prompt: Prompt) -> list[tuple[int, int]]:
    """A region as (start, end) pairs of characters. Raises ValueError for what is not there."""
    if isinstance(region, str | re.Pattern):
        pattern = region if isinstance(region, str) else region.pattern
        try:
            matches = [match.span() for match in re.finditer(region, prompt.text) if match[0]]
        except re.error as error:
            raise ValueError(f"the region {pattern!r} is not a regular expression: {error}") from None
        if not matches:
            raise ValueError(f"the region's expression {pattern!r} matches nothing in the prompt")
        return matches
    given: Any = region
    if isinstance(given, Integral):
        number, count = int(given), len(prompt.messages)
        if not -count <= number < count:
            raise ValueError(f"the region is message {number}, and the prompt has {count} messages")
        return [(prompt.messages[number].start, prompt.messages[number].end)]
    pairs: Sequence[Any] = [given] if all(isinstance(each, Real) for each in given) else given
    if not all(len(pair) == 2 and all(isinstance(end, Integral) for end in pair) for pair in pairs):
        raise ValueError(f"the region is {region!r}; it must be (start, end), an expression, or a message's number")
    return [(start, end) for start, end in pairs]
