"""Token ids in all the forms in which tokenizers return them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Tokens = Mapping[str, Tensor]
"""What a tokenizer returns: `input_ids` (batch, token) and, where rows are padded, `attention_mask`."""


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


def real_tokens(tokens: Tokens) -> Bool[Tensor, "batch token"]:
    """Which tokens of a batch are not padding."""
    mask = tokens.get("attention_mask")
    return torch.ones_like(tokens["input_ids"], dtype=torch.bool) if mask is None else mask.bool()


def rows_by_length(tokens: Tokens) -> list[Int[Tensor, " group"]]:
    """The numbers of a batch's rows, by how many real tokens they have. Raises ValueError for a row without one."""
    lengths = real_tokens(tokens).sum(-1)
    if (lengths == 0).any():
        raise ValueError(f"row {int((lengths == 0).nonzero()[0])} of the batch has no token that is not padding")
    return [(lengths == length).nonzero().flatten() for length in lengths.unique()]


def one_id_per_row(target_ids: Tokens, vocab_size: int) -> Int[Tensor, " batch"]:
    """The target id of each row. Raises ValueError unless each row has exactly one, within the vocabulary."""
    real = real_tokens(target_ids)
    counts = real.sum(-1)
    if (counts != 1).any():
        row = int((counts != 1).nonzero()[0])
        raise ValueError(f"the target of row {row} has {int(counts[row])} tokens; a next token is exactly one")
    ids = target_ids["input_ids"][real]
    unknown = ids[(ids < 0) | (ids >= vocab_size)]
    if len(unknown) > 0:
        raise ValueError(f"target id {int(unknown[0])} is not between 0 and {vocab_size - 1}")
    return ids
