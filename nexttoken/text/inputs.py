"""Token ids in all the forms in which tokenizers return them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Array(Protocol):
    """An array or a tensor of any library."""

    def tolist(self) -> Any:
        """Its numbers, in lists."""


@runtime_checkable
class Encoded(Protocol):
    """What `tokenizers` makes of a text."""

    @property
    def ids(self) -> list[int]:
        """A row of token ids."""

    @property
    def attention_mask(self) -> list[int]:
        """1 for each of them that is not padding."""


def id_rows(given: Any) -> list[list[Any]] | None:
    """The rows of token ids in what a tokenizer returned, without its padding; None for anything else.

    Args:
        given: a mapping with `input_ids`, and `attention_mask` where there is padding; an array or tensor (token,) or
            (row, token); a list of such rows; an encoding with `ids`.

    Raises:
        ValueError: an array of more than two dimensions.
    """
    if isinstance(given, Mapping):
        ids, mask = given.get("input_ids"), given.get("attention_mask")
    elif isinstance(given, Encoded):
        ids, mask = given.ids, given.attention_mask
    else:
        ids, mask = given, None
    rows = _rows(ids)
    masks = None if mask is None or rows is None else _rows(mask)
    if rows is None or masks is None:
        return rows
    return [
        [token for token, real in zip(row, of_row, strict=True) if real]
        for row, of_row in zip(rows, masks, strict=True)
    ]


def _rows(ids: Any) -> list[list[Any]] | None:
    if isinstance(ids, Array):
        shape = tuple(getattr(ids, "shape", ()))
        if len(shape) > 2:
            raise ValueError(f"token ids have the shape {shape}; give one row of them, or (row, token)")
        ids = ids.tolist() if len(shape) > 0 else None
    if not isinstance(ids, Sequence) or isinstance(ids, str | bytes):
        return None
    if any(isinstance(each, str | bytes | Mapping) for each in ids):
        return None
    rows = [_row(each) for each in ids]
    if len(rows) > 0 and all(row is not None for row in rows):
        return [row for row in rows if row is not None]
    return [list(ids)] if all(row is None for row in rows) else None


def _row(each: Any) -> list[Any] | None:
    if isinstance(each, Array) and len(getattr(each, "shape", ())) == 1:
        each = each.tolist()
    return list(each) if isinstance(each, Sequence) and not isinstance(each, str | bytes | Mapping) else None
