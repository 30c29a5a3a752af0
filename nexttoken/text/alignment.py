"""Which characters of a text each token covers, for tokenizers that do not say so."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence

Spans = tuple[tuple[int, int], ...]

WINDOW = 48  # tokens that are decoded together at most, if it can be helped, so that long texts take linear time
CONTEXT = 12  # of them decoded before, as a token's space depends on its neighbours; whole characters of 1 to 4 bytes
BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character


def decoded(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> tuple[str, Spans]:
    """The text of token ids and the span of characters that each covers, seen from how the text grows token by token.

    A token that ends inside a character covers the whole of it, like those that complete it; bytes that are no
    character are taken together with the character after them.
    """
    text = decode(ids)
    near = offset = 0
    ends, whole = [0], [True]
    for place in range(len(ids) - 1):
        if place - near >= WINDOW and whole[-1]:
            tail = decode(ids[place - CONTEXT : place])
            if tail.strip() and BROKEN not in tail and text.endswith(tail, 0, ends[-1]):
                near, offset = place - CONTEXT, ends[-1] - len(tail)
        grown = decode(ids[near : place + 1])
        end = offset + _common_length(grown.rstrip(BROKEN), text[offset : offset + len(grown)])
        ends.append(max(end, ends[-1]))
        whole.append(not grown.endswith(BROKEN))
    ends, whole = [*ends, len(text)], [*whole, True]
    spans, following = [], len(text)
    for place in reversed(range(len(ids))):
        start, end = ends[place], ends[place + 1]
        spans.append((start, end if end > start and whole[place + 1] else following))
        following = end if end > start else following
    return text, tuple(reversed(spans))


def _common_length(left: str, right: str) -> int:
    if left == right:
        return len(left)
    shorter = min(len(left), len(right))
    return next((place for place in range(shorter) if left[place] != right[place]), shorter)


def align(text: str, pieces: Sequence[str | None]) -> Spans:
    """Find each piece in the text, from left to right, whatever the tokenizer did to spaces, case, accents and width.

    What is not found (None, an unknown word) covers the text up to the next piece that is.
    """
    plain, origins = _folded(text)
    starts = [start for start, _ in origins]
    spans: list[tuple[int, int]] = []
    cursor = plain_cursor = 0  # what was found reaches to here, in the text and in the plain one
    for piece in pieces:
        wanted = (piece or "").strip() or (piece or "")
        here = cursor
        while wanted.strip() and here < len(text) and text[here].isspace():
            here += 1
        inside = plain_cursor < len(starts) and starts[plain_cursor] < cursor
        if wanted and not inside and text.startswith(wanted, here):
            cursor = here + len(wanted)
            plain_cursor = bisect_left(starts, cursor)
            spans.append((here, cursor))
            continue
        wanted = _folded(wanted)[0]
        found = plain.find(wanted, plain_cursor) if wanted else -1
        if found < 0:
            spans.append((cursor, -1))
        else:
            plain_cursor = found + len(wanted)
            cursor = origins[plain_cursor - 1][1]
            spans.append((starts[found], cursor))
    following = len(text)
    for place in reversed(range(len(spans))):
        start, end = spans[place]
        between = text[start:following]  # the space at its end is left to the next piece
        spans[place] = (start, start + len(between.rstrip() or between) if end < 0 else end)
        following = start
    return tuple(spans)


def _folded(text: str) -> tuple[str, list[tuple[int, int]]]:
    """A text without case, accents and width, and the span of the text that each of its characters comes from."""
    characters: list[str] = []
    spans: list[tuple[int, int]] = []
    for place, character in enumerate(text):
        plain = [part for part in unicodedata.normalize("NFKD", character.casefold()) if not is_mark(part)]
        if not plain and spans and is_mark(character):
            spans[-1] = (spans[-1][0], place + 1)
        characters += plain
        spans += [(place, place + 1)] * len(plain)
    return "".join(characters), spans


def is_mark(character: str) -> bool:
    """Whether a character is drawn on the one before it: accents, vowel signs, joiners, variation selectors."""
    return unicodedata.category(character) in ("Mn", "Me", "Mc") or character in "\u200c\u200d"
