"""A result as tab-separated values, for other programs: a header, then a line for each piece."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from interpret.results.matrix import ScoreMatrix
from interpret.results.scores import Scores

COLUMNS = ("piece", "ids", "score", "standard_error", "held", "template")
ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # categories of characters that would end a line, or steer a terminal


def tsv(result: Scores | ScoreMatrix[Scores]) -> str:
    """A header and a line for each piece, or in a matrix for each target and each piece that it sees.

    The columns are the piece, its token ids (separated by spaces), its score with all digits, the score's standard
    error (empty where there is none), and "true" or "false" for whether it was held, and whether the template wrote it.
    A held piece has no score; its 0 stands for that. In a matrix, the last column is the target.
    """
    if isinstance(result, Scores):
        return lines_of([COLUMNS, *_fields(result)])
    rows = [
        (*line, field(target)) for target, each in zip(result.targets, result, strict=True) for line in _fields(each)
    ]  # fmt: skip
    return lines_of([(*COLUMNS, "target"), *rows])


def _fields(result: Scores) -> Iterator[tuple[str, ...]]:
    """The fields of each piece."""
    for piece in result.pieces:
        yield (
            field(piece.label),
            " ".join(map(str, piece.ids)),
            repr(piece.score),
            "" if piece.standard_error is None else repr(piece.standard_error),
            str(piece.held).lower(),
            str(piece.template).lower(),
        )


def lines_of(rows: Sequence[Sequence[str]]) -> str:
    """Rows of fields as lines."""
    return "".join("\t".join(row) + "\n" for row in rows)


def field(text: str) -> str:
    r"""A text in one field: with tabs, line ends and backslashes as \t, \n, \r and \\, other controls as \u001b."""
    return "".join(
        ESCAPES.get(character)
        or (f"\\u{ord(character):04x}" if unicodedata.category(character) in UNSEEN else character)
        for character in text
    )
