"""Standard streams in any encoding: what is written never fails, and what is read is decoded as its bytes say."""

from __future__ import annotations

import codecs
import unicodedata
from typing import Any

MARKS = (  # of encodings, the longer ones first
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
PLAIN = {"−": "-", "×": "x", "…": "...", "–": "-", "↵": "\\n", "⇥": "\\t", "␣": "_", "‘": "'", "’": "'"}
HANDLER = "nexttoken-plain"


def never_fail(*streams: Any) -> None:
    """Let streams that cannot take every character write a plainer one in its place: signs stay signs, letters letters.

    A stream that takes UTF-8, or cannot be changed, stays as it is.
    """
    codecs.register_error(HANDLER, _plainer)
    for stream in streams:
        encoding = str(getattr(stream, "encoding", None) or "utf-8")
        if hasattr(stream, "reconfigure") and not _is_unicode(encoding):
            stream.reconfigure(errors=HANDLER)


def as_data(stream: Any) -> None:
    """Let a stream take UTF-8, for JSON and tables, which other programs read."""
    if hasattr(stream, "reconfigure") and not _is_unicode(str(stream.encoding or "utf-8")):
        stream.reconfigure(encoding="utf-8")


def read_text(stream: Any) -> str:
    """All of a stream, in UTF-8 or what its byte-order mark says, or else its own encoding; without the mark.

    Raises ValueError for what is text in none of them.
    """
    raw: Any = getattr(stream, "buffer", None)
    if raw is None:
        return stream.read().removeprefix("\ufeff")
    data: bytes = raw.read()
    mark, encoding = next((each for each in MARKS if data.startswith(each[0])), (b"", "utf-8"))
    own = getattr(stream, "encoding", None) or "utf-8"
    for name in dict.fromkeys((encoding, own)):
        try:
            text = data[len(mark) :].decode(name)
        except UnicodeDecodeError as error:
            fault = error
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ValueError(
        f"standard input is no text in {encoding}: byte {data[len(mark) + fault.start]:#04x} at {fault.start}; "
        "save it as UTF-8"
    )


def _is_unicode(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf")


def _plainer(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(_plain(character) for character in text), error.end


def _plain(character: str) -> str:
    # The same in ASCII: without its accents, a bar for a box, or else a question mark.
    if character in PLAIN:
        return PLAIN[character]
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or "?"
