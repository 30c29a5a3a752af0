"""The pieces of a prompt with their scores: what all that is known per piece belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Integral

from nexttoken import Message


@dataclass(frozen=True)
class ScoredPiece:
    """A piece of the prompt's text, or several of them as a group, and its score.

    Attributes:
        text: the exact text; empty for a token that the tokenizer added.
        label: what to show for it: its text, or the name of an added token.
        ids: its token ids.
        score: 0 where it was fixed.
        standard_error: of the score, for methods that sample.
        error: how far off the score may be numerically, for methods that can tell.
        fixed: whether its tokens stayed where they are, so that it has no score.
        template: whether the tokenizer or the chat template wrote it.
    """

    text: str
    label: str
    ids: tuple[int, ...]
    score: float
    standard_error: float | None = None
    error: float | None = None
    fixed: bool = False
    template: bool = False

    @classmethod
    def from_columns(
        cls,
        tokens: Sequence[str],
        scores: Sequence[float],
        labels: Sequence[str],
        token_ids: Sequence[Sequence[int]],
        standard_error: Sequence[float] | None = None,
        error: Sequence[float] | None = None,
        fixed: Sequence[bool] | None = None,
        template: Sequence[bool] | None = None,
    ) -> tuple[ScoredPiece, ...]:
        """Pieces from sequences with one entry each. Raises ValueError if they differ in length."""
        count = len(tokens)
        nothing, no = [None] * count, [False] * count
        columns = zip(
            tokens, labels, map(tuple, token_ids), map(float, scores),
            nothing if standard_error is None else map(float, standard_error),
            nothing if error is None else map(float, error),
            no if fixed is None else map(bool, fixed), no if template is None else map(bool, template), strict=True,
        )  # fmt: skip
        return tuple(cls(*values) for values in columns)


def offsets(pieces: Sequence[ScoredPiece]) -> list[int]:
    """Where each piece begins in the prompt, in characters."""
    return list(accumulate((len(piece.text) for piece in pieces), initial=0))[:-1]


def first_characters(pieces: Sequence[ScoredPiece]) -> list[int]:
    """Where each piece's first character other than a space is; where it begins, if it is all spaces."""
    return [
        start + (len(piece.text) - len(piece.text.lstrip()) if piece.text.strip() else 0)
        for start, piece in zip(offsets(pieces), pieces, strict=True)
    ]


def message_numbers(pieces: Sequence[ScoredPiece], messages: Sequence[Message]) -> list[int | None]:
    """The message that each piece is of, the first that it shares a character with; None for the template."""
    return [
        next(
            (
                number
                for number, message in enumerate(messages)
                if start < message.end and message.start < start + len(piece.text)
            ),
            None,
        )
        for start, piece in zip(offsets(pieces), pieces, strict=True)
    ]


def is_span(value: object) -> bool:
    """Whether it is a pair of whole numbers, as (start, end) in characters is."""
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(end, Integral) for end in value)
