"""Which characters of a text each token covers, and the pieces of text between them."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

Spans = tuple[tuple[int, int], ...]

WINDOW = 48  # tokens that are decoded together at most, if it can be helped, so that long texts take linear time
CONTEXT = 12  # of them decoded before, as a token's space depends on its neighbours; whole characters of 1 to 4 bytes
BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character


@dataclass(frozen=True)
class Encoding:
    """A text as token ids, with the characters that each covers; several may cover parts of one character."""

    ids: tuple[int, ...]
    spans: Spans
    added: tuple[bool, ...]  # by the tokenizer: such a token is not in the text


@dataclass(frozen=True)
class Piece:
    """A stretch of the prompt's text and the tokens it consists of.

    Attributes:
        text: the exact characters; empty for a token that the tokenizer added.
        label: what to show for it: the text, or the name of an added token.
        positions: of its tokens in the prompt; several where tokens share a character.
        template: True for what the tokenizer or the chat template wrote, not the user.
    """

    text: str
    label: str
    positions: tuple[int, ...]
    template: bool = False


def decoded(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> tuple[str, Spans]:
    """The text of token ids and the span of characters that each covers, seen from how the text grows token by token.

    A token that ends inside a character covers the whole of it, like those that complete it; bytes that are no
    character are taken together with the character after them.
    """
    text = decode(ids)
    near = offset = 0
    ends, whole = [0], [True]
    for at in range(len(ids) - 1):
        if at - near >= WINDOW and whole[-1]:
            tail = decode(ids[at - CONTEXT : at])
            if tail.strip() and BROKEN not in tail and text.endswith(tail, 0, ends[-1]):
                near, offset = at - CONTEXT, ends[-1] - len(tail)
        grown = decode(ids[near : at + 1])
        end = offset + common_length(grown.rstrip(BROKEN), text[offset : offset + len(grown)])
        ends.append(max(end, ends[-1]))
        whole.append(not grown.endswith(BROKEN))
    ends, whole = [*ends, len(text)], [*whole, True]
    spans, following = [], len(text)
    for at in reversed(range(len(ids))):
        start, end = ends[at], ends[at + 1]
        spans.append((start, end if end > start and whole[at + 1] else following))
        following = end if end > start else following
    return text, tuple(reversed(spans))


def common_length(left: str, right: str) -> int:
    """The number of characters that two texts begin with alike."""
    if left == right:
        return len(left)
    shorter = min(len(left), len(right))
    return next((at for at in range(shorter) if left[at] != right[at]), shorter)


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
    for at in reversed(range(len(spans))):
        start, end = spans[at]
        between = text[start:following]  # the space at its end is left to the next piece
        spans[at] = (start, start + len(between.rstrip() or between) if end < 0 else end)
        following = start
    return tuple(spans)


def _folded(text: str) -> tuple[str, list[tuple[int, int]]]:
    # A text without case, accents and width, and the span of the text that each of its characters comes from.
    characters: list[str] = []
    spans: list[tuple[int, int]] = []
    for at, character in enumerate(text):
        plain = [part for part in unicodedata.normalize("NFKD", character.casefold()) if not is_mark(part)]
        if not plain and spans and is_mark(character):
            spans[-1] = (spans[-1][0], at + 1)
        characters += plain
        spans += [(at, at + 1)] * len(plain)
    return "".join(characters), spans


def is_mark(character: str) -> bool:
    """Whether a character is drawn on the one before it: accents, vowel signs, joiners, variation selectors."""
    return unicodedata.category(character) in ("Mn", "Me", "Mc") or character in "\u200c\u200d"


def cut(text: str, encoding: Encoding, decode: Callable[[Sequence[int]], str]) -> tuple[Piece, ...]:
    """Cut a text where its tokens meet: pieces that, joined, are the text.

    Tokens that share a character become one piece; text between two tokens (such as a space that a tokenizer drops)
    goes to the later one, at the end of the text to the last.
    """
    pieces: list[Piece] = []
    end = 0
    waiting: tuple[int, ...] = ()
    for position, (token_id, (first, last), added) in enumerate(
        zip(encoding.ids, encoding.spans, encoding.added, strict=True)
    ):
        open_piece = pieces[-1] if pieces and pieces[-1].text else None
        if open_piece is not None and end < first and is_mark(text[end]):
            marks = next((at for at in range(end, first) if not is_mark(text[at])), first)
            grown = open_piece.text + text[end:marks]
            pieces[-1], end = replace(open_piece, text=grown, label=grown), marks
        if added:
            pieces.append(Piece("", decode([token_id]), (position,), template=True))
            continue
        if last <= end and open_piece is None:
            waiting = (*waiting, position)
        elif first < end or last <= end:
            assert open_piece is not None
            grown = open_piece.text + text[end:last]
            pieces[-1] = Piece(grown, grown, (*open_piece.positions, position))
        else:
            pieces.append(Piece(text[end:last], text[end:last], (*waiting, position)))
            waiting = ()
        end = max(end, last)
    if end < len(text) or waiting:
        last_piece = next((at for at in reversed(range(len(pieces))) if pieces[at].text), None)
        if last_piece is None:
            pieces.append(Piece(text, text, waiting))
        else:
            whole = pieces[last_piece].text + text[end:]
            pieces[last_piece] = Piece(whole, whole, (*pieces[last_piece].positions, *waiting))
    return tuple(pieces)


def mark_template(pieces: Sequence[Piece], written: Spans) -> tuple[Piece, ...]:
    """The pieces, those that overlap none of the spans that were written being the template's."""
    marked, start = [], 0
    for piece in pieces:
        end = start + len(piece.text)
        by_user = any(start < last and first < end for first, last in written)
        marked.append(replace(piece, template=not by_user))
        start = end
    return tuple(marked)
