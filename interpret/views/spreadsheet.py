"""A result as a table for other programs: tab-separated lines, a CSV file, a pandas DataFrame."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from interpret.results.attribution import Attribution
from interpret.results.matrix import AttributionMatrix

if TYPE_CHECKING:
    import pandas

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
    return _lines(result, field, "\t")


def csv_text(result: Result) -> str:
    """The same with commas, and texts as they are, quoted where they have line breaks."""
    return _lines(result, str, ",")


def frame(result: Result) -> pandas.DataFrame:
    """The same as a pandas DataFrame, with numbers and truths as what they are. Raises ImportError without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_frame needs the package pandas; run: pip install pandas") from error
    found = pandas.DataFrame(_rows(result))
    numbers = found[["score", "standard_error"]].astype("float64")
    found[["score", "standard_error"]] = numbers.mask(found["fixed"], float("nan"))
    return found


def _rows(result: Result) -> list[dict[str, Any]]:
    if isinstance(result, AttributionMatrix):
        return [
            {**row, "target": target}
            for target, each in zip(result.targets, result, strict=True)
            for row in _rows(each)
        ]
    return [
        {
            "piece": piece.label, "ids": " ".join(map(str, piece.ids)), "score": piece.score,
            "standard_error": piece.standard_error, "fixed": piece.fixed, "template": piece.template,
        } for piece in result.pieces
    ]  # fmt: skip


def _lines(result: Result, text: Callable[[str], str], separator: str) -> str:
    def written(value: Any) -> str:
        if isinstance(value, str):
            return text(value)
        return "" if value is None else repr(value).lower()

    rows = _rows(result)
    return lines_of([list(rows[0]), *(list(map(written, row.values())) for row in rows)], separator)


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
