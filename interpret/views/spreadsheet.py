"""A result as a table for other programs: tab-separated lines, a CSV file, a pandas DataFrame."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from interpret.results.attribution import Attribution
from interpret.results.matrix import AttributionMatrix

if TYPE_CHECKING:
    import pandas

COLUMNS = ("piece", "ids", "score", "standard_error", "fixed", "template")
ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # categories of characters that would end a line, or steer a terminal

Result = Attribution | AttributionMatrix


def tsv(result: Result) -> str:
    """A header and a line for each piece, or in a matrix for each target and each piece that it sees.

    The columns are the piece, its token ids (separated by spaces), its score with all digits, the score's standard
    error (empty where there is none), and "true" or "false" for whether it was fixed, and whether the template wrote
    it. A fixed piece has no score; its 0 stands for that. In a matrix, the last column is the target. Texts have no
    line breaks: see `field`. A field with a quotation mark is quoted, as csv readers expect it.
    """
    head, rows = _table(result)
    return lines_of([head, *(_written(row, field) for row in rows)])


def csv_text(result: Result) -> str:
    """The same with commas, and texts as they are, quoted where they have line breaks."""
    head, rows = _table(result)
    return lines_of([head, *(_written(row, str) for row in rows)], ",")


def frame(result: Result) -> pandas.DataFrame:
    """The same as a pandas DataFrame, with numbers and truths as what they are. Raises ImportError without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_frame needs the package pandas; run: pip install pandas") from error
    head, rows = _table(result)
    found = pandas.DataFrame(rows, columns=list(head))
    numbers = found[["score", "standard_error"]].astype("float64")
    found[["score", "standard_error"]] = numbers.mask(found["fixed"], float("nan"))
    return found


def _table(result: Result) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
    # The columns, and a row of plain values for each piece.
    if isinstance(result, Attribution):
        return COLUMNS, _rows(result)
    named = [(*row, target) for target, each in zip(result.targets, result, strict=True) for row in _rows(each)]
    return (*COLUMNS, "target"), named


def _rows(result: Attribution) -> list[tuple[Any, ...]]:
    return [
        (piece.label, " ".join(map(str, piece.ids)), piece.score, piece.standard_error, piece.fixed, piece.template)
        for piece in result.pieces
    ]


def _written(row: Iterable[Any], text: Any) -> list[str]:
    # Values as other programs read them, texts by a function.
    return [
        "" if value is None
        else str(value).lower() if isinstance(value, bool)
        else text(value) if isinstance(value, str)
        else repr(value)
        for value in row
    ]  # fmt: skip


def lines_of(rows: Iterable[Sequence[str]], separator: str = "\t") -> str:
    """Rows of fields as lines; a field with a quotation mark, a separator or a line break stands in quotation marks."""
    lines = io.StringIO()
    csv.writer(lines, delimiter=separator, lineterminator="\n").writerows(rows)
    return lines.getvalue()


def field(text: str) -> str:
    r"""A text in one field: with tabs, line ends and backslashes as \t, \n, \r and \\, other controls as \u001b."""
    return "".join(
        ESCAPES.get(character)
        or (f"\\u{ord(character):04x}" if unicodedata.category(character) in UNSEEN else character)
        for character in text
    )
