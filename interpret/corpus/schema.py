"""The columns of a corpus: what a row of the input may ask, and what a row of the output says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from interpret.results.attribution import COLUMNS, Attribution

VERSION = 1  # of the output; it changes when a column changes its meaning
FAULT = "fault"  # of a row that could not be read, in the place of what it asks
INPUT = ("id", "prompt", "messages", "target", "contrast", "region", "continuation")
# Columns of the output that stand in it to be read by other programs; the lists have an entry for each piece.
PLAIN = (
    "id", "prompt", "pieces", "scores", "target", "target_id", "probability", "rank", "foils", "unit", "method", "gap",
    "verdict", "check", "gradients", "forwards", "seconds", "error",
)  # fmt: skip
REST = ("labels", "token_ids", "standard_error", "numerical_error", "fixed", "template", "facts")
OUTPUT = (*PLAIN, *REST)
RENAMED = {"tokens": "pieces", "error": "numerical_error"}  # of the names in `Attribution.to_dict`


def columns_of(row_id: str, why: Attribution, seconds: float) -> dict[str, Any]:
    """A result as a row of the output; `attribution_of` is the inverse."""
    plain, target = why.to_dict(), why.target
    lists = {RENAMED.get(name, name): plain.pop(name) for name in COLUMNS}
    said = "".join(each.text for each in target.continuation) if target else None
    return {
        **dict.fromkeys(OUTPUT),
        "id": row_id,
        "prompt": why.prompt,
        "target": said,
        "target_id": target and target.id,
        "probability": target and target.probability,
        "rank": target and target.rank,
        "foils": [foil.text for foil in target.foils] if target else [],
        "unit": why.unit,
        "method": why.method,
        "gap": why.completeness and why.completeness.relative_gap,
        "verdict": why.faithfulness and why.faithfulness.verdict,
        "check": why.faithfulness and why.faithfulness.sentence,
        "gradients": why.gradients_spent,
        "forwards": why.forwards_spent,
        "seconds": seconds,
        **lists,
        "facts": json.dumps(plain, ensure_ascii=False, allow_nan=False),
    }


def failed(row_id: str, prompt: str | None, error: str, seconds: float = 0.0) -> dict[str, Any]:
    """A row that could not be explained, and why."""
    return {**dict.fromkeys(OUTPUT), "id": row_id, "prompt": prompt, "error": error, "seconds": seconds}


def attribution_of(row: Mapping[str, Any]) -> Attribution:
    """The result that a row of the output is of. Raises ValueError for a row of an error, or of another schema."""
    if row.get("error") is not None:
        raise ValueError(f"row {row.get('id')!r} was not explained: {row['error']}")
    missing = [name for name in ("pieces", "scores", *REST) if name not in row]
    if missing:
        raise ValueError(f"this is no row of a corpus: it has no {', '.join(missing)}")
    names = {RENAMED.get(name, name): name for name in COLUMNS}
    lists = {name: _listed(row[column]) for column, name in names.items()}
    return Attribution.from_dict({**json.loads(row["facts"]), **lists})


def _listed(values: Any) -> Any:
    """Lists within lists as Python's, whatever a reader of Parquet made of them; None stays None."""
    if values is None:
        return None
    if hasattr(values, "tolist"):
        values = values.tolist()
    return [_listed(each) if (isinstance(each, Sequence) and not isinstance(each, str)) or hasattr(each, "tolist")
            else each for each in values]  # fmt: skip
