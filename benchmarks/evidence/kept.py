"""What has been measured: a line for each map while it runs, then one for each method and kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"

Lines = list[dict[str, Any]]


def path_of(part: str) -> Path:
    """The file of a part."""
    return RESULTS / f"evidence_{part}.jsonl"


def read(part: str) -> Lines:
    """All that has been measured of a part, one entry for each map."""
    path = path_of(part)
    found: Lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        known = json.loads(line)
        if "number" in known:
            found.append(known)
            continue
        shared = {name: known.pop(name) for name in ("method", "kind")}
        known["number"] = known.pop("numbers")
        for values in zip(*known.values(), strict=True):
            each = dict(zip(known, values, strict=True))
            found.append({**shared, **{name: value for name, value in each.items() if value is not None}})
    return found


def pack(part: str) -> None:
    """Write the same with one line for each method and kind."""
    groups: dict[tuple[str, str], Lines] = {}
    for line in read(part):
        groups.setdefault((line["method"], line["kind"]), []).append(line)
    packed = []
    for (method, kind), lines in groups.items():
        names = dict.fromkeys(name for line in lines for name in line if name not in ("method", "kind"))
        columns = {name: [line.get(name) for line in lines] for name in names}
        columns = {"numbers": columns.pop("number"), **columns}
        packed.append(json.dumps({"method": method, "kind": kind, **columns}, separators=(",", ":")))
    path_of(part).write_text("\n".join(packed) + "\n")
